// ChunkStager: turns what was written to files into leaves in data packs.
//
// For each changed chunk: assemble it (or leave it where it lies in one piece), hash it, and unless
// the store has that leaf already put it into the open pack; full packs go to the uploader. A chunk
// that is one leaf of the store (a copy) takes no more than its name. Work goes in windows of
// chunks: their bases are fetched together, they are hashed on several threads,
// and they enter packs in the order of the files, so that a file that was written at once is read
// back with few requests. A batch may be staged again when it became longer: of what it had before
// only the chunks that changed since are.
//
// Owner: one publish, on its thread. Memory: what is assembled, in the window, the open pack and
// the packs under way, is bounded by Options.memory_bytes whatever the size of the batch; chunks
// that lie in one piece are streamed from their file twice (to hash, to send) and held never.
// Errors: whatever the host, the base's store or the uploader gives; kCorruption when a file of
// the host is shorter than what it was said to hold.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <unordered_set>
#include <utility>
#include <vector>

#include "cache/base/executor.h"
#include "cache/chunk_plan.h"
#include "cache/format/unixfs_file.h"
#include "cache/open_pack.h"
#include "cache/pack_uploader.h"
#include "cache/remote.h"

namespace cairn {

class ChunkStager {
 public:
  struct Options {
    uint64_t pack_bytes = 32ULL << 20;
    uint64_t memory_bytes = 48ULL << 20;
    unsigned hash_threads = 2;
    uint64_t pack_salt = 0;  // of the packs' names
  };
  struct Components {
    const UnixfsShape& shape;
    Remote& remote;  // for published content that shows through
    PackStore& packs;
    PackUploader& uploader;
    Executor& executor;
    PublishHost& host;
  };
  // Everything must outlive it.
  ChunkStager(Components components, Options options, Context context);

  // Stages what changed in `file`, whose published content is `base`. `changes` gets the new
  // leaves, in order; it is complete after the next `finish_window` and must stay where it is until
  // then. So must `file`. `base` is the same when a file is staged again.
  Status add(const FrozenFile& file, const std::optional<UnixfsRoot>& base,
             std::vector<UnixfsChange>& changes);
  Status finish_window();
  // Whether what was staged is known so well that it need not be staged again: not of very many
  // chunks, or very small pieces.
  bool remembers_all() const { return remembers_; }
  // A leaf that is in memory anyway (zeroes of a hole).
  Status add_leaf(const Digest& digest, Buffer bytes);
  // Ends the open window and the open pack.
  Status flush();

 private:
  struct Shared {
    Leaf leaf;
    Buffer bytes;
  };
  struct Job {
    uint64_t inode = 0;
    const std::optional<UnixfsRoot>* base = nullptr;
    UnixfsChange* change = nullptr;
    ChunkPlan plan;
    std::optional<Leaf> base_leaf;  // set while its bytes are still to be brought
    Buffer base_bytes;              // empty: zeroes
    std::vector<Shared> shared;     // leaves that parts of it are copied from
    bool is_stored = false;         // it is a leaf of the store, and no bytes are needed
    // What hashing finds.
    Leaf leaf;
    Buffer bytes;                // assembled
    std::shared_ptr<File> file;  // or in one piece there
    Status status;
  };
  struct Known {
    ChunkPlan plan;
    Digest leaf;
  };
  uint64_t memory_of(const ChunkPlan& plan) const;
  std::optional<Digest> known_leaf(uint64_t inode, const ChunkPlan& plan) const;
  void remember(uint64_t inode, ChunkPlan plan, const Digest& leaf);
  Status bring_bases();
  Status find_base_leaves();
  void find_shared_leaves();
  Status make_room(uint64_t bytes);
  Status hash(Job& job);
  Status assemble(Job& job);
  Status pack(Job& job);
  Status seal_if_full();
  Status seal();

  Components components_;
  const Options options_;
  const Context context_;
  std::vector<Job> window_;
  uint64_t window_memory_ = 0;
  uint64_t window_bytes_ = 0;
  OpenPack pack_;
  std::unordered_set<Digest> packed_;                     // by this publish
  std::map<std::pair<uint64_t, uint64_t>, Known> known_;  // by inode and chunk
  size_t known_pieces_ = 0;
  bool remembers_ = true;
};

}  // namespace cairn
