#include "fs/fuse_request.h"

#include "cache/base/log.h"

namespace cairn {

void reply_error(fuse_req_t req, const Error& error) {
  const int code = errno_of(error);
  if (code == EIO)
    log_once_per(std::chrono::seconds(10), "eio", "answered EIO: " + error.message());
  fuse_reply_err(req, code);
}

namespace {

class Parked : public std::enable_shared_from_this<Parked> {
 public:
  Parked(fuse_req_t req, Attempt attempt)
      : req_(req), context_(context_of(req)), attempt_(std::move(attempt)) {}

  void start(Need need) {
    {
      const std::lock_guard lock(context_.mutex);
      ++context_.parked;
    }
    deadline_ = Deadline::after(clock(), context_.io_timeout);
    // libfuse calls this under the request's lock while the request lives; `finish` takes it back.
    fuse_req_interrupt_func(
        req_, [](fuse_req_t, void* data) { static_cast<Parked*>(data)->cancel_.cancel(); }, this);
    wait_for(std::move(need));
  }

 private:
  Clock& clock() { return context_.volume.engine().clock(); }

  void wait_for(Need need) {
    Context context;
    context.cancel = cancel_;
    // Waiting for room has its own limit, the stall timeout.
    if (!need.space) context.deadline = deadline_;
    context_.volume.engine().satisfy(
        std::move(need), context,
        [self = shared_from_this()](Status status) { self->again(std::move(status)); });
  }

  void again(Status status) {
    if (!status) return finish(status.error());
    if (cancel_.cancelled()) return finish(Error(Errc::kCancelled, "interrupted", EINTR));
    Need need;
    fuse_req_interrupt_func(req_, nullptr, nullptr);  // a reply frees the request
    if (!attempt_(req_, need)) return done();
    if (!need.space && deadline_.passed(clock()))
      return finish(Error(Errc::kTimeout, "the store did not answer in time"));
    fuse_req_interrupt_func(
        req_, [](fuse_req_t, void* data) { static_cast<Parked*>(data)->cancel_.cancel(); }, this);
    wait_for(std::move(need));
  }

  void finish(const Error& error) {
    fuse_req_interrupt_func(req_, nullptr, nullptr);
    reply_error(req_, error);
    done();
  }

  void done() {
    const std::lock_guard lock(context_.mutex);
    if (--context_.parked == 0) context_.none_parked.notify_all();
  }

  fuse_req_t req_;
  FuseContext& context_;
  Attempt attempt_;
  CancelToken cancel_;
  Deadline deadline_ = Deadline::never();
};

}  // namespace

void park(fuse_req_t req, Need need, Attempt attempt) {
  std::make_shared<Parked>(req, std::move(attempt))->start(std::move(need));
}

}  // namespace cairn
