#include "s3/s3_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "cache/base/log.h"
#include "s3/s3_parts.h"
#include "s3/s3_xml.h"

namespace cairn {

namespace {

constexpr int kStreamAttempts = 5;
constexpr Duration kStreamPause = std::chrono::milliseconds(200);
constexpr Duration kStreamLook = std::chrono::milliseconds(100);  // how soon a pause ends
constexpr Duration kStreamAbortTimeout = std::chrono::seconds(30);

Result<S3Answer> send_and_wait(S3Client& client, S3Call call) {
  std::promise<Result<S3Answer>> promise;
  client.send(std::move(call),
              [&](Result<S3Answer> answer) { promise.set_value(std::move(answer)); });
  return promise.get_future().get();
}

// Shared by the thread that reads and the tasks that send.
class StreamUpload : public std::enable_shared_from_this<StreamUpload> {
 public:
  StreamUpload(std::shared_ptr<S3Client> client, std::string key, PutHow how, Context context)
      : client_(std::move(client)),
        key_(std::move(key)),
        how_(std::move(how)),
        context_(std::move(context)) {}

  Status begin() {
    for (int attempt = 1;; ++attempt) {
      S3Call call = make_call("POST");
      call.use = S3Use::kCreate;
      call.query = {{"uploads", ""}};
      append_put_headers(how_, call);
      if (client_->sends_crc32c()) call.headers.push_back({"x-amz-checksum-algorithm", "CRC32C"});
      const S3Call sent = call;
      const auto answer = send_and_wait(*client_, std::move(call));
      if (answer && answer->response.status == 200) {
        auto id = parse_initiate_multipart(answer->response.body);
        if (!id)
          return tl::unexpected<Error>(
              std::move(id).error().wrap("put " + client_->object_name(key_)));
        upload_id_ = *std::move(id);
        return {};
      }
      const Error error = answer ? client_->error_of(sent, *answer) : answer.error();
      const Duration pause = pause_after(error, attempt);
      if (pause.count() < 0) return tl::unexpected<Error>(error);
      wait(pause);
    }
  }

  // Waits until there is room for it.
  Status send(Buffer bytes) {
    std::unique_lock lock(mutex_);
    if (parts_.size() == kS3PartsMax)
      return fail(Errc::kInvalid, "put " + client_->object_name(key_) +
                                      ": the stream is longer than an object can be");
    changed_.wait(lock, [&] {
      return failed_ || in_flight_bytes_ == 0 ||
             in_flight_bytes_ + bytes.size() + next_bytes(parts_.size()) <= kStreamBytesMax;
    });
    if (failed_) return tl::unexpected<Error>(*failed_);
    in_flight_bytes_ += bytes.size();
    parts_.emplace_back();
    const size_t index = parts_.size() - 1;
    lock.unlock();
    send_part(index, std::move(bytes), 1);
    return {};
  }

