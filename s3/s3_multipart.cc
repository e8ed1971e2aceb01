#include "s3/s3_multipart.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "cache/base/log.h"
#include "s3/s3_parts.h"
#include "s3/s3_xml.h"

namespace cairn {

namespace {

constexpr int kPartAttempts = 4;
constexpr Duration kFirstPause = std::chrono::milliseconds(200);
constexpr Duration kAbortTimeout = std::chrono::seconds(30);

class MultipartUpload : public std::enable_shared_from_this<MultipartUpload> {
 public:
  MultipartUpload(std::shared_ptr<S3Client> client, S3Put put, Callback<std::string> done)
      : client_(std::move(client)),
        put_(std::move(put)),
        plan_(plan_parts(put_.body, client_->settings().part_size)),
        done_(std::move(done)),
        parts_(plan_.size()) {}

  void start() {
    listen();
    S3Call call = make_call("POST");
    call.use = S3Use::kCreate;
    call.query = {{"uploads", ""}};
    append_put_headers(put_.how, call);
    // AWS tells the checksum of a part that it copied; MinIO does not, and misses it at the end.
    if (client_->sends_crc32c() && (client_->is_aws() || !put_.body.has_object_ranges()))
      call.headers.push_back({"x-amz-checksum-algorithm", "CRC32C"});
    send(std::move(call), [this](const S3Call& sent, const S3Answer& answer) {
      if (answer.response.status != 200) return fail_with(client_->error_of(sent, answer));
      auto id = parse_initiate_multipart(answer.response.body);
      if (!id)
        return fail_with(std::move(id).error().wrap("put " + client_->object_name(put_.key)));
      {
        const std::lock_guard lock(mutex_);
        upload_id_ = *std::move(id);
        if (!failed_) return send_more();
      }
      abort();  // given up before there was anything to abort
    });
  }

 private:
  // A cancelled caller does not wait for the pause before a part's next attempt.
  void listen() {
    auto listener = put_.context.cancel.on_cancel([weak = weak_from_this()] {
      const auto self = weak.lock();
      if (!self) return;
      self->client_->parts().executor.submit([self] {
        self->fail_with(Error(
            Errc::kCancelled,
            "put " + self->client_->object_name(self->put_.key) + ": the upload was given up"));
      });
    });
    const std::lock_guard lock(mutex_);
    cancel_listener_ = std::move(listener);
  }

  S3Call make_call(std::string method) const {
    S3Call call;
    call.operation = "put";
    call.method = std::move(method);
    call.key = put_.key;
    call.context = put_.context;
    return call;
  }

  // Sends and hands every complete answer to `then`; without one the upload fails.
  void send(S3Call call, std::function<void(const S3Call&, const S3Answer&)> then) {
    const S3Call sent = call;
    client_->send(std::move(call), [self = shared_from_this(), sent,
                                    then = std::move(then)](Result<S3Answer> answer) {
      if (answer) {
        then(sent, *answer);
      } else {
        self->fail_with(std::move(answer).error());
      }
    });
  }

  // With mutex_ held.
  void send_more() {
    while (!failed_ && next_ < parts_.size() &&
           in_flight_ < std::max(1U, client_->settings().parts_in_flight)) {
      ++in_flight_;
      send_part(next_++, 1);
    }
  }

  void send_part(size_t index, int attempt) {
    S3Call call = make_call("PUT");
    call.use = S3Use::kPart;
    call.query = {{"partNumber", std::to_string(index + 1)}, {"uploadId", upload_id_}};
    const PlannedPart& part = plan_[index];
    if (part.object == nullptr) {
      call.body = put_.body.slice(part.at);
    } else {
      set_copy_source(*client_, put_.key_prefix, *part.object, call);
      // S3 takes no range of a small object, not even the whole.
      if (part.source.length != part.object->object_size)
        call.headers.push_back(
            {"x-amz-copy-source-range",
             fmt::format("bytes={}-{}", part.source.offset, part.source.end() - 1)});
    }
    const S3Call sent = call;
    client_->send(std::move(call),
                  [self = shared_from_this(), sent, index, attempt](Result<S3Answer> answer) {
                    self->part_answered(sent, index, attempt, std::move(answer));
                  });
  }

