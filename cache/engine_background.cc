// Background work: local syncs, checkpoints, the publisher's pace, waiting for room.
#include <algorithm>
#include <utility>

#include "cache/base/log.h"
#include "cache/engine.h"

namespace cairn {

namespace {
constexpr Duration kTick = std::chrono::milliseconds(200);
constexpr Duration kRetryFirst = std::chrono::milliseconds(500);
constexpr Duration kRetryMax = std::chrono::seconds(30);
constexpr Duration kReminder = std::chrono::minutes(10);
}  // namespace

void Engine::schedule_background() {
  const std::lock_guard lock(state_mutex_);
  if (stopping_) return;
  ++background_running_;
  maintenance_.submit_at(clock_.now() + kTick, [this] { background(); });
}

void Engine::in_background(std::function<void()> work) {
  {
    const std::lock_guard lock(state_mutex_);
    if (stopping_) return;
    ++background_running_;
  }
  maintenance_.submit([this, work = std::move(work)] {
    work();
    const std::lock_guard lock(state_mutex_);
    --background_running_;
    idle_.notify_all();
  });
}

void Engine::sync_behind() {
  {
    const std::lock_guard lock(state_mutex_);
    if (std::exchange(sync_queued_, true)) return;
    last_sync_ = clock_.now();
  }
  in_background([this] {
    {
      const std::lock_guard lock(state_mutex_);
      sync_queued_ = false;
    }
    tell_local(journal_->sync(journal_->appended()));
  });
}

// Says how the last one ended.
Status Engine::settle_behind() {
  Status last;
  {
    const std::lock_guard lock(state_mutex_);
    last = std::exchange(settled_behind_, {});
    if (std::exchange(settle_queued_, true)) return last;
  }
  in_background([this] {
    {
      const std::lock_guard lock(state_mutex_);
      settle_queued_ = false;
    }
    Status settled = settle();
    const std::lock_guard lock(state_mutex_);
    settled_behind_ = std::move(settled);
  });
  return last;
}

// After a change: much that is written within one tick does not wait for the next.
void Engine::start_what_is_due() {
  const uint64_t written = written_bytes_;
  uint64_t before = looked_at_bytes_;
  if (written - before < settings_.publish_bytes / 4) return;
  if (!looked_at_bytes_.compare_exchange_strong(before, written)) return;
  if (publish_due()) kick_publisher();
}

void Engine::background() {
  bool stop = false;
  {
    const std::lock_guard lock(state_mutex_);
    stop = stopping_;
  }
  if (!stop) {
    if (settings_.read_only) {
      follow();
      keep_clean_rows();
    } else {
      keep_local_state();
      note_trouble();
      if (remote_->params().only_objects) tell_changes();
      if (publish_due()) kick_publisher();
      wake_waiters();
    }
    schedule_background();
  }
  const std::lock_guard lock(state_mutex_);
  --background_running_;
  idle_.notify_all();
}

// A follower has no journal; what it knows of clean content is all its tables hold.
void Engine::keep_clean_rows() {
  if (journal_ || tables_->memory_bytes() < settings_.memtable_bytes) return;
  tell_local(tables_->checkpoint());
}

void Engine::keep_local_state() {
  const MonotonicTime now = clock_.now();
  bool sync_due = false;
  bool checkpoint_due = tables_->memory_bytes() >= settings_.memtable_bytes;
  {
    const std::lock_guard lock(state_mutex_);
    sync_due = now - last_sync_ >= settings_.sync_interval;
    if (sync_due) last_sync_ = now;
    checkpoint_due |= now - last_checkpoint_ >= settings_.checkpoint_interval;
  }
  const Lsn appended = journal_->appended();
  Status status;
  if (sync_due && journal_->durable() < appended) status = journal_->sync(appended);
  if (status && checkpoint_due && (checkpointed_ < appended || tables_->memory_bytes() > 0))
    status = checkpoint();
  tell_local(status);
}

void Engine::tell_local(const Status& written) {
  if (!written)
    log_once_per(std::chrono::minutes(10), "local state",
                 "the local cache cannot be written: " + written.error().message());
}

void Engine::follow() {
  {
    const std::lock_guard lock(state_mutex_);
    if (clock_.now() < next_poll_) return;
    next_poll_ = clock_.now() + settings_.poll_interval;
  }
  Context context;
  context.deadline = Deadline::after(clock_, settings_.io_timeout);
  const auto changes = remote_->follow(context);
  note_remote(changes ? Status() : Status(tl::unexpected<Error>(changes.error())));
  if (changes && changes->moved) tell(*changes);
}

// What others did to the objects, as far as it was noticed: no request is made for it.
void Engine::tell_changes() {
  {
    const std::lock_guard lock(state_mutex_);
    if (clock_.now() < next_poll_) return;
    next_poll_ = clock_.now() + settings_.poll_interval;
  }
  const auto changes = remote_->follow(Context());
  if (changes && changes->moved) tell(*changes);
}

void Engine::tell(const Changes& changes) {
  std::function<void(const Changes&)> listener;
  {
    const std::lock_guard lock(state_mutex_);
    listener = follow_listener_;
  }
  if (listener) listener(changes);
}

bool Engine::publish_due() const {
  const Lsn appended = journal_->appended();
  const std::lock_guard lock(state_mutex_);
  if (health_.fenced || clock_.now() < retry_at_) return false;
  if (reconsiders_) return true;
  if (appended <= published_) return false;
  if (flush_target_ > published_ || !waiters_.empty()) return true;
  if (marks_.empty()) return false;  // only our own bookkeeping
  if (written_bytes_ - published_bytes_ >= settings_.publish_bytes) return true;
  return clock_.now() - marks_.front().time >=
         std::min(commit_interval_, settings_.pending_age_max);
}

void Engine::kick_publisher() {
  const std::lock_guard lock(state_mutex_);
  if (publish_queued_ || stopping_) return;
  publish_queued_ = true;
  publishing_.submit([this] { publish_loop(); });
}

void Engine::publish_loop() {
  while (publish_due()) {
    Context context;  // each request has its own timeout; the whole takes what it takes
    context.cancel = stop_token_;
    auto done = publish_batch(false, context);
    wake_waiters();  // those whose change is in the store are no reason to go on
    if (done && *done) {
      // While there is more to send the disk has its own time. What is in a bucket is known here
      // from the checkpoint only, so there it comes first.
      const bool at_once = remote_->params().only_objects || !publish_due();
      if (Status settled = at_once ? settle() : settle_behind(); !settled)
        done = tl::unexpected<Error>(std::move(settled).error());
    }
    if (!done) note_unpublished(done.error());
    const std::lock_guard lock(state_mutex_);
    idle_.notify_all();
    if (stopping_) break;
    if (done) {
      failures_ = 0;
      publish_error_.clear();
      continue;
    }
    const Duration pause = std::min(kRetryFirst * (1 << std::min(failures_++, 6U)), kRetryMax);
    retry_at_ = clock_.now() + pause;
  }
  const std::lock_guard lock(state_mutex_);
  publish_queued_ = false;
  idle_.notify_all();
}

// What the store answered was noted as that.
void Engine::note_unpublished(const Error& error) {
  {
    const std::lock_guard lock(state_mutex_);
    publish_error_ = error.message();
    if (health_.failing || stopping_) return;
  }
  log_once_per(std::chrono::minutes(10), "publication",
               "what is written stays in the cache and is tried again: " + error.message());
}

void Engine::note_remote(const Status& status) {
  bool fenced = false;
  bool is_news = false;
  {
    const std::lock_guard lock(state_mutex_);
    trouble_->take();  // older than this
    if (status) {
      if (health_.fenced) return;
      if (failing_told_) log_info("the store answers again");
      failing_told_ = false;
      health_.failing = false;
      health_.last_error.clear();
      return;
    }
    fenced = status.error().code() == Errc::kFenced && !health_.fenced;
    is_news = note_failing(status.error());
    failing_of_trouble_ = false;
    if (fenced) health_.fenced = true;
  }
  if (fenced) {
    log_error(
        "another writer took this volume over: nothing more is published from here. Reads "
        "go on; unpublished files can be taken out with 'cairn recover CACHE-DIR --to DIR'. "
        "({})",
        status.error().message());
    wake_waiters();
    return;
  }
  if (is_news) tell_failing(status.error());
}

void Engine::note_trouble() {
  std::optional<Error> error;
  bool is_news = false;
  {
    const std::lock_guard lock(state_mutex_);
    error = trouble_->take();
    if (!error || health_.fenced) return;
    failing_of_trouble_ |= !health_.failing;
    is_news = note_failing(*error);
  }
  if (is_news) tell_failing(*error);
}

bool Engine::note_failing(const Error& error) {
  // Said when it begins or changes, then as a reminder.
  const bool is_news = !failing_told_ || health_.last_code != error.code() ||
                       clock_.now() >= health_.said_at + kReminder;
  if (is_news) health_.said_at = clock_.now();
  failing_told_ = true;
  health_.failing = true;
  health_.last_code = error.code();
  health_.last_error = error.message();
  return is_news;
}

void Engine::tell_failing(const Error& error) const {
  const char* what =
      settings_.read_only
          ? "the store cannot be read, what is here is shown: "
          : "the store cannot be written, what is written stays in the cache and is tried again: ";
  log_warn("{}{}", what, error.message());
}

void Engine::abandon() {
  stop_token_.cancel();
  {
    std::unique_lock lock(state_mutex_);
    stopping_ = true;
    // The timed background task that is not due yet is waited for: it is at most one tick away.
    idle_.wait(lock, [this] {
      return background_running_ == 0 && !publish_queued_ && wholes_paused_ == 0;
    });
  }
  wake_waiters();
  // What was asked for still comes back to this engine: cancelled by now, so it is soon.
  std::unique_lock lock(state_mutex_);
  while (satisfying_ > 0) {
    if (waiters_.empty()) {
      idle_.wait(lock);
      continue;
    }
    lock.unlock();
    wake_waiters();  // whom somebody else was about to look at meanwhile
    lock.lock();
  }
}

// ---- needs

void Engine::satisfy(Need need, Context context, Callback<void> done) {
  struct Join {
    RankedMutex<Rank::kLeaf> mutex;
    size_t left = 0;
    Status status;
    Callback<void> done;
    CancelToken::Listener by_caller, by_end;
  };
  auto join = std::make_shared<Join>();
  join->done = std::move(done);
  join->left = (need.waits_for_uploads() ? 1U : 0U) + (need.blocks.empty() ? 0U : 1U) +
               (need.chunks.empty() ? 0U : 1U);
  if (join->left == 0) {
    executor_.submit([join] { join->done({}); });
    return;
  }
  const auto finish = [this, join](Status status) {
    {
      const std::lock_guard lock(join->mutex);
      if (!status && join->status) join->status = std::move(status);
      if (--join->left > 0) return;
    }
    std::exchange(join->done, nullptr)(std::move(join->status));
    const std::lock_guard lock(state_mutex_);
    --satisfying_;
    if (stopping_) idle_.notify_all();
  };
  bool stopping = false;
  {
    const std::lock_guard lock(state_mutex_);
    ++satisfying_;
    stopping = stopping_;
    if (need.waits_for_uploads() && !stopping) {
      // Until here nobody asked the store to take anything: that is no silence of the store.
      const bool tried = publish_queued_ || failures_ > 0 || !waiters_.empty();
      if (!tried && last_change_ > published_) last_progress_ = clock_.now();
      waiters_.push_back({need.space ? need.space_bytes : 0, need.stored, context, finish});
    }
  }
  if (need.waits_for_uploads()) {
    if (stopping)
      executor_.submit([finish] { finish(fail(Errc::kCancelled, "the mount is ending", EIO)); });
    else
      kick_publisher();
  }
  // The end of the mount ends a fetch, as its caller does.
  CancelToken either;
  const auto cancel = [either]() mutable { either.cancel(); };
  join->by_caller = context.cancel.on_cancel(cancel);
  join->by_end = stop_token_.on_cancel(cancel);
  context.cancel = either;
  if (!need.blocks.empty()) remote_->fetch(need.blocks, context, finish);
  if (!need.chunks.empty())
    fetches_.fetch(*remote_, std::move(need.chunks), context, [this, finish](Status fetched) {
      if (fetched && stop_token_.cancelled())  // who fetched it gave up, and nobody looks again
        fetched = fail(Errc::kCancelled, "the mount is ending", EIO);
      finish(std::move(fetched));
    });
}

void Engine::keep_fetched(const Need::Chunk& chunk, const Buffer& bytes) {
  std::optional<SegmentClass> to_disk;
  if (!settings_.leaves_cache && make_room(bytes.size())) to_disk = class_of(chunk.inode);
  chunks_.put(chunk.inode, chunk.chunk, chunk.leaf, bytes, to_disk);
}

std::optional<Status> Engine::answer_to(const Waiter& waiter, Duration stalled) {
  if (waiter.context.cancel.cancelled())
    return fail(Errc::kCancelled, "the wait for the store was interrupted", EINTR);
  // Nothing leaves a cache whose disk failed.
  if (const Status local = local_health(); !local) return local;
  if (waiter.stored > 0) {
    if (published_ >= waiter.stored) return Status();
    if (stalled < settings_.stall_timeout) return std::nullopt;
    return fail(Errc::kTimeout, "the store has taken nothing for the stall timeout", EIO);
  }
  Need need;
  const Status admitted = admit(waiter.bytes, need);
  if (admitted || admitted.error().code() != Errc::kNotLocal) return admitted;
  if (stalled < settings_.stall_timeout || memory_is_full()) return std::nullopt;
  const KeptStatus kept = kept_back();
  const std::string held = kept.files == 0 ? std::string()
                                           : "; " + std::to_string(kept.bytes) + " bytes in " +
                                                 std::to_string(kept.files) +
                                                 " files are held back by --filter-upload";
  return fail(Errc::kNoSpace,
              "the cache is full and the store has taken nothing for the stall timeout" + held,
              ENOSPC);
}

void Engine::wake_waiters() {
  std::vector<Waiter> waiting;
  Duration stalled{};
  bool fenced = false;
  bool stopping = false;
  {
    const std::lock_guard lock(state_mutex_);
    waiting.swap(waiters_);
    asked_waiters_ += waiting.size();
    stalled = clock_.now() - last_progress_;
    fenced = health_.fenced;
    stopping = stopping_;
  }
  std::vector<Waiter> still_waiting;
  const size_t asked = waiting.size();
  for (Waiter& waiter : waiting) {
    std::optional<Status> answer;
    if (stopping) {
      answer = fail(Errc::kCancelled, "the mount is ending", EIO);
    } else if (fenced) {
      answer = fail(Errc::kFenced, "another writer took this volume over",
                    waiter.stored > 0 ? EIO : EROFS);
    } else {
      answer = answer_to(waiter, stalled);
    }
    if (!answer) {
      still_waiting.push_back(std::move(waiter));
      continue;
    }
    executor_.submit(
        [done = std::move(waiter.done), answer = *std::move(answer)] { done(answer); });
  }
  const std::lock_guard lock(state_mutex_);
  std::move(still_waiting.begin(), still_waiting.end(), std::back_inserter(waiters_));
  asked_waiters_ -= asked;
  if (stopping_) idle_.notify_all();
}

}  // namespace cairn
