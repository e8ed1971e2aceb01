// Request plumbing that the stores and their decorators share.
//
// run_task: a request that is one piece of blocking work. Those that wait are Pending
// (cache/base/pending.h).
// All thread-safe. Completions are tasks of the executor, never on the caller's stack.
#pragma once

#include <string>
#include <utility>

#include "cache/base/pending.h"
#include "cache/object_store.h"

namespace cairn {

// What `range` means for an object of `size` bytes: a range inside it, possibly empty.
ByteRange resolve_range(const GetRange& range, uint64_t size);

// The object that the body is a whole and unchanged copy of; null when there is none.
const ObjectRange* copied_object(const Body& body);

// kInvalid unless 1 <= limit <= 1000.
Status check_list_limit(uint32_t limit);

// Runs `work`, a function that returns Result<T>, as a task and hands its result to `done` there.
template <class T, class Work>
void run_task(Executor& executor, Clock& clock, Context context, std::string what, Callback<T> done,
              Work work) {
  executor.submit([&clock, context = std::move(context), what = std::move(what),
                   done = std::move(done), work = std::move(work)]() mutable {
    if (auto over = gave_up(context, clock, what)) {
      done(tl::unexpected<Error>(std::move(*over).with_no_effect()));
      return;
    }
    done(work(context));
  });
}

}  // namespace cairn
