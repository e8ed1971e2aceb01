#include "cache/wait.h"

#include <memory>

#include "cache/base/mutex.h"

namespace cairn {
namespace {
struct Wakeup {
  RankedMutex<Rank::kLeaf> mutex;
  ConditionVariable changed;
  bool due = false;

  void set() {
    const std::lock_guard lock(mutex);
    due = true;
    changed.notify_all();
  }
};
}  // namespace

Status pause(Executor& executor, Clock& clock, Duration duration, const Context& context) {
  const MonotonicTime wake_at = clock.now() + duration;
  const bool cut_short = context.deadline.at() <= wake_at;
  const auto wakeup = std::make_shared<Wakeup>();
  const CancelToken::Listener listener = context.cancel.on_cancel([wakeup] { wakeup->set(); });
  executor.submit_at(cut_short ? context.deadline.at() : wake_at, [wakeup] { wakeup->set(); });
  {
    std::unique_lock lock(wakeup->mutex);
    wakeup->changed.wait(lock, [&] { return wakeup->due; });
  }
  if (context.cancel.cancelled()) return fail(Errc::kCancelled, "cancelled while waiting");
  if (cut_short) return fail(Errc::kTimeout, "the deadline passed while waiting to try again");
  return {};
}

}  // namespace cairn
