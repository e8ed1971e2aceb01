// SegmentIndex: looks digests up in the index segments that a commit names, page by page.
//
// Shared by its owner (PackStore) and the look-ups under way. Thread-safe; no lock is held across
// a callback. Memory: pages of segments in one LRU of bounded bytes. A large segment is never read
// whole: its head and fan-out once, then a page or two a look-up, all look-ups of a call together.
// A wrong page only leads to a wrong place, which is noticed when the block is verified.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "cache/get_limiter.h"
#include "cache/pack_store.h"

namespace cairn {

class SegmentIndex {
 public:
  static std::shared_ptr<SegmentIndex> make(std::shared_ptr<GetLimiter> gets,
                                            uint64_t page_bytes_max);
  virtual ~SegmentIndex() = default;

  // Oldest first, as the commit lists them.
  virtual void set_segments(std::vector<SegmentName> segments) = 0;
  // For each digest the place the newest segment gives, or nullopt. `done` may run on the calling
  // stack when there is nothing to ask for.
  virtual void find(std::vector<Digest> digests, Context context,
                    Callback<std::vector<std::optional<BlockPlace>>> done) = 0;
  // Brings the newest segments, of large ones what the first touch would: at most `bytes_max`.
  virtual void read_ahead(uint64_t bytes_max, Context context, Callback<void> done) = 0;
};

}  // namespace cairn
