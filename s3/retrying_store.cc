#include "s3/retrying_store.h"

#include <algorithm>
#include <utility>

#include "cache/base/trouble.h"
#include "s3/request.h"

namespace cairn {

namespace {

bool may_work_again(const Error& error) {
  return error.code() == Errc::kTransient || error.code() == Errc::kTimeout;
}

// Of a put with a condition.
bool may_decide_again(const Error& error) {
  return error.code() == Errc::kTransient && error.no_effect();
}

// One request with its retries. Owned by the callback of the try under way or by the timer.
template <class T>
class Retry : public std::enable_shared_from_this<Retry<T>> {
 public:
  using Try = std::function<void(Callback<T>)>;

  Retry(const RetryingStore::Parts& parts, const RetryPolicy& policy, bool (*again)(const Error&),
        std::shared_ptr<Pending<T>> pending, Try next)
      : parts_(parts),
        policy_(policy),
        again_(again),
        pending_(std::move(pending)),
        next_(std::move(next)) {}

  void start() {
    if (pending_->finish_if_over()) return;
    if (tries_ == 0) began_ = parts_.clock.now();
    pending_->may_have_effect();
    next_(
        [self = this->shared_from_this()](Result<T> result) { self->answered(std::move(result)); });
  }

 private:
  void answered(Result<T> result) {
    ++tries_;
    if (result || !again_(result.error())) {
      finish(std::move(result));
      return;
    }
    const Deadline& deadline = pending_->context().deadline;
    const bool bounded = deadline.at() != MonotonicTime::max();
    const Duration left = deadline.left(parts_.clock);
    const Duration wait = next_wait(result.error(), left);
    if ((!bounded && tries_ >= policy_.tries_max) || left <= wait) {
      finish(std::move(result));
      return;
    }
    if (tries_ == 1) pending_->watch();
    if (pending_->finished()) return;
    if (const auto& trouble = pending_->context().trouble)
      trouble->met(result.error(), parts_.clock.now() - began_);
    if (parts_.told != nullptr)
      parts_.told(result.error(), parts_.clock.now() - began_,
                  bounded ? std::optional(left) : std::nullopt);
    parts_.executor.submit_at(parts_.clock.now() + wait,
                              [self = this->shared_from_this()] { self->start(); });
  }

  void finish(Result<T> result) {
    if (!result && tries_ > 1) {
      pending_->finish(tl::unexpected<Error>(
          std::move(result).error().wrap("after " + std::to_string(tries_) + " tries")));
    } else {
      pending_->finish(std::move(result));
    }
  }

  Duration next_wait(const Error& error, Duration left) {
    const unsigned doublings = std::min(tries_ - 1, 30U);
    Duration bound = policy_.backoff_first;
    for (unsigned i = 0; i < doublings && bound < policy_.backoff_max; ++i) bound *= 2;
    // The last part of the time that is left is for a try, not for a pause.
    const Duration most = std::max<Duration>(left / 4, policy_.backoff_first);
    bound =
        std::clamp(bound, Duration(1), std::max(std::min(most, policy_.backoff_max), Duration(1)));
    const Duration jitter(
        static_cast<int64_t>(parts_.rng.below(static_cast<uint64_t>(bound.count()))));
    // All who were told the same time must not come back at the same moment.
    const Duration asked = std::min<Duration>(error.retry_after(), policy_.retry_after_max);
    return asked > Duration::zero() ? asked + jitter : jitter;
  }

