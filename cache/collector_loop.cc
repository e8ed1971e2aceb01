#include "cache/collector_loop.h"

#include <algorithm>
#include <utility>

#include "cache/base/log.h"

namespace cairn {
namespace {
constexpr Duration kAtLeastEvery = std::chrono::hours(24);
constexpr Duration kTickMax = std::chrono::milliseconds(500);  // so that `stop` waits no longer
// What the store may hold besides: less is not worth a collection.
constexpr uint64_t kSpareBytes = 16 << 20;
}  // namespace

CollectorLoop::CollectorLoop(Engine& engine, TreeRemote& remote, Executor& thread, Clock& clock,
                             Options options)
    : engine_(engine),
      remote_(remote),
      thread_(thread),
      clock_(clock),
      options_(std::move(options)),
      started_(clock.now()),
      last_at_(started_) {}

CollectorLoop::~CollectorLoop() {
  stop();
}

void CollectorLoop::start() {
  if (options_.interval > Duration::zero()) schedule();
}

void CollectorLoop::stop() {
  stop_token_.cancel();
  std::unique_lock lock(mutex_);
  stopping_ = true;
  idle_.wait(lock, [this] { return !running_ && scheduled_ == 0; });
}

void CollectorLoop::schedule() {
  const std::lock_guard lock(mutex_);
  if (stopping_) return;
  ++scheduled_;
  thread_.submit_at(clock_.now() + std::min(kTickMax, options_.interval), [this] { tick(); });
}

void CollectorLoop::tick() {
  bool due = false;
  {
    const std::lock_guard lock(mutex_);
    due = !stopping_ && clock_.now() - last_at_ >= options_.interval;
  }
  if (due && worth_it()) {
    CollectOptions how;
    how.grace = options_.grace;
    Context context;
    context.cancel = stop_token_;
    const auto done = run(std::move(how), context);
    if (!done && done.error().code() != Errc::kCancelled && done.error().code() != Errc::kExists)
      log_once_per(std::chrono::minutes(10), "collector",
                   "garbage collection: " + done.error().message());
  }
  schedule();
  const std::lock_guard lock(mutex_);
  if (due) last_at_ = std::max(last_at_, clock_.now());
  --scheduled_;
  idle_.notify_all();
}

bool CollectorLoop::worth_it() const {
  const PublishedState state = remote_.published();
  if (!remote_.state().writing) return false;
  const std::lock_guard lock(mutex_);
  const Duration passed = clock_.now() - (last_ ? last_at_ : started_);
  if (passed >= kAtLeastEvery) return true;
  if (last_ && last_->waiting_packs > 0 && passed >= options_.grace) return true;
  uint64_t needed = state.live_bytes;
  if (last_) {
    // Since then at most so much was added; files that share blocks took less from the start.
    needed = last_->live_bytes + last_->metadata_bytes;
    if (state.live_bytes > file_bytes_at_last_) needed += state.live_bytes - file_bytes_at_last_;
  }
  return state.stored_bytes > needed + needed / 3 + kSpareBytes;
}

Result<CollectReport> CollectorLoop::run(CollectOptions how, const Context& context) {
  {
    const std::lock_guard lock(mutex_);
    if (running_ || stopping_)
      return fail(Errc::kExists, stopping_ ? "the mount is about to end"
                                           : "a garbage collection is running already");
    running_ = true;
  }
  how.pinned = options_.pinned;
  const uint64_t file_bytes = remote_.published().live_bytes;
  const bool dry_run = how.dry_run;
  // Whoever asked may stop it, and so may the end of the mount.
  Context either = context;
  either.cancel = CancelToken();
  const auto end = [token = either.cancel]() mutable { token.cancel(); };
  const auto asked = context.cancel.on_cancel(end);
  const auto stopped = stop_token_.on_cancel(end);
  auto report = engine_.collect(
      [&](PublishHost& host) { return remote_.collect(how, host, either); });
  if (report && report->deleted_bytes + report->condemned_bytes > 0)
    log_info("garbage collection: {} packs condemned, {} deleted ({} bytes), {} bytes wait",
             report->condemned_packs, report->deleted_packs, report->deleted_bytes,
             report->waiting_bytes);
  const std::lock_guard lock(mutex_);
  running_ = false;
  if (report && !dry_run) {
    last_ = *report;
    last_at_ = clock_.now();
    file_bytes_at_last_ = file_bytes;
  }
  idle_.notify_all();
  return report;
}

std::optional<CollectReport> CollectorLoop::last() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

}  // namespace cairn
