// LiveState: the typed rows of the live tables, and the one place where a change becomes rows.
//
// A change is prepared, which reads the rows it touches and may fail; then journalled; then
// applied, which cannot fail, so that the tables show what the journal has. A record that is
// replayed goes the same way, so both give the same state. Callers serialise all of that, cleanup
// and checkpoint among themselves (the engine's commit mutex); reads need no lock and see each
// applied change whole.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "cache/change.h"
#include "cache/live_tables.h"
#include "cache/remote.h"

namespace cairn {

// A tree key changed since the published commit: to `value`, or removed.
struct TreeRow {
  Lsn lsn = 0;
  std::optional<Cid> value;
};

// Clean content of a chunk that is here.
struct ResidentRow {
  Digest digest;  // of the leaf it holds
  uint32_t length = 0;
  DataRef ref;                       // always in a segment
  std::optional<uint32_t> crc = {};  // CRC32C, of a leaf whose digest only names it
};

// Bytes of a file that lie somewhere else now, by the chunk that they are in.
struct MovedData {
  DataRef from;
  uint32_t length = 0;
  DataRef to;
};
using MovedChunks = std::map<uint64_t, std::vector<MovedData>>;

struct WrittenChunk;

class LiveState {
 public:
  LiveState(LiveTables& tables, uint32_t chunk_bytes)
      : tables_(tables), chunk_bytes_(chunk_bytes) {}

  // The rows one change touches, read once and written back together.
  class Step;
  // Nothing else may be applied between this and the `apply` of what it returns.
  Result<Step> prepare(const Change& change);
  // Puts the effects of the change that got `lsn` into the tables; it is the prepared one, but for
  // where its inline data lies. Content of inodes for which `keep_content` says true (removed but
  // still open here) is not forgotten.
  void apply(Step step, const Change& change, Lsn lsn,
             const std::function<bool(uint64_t inode)>& keep_content);
  // Drops all rows of a file's unpublished content.
  Status forget_content(uint64_t inode);
  // Rows that a publication made superfluous: of `batch`, everything with an LSN <= batch.lsn.
  // `begin` and `end` bound the part of the batch to do (indexes into files), so that the caller
  // can hold its lock for short steps. Content of inodes that `keep_content` names stays.
  Status drop_published_file(const FrozenFile& file, Lsn published);
  Status drop_published_edits(const std::vector<TreeEdit>& edits, size_t begin, size_t end,
                              Lsn published);
  // Blocks are named by what they contain: those that rows of kept files name, too, stay theirs.
  Status drop_published_blocks(const std::vector<std::pair<Digest, Buffer>>& blocks, Lsn published,
                               const std::set<Digest>& kept);

  // Of a file that is kept back: its rows up to `upto` are none that a publication makes
  // superfluous (their LSN is kKeptBackLsn then), those of its inode, its xattrs, its name under
  // `dirent` (may be empty) and its content. The opposite: they are of `upto` again, but for the
  // blocks they name, which drop_published_blocks lets go.
  Status keep_back(uint64_t inode, const std::string& dirent, Lsn upto);
  Status release_kept(uint64_t inode, const std::string& dirent, Lsn upto);
  // What the rows of a file name in the table of blocks.
  Result<std::vector<Digest>> blocks_of_file(uint64_t inode) const;
  // What the content still has of these bytes it has at their new place.
  Status move_content(uint64_t inode, const MovedChunks& chunks);

  // All of the above for the whole state (at open, when a commit turned out to be there).
  Status drop_published(Lsn published);

  Result<std::optional<TreeRow>> tree_row(std::string_view key) const;
  struct TreeRowEntry {
    std::string key;
    TreeRow row;
  };
  Result<std::vector<TreeRowEntry>> scan_tree(std::string_view from, std::string_view to,
                                              size_t limit) const;
  Result<std::optional<Buffer>> block(const Digest& digest) const;
  Result<std::optional<FileState>> file_state(uint64_t inode) const;
  Result<Extents> extents(uint64_t inode, uint64_t chunk) const;
  // Chunks in [first, end) that have extents, in order, at most `limit`.
  struct ChunkExtents {
    uint64_t chunk = 0;
    Extents extents;
  };
  Result<std::vector<ChunkExtents>> scan_extents(uint64_t inode, uint64_t first, uint64_t end,
                                                 size_t limit) const;

