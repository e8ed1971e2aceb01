// await: turns one asynchronous call into a blocking one, for threads that may wait (publisher,
// mount, tools). Never on a task of the executor that runs the callback.
//
// The wait ends when the callback runs, which every port promises to do by its context's deadline.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "cache/base/mutex.h"
#include "cache/base/result.h"
#include "cache/object_store.h"

namespace cairn {

// The answer to come of one asynchronous call: to start several and wait for each.
template <class T>
class Awaited {
 public:
  // To be handed over and called once.
  Callback<T> callback() {
    return [answer = answer_](Result<T> result) {
      const std::lock_guard lock(answer->mutex);
      answer->result = std::move(result);
      answer->there.notify_all();
    };
  }
  // Waits. At most once.
  Result<T> get() {
    std::unique_lock lock(answer_->mutex);
    answer_->there.wait(lock, [this] { return answer_->result.has_value(); });
    return *std::move(answer_->result);
  }

 private:
  struct Answer {
    RankedMutex<Rank::kLeaf> mutex;
    ConditionVariable there;
    std::optional<Result<T>> result;
  };
  // Shared: the callback may still be inside notify_all when the waiter has gone on.
  std::shared_ptr<Answer> answer_ = std::make_shared<Answer>();
};

// `start` is called once with the callback to hand over.
template <class T, class Start>
Result<T> await(const Start& start) {
  Awaited<T> answer;
  start(answer.callback());
  return answer.get();
}

}  // namespace cairn
