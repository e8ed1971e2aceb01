#include "s3/curl_pool.h"

#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <thread>

#include "cache/base/executor.h"
#include "tests/support/scripted_server.h"
#include "tests/support/temp_dir.h"

using namespace cairn;

namespace {

using std::chrono::milliseconds;

// Two threads for completions, one for curl, and a way to wait for an answer.
struct Client {
  explicit Client(CurlOptions options = {})
      : executor("http-test", 2),
        pool(std::make_unique<CurlPool>(std::move(options), executor, system_clock())) {}

  std::future<Result<HttpResponse>> start(HttpRequest request) {
    auto answer = std::make_shared<std::promise<Result<HttpResponse>>>();
    pool->send(std::move(request),
               [answer](Result<HttpResponse> response) { answer->set_value(std::move(response)); });
    return answer->get_future();
  }
  Result<HttpResponse> send(HttpRequest request) { return start(std::move(request)).get(); }

  ThreadExecutor executor;
  std::unique_ptr<CurlPool> pool;
};

HttpRequest request(const std::string& method, const std::string& url, std::string_view body = "") {
  HttpRequest out;
  out.method = method;
  out.url = url;
  if (!body.empty()) out.body = Body(Buffer::copy(body));
  out.context.deadline = Deadline::after(system_clock(), std::chrono::seconds(20));
  return out;
}

HttpRequest within(HttpRequest r, milliseconds time) {
  r.context.deadline = Deadline::after(system_clock(), time);
  return r;
}

ScriptedServer::Handler always(const std::string& bytes) {
  return [bytes](const ScriptedRequest&) { return ScriptedReply{.bytes = bytes}; };
}

// A port on which nobody listens: it was free a moment ago.
int closed_port() {
  const ScriptedServer server(always(""));
  return server.port();
}

}  // namespace

TEST_CASE("http: methods, headers and bodies arrive as they were sent") {
  ScriptedServer server([](const ScriptedRequest& r) {
    return ScriptedReply{.bytes = http_reply(201, r.method == "HEAD" ? "" : "body of " + r.method,
                                             "X-Say: \t hi \r\n")};
  });
  Client client;
  for (const char* method : {"GET", "HEAD", "PUT", "POST", "DELETE"}) {
    const bool sends = method == std::string("PUT") || method == std::string("POST");
    HttpRequest r = request(method, server.url() + "/a%20b/..%2f/x?q=%2B", sends ? "payload" : "");
    r.headers = {{"x-one", "1"}, {"host", "example.test"}};
    const auto response = client.send(std::move(r));
    REQUIRE_MESSAGE(response, response.error().message());
    CHECK(response->status == 201);
    CHECK(*response->header("x-say") == "hi");
    CHECK(response->header("x-none") == nullptr);
    if (method != std::string("HEAD"))
      CHECK(as_chars(response->body) == "body of " + std::string(method));
    const ScriptedRequest seen = server.requests().back();
    CHECK(seen.method == method);
    CHECK(seen.target == "/a%20b/..%2f/x?q=%2B");
    CHECK(seen.body == (sends ? "payload" : ""));
    CHECK(seen.headers.at("x-one") == "1");
    CHECK(seen.headers.at("host") == "example.test");
    CHECK(seen.headers.count("expect") == 0);
    CHECK(seen.headers.count("content-type") == 0);
    CHECK(seen.headers.count("transfer-encoding") == 0);
  }
  CHECK(client.send(request("PUT", server.url() + "/empty"))->status == 201);
  CHECK(server.requests().back().headers.at("content-length") == "0");
  CHECK(server.connections() == 1);  // kept alive
}

TEST_CASE("http: a large body streams from a file and from memory") {
  ScriptedServer server(always(http_reply(200, std::string(3'000'000, 'r'))));
  const TempDir dir;
  const std::string bytes(2'000'000, 'f');
  REQUIRE(replace_file(posix_env(), dir / "f", as_bytes(bytes)));
  std::shared_ptr<File> file = *posix_env().open(dir / "f", OpenMode::kRead);
  Client client;
  HttpRequest r = request("PUT", server.url());
  r.body.add(Buffer::copy("head"));
  r.body.add(file, {5, 1'999'000});
  r.max_response_bytes = 3'000'000;
  r.expected_response_bytes = 3'000'000;
  const auto response = client.send(std::move(r));
  REQUIRE_MESSAGE(response, response.error().message());
  CHECK(response->body.size() == 3'000'000);
  CHECK(server.requests().back().body == "head" + bytes.substr(5, 1'999'000));

  HttpRequest shorter = request("PUT", server.url());
  shorter.body.add(file, {1'000'000, 1'500'000});  // the file ends before
  const auto failed = client.send(std::move(shorter));
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code() == Errc::kCorruption);
}

TEST_CASE("http: an answer longer than was asked for is refused") {
  ScriptedServer server(always(http_reply(200, std::string(1001, 'x'))));
  Client client;
  HttpRequest r = request("GET", server.url());
  r.max_response_bytes = 1000;
  const auto response = client.send(std::move(r));
  REQUIRE_FALSE(response);
  CHECK(response.error().code() == Errc::kIo);
}

