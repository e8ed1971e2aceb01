#include "cache/get_limiter.h"

namespace cairn {

void GetLimiter::get(std::string key, GetRange range, Context context, Callback<GetResult> done) {
  Waiting get{std::move(key), range, std::move(context), std::move(done)};
  {
    const std::lock_guard lock(mutex_);
    if (under_way_ == gets_max_) {
      waiting_.push_back(std::move(get));
      return;
    }
    ++under_way_;
  }
  start(std::move(get));
}

void GetLimiter::start(Waiting get) {
  store_.get(std::move(get.key), get.range, std::move(get.context),
             [self = shared_from_this(), done = std::move(get.done)](Result<GetResult> result) {
               self->finished();
               done(std::move(result));
             });
}

void GetLimiter::finished() {
  Waiting next;
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.empty()) {
      --under_way_;
      return;
    }
    next = std::move(waiting_.front());
    waiting_.pop_front();
  }
  start(std::move(next));
}

}  // namespace cairn
