#include "s3/s3_head.h"

#include <utility>

#include "s3/s3_headers.h"

namespace cairn {

namespace {

class HeadRequest : public std::enable_shared_from_this<HeadRequest> {
 public:
  HeadRequest(std::shared_ptr<S3Client> client, std::string key, std::string name,
              std::string version, Context context, Callback<ObjectHead> done)
      : client_(std::move(client)),
        key_(std::move(key)),
        name_(std::move(name)),
        version_(std::move(version)),
        context_(std::move(context)),
        done_(std::move(done)) {}

  void ask() {
    S3Call call = make_call("HEAD");
    const S3Call sent = call;
    client_->send(std::move(call), [self = shared_from_this(), sent](Result<S3Answer> answer) {
      if (!answer) return self->done_(tl::unexpected<Error>(std::move(answer).error()));
      const HttpResponse& response = answer->response;
      const std::string what = "head " + self->client_->object_name(self->key_);
      if (response.status == 200) return self->done_(read_head_answer(response, self->name_, what));
      if (response.status >= 400 && response.status < 500 && !self->asked_why_)
        return self->ask_why();
      self->done_(tl::unexpected<Error>(self->client_->error_of(sent, *answer)));
    });
  }

 private:
  S3Call make_call(std::string method) const {
    S3Call call;
    call.operation = version_.empty() ? "head" : "head a version of";
    call.method = std::move(method);
    call.use = S3Use::kRead;
    call.key = key_;
    if (!version_.empty()) call.query.emplace_back("versionId", version_);
    call.context = context_;
    return call;
  }

  void ask_why() {
    asked_why_ = true;
    S3Call call = make_call("GET");
    call.headers.push_back({"range", "bytes=0-0"});
    const S3Call sent = call;
    client_->send(std::move(call), [self = shared_from_this(), sent](Result<S3Answer> answer) {
      if (!answer) return self->done_(tl::unexpected<Error>(std::move(answer).error()));
      const int status = answer->response.status;
      // It is there after all (416: and empty).
      if (status == 200 || status == 206 || status == 416) return self->ask();
      const std::string what = "head " + self->client_->object_name(self->key_);
      if (is_delete_marker(answer->response))
        return self->done_(fail(Errc::kNotFound, what + ": it is a delete marker"));
      self->done_(tl::unexpected<Error>(self->client_->error_of(sent, *answer)));
    });
  }

  const std::shared_ptr<S3Client> client_;
  const std::string key_;
  const std::string name_;
  const std::string version_;
  const Context context_;
  const Callback<ObjectHead> done_;
  bool asked_why_ = false;  // only the one request under way touches it
};

}  // namespace

void head_object(std::shared_ptr<S3Client> client, std::string key, std::string name,
                 std::string version, Context context, Callback<ObjectHead> done) {
  std::make_shared<HeadRequest>(std::move(client), std::move(key), std::move(name),
                                std::move(version), std::move(context), std::move(done))
      ->ask();
}

}  // namespace cairn
