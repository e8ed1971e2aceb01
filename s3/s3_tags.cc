#include "s3/s3_tags.h"

#include <utility>

#include "cache/base/digest.h"
#include "cache/base/legacy_digest.h"
#include "s3/s3_xml.h"

namespace cairn {

namespace {

S3Call tagging_call(std::string operation, std::string method, std::string key,
                    const std::string& version, Context context) {
  S3Call call;
  call.operation = std::move(operation) + (version.empty() ? "" : " a version of");
  call.method = std::move(method);
  call.key = std::move(key);
  call.query = {{"tagging", ""}};
  if (!version.empty()) call.query.emplace_back("versionId", version);
  call.context = std::move(context);
  return call;
}

}  // namespace

void get_object_tags(const std::shared_ptr<S3Client>& client, std::string key, std::string version,
                     Context context, Callback<ObjectTags> done) {
  S3Call call = tagging_call("get the tags of", "GET", std::move(key), version, std::move(context));
  const S3Call sent = call;
  client->send(std::move(call), [client, sent, done = std::move(done)](Result<S3Answer> answer) {
    if (!answer) return done(tl::unexpected<Error>(std::move(answer).error()));
    const HttpResponse& response = answer->response;
    if (response.status == 200) {
      auto tags = parse_tagging(response.body);
      if (!tags)
        tags = tl::unexpected<Error>(
            std::move(tags).error().wrap("tags of " + client->object_name(sent.key)));
      return done(std::move(tags));
    }
    // How some stores say that there are none.
    const auto error = parse_s3_error(response.body);
    if (error && error->code == "NoSuchTagSet") return done(ObjectTags());
    done(tl::unexpected<Error>(client->error_of(sent, *answer)));
  });
}

void put_object_tags(const std::shared_ptr<S3Client>& client, std::string key, std::string version,
                     const ObjectTags& tags, Context context, Callback<void> done) {
  S3Call call = tagging_call("put the tags of", tags.empty() ? "DELETE" : "PUT", std::move(key),
                             version, std::move(context));
  if (!tags.empty()) {
    const std::string document = format_tagging(tags);
    const auto sum = md5(as_bytes(document));
    call.headers = {{"content-type", "application/xml"}, {"content-md5", to_base64(sum)}};
    call.body = Body(Buffer::copy(document));
  }
  const S3Call sent = call;
  client->send(std::move(call), [client, sent, done = std::move(done)](Result<S3Answer> answer) {
    if (!answer) return done(tl::unexpected<Error>(std::move(answer).error()));
    const int status = answer->response.status;
    if (status == 200 || status == 204) return done({});
    done(tl::unexpected<Error>(client->error_of(sent, *answer)));
  });
}

}  // namespace cairn
