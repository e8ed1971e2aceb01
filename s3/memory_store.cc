#include "s3/memory_store.h"

#include <mutex>

#include "s3/request.h"

namespace cairn {

MemoryStore::MemoryStore(Executor& executor, Clock& clock)
    : executor_(executor), clock_(clock), state_(std::make_shared<State>()) {}

void MemoryStore::get(std::string key, GetRange range, Context context, Callback<GetResult> done) {
  std::string what = "memory: get '" + key + "'";
  run_task<GetResult>(
      executor_, clock_, std::move(context), what, std::move(done),
      [state = state_, key = std::move(key), range, what](const Context&) -> Result<GetResult> {
        TRY(check_key(key));
        const std::lock_guard lock(state->mutex);
        const auto it = state->objects.find(key);
        if (it == state->objects.end()) return fail(Errc::kNotFound, what + ": no such object");
        const Object& object = it->second;
        const ByteRange part = resolve_range(range, object.bytes.size());
        return GetResult{
            object.bytes.slice(static_cast<size_t>(part.offset), static_cast<size_t>(part.length)),
            object.bytes.size(), object.etag};
      });
}

void MemoryStore::put(std::string key, Body body, PutCondition condition, Context context,
                      Callback<std::string> done) {
  std::string what = "memory: put '" + key + "'";
  run_task<std::string>(
      executor_, clock_, std::move(context), what, std::move(done),
      [state = state_, &clock = clock_, key = std::move(key), body = std::move(body), condition,
       what](const Context& request) -> Result<std::string> {
        TRY(check_key(key));
        auto bytes = body.to_buffer();
        if (!bytes)
          return tl::unexpected<Error>(std::move(bytes).error().wrap(what).with_no_effect());
        if (auto over = gave_up(request, clock, what))
          return tl::unexpected<Error>(std::move(*over).with_no_effect());
        const std::lock_guard lock(state->mutex);
        if (condition == PutCondition::kIfAbsent && state->objects.contains(key))
          return fail(Errc::kPrecondition, what + ": it exists already");
        const std::string etag = "m" + std::to_string(++state->puts);
        state->objects[key] = Object{*std::move(bytes), etag, clock.wall_ns()};
        return etag;
      });
}

void MemoryStore::remove(std::string key, Context context, Callback<void> done) {
  std::string what = "memory: remove '" + key + "'";
  run_task<void>(executor_, clock_, std::move(context), std::move(what), std::move(done),
                 [state = state_, key = std::move(key)](const Context&) -> Status {
                   TRY(check_key(key));
                   const std::lock_guard lock(state->mutex);
                   state->objects.erase(key);
                   return {};
                 });
}

void MemoryStore::list(std::string prefix, std::string after, uint32_t limit, Context context,
                       Callback<ListPage> done) {
  std::string what = "memory: list '" + prefix + "'";
  run_task<ListPage>(
      executor_, clock_, std::move(context), std::move(what), std::move(done),
      [state = state_, prefix = std::move(prefix), after = std::move(after),
       limit](const Context&) -> Result<ListPage> {
        TRY(check_list_limit(limit));
        ListPage page;
        const std::lock_guard lock(state->mutex);
        auto it =
            after < prefix ? state->objects.lower_bound(prefix) : state->objects.upper_bound(after);
        for (; it != state->objects.end() && it->first.starts_with(prefix); ++it) {
          if (page.objects.size() == limit) {
            page.truncated = true;
            break;
          }
          const Object& object = it->second;
          page.objects.push_back({it->first, object.bytes.size(), object.etag, object.mtime_ns});
        }
        return page;
      });
}

std::unique_ptr<MemoryStore> MemoryStore::copy(Executor& executor) const {
  auto other = std::make_unique<MemoryStore>(executor, clock_);
  const std::lock_guard lock(state_->mutex);
  other->state_->objects = state_->objects;
  other->state_->puts = state_->puts;
  return other;
}

uint64_t MemoryStore::object_count() const {
  const std::lock_guard lock(state_->mutex);
  return state_->objects.size();
}

uint64_t MemoryStore::stored_bytes() const {
  const std::lock_guard lock(state_->mutex);
  uint64_t total = 0;
  for (const auto& [key, object] : state_->objects) total += object.bytes.size();
  return total;
}

}  // namespace cairn
