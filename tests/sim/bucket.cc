#include "tests/sim/bucket.h"

namespace cairn::sim {

constexpr Duration kClientPatience = std::chrono::seconds(60);

Duration Bucket::travel_time() {
  Rng& rng = scheduler_.rng();
  const bool late = weather.late_one_in != 0 && rng.below(weather.late_one_in) == 0;
  const Duration slowest = late ? weather.slowest_late : weather.slowest_usual;
  return Duration(static_cast<int64_t>(rng.below(static_cast<uint64_t>(slowest.count()) + 1)));
}

Wire::Wire(Bucket& bucket, Executor& executor) : bucket_(bucket), executor_(executor) {}

void Wire::cut() {
  *cut_ = true;
  gone_.cancel();
}

// One request: there, and back. Whoever waits for it is answered when its time is over or its
// process dies; the request itself goes on.
template <class T>
void Wire::travel(const std::string& what, Context context, Callback<T> done,
                  std::function<void(Callback<T>)> carry_out) {
  Scheduler& scheduler = bucket_.scheduler_;
  scheduler.point("store.request");
  scheduler.note(what);
  ++bucket_.requests_;
  auto pending =
      std::make_shared<Pending<T>>(executor_, scheduler.clock(), context, what, std::move(done));
  if (*cut_) {
    pending->finish(fail(Errc::kIo, what + ": the process is dead"));
    return;
  }
  // Held by the token until the process dies or the request is answered.
  auto hang_up = std::make_shared<CancelToken::Listener>();
  *hang_up = gone_.on_cancel([weak = std::weak_ptr<Pending<T>>(pending), what] {
    if (const auto waiting = weak.lock()) waiting->finish(fail(Errc::kIo, what + ": hung up"));
  });
  if (bucket_.weather.away && scheduler.rng().below(2) == 0) {
    Error refused = Error(Errc::kTransient, what + ": connection refused").with_no_effect();
    scheduler.after(bucket_.travel_time(), [pending, hang_up, refused = std::move(refused)] {
      pending->finish(tl::unexpected<Error>(refused));
    });
    pending->watch();
    return;
  }
  pending->watch();
  pending->may_have_effect();
  const bool lost = bucket_.weather.away;  // it never arrives; the client gives up by itself
  const Duration there = lost ? kClientPatience : bucket_.travel_time();
  scheduler.after(
      there, [&bucket = bucket_, pending, hang_up, lost, what, carry_out = std::move(carry_out)] {
        if (lost) {
          pending->finish(fail(Errc::kTimeout, what + ": no answer"));
          return;
        }
        carry_out([&bucket, pending, hang_up](Result<T> result) {
          bucket.scheduler_.after(bucket.travel_time(),
                                  [pending, hang_up, result = std::move(result)]() mutable {
                                    pending->finish(std::move(result));
                                  });
        });
      });
}

void Wire::get(std::string key, GetRange range, Context context, Callback<GetResult> done) {
  travel<GetResult>("get " + key, std::move(context), std::move(done),
                    [&bucket = bucket_, key, range](Callback<GetResult> answer) {
                      bucket.objects_.get(key, range, Context(), std::move(answer));
                    });
}

void Wire::head(std::string key, Context context, Callback<ObjectHead> done) {
  travel<ObjectHead>("head " + key, std::move(context), std::move(done),
                     [&bucket = bucket_, key](Callback<ObjectHead> answer) {
                       bucket.objects_.head(key, Context(), std::move(answer));
                     });
}

void Wire::put(std::string key, Body body, PutHow how, Context context,
               Callback<std::string> done) {
  // What is sent is read now: later the file may be gone, with the process it belongs to.
  auto sent = *cut_ ? Result<Body>(Body()) : body.in_memory();
  if (!sent) {
    Error unread = std::move(sent).error().wrap("put " + key).with_no_effect();
    executor_.submit([done = std::move(done), unread = std::move(unread)] {
      done(tl::unexpected<Error>(unread));
    });
    return;
  }
  travel<std::string>(
      "put " + key, std::move(context), std::move(done),
      [&bucket = bucket_, key, how = std::move(how),
       sent = *std::move(sent)](Callback<std::string> answer) mutable {
        const bool lies = bucket.lie_ != BucketLie::kNone && bucket.lie_ != BucketLie::kKeeps &&
                          key.starts_with("p/") && bucket.scheduler_.rng().below(8) == 0;
        if (lies) answer(std::string("a lie"));
        if (lies && bucket.lie_ == BucketLie::kForgets) return;
        if (lies) {
          bucket.scheduler_.after(std::chrono::seconds(1), [&bucket, key, sent] {
            bucket.objects_.put(key, sent, PutCondition::kAlways, Context(),
                                [](const Result<std::string>&) {});
          });
          return;
        }
        bucket.objects_.put(
            key, sent, how, Context(),
            [&bucket, key, sent, answer = std::move(answer)](Result<std::string> put) {
              if (put && key.starts_with("c/") && bucket.listener_)
                bucket.listener_(sent.to_buffer().value(), bucket.copy());
              answer(std::move(put));
            });
      });
}

void Wire::remove(std::string key, Context context, Callback<void> done) {
  travel<void>("remove " + key, std::move(context), std::move(done),
               [&bucket = bucket_, key](Callback<void> answer) {
                 if (bucket.lie_ == BucketLie::kKeeps && key.starts_with("p/")) return answer({});
                 bucket.objects_.remove(key, Context(), std::move(answer));
               });
}

void Wire::list(ListScope scope, std::string after, uint32_t limit, Context context,
                Callback<ListPage> done) {
  travel<ListPage>("list " + scope.prefix, std::move(context), std::move(done),
                   [&bucket = bucket_, scope, after, limit](Callback<ListPage> answer) {
                     bucket.objects_.list(scope, after, limit, Context(), std::move(answer));
                   });
}

void Wire::head_version(std::string key, std::string version, Context context,
                        Callback<ObjectHead> done) {
  travel<ObjectHead>("head " + key, std::move(context), std::move(done),
                     [&bucket = bucket_, key, version](Callback<ObjectHead> answer) {
                       bucket.objects_.head_version(key, version, Context(), std::move(answer));
                     });
}

void Wire::get_tags(std::string key, std::string version, Context context,
                    Callback<ObjectTags> done) {
  travel<ObjectTags>("tags of " + key, std::move(context), std::move(done),
                     [&bucket = bucket_, key, version](Callback<ObjectTags> answer) {
                       bucket.objects_.get_tags(key, version, Context(), std::move(answer));
                     });
}

void Wire::put_tags(std::string key, std::string version, ObjectTags tags, Context context,
                    Callback<void> done) {
  travel<void>("tags of " + key, std::move(context), std::move(done),
               [&bucket = bucket_, key, version, tags](Callback<void> answer) {
                 bucket.objects_.put_tags(key, version, tags, Context(), std::move(answer));
               });
}

void Wire::list_versions(ListScope scope, std::string after, uint32_t limit, Context context,
                         Callback<VersionPage> done) {
  travel<VersionPage>("list " + scope.prefix, std::move(context), std::move(done),
                      [&bucket = bucket_, scope, after, limit](Callback<VersionPage> answer) {
                        bucket.objects_.list_versions(scope, after, limit, Context(),
                                                      std::move(answer));
                      });
}

void Wire::keeps_versions(Context context, Callback<bool> done) {
  travel<bool>("versioning", std::move(context), std::move(done),
               [&bucket = bucket_](Callback<bool> answer) {
                 bucket.objects_.keeps_versions(Context(), std::move(answer));
               });
}

}  // namespace cairn::sim
