#include "cache/get_limiter.h"

#include <vector>

namespace cairn {

void GetLimiter::get(std::string key, GetRange range, Context context, Callback<GetResult> done) {
  Waiting get{std::move(key), range, std::move(context), std::move(done)};
  {
    const std::lock_guard lock(mutex_);
    if (!waiting_.empty() || !may_start(get)) {
      waiting_.push_back(std::move(get));
      return;
    }
    ++under_way_;
    bytes_under_way_ += range.length;
  }
  start(std::move(get));
}

bool GetLimiter::may_start(const Waiting& get) const {
  if (under_way_ == 0) return true;
  return under_way_ < gets_max_ && bytes_under_way_ + get.range.length <= bytes_max_;
}

void GetLimiter::start(Waiting get) {
  store_.get(std::move(get.key), get.range, std::move(get.context),
             [self = shared_from_this(), bytes = get.range.length,
              done = std::move(get.done)](Result<GetResult> result) {
               self->finished(bytes);
               done(std::move(result));
             });
}

void GetLimiter::finished(uint64_t bytes) {
  std::vector<Waiting> next;
  {
    const std::lock_guard lock(mutex_);
    --under_way_;
    bytes_under_way_ -= bytes;
    while (!waiting_.empty() && may_start(waiting_.front())) {
      ++under_way_;
      bytes_under_way_ += waiting_.front().range.length;
      next.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
  }
  for (Waiting& get : next) start(std::move(get));
}

}  // namespace cairn
