// Clock: the only source of time. Monotonic time orders and measures; wall time is for people and
// for timestamps that leave the machine. Deadline is a point in monotonic time.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

namespace cairn {

using Duration = std::chrono::nanoseconds;
using MonotonicTime = std::chrono::time_point<std::chrono::steady_clock, Duration>;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual MonotonicTime now() = 0;
  // Nanoseconds since the Unix epoch.
  virtual int64_t wall_ns() = 0;
};

// The system's clocks; thread-safe, lives for the whole process.
Clock& system_clock();

class Deadline {
 public:
  static Deadline never() { return Deadline(MonotonicTime::max()); }
  static Deadline after(Clock& clock, Duration d) { return Deadline(clock.now() + d); }
  explicit Deadline(MonotonicTime at) : at_(at) {}
  MonotonicTime at() const { return at_; }
  bool passed(Clock& clock) const { return clock.now() >= at_; }
  // Time left, never negative; Duration::max() for never().
  Duration left(Clock& clock) const;

 private:
  MonotonicTime at_;
};

// A flag that a caller raises to give up. Copies share it.
class CancelToken {
 public:
  CancelToken() : flag_(std::make_shared<std::atomic<bool>>(false)) {}
  void cancel() { flag_->store(true, std::memory_order_release); }
  bool cancelled() const { return flag_->load(std::memory_order_acquire); }

 private:
  std::shared_ptr<std::atomic<bool>> flag_;
};

// What bounds one request: until when, and whether the caller still wants it.
struct Context {
  Deadline deadline = Deadline::never();
  CancelToken cancel;
};

}  // namespace cairn
