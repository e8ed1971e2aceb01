// Callback: how an asynchronous call answers. Pending: a request that may wait (for a retry, a free
// slot, another's answer) and must end when its deadline passes or its caller gives up, whatever it
// waits for. gave_up: is it over already? Thread-safe. Completions are tasks of the executor, never
// on the caller's stack.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "cache/base/clock.h"
#include "cache/base/executor.h"
#include "cache/base/result.h"

namespace cairn {

template <class T>
using Callback = std::function<void(Result<T>)>;

// One callback for `count` answers, of which there is at least one: hands on the first error of any
// when all are there.
Callback<void> all_of(size_t count, Callback<void> done);

// The error a request ends with when its context is over; nothing while it is not.
std::optional<Error> gave_up(const Context& context, Clock& clock, const std::string& what);

// Owned by shared_ptr: by whoever will finish it. Finishing twice is fine, the first one counts.
template <class T>
class Pending : public std::enable_shared_from_this<Pending<T>> {
 public:
  Pending(Executor& executor, Clock& clock, Context context, std::string what, Callback<T> done)
      : executor_(executor),
        clock_(clock),
        context_(std::move(context)),
        what_(std::move(what)),
        done_(std::move(done)) {}

  const Context& context() const { return context_; }
  bool finished() const { return finished_.load(std::memory_order_acquire); }

  // Completes the request as a task. False when it was complete already.
  bool finish(Result<T> result) {
    if (finished_.exchange(true, std::memory_order_acq_rel)) return false;
    executor_.submit([done = std::move(done_), result = std::move(result)]() mutable {
      done(std::move(result));
    });
    return true;
  }

  // From now on the request ends by itself when its context is over. At most once. An error made
  // here says no_effect unless `may_have_effect()` was called before.
  void watch() {
    const std::weak_ptr<Pending> weak = this->weak_from_this();
    const auto check = [weak] {
      if (const auto self = weak.lock()) self->finish_if_over();
    };
    listener_ = context_.cancel.on_cancel(check);
    if (context_.deadline.at() != MonotonicTime::max())
      executor_.submit_at(context_.deadline.at(), check);
  }
  void may_have_effect() { effect_.store(true, std::memory_order_release); }

  // Completes the request when its context is over; true when it is complete.
  bool finish_if_over() {
    if (finished()) return true;
    auto over = gave_up(context_, clock_, what_);
    if (!over) return false;
    if (!effect_.load(std::memory_order_acquire)) over = std::move(*over).with_no_effect();
    finish(tl::unexpected<Error>(std::move(*over)));
    return true;
  }

 private:
  Executor& executor_;
  Clock& clock_;
  const Context context_;
  const std::string what_;
  std::atomic<bool> finished_{false};
  std::atomic<bool> effect_{false};
  Callback<T> done_;
  CancelToken::Listener listener_;
};

}  // namespace cairn
