// Metadata tiers: how the metadata packs that hold a volume's tree are kept few and clustered.
//
// Every commit adds the nodes that it changed. Left alone, a tree that is written in small steps
// would be scattered over as many packs as there were commits. So packs have tiers, by size: a
// commit that would make a second pack of a small tier (one that fits a pack), or the ninth small
// pack of a large one, writes the live nodes of that tier, and of all below it, into one run of
// that or the next tier, in key pre-order, instead of only its own. And when most of what
// the packs hold is dead, everything that lives is written anew.
//
// The packs of one commit are a run: they share a tier and stand together. Packs are ordered
// oldest first, and tiers fall from old to new. A merge takes a tail of that order, whole runs.
// From that follows what the merge relies on: below a block that lies in a run there are only
// blocks of the same run or of older ones. So it descends from the root only as long as it meets
// blocks of the runs it merges, and its work is that of what it rewrites.
//
// plan_metadata is pure. MetaMerger: owner is one publish, on its thread; errors are those of
// reading blocks and of the stager.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "cache/format/mst.h"
#include "cache/format/records.h"
#include "cache/meta_stager.h"
#include "cache/pack_store.h"

namespace cairn {

// When metadata packs are merged; others than these are for tests.
struct MetadataLimits {
  uint64_t pack_bytes = 8ULL << 20;         // of a full pack
  uint64_t first_tier_bytes = 64ULL << 10;  // the next tiers are each eight times as large
  // Below this, dead bytes cost nothing that anybody would notice.
  uint64_t rewrite_bytes_min = 1ULL << 20;
};

struct TieredPack {
  PackName name;
  uint8_t tier = 0;
};

struct MetadataPlan {
  size_t keep = 0;   // the first so many packs stay; the live blocks of the others are rewritten
  uint8_t tier = 0;  // of what this commit writes
};

struct MetadataState {
  std::span<const TieredPack> packs;  // of the head, oldest first
  uint64_t fresh_bytes = 0;           // that the commit itself adds
  uint64_t live_bytes = 0;            // about, of all blocks in the new tree; 0: not known
  MetadataLimits limits;
};
MetadataPlan plan_metadata(const MetadataState& state);
// Everything that lives is written anew.
MetadataPlan plan_rewrite(const MetadataState& state);

// Writes what lives in some packs into a stager.
class MetaMerger {
 public:
  using Read = std::function<Result<Buffer>(const Digest& digest)>;

  // `fresh`: blocks of this commit that are in no pack yet. `merged`: the tails of the packs to
  // merge; `everything` says instead that all packs are. `read` gives every block but the fresh
  // ones. All must outlive it.
  MetaMerger(MetaStager& out, unsigned fanout_bits,
             const std::unordered_map<Digest, PendingBlock>& fresh,
             std::span<const PackTail> merged, bool everything, Read read)
      : out_(out),
        fanout_bits_(fanout_bits),
        fresh_(fresh),
        merged_(merged),
        everything_(everything),
        read_(std::move(read)) {}

  Status run(const Digest& root) { return visit_tree(root, std::nullopt); }
  uint64_t bytes() const { return bytes_; }  // of the blocks visited

 private:
  // The block when it is to be visited: in a pack that is merged, or written by this commit.
  Result<std::optional<Buffer>> take(const Cid& cid, bool upper = false);
  // `layer` is the node's; of the root it is not known before it is read.
  Status visit_tree(const Digest& node, std::optional<int> layer);
  Status visit_value(std::string_view key, const Cid& value);
  Status visit_content(const Digest& node, int depth);
  Status visit_leaf(const Cid& cid);

  MetaStager& out_;
  const unsigned fanout_bits_;
  const std::unordered_map<Digest, PendingBlock>& fresh_;
  const std::span<const PackTail> merged_;
  const bool everything_;
  const Read read_;
  std::unordered_set<Digest> contents_;  // nodes of files that were visited
  uint64_t bytes_ = 0;
};

}  // namespace cairn
