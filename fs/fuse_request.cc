#include "fs/fuse_request.h"

#include <cerrno>

#include "cache/base/log.h"

namespace cairn {

void reply_error(fuse_req_t req, const Error& error) {
  const int code = errno_of(error);
  if (code == EIO) log_once_per(std::chrono::minutes(1), "eio", "answered EIO: " + error.message());
  fuse_reply_err(req, code);
}

// A request that waits. Whoever moves `state_` from kWaiting replies: the completion, which runs
// the attempt again, or an interrupt (or the end of the session), which answers EINTR at once,
// whatever the store is doing; what completes later finds nobody waiting.
class Parked : public std::enable_shared_from_this<Parked> {
 public:
  Parked(fuse_req_t req, Attempt attempt)
      : req_(req), context_(context_of(req)), attempt_(std::move(attempt)) {}

  void start(Need need) {
    deadline_ = Deadline::after(clock(), patience());
    {
      const std::lock_guard lock(context_.mutex);
      context_.parked.emplace(this, weak_from_this());
    }
    wait_for(std::move(need));
  }

  void interrupt() {
    const auto self = shared_from_this();
    cancelled_ = true;
    State waiting = State::kWaiting;
    if (!state_.compare_exchange_strong(waiting, State::kAnswered)) return;
    // Not on this stack: libfuse still uses the request when the callback returns.
    context_.volume.engine().executor().submit([self] {
      self->finish(Error(Errc::kCancelled, "interrupted", EINTR));
      self->cancel_.cancel();
    });
  }

 private:
  enum class State : uint8_t { kRunning, kWaiting, kAnswered };

  Clock& clock() { return context_.volume.engine().clock(); }

  // One read of a process becomes two requests: when the kernel's readahead has waited in vain, it
  // asks for the page alone. Together they wait for the I/O timeout, the second a small part of it.
  Duration patience() {
    const Duration whole = context_.io_timeout;
    const Duration second =
        std::min(std::max<Duration>(whole / 10, std::chrono::seconds(1)), whole / 2);
    const bool silent = clock().now() < context_.store_silent_at.load() + whole;
    return silent ? second : whole - second;
  }

  void wait_for(Need need) {
    Context context;
    context.cancel = cancel_;
    lists_ = !need.blocks.names().empty();
    // Waiting for room has its own limit, the stall timeout.
    if (!need.waits_for_uploads()) context.deadline = deadline_;
    state_ = State::kWaiting;
    // libfuse calls this under the request's lock while the request lives, and at once when the
    // interrupt came already; `again` takes it back before it goes on, which waits for that lock.
    fuse_req_interrupt_func(
        req_, [](fuse_req_t, void* data) { static_cast<Parked*>(data)->interrupt(); }, this);
    if (cancelled_) interrupt();  // by the end of the session, while the attempt ran
    context_.volume.engine().satisfy(
        std::move(need), context,
        [self = shared_from_this()](Status status) { self->again(std::move(status)); });
  }

  void again(Status status) {
    State waiting = State::kWaiting;
    if (!state_.compare_exchange_strong(waiting, State::kRunning)) return;
    fuse_req_interrupt_func(req_, nullptr, nullptr);
    if (!status) {
      if (status.error().code() == Errc::kTimeout) context_.store_silent_at = clock().now();
      return finish(for_caller(status.error()));
    }
    context_.store_silent_at = kNever;
    // A listing that got further is no silence: a long one takes what it takes.
    if (lists_) deadline_ = Deadline::after(clock(), context_.io_timeout);
    Need need;
    if (!attempt_(req_, need)) return done();
    if (!need.waits_for_uploads() && deadline_.passed(clock()))
      return finish(Error(Errc::kTimeout, "the store did not answer in time"));
    wait_for(std::move(need));
  }

  // What the store lacks is no name that does not exist, and what it refuses us is not what the
  // caller may not do: only what the wait itself ended with is said as it is.
  Error for_caller(const Error& error) const {
    if (error.sys_errno() == ESTALE) return error;  // what was opened is another version now
    // Of several buckets one may not be looked into.
    const bool of_buckets = context_.volume.engine().remote().params().top_is_buckets;
    if (of_buckets && error.sys_errno() == EACCES) return error;
    switch (error.code()) {
      case Errc::kCancelled:
      case Errc::kNoSpace:
      case Errc::kFenced:
        return error;
      default:
        return Error(Errc::kIo, error.message(), EIO);
    }
  }

  void finish(const Error& error) {
    reply_error(req_, error);
    done();
  }

  void done() {
    const std::lock_guard lock(context_.mutex);
    context_.parked.erase(this);
    if (context_.parked.empty()) context_.none_parked.notify_all();
  }

  static constexpr MonotonicTime kNever = MonotonicTime::min();

  fuse_req_t req_;
  FuseContext& context_;
  Attempt attempt_;
  CancelToken cancel_;
  Deadline deadline_ = Deadline::never();
  bool lists_ = false;  // it waits for a listing
  std::atomic<State> state_{State::kRunning};
  std::atomic<bool> cancelled_{false};
};

void park(fuse_req_t req, Need need, Attempt attempt) {
  std::make_shared<Parked>(req, std::move(attempt))->start(std::move(need));
}

void interrupt_all(FuseContext& context) {
  std::vector<std::shared_ptr<Parked>> waiting;
  {
    const std::lock_guard lock(context.mutex);
    for (const auto& [raw, weak] : context.parked)
      if (auto parked = weak.lock()) waiting.push_back(std::move(parked));
  }
  for (const auto& parked : waiting) parked->interrupt();
}

}  // namespace cairn
