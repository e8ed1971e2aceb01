#include "cache/if_match_probe.h"

#include <string>
#include <vector>

#include "cache/await.h"

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

// A race over a version. False: the promise is broken.
Result<bool> race(ObjectStore& store, const std::string& key, const Context& context) {
  TRY_ASSIGN(const std::string etag,
             put_sync(store, key, Body(Buffer::copy("probe of If-Match")), {}, context));
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

Result<bool> probe_if_match(ObjectStore& store, Rng& rng, const Context& context,
                            const std::string& prefix) {
  const std::string key = prefix + ".cairn-probe-" + uuid_text(make_uuid(rng));
  auto kept = race(store, key, context);
  // Also when the caller has given up: only the store's own bounds end this.
  if (auto removed = remove_sync(store, key, Context()); !removed)
    return tl::unexpected<Error>(
        std::move(removed).error().wrap("the probe's object '" + key + "' is left behind"));
  if (!kept)
    return tl::unexpected<Error>(
        std::move(kept).error().wrap("cannot tell whether the store honours If-Match"));
  return kept;
}

}  // namespace cairn
