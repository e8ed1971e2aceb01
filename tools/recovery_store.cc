#include "tools/recovery_store.h"

#include <mutex>
#include <utility>

namespace cairn {

namespace {

template <class T>
void answer_with(Executor& executor, const Error& why, Callback<T> done) {
  executor.submit([why, done = std::move(done)] { done(tl::unexpected<Error>(why)); });
}

Error not_asked() {
  return Error(Errc::kUnsupported, "a recovery only reads the content of objects");
}

// Of a store that gave something, what it refuses is of one object, and one late answer too.
constexpr unsigned kLateMost = 3;  // in a row

bool is_late(const Error& error) {
  return error.code() == Errc::kTimeout || error.code() == Errc::kTransient;
}
bool is_of_object(const Error& error) {
  return error.code() == Errc::kPrecondition || error.code() == Errc::kNotFound;
}

}  // namespace

RecoveryStore::RecoveryStore(std::shared_ptr<ObjectStore> store, Status why,
                             std::string description, Executor& executor)
    : store_(std::move(store)), description_(std::move(description)), executor_(executor) {
  state_->away = std::move(why);
}

Status RecoveryStore::away() const {
  const std::lock_guard lock(state_->mutex);
  return state_->away;
}

void RecoveryStore::get(std::string key, GetRange range, Context context,
                        Callback<GetResult> done) {
  if (const Status gone = away(); !gone)
    return answer_with(executor_, gone.error(), std::move(done));
  store_->get(std::move(key), std::move(range), std::move(context),
              [state = state_, done = std::move(done)](Result<GetResult> got) {
                note(*state, got);
                done(std::move(got));
              });
}

void RecoveryStore::note(State& state, const Result<GetResult>& got) {
  const std::lock_guard lock(state.mutex);
  if (got) state.gives = true;
  state.late = !got && is_late(got.error()) ? state.late + 1 : 0;
  if (got || is_of_object(got.error())) return;
  const bool is_gone = !state.gives || state.late >= kLateMost;
  if (is_gone && state.away) state.away = tl::unexpected<Error>(got.error());
}

void RecoveryStore::head(std::string, Context, Callback<ObjectHead> done) {
  answer_with(executor_, not_asked(), std::move(done));
}
void RecoveryStore::put(std::string, Body, PutHow, Context, Callback<std::string> done) {
  answer_with(executor_, not_asked(), std::move(done));
}
void RecoveryStore::remove(std::string, Context, Callback<void> done) {
  answer_with(executor_, not_asked(), std::move(done));
}
void RecoveryStore::list(ListScope, std::string, uint32_t, Context, Callback<ListPage> done) {
  answer_with(executor_, not_asked(), std::move(done));
}
void RecoveryStore::head_version(std::string, std::string, Context, Callback<ObjectHead> done) {
  answer_with(executor_, not_asked(), std::move(done));
}
void RecoveryStore::get_tags(std::string, std::string, Context, Callback<ObjectTags> done) {
  answer_with(executor_, not_asked(), std::move(done));
}
void RecoveryStore::put_tags(std::string, std::string, ObjectTags, Context, Callback<void> done) {
  answer_with(executor_, not_asked(), std::move(done));
}
void RecoveryStore::list_versions(ListScope, std::string, uint32_t, Context,
                                  Callback<VersionPage> done) {
  answer_with(executor_, not_asked(), std::move(done));
}
void RecoveryStore::keeps_versions(Context, Callback<bool> done) {
  answer_with(executor_, not_asked(), std::move(done));
}

}  // namespace cairn
