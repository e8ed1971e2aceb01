#include "cache/base/clock.h"

#include <utility>

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

CancelToken::CancelToken() : state_(std::make_shared<State>()) {}

void CancelToken::cancel() {
  std::map<uint64_t, std::function<void()>> listeners;
  {
    const std::lock_guard lock(state_->mutex);
    state_->cancelled.store(true, std::memory_order_release);
    listeners.swap(state_->listeners);
  }
  for (const auto& [id, listener] : listeners) listener();
}

CancelToken::Listener CancelToken::on_cancel(std::function<void()> listener) const {
  uint64_t id = 0;
  {
    const std::lock_guard lock(state_->mutex);
    if (!cancelled()) {
      id = ++state_->next_id;
      state_->listeners.emplace(id, std::move(listener));
    }
  }
  if (id == 0) {
    listener();
    return nullptr;
  }
  // The deleter keeps the state alive; the pointer itself is only a handle.
  return Listener(state_.get(), [state = state_, id](void*) {
    std::function<void()> removed;  // destroyed without the lock: it may own anything
    const std::lock_guard lock(state->mutex);
    const auto it = state->listeners.find(id);
    if (it == state->listeners.end()) return;
    removed = std::move(it->second);
    state->listeners.erase(it);
  });
}

}  // namespace cairn
