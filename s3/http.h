// HttpClient: one HTTP request, one answer. Knows nothing of S3.
//
// Threads: `send` may be called from any thread and returns at once. `done` runs exactly once, as a
// task of the executor the client was given, never on the caller's stack.
// Answers: every HTTP status is a response, not an error. An error means that there is no complete
// answer: kTransient (not resolved, not connected, cut off), kTimeout (the context's deadline),
// kCancelled, kPermission (the server's TLS certificate is not trusted), kInvalid (bad URL), kIo
// (the answer breaks a bound), or what reading the body gave. After any of them the server may have
// acted. Redirects are never followed: a header meant for one host must not reach another.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cache/base/bytes.h"
#include "cache/base/clock.h"
#include "cache/base/result.h"
#include "cache/object_store.h"

namespace cairn {

class BytePool;

struct HttpHeader {
  std::string name;
  std::string value;
};

struct HttpRequest {
  std::string method;  // GET, HEAD, PUT, POST, DELETE
  std::string url;     // percent-encoded; sent as it is
  std::vector<HttpHeader> headers;
  Body body;  // sent with PUT and POST
  Context context;
  // A longer answer is an error; memory grows only with what really arrives.
  uint64_t max_response_bytes = 1 << 20;
  // How much the caller expects, to allocate once instead of growing. Never more than the answer's
  // own Content-Length.
  uint64_t expected_response_bytes = 0;
  // A kept-alive connection may turn out dead after the request was written. When true the request
  // is then sent again on a new one; false for requests whose second sending means something else.
  bool may_resend = true;
  // How long nothing may arrive or leave; zero: what the client was told.
  Duration stall_timeout{0};
  // Past any proxy: for services of this machine whose answers are for nobody else.
  bool direct = false;
  // It cleans up behind others, and nobody waits for it: a client that is closed lets it finish,
  // for a few seconds.
  bool cleans_up = false;
};

struct HttpResponse {
  int status = 0;
  std::vector<HttpHeader> headers;
  ByteVec body;
  std::shared_ptr<BytePool> pool = {};  // where the memory of `body` goes back to; may be null
  // The body, once.
  Buffer take_body();
  // The first header of that name (any case), or nullptr.
  const std::string* header(std::string_view name) const;
};

class HttpClient {
 public:
  virtual ~HttpClient() = default;
  virtual void send(HttpRequest request, Callback<HttpResponse> done) = 0;
};

}  // namespace cairn
