#include "tests/support/faulty_store.h"

#include <mutex>
#include <utility>

#include "s3/request.h"

namespace cairn::test {

FaultyStore::FaultyStore(std::shared_ptr<ObjectStore> base, const Parts& parts)
    : base_(std::move(base)), parts_(parts), state_(std::make_shared<State>()) {}

void FaultyStore::add(StoreFault fault) {
  const std::lock_guard lock(state_->mutex);
  state_->faults.push_back(std::move(fault));
}

void FaultyStore::clear() {
  const std::lock_guard lock(state_->mutex);
  state_->faults.clear();
}

size_t FaultyStore::release() {
  std::vector<std::function<void()>> released;
  {
    const std::lock_guard lock(state_->mutex);
    released.swap(state_->held);
  }
  for (auto& go : released) parts_.executor.submit(std::move(go));
  return released.size();
}

size_t FaultyStore::held() const {
  const std::lock_guard lock(state_->mutex);
  return state_->held.size();
}

uint64_t FaultyStore::hits() const {
  const std::lock_guard lock(state_->mutex);
  return state_->hits;
}

uint64_t FaultyStore::requests() const {
  const std::lock_guard lock(state_->mutex);
  return state_->requests;
}

std::optional<StoreFault> FaultyStore::take_fault(StoreOp op, const std::string& key) {
  const std::lock_guard lock(state_->mutex);
  ++state_->requests;
  for (StoreFault& fault : state_->faults) {
    const auto wanted = static_cast<unsigned>(fault.ops) & static_cast<unsigned>(op);
    if (wanted == 0 || fault.count == 0 || !key.starts_with(fault.prefix)) continue;
    if (fault.skip > 0) {
      --fault.skip;
      continue;
    }
    if (fault.one_in > 1 && parts_.rng.below(fault.one_in) != 0) continue;
    if (fault.count != kForever) --fault.count;
    ++state_->hits;
    return fault;
  }
  return std::nullopt;
}

template <class T>
void FaultyStore::answer(const Request<T>& request, Error error) {
  parts_.executor.submit(
      [done = request.done, error = std::move(error)] { done(tl::unexpected<Error>(error)); });
}

// Delays or holds a request; what gives up meanwhile never reaches the store.
template <class T>
void FaultyStore::wait(const StoreFault& fault, Request<T> request) {
  auto pending =
      std::make_shared<Pending<T>>(parts_.executor, parts_.clock, request.context,
                                   "held '" + request.key + "'", std::move(request.done));
  const auto go = [pending, context = request.context, pass = std::move(request.pass)] {
    if (pending->finish_if_over()) return;
    pending->may_have_effect();
    pass(context, [pending](Result<T> result) { pending->finish(std::move(result)); });
  };
  if (fault.kind == FaultKind::kDelay) {
    parts_.executor.submit_at(parts_.clock.now() + fault.delay, go);
  } else {
    const std::lock_guard lock(state_->mutex);
    state_->held.push_back(go);
  }
  pending->watch();
}

namespace {
GetResult spoil(FaultKind kind, Rng& rng, GetResult result) {
  if (result.bytes.empty()) return result;
  if (kind == FaultKind::kTruncate) {
    result.bytes = result.bytes.slice(0, result.bytes.size() / 2);
    return result;
  }
  ByteVec bytes = to_vec(result.bytes);
  bytes[static_cast<size_t>(rng.below(bytes.size()))] ^= std::byte{0x20};
  result.bytes = Buffer(std::move(bytes));
  return result;
}
}  // namespace

template <class T>
void FaultyStore::run(Request<T> request) {
  const auto fault = take_fault(request.op, request.key);
  if (!fault) {
    request.pass(request.context, std::move(request.done));
    return;
  }
  const std::string what = "injected: '" + request.key + "'";
  switch (fault->kind) {
    case FaultKind::kDelay:
    case FaultKind::kHold:
      wait(*fault, std::move(request));
      return;
    case FaultKind::kFail:
      if (fault->delay.count() == 0) return answer(request, Error(fault->code, what));
      parts_.executor.submit_at(parts_.clock.now() + fault->delay,
                                [done = request.done, error = Error(fault->code, what)] {
                                  done(tl::unexpected<Error>(error));
                                });
      return;
    case FaultKind::kThrottle:
      answer(request, Error(Errc::kTransient, what + ": slow down")
                          .with_retry_after(fault->delay)
                          .with_no_effect());
      return;
    case FaultKind::kRefuseCreate:
      answer(request, Error(Errc::kPrecondition, what));
      return;
    case FaultKind::kLoseReply:
      // The store goes on whatever its caller does.
      request.pass({}, [done = std::move(request.done), what](const Result<T>&) {
        done(fail(Errc::kTimeout, what + ": the answer was lost"));
      });
      return;
    case FaultKind::kStale:
      if constexpr (std::is_same_v<T, ListPage>) {
        parts_.executor.submit([done = std::move(request.done)] { done(ListPage{}); });
      } else if constexpr (std::is_same_v<T, GetResult> || std::is_same_v<T, ObjectHead>) {
        answer(request, Error(Errc::kNotFound, what));
      } else {
        request.pass(request.context, std::move(request.done));
      }
      return;
    case FaultKind::kTruncate:
    case FaultKind::kFlipByte:
      if constexpr (std::is_same_v<T, GetResult>) {
        request.pass(request.context, [kind = fault->kind, &rng = parts_.rng,
                                       done = std::move(request.done)](Result<GetResult> result) {
          if (result) *result = spoil(kind, rng, std::move(*result));
          done(std::move(result));
        });
      } else {
        request.pass(request.context, std::move(request.done));
      }
      return;
  }
}

void FaultyStore::get(std::string key, GetRange range, Context context, Callback<GetResult> done) {
  run<GetResult>({StoreOp::kGet, key, std::move(context), std::move(done),
                  [base = base_, key, range](Context request, Callback<GetResult> next) {
                    base->get(key, range, std::move(request), std::move(next));
                  }});
}

void FaultyStore::head(std::string key, Context context, Callback<ObjectHead> done) {
  run<ObjectHead>({StoreOp::kHead, key, std::move(context), std::move(done),
                   [base = base_, key](Context request, Callback<ObjectHead> next) {
                     base->head(key, std::move(request), std::move(next));
                   }});
}

void FaultyStore::put(std::string key, Body body, PutHow how, Context context,
                      Callback<std::string> done) {
  run<std::string>({StoreOp::kPut, key, std::move(context), std::move(done),
                    [base = base_, key, body = std::move(body), how = std::move(how)](
                        Context request, Callback<std::string> next) {
                      base->put(key, body, how, std::move(request), std::move(next));
                    }});
}

void FaultyStore::remove(std::string key, Context context, Callback<void> done) {
  run<void>({StoreOp::kRemove, key, std::move(context), std::move(done),
             [base = base_, key](Context request, Callback<void> next) {
               base->remove(key, std::move(request), std::move(next));
             }});
}

void FaultyStore::list(ListScope scope, std::string after, uint32_t limit, Context context,
                       Callback<ListPage> done) {
  run<ListPage>({StoreOp::kList, scope.prefix, std::move(context), std::move(done),
                 [base = base_, scope, after = std::move(after), limit](Context request,
                                                                        Callback<ListPage> next) {
                   base->list(scope, after, limit, std::move(request), std::move(next));
                 }});
}

void FaultyStore::head_version(std::string key, std::string version, Context context,
                               Callback<ObjectHead> done) {
  run<ObjectHead>({StoreOp::kHead, key, std::move(context), std::move(done),
                   [base = base_, key, version](Context request, Callback<ObjectHead> next) {
                     base->head_version(key, version, std::move(request), std::move(next));
                   }});
}

void FaultyStore::get_tags(std::string key, std::string version, Context context,
                           Callback<ObjectTags> done) {
  run<ObjectTags>({StoreOp::kTags, key, std::move(context), std::move(done),
                   [base = base_, key, version](Context request, Callback<ObjectTags> next) {
                     base->get_tags(key, version, std::move(request), std::move(next));
                   }});
}

void FaultyStore::put_tags(std::string key, std::string version, ObjectTags tags, Context context,
                           Callback<void> done) {
  run<void>(
      {StoreOp::kTags, key, std::move(context), std::move(done),
       [base = base_, key, version, tags = std::move(tags)](Context request, Callback<void> next) {
         base->put_tags(key, version, tags, std::move(request), std::move(next));
       }});
}

void FaultyStore::list_versions(ListScope scope, std::string after, uint32_t limit, Context context,
                                Callback<VersionPage> done) {
  run<VersionPage>({StoreOp::kList, scope.prefix, std::move(context), std::move(done),
                    [base = base_, scope, after = std::move(after), limit](
                        Context request, Callback<VersionPage> next) {
                      base->list_versions(scope, after, limit, std::move(request), std::move(next));
                    }});
}

void FaultyStore::keeps_versions(Context context, Callback<bool> done) {
  run<bool>({StoreOp::kGet, "", std::move(context), std::move(done),
             [base = base_](Context request, Callback<bool> next) {
               base->keeps_versions(std::move(request), std::move(next));
             }});
}

}  // namespace cairn::test
