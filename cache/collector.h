// Collector: gives back what a volume's store holds and nothing needs any more.
//
// README.md, "Garbage collection", says which states a pack goes through and why no reader ever
// misses a block. Only the current epoch's writer collects; without writing anything anybody can
// find out what a collection would do (dry run).
// Owner: one call of TreeRemote::collect, on the caller's thread; it blocks on the store, and holds
// up publishing only while it commits. It may be stopped or die between any two requests: the next
// collection goes on from what is in the store.
// Memory: some 100 bytes an object of the store, 32 bytes times `digests_at_once`, one open pack.
// Errors: kFenced (another writer took over), kUnsupported (not the writer), kCancelled,
// kCorruption (a metadata block or index segment that cannot be trusted: then nothing is deleted),
// the store's.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "cache/collect.h"
#include "cache/pack_usage.h"
#include "cache/snapshots.h"
#include "cache/tree_publish.h"
#include "cache/tree_remote.h"

namespace cairn {

class SegmentIndex;

class Collector {
 public:
  Collector(TreeRemote::Impl& remote, Remote& port, PublishHost& host, CollectOptions options,
            Context context);
  ~Collector();
  Result<CollectReport> run();

 private:
  struct Object {
    uint64_t size = 0;
    int64_t mtime_ns = 0;
  };
  // A block of a pack that is to go.
  struct Block {
    Digest digest;
    uint32_t pack = 0;  // in leaving_
    uint32_t offset = 0;
    uint32_t length = 0;
    bool live = false;
    bool elsewhere = false;  // another pack, which stays, has it too
  };

  // ---- looking (collector.cc)
  Status look();
  Status read_clock();
  Status read_history();
  Status read_commit_names();
  Status read_snapshots();
  Status add_snapshots();
  Status list_objects();
  Status read_segment_packs(const CommitRecord& head);
  const std::vector<Digest>& packs_of(const Digest& segment) const;
  Status walk(const Digest& root, const LiveWalk::Visit& visit);
  Status count_uses();
  void choose();
  bool metadata_is_worth_rewriting() const;

  // ---- moving (collector_move.cc)
  Status move();
  Status read_leaving();
  Status mark_leaving();
  Status find_elsewhere();
  Status find_elsewhere(std::span<Block* const> live, SegmentIndex& index,
                        const std::set<Digest>& young, const std::set<Digest>& leaving);
  Status copy(size_t from, size_t to, OpenPack& pack, std::vector<PackName>& moved);
  Status put(OpenPack& pack, std::vector<PackName>& moved);
  Status commit(CollectionStep step);

  // ---- deleting (collector_delete.cc)
  Status remove();
  Result<std::vector<std::string>> packs_to_remove();
  Status remove_segments();
  std::vector<std::string> commits_to_remove();
  bool old_enough(const Object& object) const;

  void step(std::string_view name);
  Status check_writer();

  TreeRemote::Impl& remote_;
  Remote& port_;
  PublishHost& host_;
  const CollectOptions options_;
  const Context context_;
  CollectReport report_;

  int64_t now_ns_ = 0;       // by the store's clock
  uint64_t past_ = 0;        // the newest commit that is older than the grace period
  uint64_t kept_from_ = 1;   // the oldest commit that can be read after this collection
  uint64_t boundary_ = 1;    // as it was found
  std::map<uint64_t, int64_t> commits_;  // number, time it was made; by the store's clock
  std::vector<Snapshot> snapshots_;  // all that were seen, whether or not deleted meanwhile
  std::map<Digest, Object> packs_;
  std::map<Digest, Object> segments_;
  std::map<Digest, std::vector<Digest>> segment_packs_;  // of the head's segments
  std::set<Digest> covered_;                             // all packs of these
  std::unordered_map<Digest, PackUse> uses_;
  uint64_t metadata_live_bytes_ = 0;
  uint64_t metadata_needed_bytes_ = 0;  // for these, written anew
  std::vector<UnixfsRoot> pinned_;      // as they were asked for last

  std::vector<Digest> victims_;  // packs to condemn
  std::vector<Digest> due_;      // condemned for long enough: to be deleted
  std::vector<Digest> leaving_;  // both
  std::vector<Block> blocks_;    // of these, by digest; then what is to be moved, by place
};

}  // namespace cairn