TEST_CASE("http: a declared length allocates nothing by itself") {
  ScriptedServer server([](const ScriptedRequest&) {
    return ScriptedReply{.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000\r\n\r\nabc",
                         .close_after = true};
  });
  Client client;
  HttpRequest r = request("GET", server.url());
  r.max_response_bytes = UINT64_MAX;
  r.expected_response_bytes = 4096;
  const auto response = client.send(std::move(r));
  REQUIRE_FALSE(response);
  CHECK(response.error().code() == Errc::kTransient);
  CHECK(response.error().message().find("cut off") != std::string::npos);
}

TEST_CASE("http: what is no answer is kTransient, and says whether anything was sent") {
  Client client;
  const auto refused =
      client.send(request("PUT", "http://127.0.0.1:" + std::to_string(closed_port()), "x"));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == Errc::kTransient);
  CHECK(refused.error().no_effect());
  CHECK(refused.error().message().find("cannot connect to 127.0.0.1") != std::string::npos);

  ScriptedServer closing(
      [](const ScriptedRequest&) { return ScriptedReply{.bytes = "", .close_after = true}; });
  const auto closed = client.send(request("PUT", closing.url(), "x"));
  REQUIRE_FALSE(closed);
  CHECK(closed.error().code() == Errc::kTransient);
  CHECK_FALSE(closed.error().no_effect());

  ScriptedServer garbage(always("SMTP ready\r\n"));
  const auto answer = client.send(request("GET", garbage.url()));
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code() == Errc::kTransient);

  const auto unknown = client.send(request("GET", "gopher://127.0.0.1/"));
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().code() == Errc::kInvalid);
  HttpRequest split = request("GET", garbage.url());
  split.headers.push_back({"x-a", "b\r\nx-c: d"});
  CHECK(client.send(std::move(split)).error().code() == Errc::kInvalid);
}

