// Waiters: who waits for what is on its way, by key, so that each thing is fetched once however
// many ask for it.
//
// Thread-safe. Waiters are called by whoever lands the thing, without a lock.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "cache/base/mutex.h"
#include "cache/base/pending.h"
#include "cache/base/result.h"

namespace cairn {

template <class Key, class T>
class Waiters {
 public:
  // True for the first one, whose `first` waits: the caller must `land` the key. Else `later` does.
  bool join(const Key& key, Callback<T> first, Callback<T> later) {
    const std::lock_guard lock(mutex_);
    const auto [it, begun] = waiting_.try_emplace(key);
    it->second.push_back(begun ? std::move(first) : std::move(later));
    return begun;
  }

  // Whoever asks from now on begins anew.
  void land(const Key& key, const Result<T>& result) {
    std::vector<Callback<T>> waiters;
    {
      const std::lock_guard lock(mutex_);
      const auto it = waiting_.find(key);
      waiters = std::move(it->second);
      waiting_.erase(it);
    }
    for (const auto& waiter : waiters) waiter(result);
  }

 private:
  RankedMutex<Rank::kLeaf> mutex_;
  std::map<Key, std::vector<Callback<T>>> waiting_;
};

}  // namespace cairn
