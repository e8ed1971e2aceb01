#include "s3/s3_store.h"
#include "s3/request.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>

#include "s3/s3_get.h"
#include "s3/s3_head.h"
#include "s3/s3_headers.h"
#include "s3/s3_list.h"
#include "s3/s3_put.h"
#include "s3/s3_tags.h"
#include "s3/s3_uploads.h"
#include "s3/s3_versions.h"
#include "s3/s3_xml.h"

namespace cairn {

namespace {

constexpr uint64_t kAnswerSlack = 64 * 1024;  // an error document instead of the bytes asked for

void send_head(const std::shared_ptr<S3Client>& client, const std::string& key,
               const Context& context, Callback<GetResult> done) {
  S3Call call;
  call.operation = "get";
  call.method = "HEAD";
  call.use = S3Use::kRead;
  call.key = key;
  call.context = context;
  const S3Call sent = call;
  client->send(std::move(call), [client, sent, done = std::move(done)](Result<S3Answer> answer) {
    if (!answer) return done(tl::unexpected<Error>(std::move(answer).error()));
    const HttpResponse& response = answer->response;
    if (response.status != 200) return done(tl::unexpected<Error>(client->error_of(sent, *answer)));
    GetResult out;
    if (const std::string* etag = response.header("etag")) out.etag = *etag;
    const std::string* length = response.header("content-length");
    const auto size = length == nullptr ? std::nullopt : parse_content_range("bytes */" + *length);
    if (!size)
      return done(fail(Errc::kIo, "get " + client->object_name(sent.key) +
                                      ": the store does not say how large the object is"));
    out.object_size = size->size;
    done(std::move(out));
  });
}

uint64_t bytes_wanted(const GetRange& range, const S3Settings& settings) {
  if (range.kind == GetRange::Kind::kAll) return settings.max_get_bytes;
  return std::min(range.length, settings.max_get_bytes);
}

}  // namespace

S3Store::S3Store(std::shared_ptr<S3Client> client)
    : client_(std::move(client)),
      key_prefix_(client_->settings().prefix.empty() ? "" : client_->settings().prefix + "/") {}

Result<std::unique_ptr<S3Store>> S3Store::make(S3Settings settings, S3Parts parts) {
  if (settings.bucket.empty()) return fail(Errc::kInvalid, "a store of objects needs a bucket");
  TRY_ASSIGN(auto client, S3Client::make(std::move(settings), std::move(parts)));
  return std::unique_ptr<S3Store>(new S3Store(std::move(client)));
}

std::string S3Store::description() const {
  return client_->object_name(client_->settings().prefix);
}

std::string S3Store::server() const {
  return client_->server();
}

// Tells the caller (as a task) when the key breaks the port's rule, or S3's once it has our prefix.
bool S3Store::refuse_key(const std::string& key, Status (*check)(std::string_view),
                         const std::function<void(Error)>& refuse) const {
  auto ok = check(key);
  if (ok) ok = check(full_key(key));
  if (ok) return false;
  client_->parts().executor.submit(
      [refuse, error = std::move(ok).error().wrap(description())] { refuse(error); });
  return true;
}

// The same of a list's limit.
bool S3Store::refuse_limit(uint32_t limit, const std::function<void(Error)>& refuse) const {
  auto ok = check_list_limit(limit);
  if (ok) return false;
  client_->parts().executor.submit(
      [refuse, error = std::move(ok).error().wrap("list " + description())] { refuse(error); });
  return true;
}

void S3Store::get(std::string key, GetRange range, Context context, Callback<GetResult> done) {
  const auto refuse = [done](Error e) { done(tl::unexpected<Error>(std::move(e))); };
  if (refuse_key(key, check_any_key, refuse)) return;
  const uint64_t wanted = bytes_wanted(range, client_->settings());
  S3Call call;
  call.operation = range.version.empty() ? "get" : "get a version of";
  call.method = "GET";
  call.use = S3Use::kRead;
  call.key = full_key(key);
  call.context = context;
  if (auto header = range_header(range)) call.headers.push_back({"range", *std::move(header)});
  if (!range.if_match.empty()) call.headers.push_back({"if-match", range.if_match});
  if (!range.version.empty()) call.query.emplace_back("versionId", range.version);
  call.max_response_bytes = wanted + kAnswerSlack;
  call.expected_response_bytes = std::min<uint64_t>(wanted, 64 << 20);
  const S3Call sent = call;
  client_->send(std::move(call), [client = client_, sent, range,
                                  done = std::move(done)](Result<S3Answer> answer) mutable {
    if (!answer) return done(tl::unexpected<Error>(std::move(answer).error()));
    HttpResponse& response = answer->response;
    const std::string what = "get " + client->object_name(sent.key);
    if (response.status == 200 || response.status == 206)
      return done(read_get_answer(std::move(response), range, what));
    if (response.status == 412 && !range.if_match.empty())
      return done(fail(Errc::kPrecondition, what + ": the object is another version now"));
    if (is_delete_marker(response))
      return done(fail(Errc::kNotFound, what + ": it is a delete marker"));
    if (response.status != 416) return done(tl::unexpected<Error>(client->error_of(sent, *answer)));
    const auto size = size_from_unsatisfied(response);
    // The whole of an empty object is all there is; whoever does not say so is asked.
    if (!size) return send_head(client, sent.key, sent.context, std::move(done));
    GetResult empty;
    empty.object_size = *size;
    if (const std::string* etag = response.header("etag")) empty.etag = *etag;
    done(std::move(empty));
  });
}

void S3Store::head(std::string key, Context context, Callback<ObjectHead> done) {
  head_version(std::move(key), {}, std::move(context), std::move(done));
}

void S3Store::head_version(std::string key, std::string version, Context context,
                           Callback<ObjectHead> done) {
  const auto refuse = [done](Error e) { done(tl::unexpected<Error>(std::move(e))); };
  if (refuse_key(key, check_any_key, refuse)) return;
  head_object(client_, full_key(key), key, std::move(version), std::move(context), std::move(done));
}

void S3Store::get_tags(std::string key, std::string version, Context context,
                       Callback<ObjectTags> done) {
  const auto refuse = [done](Error e) { done(tl::unexpected<Error>(std::move(e))); };
  if (key.empty()) return get_object_tags(client_, {}, {}, std::move(context), std::move(done));
  if (refuse_key(key, check_any_key, refuse)) return;
  get_object_tags(client_, full_key(key), std::move(version), std::move(context), std::move(done));
}

void S3Store::put_tags(std::string key, std::string version, ObjectTags tags, Context context,
                       Callback<void> done) {
  const auto refuse = [done](Error e) { done(tl::unexpected<Error>(std::move(e))); };
  if (refuse_key(key, check_any_key, refuse)) return;
  if (auto ok = check_tags(tags); !ok) {
    client_->parts().executor.submit(
        [refuse, error = std::move(ok).error().wrap(description())] { refuse(error); });
    return;
  }
  put_object_tags(client_, full_key(key), std::move(version), tags, std::move(context),
                  std::move(done));
}

void S3Store::list_versions(ListScope scope, std::string after, uint32_t limit, Context context,
                            Callback<VersionPage> done) {
  const auto refuse = [done](Error e) { done(tl::unexpected<Error>(std::move(e))); };
  if (refuse_limit(limit, refuse)) return;
  list_object_versions(client_,
                       {key_prefix_, std::move(scope), std::move(after), limit, std::move(context)},
                       std::move(done));
}

void S3Store::keeps_versions(Context context, Callback<bool> done) {
  bucket_keeps_versions(client_, std::move(context), std::move(done));
}

void S3Store::put(std::string key, Body body, PutHow how, Context context,
                  Callback<std::string> done) {
  const auto refuse = [done](Error e) { done(tl::unexpected<Error>(std::move(e))); };
  if (refuse_key(key, check_key, refuse)) return;
  if (auto ok = check_put(body, how); !ok) {
    client_->parts().executor.submit(
        [refuse, error = std::move(ok).error().wrap(description())] { refuse(error); });
    return;
  }
  put_object(client_,
             {full_key(key), key_prefix_, std::move(body), std::move(how), std::move(context)},
             std::move(done));
}

Result<std::string> S3Store::put_stream(ObjectStore& small, const std::string& key,
                                        const ReadStream& read, const PutHow& how,
                                        const Context& context) {
  TRY(check_key(key));
  TRY(check_key(full_key(key)));
  TRY(check_put(Body(), how));
  return cairn::put_stream(client_, full_key(key), read, how, context, [&](Body body) {
    return put_sync(small, key, std::move(body), how, context);
  });
}

void S3Store::remove(std::string key, Context context, Callback<void> done) {
  const auto refuse = [done](Error e) { done(tl::unexpected<Error>(std::move(e))); };
  if (refuse_key(key, check_key, refuse)) return;
  S3Call call;
  call.operation = "remove";
  call.method = "DELETE";
  call.key = full_key(key);
  call.context = std::move(context);
  const S3Call sent = call;
  client_->send(std::move(call),
                [client = client_, sent, done = std::move(done)](Result<S3Answer> answer) {
                  if (!answer) return done(tl::unexpected<Error>(std::move(answer).error()));
                  const int status = answer->response.status;
                  if (status == 200 || status == 204) return done({});
                  const auto error = parse_s3_error(answer->response.body);
                  if (status == 404 && error && error->code == "NoSuchKey") return done({});
                  done(tl::unexpected<Error>(client->error_of(sent, *answer)));
                });
}

void S3Store::list(ListScope scope, std::string after, uint32_t limit, Context context,
                   Callback<ListPage> done) {
  const auto refuse = [done](Error e) { done(tl::unexpected<Error>(std::move(e))); };
  if (refuse_limit(limit, refuse)) return;
  S3ListRequest request{key_prefix_, std::move(scope), std::move(after), limit, std::move(context)};
  list_objects(client_, std::move(request), std::move(done));
}

void S3Store::abort_stale_uploads(Duration older_than, Context context, Callback<uint64_t> done) {
  cairn::abort_stale_uploads(client_, key_prefix_, older_than, std::move(context), std::move(done));
}

void S3Store::check_access(Context context, Callback<void> done) {
  list("", "", 1, std::move(context),
       [client = client_, done = std::move(done)](Result<ListPage> page) {
         if (page) return done({});
         Error error = std::move(page).error();
         if (error.code() == Errc::kIo)
           error = std::move(error).wrap("what answers is no S3 store, check --endpoint-url");
         done(tl::unexpected<Error>(std::move(error)));
       });
}

Status S3Store::check_access_sync(Context context) {
  std::promise<Status> answer;
  check_access(std::move(context), [&](Status status) { answer.set_value(std::move(status)); });
  return answer.get_future().get();
}

}  // namespace cairn