TEST_CASE("http: deadlines and cancellation end what runs and what waits") {
  ScriptedServer server([](const ScriptedRequest&) {
    return ScriptedReply{.bytes = http_reply(200, "late"), .pause_before = milliseconds(60'000)};
  });
  CurlOptions options;
  options.max_active = 1;
  Client client(options);
  const MonotonicTime start = system_clock().now();
  const auto reached = [&](size_t requests) {
    for (int i = 0; i < 4000 && server.requests().size() < requests; ++i)
      std::this_thread::sleep_for(milliseconds(5));
    REQUIRE(server.requests().size() == requests);
  };
  auto running = client.start(within(request("PUT", server.url(), "x"), milliseconds(5000)));
  reached(1);
  HttpRequest cancelled = request("PUT", server.url(), "x");
  CancelToken token = cancelled.context.cancel;
  auto waiting = client.start(std::move(cancelled));
  auto waiting_too = client.start(within(request("PUT", server.url(), "x"), milliseconds(300)));
  token.cancel();
  const auto given_up = waiting.get();
  REQUIRE_FALSE(given_up);
  CHECK(given_up.error().code() == Errc::kCancelled);
  CHECK(given_up.error().no_effect());
  const auto too_late = waiting_too.get();
  REQUIRE_FALSE(too_late);
  CHECK(too_late.error().code() == Errc::kTimeout);
  CHECK(too_late.error().no_effect());
  const auto timed_out = running.get();
  REQUIRE_FALSE(timed_out);
  CHECK(timed_out.error().code() == Errc::kTimeout);
  CHECK_FALSE(timed_out.error().no_effect());
  CHECK(system_clock().now() - start < std::chrono::seconds(50));

  HttpRequest last = request("GET", server.url());
  CancelToken last_token = last.context.cancel;
  auto active = client.start(std::move(last));
  reached(2);
  last_token.cancel();
  CHECK(active.get().error().code() == Errc::kCancelled);
}

TEST_CASE("http: a transfer on which nothing moves is given up") {
  ScriptedServer server([](const ScriptedRequest&) {
    return ScriptedReply{.bytes = http_reply(200, "0123456789"),
                         .pause_after_bytes = 50,
                         .pause_inside = milliseconds(60'000)};
  });
  CurlOptions options;
  options.stall_timeout = std::chrono::seconds(1);
  Client client(options);
  const auto response = client.send(request("GET", server.url()));
  REQUIRE_FALSE(response);
  CHECK(response.error().code() == Errc::kTransient);
}

TEST_CASE("http: redirects are answers, not orders") {
  ScriptedServer other(always(http_reply(200, "stolen")));
  ScriptedServer server(always(http_reply(307, "", "Location: " + other.url() + "/\r\n")));
  Client client;
  const auto response = client.send(request("GET", server.url()));
  REQUIRE(response);
  CHECK(response->status == 307);
  CHECK(other.requests().empty());
}

TEST_CASE("http: a dead connection repeats what may be repeated, and nothing else") {
  // The second request on a connection is read, and then the connection dies without an answer.
  for (const bool may_resend : {true, false}) {
    std::atomic<int> on_first{0};
    ScriptedServer server([&](const ScriptedRequest& r) {
      if (r.connection == 1 && ++on_first == 2)
        return ScriptedReply{.bytes = "", .close_after = true};
      return ScriptedReply{.bytes = http_reply(200, "ok")};
    });
    Client client;
    REQUIRE(client.send(request("GET", server.url())));
    HttpRequest create = request("PUT", server.url(), std::string(200'000, 'c'));
    create.may_resend = may_resend;
    const auto response = client.send(std::move(create));
    size_t puts = 0;
    for (const ScriptedRequest& r : server.requests()) puts += r.method == "PUT" ? 1 : 0;
    if (may_resend) {
      REQUIRE_MESSAGE(response, response.error().message());
      CHECK(puts == 2);
      CHECK(server.requests().back().body == std::string(200'000, 'c'));
    } else {
      REQUIRE_FALSE(response);
      CHECK(response.error().code() == Errc::kTransient);
      CHECK_FALSE(response.error().no_effect());
      CHECK(puts == 1);
    }
  }
}

TEST_CASE("http: many at once share few connections; a full queue refuses") {
  ScriptedServer server([](const ScriptedRequest& r) {
    return ScriptedReply{.bytes = http_reply(200, r.target), .pause_before = milliseconds(1)};
  });
  CurlOptions options;
  options.max_active = 4;
  options.max_waiting = 100;
  Client client(options);
  std::vector<std::future<Result<HttpResponse>>> answers;
  for (int i = 0; i < 100; ++i)
    answers.push_back(client.start(request("GET", server.url() + "/" + std::to_string(i))));
  for (int i = 0; i < 100; ++i) {
    const auto response = answers[static_cast<size_t>(i)].get();
    REQUIRE_MESSAGE(response, response.error().message());
    CHECK(as_chars(response->body) == "/" + std::to_string(i));
  }
  CHECK(server.connections() <= 4);

  ScriptedServer slow([](const ScriptedRequest&) {
    return ScriptedReply{.bytes = "", .pause_before = milliseconds(60'000)};
  });
  options.max_active = 1;
  options.max_waiting = 2;
  Client full(options);
  std::vector<std::future<Result<HttpResponse>>> queued;
  for (int i = 0; i < 10; ++i) queued.push_back(full.start(request("GET", slow.url())));
  full.pool.reset();  // ends what is left
  int refused = 0;
  int cancelled = 0;
  for (auto& answer : queued) {
    const auto response = answer.get();
    REQUIRE_FALSE(response);
    refused += response.error().code() == Errc::kTransient ? 1 : 0;
    cancelled += response.error().code() == Errc::kCancelled ? 1 : 0;
  }
  CHECK(refused >= 7);
  CHECK(refused + cancelled == 10);
}

TEST_CASE("http: closing answers what is under way and refuses what comes") {
  ScriptedServer slow([](const ScriptedRequest&) {
    return ScriptedReply{.bytes = "", .pause_before = milliseconds(60'000)};
  });
  Client client;
  auto running = client.start(request("GET", slow.url()));
  client.pool->close();
  CHECK(running.get().error().code() == Errc::kCancelled);
  CHECK(client.send(request("GET", slow.url())).error().code() == Errc::kCancelled);
  client.pool->close();
}

TEST_CASE("http: closing lets finish what cleans up") {
  std::atomic<bool> answer{false};
  ScriptedServer server([&](const ScriptedRequest& r) {
    while (r.method == "DELETE" && !answer) std::this_thread::sleep_for(milliseconds(1));
    return ScriptedReply{.bytes = http_reply(204, ""),
                         .pause_before = milliseconds(r.method == "GET" ? 60'000 : 0)};
  });
  Client client;
  auto other = client.start(request("GET", server.url()));
  HttpRequest cleaning = request("DELETE", server.url());
  cleaning.cleans_up = true;
  auto running = client.start(std::move(cleaning));
  std::thread closing([&] { client.pool->close(); });
  CHECK(other.get().error().code() == Errc::kCancelled);  // at once
  answer = true;
  closing.join();
  const auto gone = running.get();
  REQUIRE_MESSAGE(gone, gone.error().message());
  CHECK(gone->status == 204);
}

// What a request keeps may be what keeps the pool, and an executor that was stopped lets it go
// where it is handed over.
TEST_CASE("http: the last reference may go on the pool's own thread") {
  std::atomic<bool> answer{false};
  ScriptedServer server([&](const ScriptedRequest&) {
    while (!answer) std::this_thread::sleep_for(milliseconds(1));
    return ScriptedReply{.bytes = http_reply(200, "late")};
  });
  ThreadExecutor executor("http-test", 1);
  auto pool = std::make_shared<CurlPool>(CurlOptions{}, executor, system_clock());
  const std::weak_ptr<CurlPool> seen = pool;
  pool->send(request("GET", server.url()), [pool](const Result<HttpResponse>&) {});
  pool.reset();
  executor.stop();
  CHECK_FALSE(seen.expired());
  answer = true;
  for (int i = 0; i < 4000 && !seen.expired(); ++i) std::this_thread::sleep_for(milliseconds(5));
  CHECK(seen.expired());
}
