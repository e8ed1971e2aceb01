#include "s3/s3_put.h"

#include <utility>

#include "cache/base/log.h"
#include "s3/object_tags.h"
#include "s3/request.h"
#include "s3/s3_headers.h"
#include "s3/s3_multipart.h"
#include "s3/s3_parts.h"
#include "s3/s3_tags.h"
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
  append_put_headers(put.how, call);
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
  append_put_headers(put.how, call);
  call.headers.push_back({"x-amz-metadata-directive", "REPLACE"});
  if (put.how.tags) call.headers.push_back({"x-amz-tagging-directive", "REPLACE"});
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

void put_with_tags_of(const std::shared_ptr<S3Client>& client, S3Put put,
                      Callback<std::string> done) {
  const std::string key = put.key_prefix + copied_object(put.body)->key;
  const Context context = put.context;
  get_object_tags(
      client, key, {}, context,
      [client, put = std::move(put), done = std::move(done)](Result<ObjectTags> tags) {
        const Errc code = tags ? Errc::kUnsupported : tags.error().code();
        if (!tags && code == Errc::kNotFound)
          return done(fail(Errc::kPrecondition, tags.error().message()));
        // Who knows of no tags may answer with the object itself.
        if (!tags && code != Errc::kUnsupported && code != Errc::kIo && code != Errc::kPermission)
          return done(tl::unexpected<Error>(std::move(tags).error().with_no_effect()));
        if (code == Errc::kPermission)
          log_once_per(std::chrono::hours(1), "tags of copies",
                       "copies are made without tags: " + tags.error().message());
        S3Put tagged = put;
        tagged.how.tags = tags ? *std::move(tags) : ObjectTags();
        put_multipart(client, std::move(tagged), done);
      });
}

}  // namespace

void append_put_headers(const PutHow& how, S3Call& call) {
  append_object_headers(how.headers, call.headers);
  if (how.tags && !how.tags->empty())
    call.headers.push_back({"x-amz-tagging", format_tags(*how.tags)});
  if (!how.storage_class.empty())
    call.headers.push_back({"x-amz-storage-class", how.storage_class});
}

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
  // An upload has the tags that are said at its beginning.
  if (!put.how.tags && copied_object(put.body) != nullptr)
    return put_with_tags_of(client, std::move(put), std::move(done));
  if (put.body.has_object_ranges() || put.body.size() > client->settings().multipart_threshold)
    return put_multipart(std::move(client), std::move(put), std::move(done));
  put_bytes(client, std::move(put), std::move(done));
}

}  // namespace cairn
