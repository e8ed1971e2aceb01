// The parts of check_volume. Only check*.cc include this; check.h says what they promise together.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cache/check.h"
#include "cache/format/block_reader.h"
#include "cache/format/commit.h"
#include "cache/format/index.h"
#include "cache/format/pack.h"
#include "cache/format/records.h"
#include "cache/format/superblock.h"
#include "cache/format/unixfs_file.h"
#include "cache/volume_format.h"

namespace cairn {

// Collects problems and counts for all parts.
class CheckLog {
 public:
  explicit CheckLog(const CheckOptions& check_options) : options(check_options) {}
  void problem(std::string object, std::string what);
  void progress(std::string_view step);

  const CheckOptions& options;
  CheckReport report;
};

// Where the blocks are that the head's packs hold, as far as their tails could be read.
class CheckPacks {
 public:
  CheckPacks(ObjectStore& store, CheckLog& log) : store_(store), log_(log) {}

  // Only the tails of the metadata packs (dump). Errors are those of the packs, too.
  Status run_metadata_tails(const CommitRecord& commit);
  // Reads the packs and segments that `head` names, and the metadata packs of the snapshots. An
  // Error only when the store does not answer.
  Status run(const CommitRecord& head, const std::vector<CommitRecord>& snapshots);
  // From now on also what a snapshot may need that was made of a commit before the collection that
  // condemned it: the next one moves that before it deletes anything.
  Status add_condemned(const CommitRecord& head, const std::vector<CommitRecord>& snapshots);

  struct Place {
    Digest pack;
    uint32_t offset = 0;
    uint32_t length = 0;
  };
  std::optional<Place> find_metadata(const Digest& digest) const { return find(meta_, digest); }
  std::optional<Place> find_data(const Digest& digest) const { return find(data_, digest); }
  // A pack has the block, and the index that covers the pack does not say so.
  bool is_unlisted(const Digest& digest) const {
    const auto it = unlisted_.lower_bound({digest, Digest()});
    return it != unlisted_.end() && it->first == digest;
  }
  // Is it a pack or a segment that the head names?
  bool names(const Digest& digest) const { return named_.contains(digest); }

 private:
  enum class Depth : uint8_t { kTail, kEveryByte };
  // The tail of a pack that is there; nullopt after a problem was noted.
  // `known`: the commit says the pack's size and how many blocks it has.
  Result<std::optional<PackTail>> read_pack(const CommitPack& pack, PackKind kind, Depth depth,
                                            bool known = true);
  Status read_data_pack(const CommitPack& pack, bool known);
  Status read_segment(const CommitSegment& segment);
  Status compare_segment(const std::string& key, const IndexSegmentView& view);

  ObjectStore& store_;
  CheckLog& log_;
  // All blocks of some packs, by digest; of several places of one block the newest pack's is first.
  struct Block {
    Digest digest;
    uint32_t pack = 0;  // in packs_
    uint32_t offset = 0;
    uint32_t length = 0;
  };
  using Blocks = std::vector<Block>;
  void check_tiers(const CommitRecord& head);
  void collect(const PackTail& tail, Blocks& blocks);
  static void sort(Blocks& blocks);
  std::optional<Place> find(const Blocks& blocks, const Digest& digest) const;

  std::map<Digest, PackTail> data_tails_;  // while packs and segments are read
  std::vector<Digest> packs_;
  Blocks meta_;
  Blocks data_;
  std::set<std::pair<Digest, Digest>> unlisted_;  // block, pack
  std::set<Digest> named_;
  std::set<Digest> condemned_;
};

// Metadata blocks, read through windows of the packs and verified.
class CheckBlocks final : public BlockReader {
 public:
  CheckBlocks(ObjectStore& store, const CheckPacks& packs, CheckLog& log)
      : store_(store), packs_(packs), log_(log) {}
  Result<Buffer> get(const Digest& digest) override;

 private:
  static constexpr uint64_t kWindowBytes = 1 << 20;
  static constexpr size_t kWindowsMax = 32;
  struct Window {
    Digest pack;
    uint64_t offset;
    Buffer bytes;
  };
  Result<Buffer> range(const Digest& pack, uint64_t offset, uint64_t length);

  ObjectStore& store_;
  const CheckPacks& packs_;
  CheckLog& log_;
  std::list<Window> windows_;  // the most recent first
};

// What one tree of a check has shown is not looked at again for the next one.
struct WalkedContents {
  std::set<Cid> contents;
  std::set<Digest> zeroes;  // nodes of zeroes
};

// The tree of one commit.
class CheckTree {
 public:
  CheckTree(CheckBlocks& blocks, const CheckPacks& packs, WalkedContents& walked, CheckLog& log)
      : blocks_(blocks), packs_(packs), log_(log), walked_(walked) {}
  // `file`: cairn.json, unless it could not be read.
  void run(const CommitRecord& head, const std::optional<VolumeFile>& file);

 private:
  struct Name {  // a dirent
    Ino child = 0;
    Ino dir = 0;
    FileType type = FileType::kRegular;
  };
  struct Inode {
    Ino ino = 0;
    Ino parent = 0;  // of a directory
    uint32_t nlink = 0;
    uint32_t subdirectories = 0;
    FileType type = FileType::kRegular;
  };
  bool read_superblock(const CommitRecord& head, const std::optional<VolumeFile>& file);
  void compare(const VolumeFile& file);
  void entry(std::string_view key, const Cid& value);
  void inode(const std::string& where, const RecordKey& key, Bytes record);
  void file(const std::string& where, const InodeRecord& record);
  void symlink(const std::string& where, const InodeRecord& record);
  void xattr(const std::string& where, const RecordKey& key, Bytes record);
  void join_names();
  void walk_up();
  const Inode* find(Ino ino) const;
  Inode* find(Ino ino);
  // The bytes of a value; nullopt after a problem was noted.
  std::optional<Buffer> value_bytes(const std::string& where, const Cid& value);

  CheckBlocks& blocks_;
  const CheckPacks& packs_;
  CheckLog& log_;
  const CommitRecord* head_ = nullptr;
  Superblock superblock_;
  std::optional<UnixfsShape> shape_;
  std::vector<Name> names_;
  std::vector<Inode> inodes_;  // by number
  std::vector<Ino> xattr_owners_;
  WalkedContents& walked_;
};

}  // namespace cairn
