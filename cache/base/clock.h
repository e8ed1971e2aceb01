// Clock: the only source of time. Monotonic time orders and measures; wall time is for people and
// for timestamps that leave the machine. Deadline is a point in monotonic time.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "cache/base/mutex.h"

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

// A flag that a caller raises to give up. Copies share it. Thread-safe.
class CancelToken {
 public:
  // Destroying it takes the listener back; a call that has begun on another thread goes on.
  using Listener = std::shared_ptr<void>;

  CancelToken();
  // Raises the flag, then runs the listeners on this stack. Hold no lock that they take.
  void cancel();
  bool cancelled() const { return state_->cancelled.load(std::memory_order_acquire); }
  // Runs `listener` once when the flag is raised; at once when it is already. It must be quick and
  // must not assume that what it points to still lives: capture a weak_ptr, submit a task.
  [[nodiscard]] Listener on_cancel(std::function<void()> listener) const;

 private:
  struct State {
    std::atomic<bool> cancelled{false};
    RankedMutex<Rank::kLeaf> mutex;
    uint64_t next_id = 0;
    std::map<uint64_t, std::function<void()>> listeners;
  };
  std::shared_ptr<State> state_;
};

class Trouble;

// What bounds one request: until when, and whether the caller still wants it. Who has to tell a
// person what a request meets that goes on trying gives it a Trouble (cache/base/trouble.h).
struct Context {
  Deadline deadline = Deadline::never();
  CancelToken cancel;
  std::shared_ptr<Trouble> trouble = nullptr;
};

}  // namespace cairn
