// PackUsage: how much of each data pack is needed.
//
// A block that several packs hold is needed only in the one where it would be found: the newest.
// Bounded memory whatever the volume's size: the digests are taken in ranges, and for each range
// the tree is walked and the index is read once.
// Owner: one collection, on its thread; blocks on the store.
// Errors: the walk's, the store's, kCorruption of an index segment.
#pragma once

#include <functional>
#include <set>
#include <unordered_map>
#include <vector>

#include "cache/live_walk.h"

namespace cairn {

struct PackUse {
  uint64_t live_bytes = 0;
  uint64_t live_blocks = 0;
};

class PackUsage {
 public:
  // Calls the visitor with every leaf that is needed.
  using Walk = std::function<Status(const LiveWalk::Visit& visit)>;
  struct Input {
    std::vector<PackName> young;    // oldest first
    std::vector<Digest> condemned;  // and not deleted
    std::vector<SegmentName> segments;
    // The packs of a segment, by ordinal.
    std::function<const std::vector<Digest>&(const Digest& segment)> packs_of;
    std::set<Digest> leaving;  // packs that do not count: condemned
    Walk walk;
    uint64_t leaves = 0;  // about
    uint64_t digests_at_once = 1 << 20;
  };
  PackUsage(TreeRemote::Impl& remote, Input input, Context context)
      : remote_(remote), in_(std::move(input)), context_(std::move(context)) {}

  Status run();

  const std::unordered_map<Digest, PackUse>& packs() const { return packs_; }
  uint64_t live_bytes() const { return live_bytes_; }
  uint64_t live_blocks() const { return live_blocks_; }
  // Needed, and in no pack that is there.
  uint64_t not_found() const { return not_found_; }

 private:
  struct Range {
    uint32_t from = 0;  // of the digest's first two bytes
    uint32_t to = 0;    // excluded
    bool holds(const Digest& digest) const;
  };
  Status collect(const Range& range);
  void squeeze();
  void take(const Digest& digest, const Digest& pack, uint32_t length);
  Status read_young();
  Status find_in_condemned();
  Result<std::vector<Digest>> look_in_condemned(const std::vector<Digest>& packs);
  Status read_segment(const SegmentName& segment);

  TreeRemote::Impl& remote_;
  const Input in_;
  const Context context_;
  std::vector<Digest> live_;  // of the range, sorted once collected
  std::vector<bool> taken_;
  unsigned looks_max_ = kLooksMax;  // at condemned packs that do not answer
  std::unordered_map<Digest, PackUse> packs_;
  uint64_t live_bytes_ = 0;
  uint64_t live_blocks_ = 0;
  uint64_t not_found_ = 0;
};

}  // namespace cairn
