// ManualClock: time that passes only when a test says so. Thread-safe.
#pragma once

#include <atomic>

#include "cache/base/clock.h"
#include "cache/base/executor.h"

namespace cairn::test {

class ManualClock final : public Clock {
 public:
  MonotonicTime now() override { return MonotonicTime(Duration(elapsed_ns_.load())); }
  int64_t wall_ns() override { return kWallStartNs + elapsed_ns_.load(); }
  void advance(Duration d) { elapsed_ns_ += d.count(); }

 private:
  static constexpr int64_t kWallStartNs = 1'700'000'000'000'000'000;
  std::atomic<int64_t> elapsed_ns_{1'000'000'000};
};

// Runs what is due, moves the clock to the next timer, and so on, until `stop` holds or nothing is
// left. Returns whether `stop` holds.
template <class Stop>
bool run_until(ManualExecutor& executor, ManualClock& clock, const Stop& stop) {
  while (!stop()) {
    if (executor.run_one()) continue;
    const MonotonicTime next = executor.next_due();
    if (next == MonotonicTime::max()) return stop();
    clock.advance(next - clock.now());
  }
  return true;
}

}  // namespace cairn::test
