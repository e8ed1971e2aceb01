// Trouble: what the requests of a long piece of work met while they go on trying. Who retries
// writes it, who began the work looks at it: so a store that is away is known long before the work
// gives up.
//
// Only what lasts longer than the patience counts: one refused try is nothing to tell anybody.
// Shared by the work's Context and its beginner. Thread-safe, takes no other lock.
#pragma once

#include <optional>
#include <utility>

#include "cache/base/clock.h"
#include "cache/base/result.h"

namespace cairn {

class Trouble {
 public:
  explicit Trouble(Duration patience) : patience_(patience) {}

  // A try failed, and there will be another; the first one began `tried` ago.
  void met(const Error& error, Duration tried) {
    if (tried < patience_) return;
    const std::lock_guard lock(mutex_);
    last_ = error;
  }

  // What was met since it was last asked for.
  std::optional<Error> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(last_, std::nullopt);
  }

 private:
  const Duration patience_;
  RankedMutex<Rank::kLeaf> mutex_;
  std::optional<Error> last_;
};

}  // namespace cairn
