// PlacesAhead: what says where blocks lie, fetched before anybody asks for one: tails of metadata
// packs that are not fetched whole, tails of young packs, and the beginnings of index segments.
//
// Owner: who owns the pack store; destroyed before it. Destroying it gives up what is on its way
// and waits until nothing is: not on a task of the executor, and before that is stopped. One
// thread.
#pragma once

#include <memory>
#include <vector>

#include "cache/base/mutex.h"
#include "cache/pack_store.h"

namespace cairn {

class PlacesAhead {
 public:
  PlacesAhead() = default;
  ~PlacesAhead() {
    over_.cancel();
    std::unique_lock lock(under_way_->mutex);
    under_way_->none.wait(lock, [this] { return under_way_->count == 0; });
  }
  PlacesAhead(const PlacesAhead&) = delete;
  PlacesAhead& operator=(const PlacesAhead&) = delete;

  struct Limits {  // no tails at all where there are more
    size_t tails = 0;
    uint64_t tail_bytes = 0;
    uint64_t index_bytes = 0;
  };

  // Returns at once. What fails is fetched when a block is asked for. `first`: packs whose tails
  // are asked for before all else, if there is room for them.
  void fetch(PackStore& from, std::vector<PackName> first, const std::vector<PackName>& young,
             const Limits& limits, Deadline deadline) {
    uint64_t tail_bytes = 0;
    for (const PackName& pack : young) tail_bytes += pack.blocks * kPackEntrySize;
    std::vector<PackName> packs;
    if (from.has_room_for_tails(first)) packs = std::move(first);
    if (young.size() <= limits.tails && tail_bytes <= limits.tail_bytes)
      packs.insert(packs.end(), young.begin(), young.end());
    {
      const std::lock_guard lock(under_way_->mutex);
      under_way_->count += packs.size() + 1;
    }
    const auto arrived = [under_way = under_way_](const auto&) {
      const std::lock_guard lock(under_way->mutex);
      if (--under_way->count == 0) under_way->none.notify_all();
    };
    Context context;
    context.cancel = over_;
    context.deadline = deadline;
    for (const PackName& pack : packs) from.read_tail(pack, context, arrived);
    from.read_index_ahead(limits.index_bytes, context, arrived);
  }

 private:
  struct UnderWay {
    RankedMutex<Rank::kLeaf> mutex;
    ConditionVariable none;
    size_t count = 0;
  };
  CancelToken over_;
  std::shared_ptr<UnderWay> under_way_ = std::make_shared<UnderWay>();
};

}  // namespace cairn
