#include "s3/s3_options.h"

#include <doctest/doctest.h>

#include <map>
#include <mutex>

#include "cache/base/digest.h"
#include "cache/base/executor.h"
#include "cache/base/legacy_digest.h"
#include "s3/s3_store.h"
#include "tests/support/temp_dir.h"

using namespace cairn;

namespace {

struct Sent {
  std::string what;  // method, and what the query makes of it
  std::string url;
  std::map<std::string, std::string> headers;
  bool is_signed(const std::string& name) const {
    const std::string& text = headers.at("authorization");
    const size_t from = text.find("SignedHeaders=") + 14;
    return (";" + text.substr(from, text.find(',', from) - from) + ";").find(";" + name + ";") !=
           std::string::npos;
  }
};

// Takes everything; remembers what was sent.
class Recorder final : public HttpClient {
 public:
  explicit Recorder(Executor& executor) : executor_(executor) {}
  void send(HttpRequest request, Callback<HttpResponse> done) override {
    Sent sent{request.method, request.url, {}};
    for (const HttpHeader& h : request.headers) sent.headers[h.name] = h.value;
    HttpResponse response{200, {{"etag", "\"e\""}, {"content-length", "0"}}, {}};
    const auto says = [&](std::string_view part, std::string_view body) {
      if (request.url.find(part) == std::string::npos) return;
      sent.what += " " + std::string(part);
      response.body = to_vec(as_bytes(body));
    };
    says("uploads=",
         "<InitiateMultipartUploadResult><UploadId>u</UploadId>"
         "</InitiateMultipartUploadResult>");
    says("partNumber=", "");
    if (request.method == "POST")
      says("uploadId=",
           "<CompleteMultipartUploadResult><ETag>e</ETag>"
           "</CompleteMultipartUploadResult>");
    says("list-type=", "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>");
    {
      const std::lock_guard lock(mutex_);
      sent_.push_back(std::move(sent));
    }
    executor_.submit([done = std::move(done), response] { done(response); });
  }
  std::vector<Sent> sent() const {
    const std::lock_guard lock(mutex_);
    return sent_;
  }

 private:
  Executor& executor_;
  mutable std::mutex mutex_;
  std::vector<Sent> sent_;
};

// One request of every kind with these settings.
std::map<std::string, Sent> every_request(S3Settings settings) {
  ThreadExecutor executor("options-test", 1);
  const auto http = std::make_shared<Recorder>(executor);
  const auto rng = make_seeded_rng(5);
  Credentials keys;
  keys.access_key = "AK";
  keys.secret_key = Secret("s");
  settings.bucket = "data";
  settings.multipart_threshold = 100;
  settings.part_size = 100;
  auto store = S3Store::make(
      settings, {http, make_static_credentials(keys, executor), executor, system_clock(), *rng});
  REQUIRE_MESSAGE(store, store.error().message());
  const Context context{Deadline::after(system_clock(), std::chrono::seconds(30)), {}};
  const Body large(Buffer::copy(std::string(150, 'x')));
  REQUIRE(put_sync(**store, "k", Body(Buffer::copy("x")), PutCondition::kAlways, context));
  REQUIRE(put_sync(**store, "k", large, PutCondition::kAlways, context));
  REQUIRE(get_sync(**store, "k", GetRange::all(), context));
  REQUIRE(remove_sync(**store, "k", context));
  REQUIRE(list_sync(**store, "", "", 10, context));
  std::map<std::string, Sent> out;
  for (Sent& sent : http->sent()) out[sent.what] = sent;
  REQUIRE(out.size() == 7);
  return out;
}

constexpr const char* kInitiate = "POST uploads=";
constexpr const char* kPart = "PUT partNumber=";
constexpr const char* kComplete = "POST uploadId=";
constexpr const char* kList = "GET list-type=";

// The header goes with exactly these requests, has this value, and is part of the signature.
void check_header(const std::map<std::string, Sent>& requests, const std::string& name,
                  const std::string& value, const std::vector<std::string>& with) {
  for (const auto& [what, sent] : requests) {
    CAPTURE(what);
    CAPTURE(name);
    const bool wanted = std::find(with.begin(), with.end(), what) != with.end();
    REQUIRE(sent.headers.contains(name) == wanted);
    if (!wanted) continue;
    CHECK(sent.headers.at(name) == value);
    CHECK(sent.is_signed(name));
  }
}

const std::vector<std::string> kEvery{"PUT", kInitiate, kPart, kComplete, "GET", "DELETE", kList};
const std::vector<std::string> kCreates{"PUT", kInitiate};
const std::vector<std::string> kBodies{"PUT", kInitiate, kPart, "GET"};

std::string refusal(const S3Options& options, const std::string& url = "https://s.test") {
  ThreadExecutor executor("options-test", 1);
  const auto rng = make_seeded_rng(5);
  S3Settings settings;
  settings.bucket = "data";
  settings.endpoint_url = url;
  settings.options = options;
  const auto store = S3Store::make(
      settings, {std::make_shared<Recorder>(executor), make_static_credentials({}, executor),
                 executor, system_clock(), *rng});
  REQUIRE_FALSE(store);
  CHECK(store.error().code() == Errc::kInvalid);
  return store.error().message();
}

}  // namespace

