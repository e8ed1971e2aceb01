// PlacesAhead: what says where blocks lie, fetched before anybody asks for one: tails of young
// packs and the beginnings of index segments.
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

  // Returns at once. What fails is fetched when a block is asked for.
  void fetch(PackStore& from, const std::vector<PackName>& packs, uint64_t index_bytes_max,
             Deadline deadline) {
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
    from.read_index_ahead(index_bytes_max, context, arrived);
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