  const RetryingStore::Parts parts_;
  const RetryPolicy policy_;
  bool (*const again_)(const Error&);
  const std::shared_ptr<Pending<T>> pending_;
  const Try next_;
  // Only the one try or timer under way touches these.
  unsigned tries_ = 0;
  MonotonicTime began_{};
};

template <class T>
void run(const RetryingStore::Parts& parts, const RetryPolicy& policy, Context context,
         std::string what, bool (*again)(const Error&), Callback<T> done,
         typename Retry<T>::Try next) {
  auto pending = std::make_shared<Pending<T>>(parts.executor, parts.clock, std::move(context),
                                              std::move(what), std::move(done));
  std::make_shared<Retry<T>>(parts, policy, again, std::move(pending), std::move(next))->start();
}

}  // namespace

RetryingStore::RetryingStore(std::shared_ptr<ObjectStore> base, const Parts& parts,
                             RetryPolicy policy)
    : base_(std::move(base)), parts_(parts), policy_(policy) {}

void RetryingStore::get(std::string key, GetRange range, Context context,
                        Callback<GetResult> done) {
  std::string what = description() + ": get '" + key + "'";
  run<GetResult>(parts_, policy_, context, std::move(what), may_work_again, std::move(done),
                 [base = base_, key = std::move(key), range, context](Callback<GetResult> next) {
                   base->get(key, range, context, std::move(next));
                 });
}

void RetryingStore::head(std::string key, Context context, Callback<ObjectHead> done) {
  std::string what = description() + ": head '" + key + "'";
  run<ObjectHead>(parts_, policy_, context, std::move(what), may_work_again, std::move(done),
                  [base = base_, key = std::move(key), context](Callback<ObjectHead> next) {
                    base->head(key, context, std::move(next));
                  });
}

void RetryingStore::put(std::string key, Body body, PutHow how, Context context,
                        Callback<std::string> done) {
  std::string what = description() + ": put '" + key + "'";
  const auto again = how.condition == PutCondition::kAlways ? may_work_again : may_decide_again;
  run<std::string>(
      parts_, policy_, context, std::move(what), again, std::move(done),
      [base = base_, key = std::move(key), body = std::move(body), how = std::move(how), context](
          Callback<std::string> next) { base->put(key, body, how, context, std::move(next)); });
}

void RetryingStore::remove(std::string key, Context context, Callback<void> done) {
  std::string what = description() + ": remove '" + key + "'";
  run<void>(parts_, policy_, context, std::move(what), may_work_again, std::move(done),
            [base = base_, key = std::move(key), context](Callback<void> next) {
              base->remove(key, context, std::move(next));
            });
}

void RetryingStore::list(ListScope scope, std::string after, uint32_t limit, Context context,
                         Callback<ListPage> done) {
  std::string what = description() + ": list '" + scope.prefix + "'";
  run<ListPage>(
      parts_, policy_, context, std::move(what), may_work_again, std::move(done),
      [base = base_, scope = std::move(scope), after = std::move(after), limit, context](
          Callback<ListPage> next) { base->list(scope, after, limit, context, std::move(next)); });
}

void RetryingStore::head_version(std::string key, std::string version, Context context,
                                 Callback<ObjectHead> done) {
  std::string what = description() + ": head '" + key + "'";
  run<ObjectHead>(parts_, policy_, context, std::move(what), may_work_again, std::move(done),
                  [base = base_, key = std::move(key), version = std::move(version),
                   context](Callback<ObjectHead> next) {
                    base->head_version(key, version, context, std::move(next));
                  });
}

void RetryingStore::get_tags(std::string key, std::string version, Context context,
                             Callback<ObjectTags> done) {
  std::string what = description() + ": get the tags of '" + key + "'";
  run<ObjectTags>(
      parts_, policy_, context, std::move(what), may_work_again, std::move(done),
      [base = base_, key = std::move(key), version = std::move(version), context](
          Callback<ObjectTags> next) { base->get_tags(key, version, context, std::move(next)); });
}

void RetryingStore::put_tags(std::string key, std::string version, ObjectTags tags, Context context,
                             Callback<void> done) {
  std::string what = description() + ": put the tags of '" + key + "'";
  run<void>(parts_, policy_, context, std::move(what), may_work_again, std::move(done),
            [base = base_, key = std::move(key), version = std::move(version),
             tags = std::move(tags), context](Callback<void> next) {
              base->put_tags(key, version, tags, context, std::move(next));
            });
}

void RetryingStore::list_versions(ListScope scope, std::string after, uint32_t limit,
                                  Context context, Callback<VersionPage> done) {
  std::string what = description() + ": list versions of '" + scope.prefix + "'";
  run<VersionPage>(parts_, policy_, context, std::move(what), may_work_again, std::move(done),
                   [base = base_, scope = std::move(scope), after = std::move(after), limit,
                    context](Callback<VersionPage> next) {
                     base->list_versions(scope, after, limit, context, std::move(next));
                   });
}

void RetryingStore::keeps_versions(Context context, Callback<bool> done) {
  std::string what = description() + ": get the versioning";
  run<bool>(parts_, policy_, context, std::move(what), may_work_again, std::move(done),
            [base = base_, context](Callback<bool> next) {
              base->keeps_versions(context, std::move(next));
            });
}

}  // namespace cairn