TEST_CASE("s3 options: requester pays and the expected owner go with every request") {
  S3Settings settings;
  settings.options.requester_pays = true;
  settings.options.expected_bucket_owner = "123456789012";
  const auto sent = every_request(settings);
  check_header(sent, "x-amz-request-payer", "requester", kEvery);
  check_header(sent, "x-amz-expected-bucket-owner", "123456789012", kEvery);
  check_header(every_request({}), "x-amz-request-payer", "", {});
}

TEST_CASE("s3 options: encryption with keys of the store, and the storage class") {
  S3Settings settings;
  settings.options.sse = "aws:kms";
  settings.options.sse_kms_key_id = "arn:aws:kms:eu-west-1:1:key/k";
  settings.options.storage_class = "INTELLIGENT_TIERING";
  settings.options.acl = "bucket-owner-full-control";
  const auto sent = every_request(settings);
  check_header(sent, "x-amz-server-side-encryption", "aws:kms", kCreates);
  check_header(sent, "x-amz-server-side-encryption-aws-kms-key-id", "arn:aws:kms:eu-west-1:1:key/k",
               kCreates);
  check_header(sent, "x-amz-storage-class", "INTELLIGENT_TIERING", kCreates);
  check_header(sent, "x-amz-acl", "bucket-owner-full-control", kCreates);
  settings.options = {};
  settings.options.sse = "AES256";
  check_header(every_request(settings), "x-amz-server-side-encryption", "AES256", kCreates);
}

TEST_CASE("s3 options: a key of our own goes with what has a body") {
  TempDir dir;
  const std::string key(32, 'k');
  const auto read = [&](const std::string& content) {
    REQUIRE(replace_file(posix_env(), dir.path() + "/key", as_bytes(content)));
    return read_sse_c_key(posix_env(), dir.path() + "/key");
  };
  const std::string base64 = to_base64(as_bytes(key));
  CHECK(read(key)->reveal() == key);
  CHECK(read(base64 + "\n")->reveal() == key);
  for (const std::string& bad : {std::string(), key + "\n", base64.substr(1), std::string("secret"),
                                 std::string(44, '='), std::string(43, '*') + "="}) {
    const auto refused = read(bad);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message().find("expected a key of 32 bytes") != std::string::npos);
  }
  CHECK_FALSE(read_sse_c_key(posix_env(), dir.path() + "/none"));

  S3Settings settings;
  settings.options.sse_c_key = Secret(key);
  const auto sent = every_request(settings);
  const std::string prefix = "x-amz-server-side-encryption-customer-";
  check_header(sent, prefix + "algorithm", "AES256", kBodies);
  check_header(sent, prefix + "key", base64, kBodies);
  check_header(sent, prefix + "key-md5", to_base64(md5(as_bytes(key))), kBodies);
}

TEST_CASE("s3 options: what no store can serve is refused by the option's name") {
  const auto with = [](auto set) {
    S3Options options;
    set(options);
    return refusal(options);
  };
  const auto says = [](const std::string& text, std::string_view part) {
    CHECK_MESSAGE(text.find(part) != std::string::npos, text);
  };
  says(with([](S3Options& o) { o.expected_bucket_owner = "me"; }), "--expected-bucket-owner");
  says(with([](S3Options& o) { o.sse = "rot13"; }), "--sse is one of");
  says(with([](S3Options& o) { o.sse_kms_key_id = "k"; }), "needs --sse aws:kms");
  says(with([](S3Options& o) { o.storage_class = "DEEP_ARCHIVE"; }), "GLACIER_IR");
  says(with([](S3Options& o) { o.storage_class = "A\r\nB"; }), "--storage-class");
  says(with([](S3Options& o) { o.acl = "everybody"; }), "--acl is one of");
  says(with([](S3Options& o) {
         o.sse_c_key = Secret(std::string(32, 'k'));
         o.sse = "AES256";
       }),
       "exclude each other");
  S3Options own;
  own.sse_c_key = Secret(std::string(32, 'k'));
  says(refusal(own, "http://127.0.0.1:9000"), "https://");
}

TEST_CASE("s3 options: dual stack and addressing style are where requests go") {
  S3Settings settings;
  settings.region = "eu-west-1";
  CHECK(every_request(settings).at("PUT").url == "https://data.s3.eu-west-1.amazonaws.com/k");
  settings.dual_stack = true;
  const Sent dual = every_request(settings).at("PUT");
  CHECK(dual.url == "https://data.s3.dualstack.eu-west-1.amazonaws.com/k");
  CHECK(dual.headers.at("host") == "data.s3.dualstack.eu-west-1.amazonaws.com");
  CHECK(dual.is_signed("host"));
  settings.path_style = true;
  CHECK(every_request(settings).at("PUT").url ==
        "https://s3.dualstack.eu-west-1.amazonaws.com/data/k");
  settings.dual_stack = false;
  settings.endpoint_url = "https://s.test:9000";
  CHECK(every_request(settings).at("PUT").url == "https://s.test:9000/data/k");
  settings.path_style = false;
  CHECK(every_request(settings).at("PUT").url == "https://data.s.test:9000/k");
}
