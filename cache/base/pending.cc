#include "cache/base/pending.h"

#include <atomic>
#include <mutex>
#include <utility>

#include "cache/base/mutex.h"

namespace cairn {

Callback<void> all_of(size_t count, Callback<void> done) {
  struct Join {
    std::atomic<size_t> left;
    RankedMutex<Rank::kLeaf> mutex;
    Status status;
    Callback<void> done;
  };
  const auto join = std::make_shared<Join>();
  join->left = count;
  join->done = std::move(done);
  return [join](Status status) {
    if (!status) {
      const std::lock_guard lock(join->mutex);
      if (join->status) join->status = std::move(status);
    }
    if (--join->left == 0) join->done(std::move(join->status));
  };
}

std::optional<Error> gave_up(const Context& context, Clock& clock, const std::string& what) {
  if (context.cancel.cancelled()) return Error(Errc::kCancelled, what + ": given up by its caller");
  if (context.deadline.at() != MonotonicTime::max() && context.deadline.passed(clock))
    return Error(Errc::kTimeout, what + ": its deadline passed");
  return std::nullopt;
}

}  // namespace cairn
