#include "s3/s3_put.h"

#include <utility>

#include "s3/s3_headers.h"
#include "s3/s3_multipart.h"
#include "s3/s3_parts.h"
#include "s3/s3_xml.h"

namespace cairn {

namespace {

constexpr uint64_t kSlowestCopy = 20 << 20;  // bytes a second
constexpr Duration kCopyPatience = std::chrono::seconds(30);

void put_bytes(const std::shared_ptr<S3Client>& client, S3Put put, Callback<std::string> done) {
  S3Call call;
  call.operation = "put";
  call.method = "PUT";
  call.use = S3Use::kCreate;
  call.key = std::move(put.key);
  call.context = std::move(put.context);
  append_object_headers(put.how.headers, call.headers);
  set_condition(put.how, call);
  call.body = std::move(put.body);
  const S3Call sent = call;
  client->send(std::move(call), [client, sent, done = std::move(done)](Result<S3Answer> answer) {
    if (!answer) return done(tl::unexpected<Error>(std::move(answer).error()));
    if (answer->response.status != 200)
      return done(tl::unexpected<Error>(client->error_of(sent, *answer)));
    const std::string* etag = answer->response.header("etag");
    done(etag == nullptr ? std::string() : *etag);
  });
}

void copy_object(const std::shared_ptr<S3Client>& client, const S3Put& put,
                 const ObjectRange& object, Callback<std::string> done) {
  S3Call call;
  call.operation = "put";
  call.method = "PUT";
  call.use = S3Use::kCreate;
  call.key = put.key;
  call.context = put.context;
  append_object_headers(put.how.headers, call.headers);
  call.headers.push_back({"x-amz-metadata-directive", "REPLACE"});
  set_condition(put.how, call);
  set_copy_source(*client, put.key_prefix, object, call);
  const S3Call sent = call;
  client->send(std::move(call), [client, sent, done = std::move(done)](Result<S3Answer> answer) {
    if (!answer) return done(tl::unexpected<Error>(std::move(answer).error()));
    // S3 answers 200 as soon as it has begun, and may still fail in the body.
    auto copied = parse_copy_result(answer->response.body);
    if (answer->response.status != 200 || !copied)
      return done(tl::unexpected<Error>(client->error_of(sent, *answer)));
    done(std::move(copied->etag));
  });
}

}  // namespace

void set_condition(const PutHow& how, S3Call& call) {
  if (how.condition == PutCondition::kAlways) return;
  call.may_resend = false;  // its own success would answer the second one
  if (how.condition == PutCondition::kIfAbsent) {
    call.headers.push_back({"if-none-match", "*"});
  } else {
    call.headers.push_back({"if-match", how.if_match});
    call.conflict = S3Conflict::kOtherVersion;
  }
}

void set_copy_source(const S3Client& client, const std::string& key_prefix,
                     const ObjectRange& object, S3Call& call) {
  call.headers.push_back({"x-amz-copy-source", "/" + uri_encode(client.settings().bucket, false) +
                                                   "/" +
                                                   uri_encode(key_prefix + object.key, true)});
  call.headers.push_back({"x-amz-copy-source-if-match", object.etag});
  append_copy_source_headers(client.settings().options, call.headers);
  call.conflict = S3Conflict::kOtherSource;
  // The store may say nothing before it is done.
  call.stall_timeout = kCopyPatience + std::chrono::seconds(object.range.length / kSlowestCopy);
}

void put_object(std::shared_ptr<S3Client> client, S3Put put, Callback<std::string> done) {
  const ObjectRange* whole = whole_object(put.body);
  if (whole != nullptr && (put.how.condition == PutCondition::kAlways || client->is_aws()))
    return copy_object(client, put, *whole, std::move(done));
  if (put.body.has_object_ranges() || put.body.size() > client->settings().multipart_threshold)
    return put_multipart(std::move(client), std::move(put), std::move(done));
  put_bytes(client, std::move(put), std::move(done));
}

}  // namespace cairn