  void part_answered(const S3Call& sent, size_t index, int attempt, Result<S3Answer> answer) {
    if (answer && answer->response.status == 200 && plan_[index].object != nullptr) {
      // S3 answers 200 as soon as it has begun, and may still fail in the body.
      if (auto copied = parse_copy_result(answer->response.body))
        return part_done(index, {static_cast<int>(index + 1), copied->etag, copied->crc32c});
    } else if (answer && answer->response.status == 200) {
      const std::string* etag = answer->response.header("etag");
      if (etag == nullptr)
        return fail_with(Error(Errc::kIo, "put " + client_->object_name(put_.key) +
                                              ": the store gave no ETag for a part"));
      part_done(index, {static_cast<int>(index + 1), *etag, answer->crc32c});
      return;
    }
    Error error = answer ? client_->error_of(sent, *answer) : std::move(answer).error();
    if (error.code() != Errc::kTransient || attempt == kPartAttempts)
      return fail_with(std::move(error));
    // A part that is sent twice is the same part: only the pause is a question.
    const Duration backoff = kFirstPause * (1 << (attempt - 1));
    const auto jitter =
        static_cast<int64_t>(client_->parts().rng.below(static_cast<uint64_t>(backoff.count())));
    const Duration pause = std::max<Duration>(error.retry_after(), backoff + Duration(jitter));
    Clock& clock = client_->parts().clock;
    if (put_.context.deadline.left(clock) <= pause) return fail_with(std::move(error));
    client_->parts().executor.submit_at(clock.now() + pause,
                                        [self = shared_from_this(), index, attempt] {
                                          if (!self->has_failed())
                                            self->send_part(index, attempt + 1);
                                        });
  }

  bool has_failed() {
    const std::lock_guard lock(mutex_);
    return failed_;
  }

  void part_done(size_t index, S3Part part) {
    {
      const std::lock_guard lock(mutex_);
      if (failed_) return;
      parts_[index] = std::move(part);
      --in_flight_;
      ++finished_;
      send_more();
      if (finished_ < parts_.size()) return;
    }
    complete();
  }

  void complete() {
    S3Call call = make_call("POST");
    call.query = {{"uploadId", upload_id_}};
    call.headers.push_back({"content-type", "application/xml"});
    set_condition(put_.how, call);
    call.body = Body(Buffer::copy(format_complete_multipart(parts_)));
    call.may_resend = false;  // the second one would find the upload gone
    send(std::move(call), [this](const S3Call& sent, const S3Answer& answer) {
      if (answer.response.status != 200) return fail_with(client_->error_of(sent, answer));
      auto etag = parse_complete_multipart(answer.response.body);
      // S3 answers 200 as soon as it has begun, and may still fail in the body.
      if (!etag) return fail_with(client_->error_of(sent, answer));
      finish(*std::move(etag));
    });
  }

  void fail_with(Error error) {
    bool begun = false;
    {
      const std::lock_guard lock(mutex_);
      if (failed_) return;
      failed_ = true;
      begun = !upload_id_.empty();
    }
    if (begun) abort();
    finish(tl::unexpected<Error>(std::move(error)));
  }

  void abort() {
    S3Call call = make_call("DELETE");
    call.query = {{"uploadId", upload_id_}};
    // The caller's own context is over, perhaps; its parts must not stay and cost money.
    call.context = Context{Deadline::after(client_->parts().clock, kAbortTimeout), {}};
    call.cleans_up = true;
    client_->send(std::move(call), [client = client_, key = put_.key](Result<S3Answer> answer) {
      const bool gone =
          answer && (answer->response.status == 404 ||
                     (answer->response.status >= 200 && answer->response.status < 300));
      if (!gone)
        log_once_per(std::chrono::minutes(10), "abort-multipart",
                     "an unfinished upload of " + client->object_name(key) +
                         " could not be aborted; a lifecycle rule that aborts incomplete multipart "
                         "uploads frees its parts");
    });
  }

  void finish(Result<std::string> result) {
    Callback<std::string> done;
    CancelToken::Listener listener;  // taken back without the lock
    {
      const std::lock_guard lock(mutex_);
      done.swap(done_);
      listener.swap(cancel_listener_);
      failed_ = failed_ || !result;
    }
    if (done) done(std::move(result));
  }

  const std::shared_ptr<S3Client> client_;
  const S3Put put_;
  const std::vector<PlannedPart> plan_;  // points into put_

  RankedMutex<Rank::kStore> mutex_;
  std::string upload_id_;  // never changes once the first part is sent
  CancelToken::Listener cancel_listener_;
  Callback<std::string> done_;
  std::vector<S3Part> parts_;
  size_t next_ = 0;
  size_t in_flight_ = 0;
  size_t finished_ = 0;
  bool failed_ = false;
};

}  // namespace

void put_multipart(std::shared_ptr<S3Client> client, S3Put put, Callback<std::string> done) {
  std::make_shared<MultipartUpload>(std::move(client), std::move(put), std::move(done))->start();
}

}  // namespace cairn
