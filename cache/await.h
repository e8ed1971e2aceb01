// await: turns one asynchronous call into a blocking one, for the engine's own threads (publisher,
// mount, tools). Never on a task of the executor that runs the callback.
//
// The wait ends when the callback runs, which every port promises to do by its context's deadline.
#pragma once

#include <future>
#include <memory>
#include <utility>

#include "cache/base/result.h"
#include "cache/object_store.h"

namespace cairn {

// `start` is called once with the callback to hand over.
template <class T, class Start>
Result<T> await(const Start& start) {
  // Shared: the callback may still be inside set_value when the waiter has gone on.
  const auto promise = std::make_shared<std::promise<Result<T>>>();
  std::future<Result<T>> answer = promise->get_future();
  start(Callback<T>([promise](Result<T> result) { promise->set_value(std::move(result)); }));
  return answer.get();
}

}  // namespace cairn
