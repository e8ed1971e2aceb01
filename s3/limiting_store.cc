#include "s3/limiting_store.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>

#include "cache/base/mutex.h"
#include "s3/request.h"

namespace cairn {

class LimitingStore::Lane {
 public:
  struct Waiting {
    std::function<void()> start;
    std::function<bool()> over;  // nobody waits for it any more
  };
  enum class Entry : uint8_t { kStart, kWait, kFull };

  Lane(uint32_t running_max, uint32_t waiting_max)
      : running_max_(std::max(running_max, 1U)), waiting_max_(waiting_max) {}

  // kStart: the caller starts it and calls `leave` when it is answered.
  Entry enter(Waiting request) {
    std::deque<Waiting> dropped;  // destroyed without the lock: requests own bodies and callbacks
    const std::lock_guard lock(mutex_);
    if (running_ < running_max_) {
      ++running_;
      return Entry::kStart;
    }
    if (waiting_.size() >= waiting_max_) {
      std::deque<Waiting> kept;
      for (Waiting& each : waiting_) (each.over() ? dropped : kept).push_back(std::move(each));
      waiting_.swap(kept);
      if (waiting_.size() >= waiting_max_) return Entry::kFull;
    }
    waiting_.push_back(std::move(request));
    return Entry::kWait;
  }

  // Hands the slot to the next request that somebody still waits for.
  void leave() {
    std::deque<Waiting> dropped;
    std::function<void()> next;
    {
      const std::lock_guard lock(mutex_);
      while (!waiting_.empty() && !next) {
        Waiting& first = waiting_.front();
        if (first.over()) {
          dropped.push_back(std::move(first));
        } else {
          next = std::move(first.start);
        }
        waiting_.pop_front();
      }
      if (!next) --running_;
    }
    if (next) next();
  }

 private:
  const uint32_t running_max_;
  const uint32_t waiting_max_;
  RankedMutex<Rank::kStore> mutex_;
  uint32_t running_ = 0;  // protected by mutex_, as is all below
  std::deque<Waiting> waiting_;
};

LimitingStore::LimitingStore(std::shared_ptr<ObjectStore> base, Executor& executor, Clock& clock,
                             StoreLimits limits)
    : base_(std::move(base)),
      executor_(executor),
      clock_(clock),
      reads_(std::make_shared<Lane>(limits.reads_max, limits.waiting_max)),
      writes_(std::make_shared<Lane>(limits.writes_max, limits.waiting_max)) {}

template <class T, class Start>
void LimitingStore::run(const std::shared_ptr<Lane>& lane, Context context, std::string what,
                        Callback<T> done, Start start) {
  auto pending =
      std::make_shared<Pending<T>>(executor_, clock_, std::move(context), what, std::move(done));
  const auto begin = [lane, pending, start = std::move(start)] {
    pending->may_have_effect();
    start([lane, pending](Result<T> result) {
      lane->leave();
      pending->finish(std::move(result));
    });
  };
  switch (lane->enter({begin, [pending] { return pending->finish_if_over(); }})) {
    case Lane::Entry::kStart:
      begin();
      break;
    case Lane::Entry::kWait:
      pending->watch();
      break;
    case Lane::Entry::kFull:
      pending->finish(tl::unexpected<Error>(
          Error(Errc::kTransient, what + ": too many requests wait for the store")
              .with_no_effect()));
      break;
  }
}

void LimitingStore::get(std::string key, GetRange range, Context context,
                        Callback<GetResult> done) {
  std::string what = description() + ": get '" + key + "'";
  run<GetResult>(reads_, context, std::move(what), std::move(done),
                 [base = base_, key = std::move(key), range, context](Callback<GetResult> next) {
                   base->get(key, range, context, std::move(next));
                 });
}

void LimitingStore::head(std::string key, Context context, Callback<ObjectHead> done) {
  std::string what = description() + ": head '" + key + "'";
  run<ObjectHead>(reads_, context, std::move(what), std::move(done),
                  [base = base_, key = std::move(key), context](Callback<ObjectHead> next) {
                    base->head(key, context, std::move(next));
                  });
}

void LimitingStore::put(std::string key, Body body, PutHow how, Context context,
                        Callback<std::string> done) {
  std::string what = description() + ": put '" + key + "'";
  run<std::string>(
      writes_, context, std::move(what), std::move(done),
      [base = base_, key = std::move(key), body = std::move(body), how = std::move(how), context](
          Callback<std::string> next) { base->put(key, body, how, context, std::move(next)); });
}

void LimitingStore::remove(std::string key, Context context, Callback<void> done) {
  std::string what = description() + ": remove '" + key + "'";
  run<void>(writes_, context, std::move(what), std::move(done),
            [base = base_, key = std::move(key), context](Callback<void> next) {
              base->remove(key, context, std::move(next));
            });
}

void LimitingStore::list(ListScope scope, std::string after, uint32_t limit, Context context,
                         Callback<ListPage> done) {
  std::string what = description() + ": list '" + scope.prefix + "'";
  run<ListPage>(
      reads_, context, std::move(what), std::move(done),
      [base = base_, scope = std::move(scope), after = std::move(after), limit, context](
          Callback<ListPage> next) { base->list(scope, after, limit, context, std::move(next)); });
}

void LimitingStore::head_version(std::string key, std::string version, Context context,
                                 Callback<ObjectHead> done) {
  std::string what = description() + ": head '" + key + "'";
  run<ObjectHead>(reads_, context, std::move(what), std::move(done),
                  [base = base_, key = std::move(key), version = std::move(version),
                   context](Callback<ObjectHead> next) {
                    base->head_version(key, version, context, std::move(next));
                  });
}

void LimitingStore::get_tags(std::string key, std::string version, Context context,
                             Callback<ObjectTags> done) {
  std::string what = description() + ": get the tags of '" + key + "'";
  run<ObjectTags>(
      reads_, context, std::move(what), std::move(done),
      [base = base_, key = std::move(key), version = std::move(version), context](
          Callback<ObjectTags> next) { base->get_tags(key, version, context, std::move(next)); });
}

void LimitingStore::put_tags(std::string key, std::string version, ObjectTags tags, Context context,
                             Callback<void> done) {
  std::string what = description() + ": put the tags of '" + key + "'";
  run<void>(writes_, context, std::move(what), std::move(done),
            [base = base_, key = std::move(key), version = std::move(version),
             tags = std::move(tags), context](Callback<void> next) {
              base->put_tags(key, version, tags, context, std::move(next));
            });
}

void LimitingStore::list_versions(ListScope scope, std::string after, uint32_t limit,
                                  Context context, Callback<VersionPage> done) {
  std::string what = description() + ": list versions of '" + scope.prefix + "'";
  run<VersionPage>(reads_, context, std::move(what), std::move(done),
                   [base = base_, scope = std::move(scope), after = std::move(after), limit,
                    context](Callback<VersionPage> next) {
                     base->list_versions(scope, after, limit, context, std::move(next));
                   });
}

void LimitingStore::keeps_versions(Context context, Callback<bool> done) {
  std::string what = description() + ": get the versioning";
  run<bool>(reads_, context, std::move(what), std::move(done),
            [base = base_, context](Callback<bool> next) {
              base->keeps_versions(context, std::move(next));
            });
}

}  // namespace cairn
