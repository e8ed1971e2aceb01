#include "s3/refreshing_credentials.h"

#include <fmt/format.h>

#include <algorithm>

#include "cache/base/log.h"

namespace cairn {

namespace {

std::string lifetime_text(const Credentials& keys, int64_t now) {
  if (keys.expires_wall_ns == 0) return "they do not expire";
  return fmt::format("good for {} minutes", (keys.expires_wall_ns - now) / 60'000'000'000);
}

}  // namespace

RefreshingCredentials::RefreshingCredentials(std::shared_ptr<CredentialSource> source,
                                             Executor& executor, Clock& clock, Rng& rng,
                                             RefreshPolicy policy)
    : source_(std::move(source)),
      executor_(executor),
      clock_(clock),
      rng_(rng),
      policy_(std::move(policy)) {}

bool RefreshingCredentials::good(const Credentials& keys, int64_t now) const {
  if (keys.expires_wall_ns == 0) return true;
  const int64_t life = std::max<int64_t>(keys.expires_wall_ns - fetched_wall_ns_, 0);
  return now < keys.expires_wall_ns - std::min<int64_t>(policy_.margin.count(), life / 4);
}

bool RefreshingCredentials::due(int64_t now) const {
  if (keys_->expires_wall_ns == 0) return false;
  const int64_t life = std::max<int64_t>(keys_->expires_wall_ns - fetched_wall_ns_, 0);
  return now >= keys_->expires_wall_ns - std::min<int64_t>(policy_.ahead.count(), life / 2);
}

void RefreshingCredentials::get(Context context, Callback<Credentials> done) {
  const int64_t wall = clock_.wall_ns();
  const MonotonicTime now = clock_.now();
  bool start = false;
  {
    const std::lock_guard lock(mutex_);
    if (keys_ && !stale_ && good(*keys_, wall)) {
      start = due(wall) && !fetching_ && now >= not_before_;
      executor_.submit([keys = *keys_, done = std::move(done)] { done(keys); });
    } else if (failure_ && now < failure_until_) {
      executor_.submit(
          [error = *failure_, done = std::move(done)] { done(tl::unexpected<Error>(error)); });
    } else {
      auto pending = std::make_shared<Pending<Credentials>>(executor_, clock_, std::move(context),
                                                            "keys from " + source_->description(),
                                                            std::move(done));
      pending->watch();
      waiting_.push_back(std::move(pending));
      start = !fetching_;
    }
    fetching_ = fetching_ || start;
  }
  if (start) start_fetch(1);
}

void RefreshingCredentials::refused(const Credentials& keys) {
  const MonotonicTime now = clock_.now();
  const std::lock_guard lock(mutex_);
  if (!keys_ || stale_ || !keys_->same_keys(keys) || now < refusals_count_from_) return;
  stale_ = true;
  refusals_count_from_ = now + policy_.refusal_pause;
  log_info("the keys from {} were refused: asking for new ones", source_->description());
}

void RefreshingCredentials::start_fetch(unsigned attempt) {
  source_->fetch({Deadline::after(clock_, policy_.fetch_timeout), {}},
                 [self = shared_from_this(), attempt](Result<Credentials> result) {
                   self->fetched(attempt, std::move(result));
                 });
}

void RefreshingCredentials::fetched(unsigned attempt, Result<Credentials> result) {
  if (result) return store(*std::move(result));
  const Error& error = result.error();
  if (error.code() == Errc::kTransient && attempt < policy_.tries) {
    const Duration pause = policy_.first_pause * (1 << std::min(attempt - 1, 10U));
    const Duration jitter(
        static_cast<int64_t>(rng_.below(static_cast<uint64_t>(pause.count()) + 1)));
    executor_.submit_at(clock_.now() + pause + jitter,
                        [self = shared_from_this(), attempt] { self->start_fetch(attempt + 1); });
    return;
  }
  give_up(error);
}

void RefreshingCredentials::store(Credentials keys) {
  const int64_t wall = clock_.wall_ns();
  keys.source = source_->description();
  std::vector<std::shared_ptr<Pending<Credentials>>> waiting;
  {
    const std::lock_guard lock(mutex_);
    fetched_wall_ns_ = wall;
    stale_ = false;
    fetching_ = false;
    failure_.reset();
    // What a service hands out expired is handed on: the store's answer is the better judge of a
    // clock. It is asked again soon, not before every request.
    if (keys.expires_wall_ns != 0 && keys.expires_wall_ns <= wall)
      keys.expires_wall_ns = wall + policy_.pause_after_failure.count();
    keys_ = keys;
    waiting.swap(waiting_);
  }
  log_debug("new keys from {}: {}, {}", keys.source, masked_key(keys.access_key),
            lifetime_text(keys, wall));
  for (const auto& pending : waiting) pending->finish(keys);
}

void RefreshingCredentials::give_up(const Error& error) {
  const MonotonicTime now = clock_.now();
  std::vector<std::shared_ptr<Pending<Credentials>>> waiting;
  bool had_keys = false;
  {
    const std::lock_guard lock(mutex_);
    had_keys = keys_.has_value();
    fetching_ = false;
    not_before_ = now + policy_.pause_after_failure;
    failure_ = error;
    failure_until_ = now + policy_.failure_kept;
    waiting.swap(waiting_);
  }
  if (had_keys)  // the first failure is for whoever asked
    log_once_per(std::chrono::minutes(1), "credentials " + source_->description(),
                 "no new keys: " + error.message());
  for (const auto& pending : waiting) pending->finish(tl::unexpected<Error>(error));
}

}  // namespace cairn
