// What tests of S3Store stand on: a store whose HTTP answers come from a script.
//
// Owner: the test.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "cache/base/executor.h"
#include "cache/base/random.h"
#include "s3/s3_store.h"

namespace cairn::test {

inline constexpr int64_t kNow = 1'795'380'427'000'000'000;  // Sun, 22 Nov 2026 20:47:07 GMT

inline HttpResponse reply(int status, std::string_view body = "",
                          std::vector<HttpHeader> headers = {}) {
  return {status, std::move(headers), to_vec(as_bytes(body))};
}
inline HttpResponse error_reply(int status, const std::string& code,
                                std::vector<HttpHeader> headers = {}) {
  return reply(status, "<Error><Code>" + code + "</Code><Message>words</Message></Error>",
               std::move(headers));
}

struct Sent {
  std::string method;
  std::string url;
  std::string body;
  bool may_resend = true;
  std::vector<HttpHeader> headers;
  Duration stall_timeout{0};
  std::string header(std::string_view name) const {
    for (const HttpHeader& h : headers)
      if (h.name == name) return h.value;
    return "";
  }
};

// Answers from a script, without a network.
class FakeHttp final : public HttpClient {
 public:
  using Answer = std::function<Result<HttpResponse>(const Sent&)>;
  FakeHttp(Executor& executor, Answer answer) : executor_(executor), answer_(std::move(answer)) {}

  void send(HttpRequest request, Callback<HttpResponse> done) override {
    Sent sent{request.method,     request.url,     to_string(request.body.to_buffer().value()),
              request.may_resend, request.headers, request.stall_timeout};
    Result<HttpResponse> response = [&] {
      const std::lock_guard lock(mutex_);
      sent_.push_back(sent);
      return answer_(sent);
    }();
    executor_.submit([done = std::move(done), response = std::move(response)] { done(response); });
  }
  std::vector<Sent> sent() const {
    const std::lock_guard lock(mutex_);
    return sent_;
  }

 private:
  Executor& executor_;
  mutable std::mutex mutex_;
  Answer answer_;
  std::vector<Sent> sent_;
};

// The real monotonic clock, a fixed date.
class FixedDate final : public Clock {
 public:
  MonotonicTime now() override { return system_clock().now(); }
  int64_t wall_ns() override { return kNow; }
};

// A different key for each request.
class RotatingKeys final : public CredentialsProvider {
 public:
  RotatingKeys(Executor& executor, int distinct) : executor_(executor), distinct_(distinct) {}
  void get(Context /*context*/, Callback<Credentials> done) override {
    Credentials keys;
    keys.access_key = "KEY" + std::to_string(std::min(++asked_, distinct_));
    keys.secret_key = Secret("secret");
    keys.session_token = Secret("token");
    executor_.submit([keys, done = std::move(done)] { done(keys); });
  }

 private:
  Executor& executor_;
  const int distinct_;
  int asked_ = 0;
};

struct Bucket {
  explicit Bucket(FakeHttp::Answer answer, S3Settings settings = {}, int keys = 1) {
    http = std::make_shared<FakeHttp>(executor, std::move(answer));
    if (settings.bucket.empty()) settings.bucket = "data";
    if (settings.endpoint_url.empty()) settings.endpoint_url = "http://store.test:9000";
    auto made = S3Store::make(
        std::move(settings),
        {http, std::make_shared<RotatingKeys>(executor, keys), executor, clock, *rng});
    REQUIRE_MESSAGE(made, made.error().message());
    store = *std::move(made);
  }
  Result<std::string> put(const std::string& key, const std::string& body, PutHow how = {}) {
    return put_sync(*store, key, Body(Buffer::copy(body)), std::move(how), context());
  }
  Result<GetResult> get(const std::string& key, GetRange range = GetRange::all()) {
    return get_sync(*store, key, range, context());
  }
  static Context context() {
    Context out;
    out.deadline = Deadline::after(system_clock(), std::chrono::seconds(20));
    return out;
  }

  FixedDate clock;
  std::unique_ptr<Rng> rng = make_seeded_rng(7);
  ThreadExecutor executor{"s3-test", 2};
  std::shared_ptr<FakeHttp> http;
  std::unique_ptr<S3Store> store;
};

inline FakeHttp::Answer always(const HttpResponse& response) {
  return [response](const Sent&) { return response; };
}

inline bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace cairn::test