  Result<std::string> complete() {
    std::vector<S3Part> parts;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return failed_ || in_flight_bytes_ == 0; });
      if (failed_) return tl::unexpected<Error>(*failed_);
      parts = parts_;
    }
    for (int attempt = 1;; ++attempt) {
      if (context_.cancel.cancelled()) return tl::unexpected<Error>(given_up());
      auto etag = complete_once(parts);
      // Only where the store surely did nothing: of a stream there is no second one.
      if (etag || !etag.error().no_effect()) return etag;
      const Duration pause = pause_after(etag.error(), attempt);
      if (pause.count() < 0) return etag;
      wait(pause);
    }
  }

  // Gives the parts back, when none is on its way any more.
  void abort() {
    {
      std::unique_lock lock(mutex_);
      if (!failed_) failed_ = given_up();
      changed_.wait(lock, [&] { return in_flight_bytes_ == 0; });
    }
    S3Call call = make_call("DELETE");
    call.query = {{"uploadId", upload_id_}};
    // The caller's own context is over, perhaps; the parts must not stay and cost money.
    call.context = Context{Deadline::after(client_->parts().clock, kStreamAbortTimeout), {}};
    const auto answer = send_and_wait(*client_, std::move(call));
    const bool gone = answer && (answer->response.status == 404 ||
                                 (answer->response.status >= 200 && answer->response.status < 300));
    if (!gone)
      log_warn(
          "an unfinished upload of {} could not be aborted; a lifecycle rule that aborts "
          "incomplete multipart uploads frees its parts",
          client_->object_name(key_));
  }

  Error given_up() const {
    return {Errc::kCancelled, "put " + client_->object_name(key_) + ": the upload was given up"};
  }

 private:
  static uint64_t next_bytes(size_t sent) { return stream_part_bytes(sent + 1); }

  S3Call make_call(std::string method) const {
    S3Call call;
    call.operation = "put";
    call.method = std::move(method);
    call.key = key_;
    call.context = context_;
    return call;
  }

  Result<std::string> complete_once(const std::vector<S3Part>& parts) {
    S3Call call = make_call("POST");
    call.query = {{"uploadId", upload_id_}};
    call.headers.push_back({"content-type", "application/xml"});
    set_condition(how_, call);
    call.body = Body(Buffer::copy(format_complete_multipart(parts)));
    call.may_resend = false;  // the second one would find the upload gone
    const S3Call sent = call;
    const auto answer = send_and_wait(*client_, std::move(call));
    if (!answer) return tl::unexpected<Error>(answer.error());
    auto etag = parse_complete_multipart(answer->response.body);
    // S3 answers 200 as soon as it has begun, and may still fail in the body.
    if (answer->response.status != 200 || !etag)
      return tl::unexpected<Error>(client_->error_of(sent, *answer));
    return etag;
  }

  bool is_over() {
    const std::lock_guard lock(mutex_);
    return failed_.has_value() || context_.cancel.cancelled();
  }

  // Runs `then` after the pause, or soon when the upload is given up.
  void after(MonotonicTime at, Task then) {
    const MonotonicTime now = client_->parts().clock.now();
    client_->parts().executor.submit_at(
        std::min(at, now + kStreamLook), [self = shared_from_this(), at, then = std::move(then)] {
          if (self->client_->parts().clock.now() < at && !self->is_over())
            return self->after(at, then);
          then();
        });
  }

  void wait(Duration pause) {
    std::promise<void> over;
    after(client_->parts().clock.now() + pause, [&over] { over.set_value(); });
    over.get_future().get();
  }

  // Negative: it is not tried again.
  Duration pause_after(const Error& error, int attempt) const {
    if (error.code() != Errc::kTransient || attempt == kStreamAttempts ||
        context_.cancel.cancelled())
      return Duration(-1);
    const Duration backoff = kStreamPause * (1 << attempt);
    const auto jitter =
        static_cast<int64_t>(client_->parts().rng.below(static_cast<uint64_t>(backoff.count())));
    return std::max<Duration>(error.retry_after(), Duration(jitter));
  }

  void send_part(size_t index, Buffer bytes, int attempt) {
    {
      std::unique_lock lock(mutex_);
      if (failed_) {
        lock.unlock();
        return part_over(bytes.size(), {});
      }
    }
    S3Call call = make_call("PUT");
    call.use = S3Use::kPart;
    call.query = {{"partNumber", std::to_string(index + 1)}, {"uploadId", upload_id_}};
    call.body = Body(bytes);
    const S3Call sent = call;
    client_->send(std::move(call), [self = shared_from_this(), sent, index, attempt,
                                    bytes = std::move(bytes)](Result<S3Answer> answer) {
      self->part_answered(sent, index, bytes, attempt, answer);
    });
  }

  void part_answered(const S3Call& sent, size_t index, const Buffer& bytes, int attempt,
                     const Result<S3Answer>& answer) {
    if (answer && answer->response.status == 200) {
      const std::string* etag = answer->response.header("etag");
      if (etag == nullptr)
        return part_over(bytes.size(), Error(Errc::kIo, "put " + client_->object_name(key_) +
                                                            ": the store gave no ETag for a part"));
      {
        const std::lock_guard lock(mutex_);
        parts_[index] = {static_cast<int>(index + 1), *etag, answer->crc32c};
      }
      return part_over(bytes.size(), {});
    }
    const Error error = answer ? client_->error_of(sent, *answer) : answer.error();
    const Duration pause = pause_after(error, attempt);
    if (pause.count() < 0) return part_over(bytes.size(), error);
    after(client_->parts().clock.now() + pause, [self = shared_from_this(), index, bytes, attempt] {
      self->send_part(index, bytes, attempt + 1);
    });
  }

  void part_over(uint64_t bytes, std::optional<Error> error) {
    const std::lock_guard lock(mutex_);
    in_flight_bytes_ -= bytes;
    if (error && !failed_) failed_ = std::move(error);
    changed_.notify_all();
  }

  const std::shared_ptr<S3Client> client_;
  const std::string key_;
  const PutHow how_;
  const Context context_;
  std::string upload_id_;  // never changes once the first part is sent

  RankedMutex<Rank::kStore> mutex_;
  ConditionVariable changed_;
  std::vector<S3Part> parts_;  // protected by mutex_, as is all below
  uint64_t in_flight_bytes_ = 0;
  std::optional<Error> failed_;
};

// As much as a part has, or what is left.
Result<Buffer> read_part(const ReadStream& read, uint64_t bytes, bool is_first,
                         const Context& context) {
  ByteVec out;
  // Of the first one not all at once: many streams are short.
  constexpr size_t kStep = 1 << 20;
  if (!is_first) out.resize(bytes);
  size_t filled = 0;
  while (filled < bytes) {
    if (context.cancel.cancelled()) return fail(Errc::kCancelled, "the upload was given up");
    if (out.size() - filled < kStep)
      out.resize(std::min<size_t>(bytes, std::max(out.size() * 2, kStep)));
    TRY_ASSIGN(const size_t n, read(MutableBytes(out).subspan(filled)));
    if (n == 0) break;
    filled += n;
  }
  out.resize(filled);
  return Buffer(std::move(out));
}

Result<std::string> send_all(StreamUpload& upload, Buffer part, const ReadStream& read,
                             const Context& context) {
  for (uint64_t index = 0; !part.empty(); ++index) {
    const bool is_last = part.size() < stream_part_bytes(index);
    TRY(upload.send(std::move(part)));
    if (is_last) break;
    TRY_ASSIGN(part, read_part(read, stream_part_bytes(index + 1), false, context));
  }
  return upload.complete();
}

}  // namespace

uint64_t stream_part_bytes(uint64_t index) {
  const uint64_t doubled = std::min<uint64_t>(index / kStreamPartsAlike, 16);
  return std::min(kStreamPartBytes << doubled, kStreamPartBytesMax);
}

Result<std::string> put_stream(const std::shared_ptr<S3Client>& client, const std::string& key,
                               const ReadStream& read, const PutHow& how, const Context& context,
                               const std::function<Result<std::string>(Body)>& put_short) {
  TRY_ASSIGN(Buffer first, read_part(read, stream_part_bytes(0), true, context));
  if (first.size() < stream_part_bytes(0)) return put_short(Body(std::move(first)));
  const auto upload = std::make_shared<StreamUpload>(client, key, how, context);
  TRY(upload->begin());
  auto etag = send_all(*upload, std::move(first), read, context);
  if (!etag) upload->abort();
  return etag;
}

}  // namespace cairn
