#include "s3/s3_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>

#include "s3/s3_get.h"
#include "s3/s3_multipart.h"
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

Result<ListPage> page_of(const S3Listing& listing, const std::string& key_prefix,
                         const std::string& full_prefix, const std::string& after,
                         const std::string& what) {
  const auto bad = [&](std::string_view why) {
    return fail(Errc::kIo, fmt::format("{}: the store's answer does not add up: {}", what, why));
  };
  ListPage page;
  page.truncated = listing.truncated;
  std::string_view last = after;
  for (const S3ListedObject& object : listing.objects) {
    if (!object.key.starts_with(full_prefix)) return bad("a key without the prefix asked for");
    if (std::string_view(object.key) <= last) return bad("the keys are not in byte order");
    last = object.key;
    // A "folder" that a console made for the prefix itself is no object of ours.
    if (object.key.size() == key_prefix.size()) continue;
    page.objects.push_back(
        {object.key.substr(key_prefix.size()), object.size, object.etag, object.mtime_ns});
  }
  if (page.truncated && listing.objects.empty()) return bad("an empty page, but more to come");
  return page;
}

struct ListRequest {
  std::string full_prefix;
  std::string full_after;  // empty: from the start
  uint32_t limit = 0;
  Context context;
  bool is_check = false;
};

void send_list(const std::shared_ptr<S3Client>& client, const std::string& key_prefix,
               ListRequest request, Callback<ListPage> done);

// MinIO (2025-10) says IsTruncated=false on some full pages that more keys follow. So whoever calls
// a full page the last one is asked whether there is one more key.
void verify_last_page(const std::shared_ptr<S3Client>& client, const std::string& key_prefix,
                      ListRequest request, std::string last_key, ListPage page,
                      Callback<ListPage> done) {
  request.full_after = std::move(last_key);
  request.limit = 1;
  request.is_check = true;
  send_list(client, key_prefix, std::move(request),
            [page = std::move(page), done = std::move(done)](Result<ListPage> next) mutable {
              if (!next) return done(std::move(next));
              page.truncated = !next->objects.empty();
              done(std::move(page));
            });
}

void send_list(const std::shared_ptr<S3Client>& client, const std::string& key_prefix,
               ListRequest request, Callback<ListPage> done) {
  S3Call call;
  call.operation = "list";
  call.method = "GET";
  call.query = {{"list-type", "2"},
                {"encoding-type", "url"},
                {"max-keys", std::to_string(request.limit)},
                {"prefix", request.full_prefix}};
  if (!request.full_after.empty()) call.query.emplace_back("start-after", request.full_after);
  call.context = request.context;
  call.max_response_bytes = kMaxXmlBytes;
  const S3Call sent = call;
  client->send(std::move(call), [client, key_prefix, request = std::move(request), sent,
                                 done = std::move(done)](Result<S3Answer> answer) mutable {
    if (!answer) return done(tl::unexpected<Error>(std::move(answer).error()));
    if (answer->response.status != 200)
      return done(tl::unexpected<Error>(client->error_of(sent, *answer)));
    const std::string what = "list " + client->object_name(request.full_prefix);
    auto listing = parse_list_objects(answer->response.body, request.limit);
    if (!listing) return done(tl::unexpected<Error>(std::move(listing).error().wrap(what)));
    auto page = page_of(*listing, key_prefix, request.full_prefix, request.full_after, what);
    if (page && page->truncated && page->objects.empty()) {  // only the folder marker so far
      request.full_after = listing->objects.back().key;
      return send_list(client, key_prefix, std::move(request), std::move(done));
    }
    if (page && !page->truncated && !request.is_check && listing->objects.size() == request.limit) {
      std::string last = listing->objects.back().key;
      return verify_last_page(client, key_prefix, std::move(request), std::move(last),
                              *std::move(page), std::move(done));
    }
    done(std::move(page));
  });
}

}  // namespace

S3Store::S3Store(std::shared_ptr<S3Client> client)
    : client_(std::move(client)),
      key_prefix_(client_->settings().prefix.empty() ? "" : client_->settings().prefix + "/") {}

Result<std::unique_ptr<S3Store>> S3Store::make(S3Settings settings, S3Parts parts) {
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
bool S3Store::refuse_key(const std::string& key, const std::function<void(Error)>& refuse) const {
  auto ok = check_key(key);
  if (ok) ok = check_key(full_key(key));
  if (ok) return false;
  client_->parts().executor.submit(
      [refuse, error = std::move(ok).error().wrap(description())] { refuse(error); });
  return true;
}

void S3Store::get(std::string key, GetRange range, Context context, Callback<GetResult> done) {
  const auto refuse = [done](Error e) { done(tl::unexpected<Error>(std::move(e))); };
  if (refuse_key(key, refuse)) return;
  const uint64_t wanted = bytes_wanted(range, client_->settings());
  S3Call call;
  call.operation = "get";
  call.method = "GET";
  call.use = S3Use::kRead;
  call.key = full_key(key);
  call.context = context;
  if (auto header = range_header(range)) call.headers.push_back({"range", *std::move(header)});
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

void S3Store::put(std::string key, Body body, PutCondition condition, Context context,
                  Callback<std::string> done) {
  const auto refuse = [done](Error e) { done(tl::unexpected<Error>(std::move(e))); };
  if (refuse_key(key, refuse)) return;
  if (body.size() > client_->settings().multipart_threshold)
    return put_multipart(client_, full_key(key), std::move(body), condition, std::move(context),
                         std::move(done));
  S3Call call;
  call.operation = "put";
  call.method = "PUT";
  call.use = S3Use::kCreate;
  call.key = full_key(key);
  call.context = std::move(context);
  call.headers.push_back({"content-type", "application/octet-stream"});
  if (condition == PutCondition::kIfAbsent) {
    call.headers.push_back({"if-none-match", "*"});
    call.may_resend = false;  // its own success would answer the second one
  }
  call.body = std::move(body);
  const S3Call sent = call;
  client_->send(std::move(call),
                [client = client_, sent, done = std::move(done)](Result<S3Answer> answer) {
                  if (!answer) return done(tl::unexpected<Error>(std::move(answer).error()));
                  if (answer->response.status != 200)
                    return done(tl::unexpected<Error>(client->error_of(sent, *answer)));
                  const std::string* etag = answer->response.header("etag");
                  done(etag == nullptr ? std::string() : *etag);
                });
}

void S3Store::remove(std::string key, Context context, Callback<void> done) {
  const auto refuse = [done](Error e) { done(tl::unexpected<Error>(std::move(e))); };
  if (refuse_key(key, refuse)) return;
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

void S3Store::list(std::string prefix, std::string after, uint32_t limit, Context context,
                   Callback<ListPage> done) {
  if (limit < 1 || limit > 1000) {
    client_->parts().executor.submit([done, what = description()] {
      done(fail(Errc::kInvalid, "list " + what + ": the limit is not from 1 to 1000"));
    });
    return;
  }
  ListRequest request;
  request.full_prefix = key_prefix_ + prefix;
  request.full_after = after.empty() ? "" : key_prefix_ + after;
  request.limit = limit;
  request.context = std::move(context);
  send_list(client_, key_prefix_, std::move(request), std::move(done));
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
