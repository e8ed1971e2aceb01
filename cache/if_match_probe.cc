#include "cache/if_match_probe.h"

#include <string>
#include <vector>

#include "cache/await.h"
#include "cache/base/log.h"

namespace cairn {

namespace {

constexpr size_t kRacers = 2;  // six requests in all

// What one racer writes.
std::string racer_text(size_t racer) {
  return "probe of If-Match " + std::to_string(racer);
}

// The store says that there is no such thing as a condition.
bool is_refusal(const Error& error) {
  return error.code() == Errc::kUnsupported || error.code() == Errc::kInvalid;
}

// A race over a version. False: the promise is broken. `made`: there may be an object.
Result<bool> race(ObjectStore& store, const std::string& key, const Context& context, bool& made) {
  const auto first = put_sync(store, key, Body(Buffer::copy("probe of If-Match")), {}, context);
  made = first || outcome_unknown(first.error());
  TRY_ASSIGN(const std::string etag, first);
  std::vector<Awaited<std::string>> answers(kRacers);
  for (size_t i = 0; i < kRacers; ++i)
    store.put(key, Body(Buffer::copy(racer_text(i))), PutHow::over(etag), context,
              answers[i].callback());
  size_t winners = 0;
  size_t winner = 0;
  Status failed;
  for (size_t i = 0; i < kRacers; ++i) {
    const Result<std::string> answer = answers[i].get();
    if (answer) {
      ++winners;
      winner = i;
    } else if (answer.error().code() != Errc::kPrecondition) {
      failed = tl::unexpected<Error>(answer.error());
    }
  }
  if (winners > 1) return false;
  if (!failed && is_refusal(failed.error())) return false;
  TRY(failed);
  if (winners == 0) return false;  // it refuses also what it should take
  TRY_ASSIGN(const GetResult there, get_sync(store, key, GetRange::all(), context));
  if (as_chars(there.bytes) != racer_text(winner)) return false;
  const auto late = put_sync(store, key, Body(Buffer::copy("late")), PutHow::over(etag), context);
  if (late) return false;
  if (late.error().code() != Errc::kPrecondition) return tl::unexpected<Error>(late.error());
  return true;
}

}  // namespace

std::string if_match_probe_key(Rng& rng, const std::string& prefix) {
  return prefix + ".cairn-probe-" + uuid_text(make_uuid(rng));
}

Result<bool> probe_if_match(ObjectStore& store, const std::string& key, const Context& context) {
  bool made = false;
  auto kept = race(store, key, context, made);
  // Also when the caller has given up: only the store's own bounds end this.
  if (const Status removed = made ? remove_sync(store, key, Context()) : Status(); !removed)
    log_warn("the probe's object '{}' is left behind: {}", key, removed.error().message());
  if (!kept)
    return tl::unexpected<Error>(
        std::move(kept).error().wrap("cannot tell whether the store honours If-Match"));
  return kept;
}

}  // namespace cairn