  Result<std::optional<ResidentRow>> resident(uint64_t inode, uint64_t chunk) const;
  void put_resident(uint64_t inode, uint64_t chunk, const ResidentRow& row);
  void drop_resident(uint64_t inode, uint64_t chunk, const ResidentRow& row);
  struct InSegment {
    uint64_t inode = 0;
    uint64_t chunk = 0;
    ResidentRow row;
  };
  // The resident rows that lie in a segment.
  Result<std::vector<InSegment>> in_segment(uint64_t segment) const;
  // Are there any?
  Result<bool> is_in_use(uint64_t segment) const;
  // The segments in which rows say that something lies, whether or not they are there.
  Result<std::vector<uint64_t>> named_segments() const;
  // Forgets the clean content of a file that is here.
  Status drop_residents(uint64_t inode);
  // Bytes of clean content of a file that are here.
  Result<uint64_t> resident_bytes(uint64_t inode) const;
  std::vector<std::string> state_keys(std::string_view prefix) const;
  // Drops the resident rows that lie in a segment.
  Status drop_segment(uint64_t segment);

  Result<std::optional<std::string>> state(std::string_view key) const;
  void put_state(std::string_view key, std::string value);
  void remove_state(std::string_view key);
  // What a checkpoint contains; part of the checkpoint itself.
  void put_checkpoint_marks(Lsn checkpointed, Lsn published, uint64_t segment_numbers_end);
  struct CheckpointMarks {
    Lsn checkpointed = 0;
    Lsn published = 0;
    uint64_t segment_numbers_end = 0;
  };
  Result<CheckpointMarks> checkpoint_marks() const;

  // Files with unpublished content.
  uint64_t dirty_files() const { return dirty_files_; }
  Status count_dirty_files();  // once, at open

  LiveTables& tables() { return tables_; }
  uint32_t chunk_bytes() const { return chunk_bytes_; }

 private:
  Result<std::vector<Digest>> blocks_of(const Cid& cid) const;
  Status restamp(uint64_t inode, const std::string& dirent, const std::function<Lsn(Lsn)>& stamp);
  Status restamp_blocks(uint64_t inode, Lsn upto);
  // The removal of all rows of a file's unpublished content.
  Result<std::vector<TableChange>> content_removed(uint64_t inode) const;

  LiveTables& tables_;
  uint32_t chunk_bytes_;
  std::atomic<uint64_t> dirty_files_{0};
};

// The extents of a chunk that is written in many small pieces, as its row.
struct WrittenChunk final : DecodedRow {
  Extents extents;
  explicit WrittenChunk(Extents made_of) : extents(std::move(made_of)) {}
  std::optional<std::string> encode() const override;
  uint64_t memory_bytes() const override { return extents.capacity() * sizeof(Extent); }
};

class LiveState::Step {
 public:
  explicit Step(LiveState& state) : state_(state) {}

  // What is needed of a file to write to a range of it, to cut it, and to forget it.
  Status load(uint64_t inode, uint64_t offset, uint64_t length);
  Status load_from(uint64_t inode, uint64_t offset);
  Status load_removal(uint64_t inode);

  void begin(Lsn lsn, int64_t time_ns) {
    lsn_ = lsn;
    time_ns_ = time_ns;
  }
  void put_key(const PutKey& e);
  void write(uint64_t inode, uint64_t offset, uint64_t length, Extent source);
  void cut(uint64_t inode, uint64_t limit);
  void forget(uint64_t inode);
  void add_block(const AddBlock& e);
  void put_state(const PutState& e);
  void finish();

 private:
  // The extents of a chunk, or the decoded row that has them and what is going to be put over it.
  struct Chunk {
    Extents extents;
    std::shared_ptr<WrittenChunk> row;
    std::vector<Extent> added;
    bool written = false;
    Extents& own_extents();  // the row is left alone from here on
  };

  Status load_file(uint64_t inode);
  Result<Chunk> load_chunk(uint64_t inode, uint64_t chunk) const;
  FileState& touch(uint64_t inode);

  LiveState& state_;
  Lsn lsn_ = 0;
  int64_t time_ns_ = 0;
  std::vector<TableChange> changes_;
  std::map<uint64_t, std::optional<FileState>> files_;  // unset: it has no row
  std::map<std::pair<uint64_t, uint64_t>, Chunk> chunks_;
  std::map<uint64_t, std::vector<TableChange>> removed_;
};

}  // namespace cairn
