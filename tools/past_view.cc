#include "tools/past_view.h"

#include <utility>

#include "cache/base/log.h"
#include "cache/bucket_past.h"
#include "s3/history_store.h"
#include "s3/versions_at_store.h"

namespace cairn {

namespace {

Result<bool> keeps_versions(ObjectStore& store, const PastQuestion& question,
                            const Context& context) {
  if (question.keeps_versions) return *question.keeps_versions;
  return keeps_versions_sync(store, context);
}

Result<PastView> view_as_of(std::shared_ptr<ObjectStore> store, const PastQuestion& question,
                            Executor& io, const Context& context) {
  const auto* time = std::get_if<HistoryTime>(&*question.at);
  if (time == nullptr)
    return fail(Errc::kInvalid, question.url +
                                    " holds objects and no volume: --at takes a time there, such "
                                    "as 2026-11-27T06:00:00Z or -2h");
  if (time->wall_ns > system_clock().wall_ns())
    return fail(Errc::kInvalid, "--at " + utc_text(time->wall_ns) + " is in the future");
  if (question.reached) {
    TRY_ASSIGN(const bool versions, keeps_versions(*store, question, context));
    if (!versions)
      return fail(Errc::kInvalid,
                  question.url +
                      " keeps no old versions of its objects, so --at has nothing to show; "
                      "versioning is switched on for a whole bucket, and keeps what is written "
                      "from then on");
  }
  return PastView{std::make_shared<VersionsAtStore>(std::move(store), io, time->wall_ns), false};
}

}  // namespace

Result<PastView> past_view(std::shared_ptr<ObjectStore> store, const PastQuestion& question,
                           Executor& io, const Context& context) {
  if (question.at) return view_as_of(std::move(store), question, io, context);
  if (!question.reached) return PastView{std::move(store), false};
  const auto versions = keeps_versions(*store, question, context);
  // Without the right to ask there is nothing of the past.
  if (!versions)
    log_info("there is no .versions: the store does not say whether it keeps versions: {}",
             versions.error().message());
  if (!versions || !*versions) return PastView{std::move(store), false};
  return PastView{std::make_shared<HistoryStore>(std::move(store), io, std::string(kPastPart)),
                  true};
}

std::optional<bool> has_past(ObjectStore& store, const std::optional<HistoryPoint>& at,
                             const Context& context) {
  if (!at || !std::holds_alternative<HistoryTime>(*at)) return std::nullopt;
  const auto versions = keeps_versions_sync(store, context);
  return versions ? std::optional<bool>(*versions) : std::nullopt;
}

}  // namespace cairn
