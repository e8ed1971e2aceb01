#include "cache/base/clock.h"

namespace cairn {

namespace {
class SystemClock final : public Clock {
 public:
  MonotonicTime now() override { return std::chrono::steady_clock::now(); }
  int64_t wall_ns() override {
    return std::chrono::duration_cast<Duration>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
};
}  // namespace

Clock& system_clock() {
  static SystemClock clock;
  return clock;
}

Duration Deadline::left(Clock& clock) const {
  if (at_ == MonotonicTime::max()) return Duration::max();
  const Duration left = at_ - clock.now();
  return left > Duration::zero() ? left : Duration::zero();
}

}  // namespace cairn
