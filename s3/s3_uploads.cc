#include "s3/s3_uploads.h"

#include <deque>
#include <utility>

#include "s3/s3_error.h"
#include "s3/s3_xml.h"

namespace cairn {

namespace {

constexpr size_t kPageMax = 1000;
constexpr unsigned kPagesMax = 1000;

class StaleUploads : public std::enable_shared_from_this<StaleUploads> {
 public:
  StaleUploads(std::shared_ptr<S3Client> client, std::string prefix, Duration older_than,
               Context context, Callback<uint64_t> done)
      : client_(std::move(client)),
        prefix_(std::move(prefix)),
        older_than_(older_than),
        context_(std::move(context)),
        done_(std::move(done)) {}

  void list() {
    S3Call call = make_call("GET", "");
    call.query = {
        {"uploads", ""}, {"max-uploads", std::to_string(kPageMax)}, {"encoding-type", "url"}};
    if (client_->is_aws() && !prefix_.empty()) call.query.emplace_back("prefix", prefix_);
    if (!place_.next_key.empty()) {
      call.query.emplace_back("key-marker", place_.next_key);
      call.query.emplace_back("upload-id-marker", place_.next_upload_id);
    }
    call.max_response_bytes = kMaxXmlBytes;
    const S3Call sent = call;
    client_->send(std::move(call), [self = shared_from_this(), sent](Result<S3Answer> answer) {
      if (!answer) return self->done_(tl::unexpected<Error>(std::move(answer).error()));
      if (answer->response.status != 200)
        return self->done_(tl::unexpected<Error>(self->client_->error_of(sent, *answer)));
      self->take_page(answer->response);
    });
  }

 private:
  S3Call make_call(std::string method, std::string key) const {
    S3Call call;
    call.operation = "abort old uploads of";
    call.method = std::move(method);
    call.key = std::move(key);
    call.context = context_;
    return call;
  }

  void take_page(const HttpResponse& response) {
    auto page = parse_list_uploads(response.body, kPageMax);
    if (!page)
      return done_(tl::unexpected<Error>(
          std::move(page).error().wrap("list uploads of " + client_->object_name(prefix_))));
    const std::string* date = response.header("date");
    const int64_t said = date == nullptr ? -1 : parse_http_date(*date);
    const int64_t now = said >= 0 ? said * 1'000'000'000 : client_->parts().clock.wall_ns();
    for (S3ListedUpload& upload : page->uploads)
      if (upload.key.starts_with(prefix_) && now - upload.begun_ns > older_than_.count())
        stale_.push_back(std::move(upload));
    const bool goes_on = page->truncated && (page->next_key != place_.next_key ||
                                             page->next_upload_id != place_.next_upload_id);
    last_page_ = !goes_on || page->next_key.empty() || ++pages_ >= kPagesMax;
    page->uploads.clear();
    place_ = *std::move(page);
    abort_next();
  }

  void abort_next() {
    if (stale_.empty()) {
      if (last_page_) return done_(aborted_);
      return list();
    }
    const S3ListedUpload upload = std::move(stale_.front());
    stale_.pop_front();
    S3Call call = make_call("DELETE", upload.key);
    call.query = {{"uploadId", upload.id}};
    const S3Call sent = call;
    client_->send(std::move(call), [self = shared_from_this(), sent](Result<S3Answer> answer) {
      if (!answer) return self->done_(tl::unexpected<Error>(std::move(answer).error()));
      const int status = answer->response.status;
      if (status >= 200 && status < 300) {
        ++self->aborted_;
        return self->abort_next();
      }
      const auto error = parse_s3_error(answer->response.body);
      if (status == 404 && error && error->code == "NoSuchUpload") return self->abort_next();
      self->done_(tl::unexpected<Error>(self->client_->error_of(sent, *answer)));
    });
  }

  const std::shared_ptr<S3Client> client_;
  const std::string prefix_;
  const Duration older_than_;
  const Context context_;
  const Callback<uint64_t> done_;
  // Only the one request under way touches these.
  std::deque<S3ListedUpload> stale_;
  S3UploadListing place_;
  bool last_page_ = false;
  unsigned pages_ = 0;
  uint64_t aborted_ = 0;
};

}  // namespace

void abort_stale_uploads(std::shared_ptr<S3Client> client, std::string prefix, Duration older_than,
                         Context context, Callback<uint64_t> done) {
  std::make_shared<StaleUploads>(std::move(client), std::move(prefix), older_than,
                                 std::move(context), std::move(done))
      ->list();
}

}  // namespace cairn
