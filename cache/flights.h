// Flights: blocks that are on their way, each once however many wait for it.
//
// Thread-safe. Waiters are called by whoever lands the block, without a lock.
#pragma once

#include <functional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cache/base/bytes.h"
#include "cache/base/digest.h"
#include "cache/base/mutex.h"
#include "cache/base/result.h"

namespace cairn {

class Flights {
 public:
  using Waiter = std::function<void(const Result<Buffer>&)>;

  // Joins the block's flight (false), or begins one (true): then the caller must `land` it.
  bool join(const Digest& digest, Waiter waiter) {
    const std::lock_guard lock(mutex_);
    const auto [it, begun] = waiting_.try_emplace(digest);
    it->second.push_back(std::move(waiter));
    return begun;
  }

  // A block is on its way until everyone has it: who asks meanwhile is answered in the next round.
  // After a failure whoever asks begins anew.
  void land(const Digest& digest, const Result<Buffer>& result) {
    for (bool more = true; more;) {
      std::vector<Waiter> waiters;
      {
        const std::lock_guard lock(mutex_);
        const auto it = waiting_.find(digest);
        if (it == waiting_.end()) return;
        waiters.swap(it->second);
        more = result && !waiters.empty();
        if (!more) waiting_.erase(it);
      }
      for (const Waiter& waiter : waiters) waiter(result);
    }
  }

 private:
  RankedMutex<Rank::kLeaf> mutex_;
  std::unordered_map<Digest, std::vector<Waiter>> waiting_;
};

}  // namespace cairn
