// CurlPool: HttpClient over one libcurl multi handle, driven by one thread.
//
// Owner: the composition root, one for the process; shared by all stores. The executor and the
// clock must outlive it. The thread starts in the constructor, so a daemon forks before it makes
// one. Threads: `send` from any thread; everything of curl happens on the pool's own thread
// ("cairn-curl"). Requests under way keep what sent them, and that may keep the pool: so the owner
// says when it is over (`close`), while the executor is still there. Bounds: `max_active` requests
// are under way, `max_waiting` more wait in order of arrival, a further one is refused with
// kTransient. Deadlines and cancellation are looked at at least every 100 ms, for waiting requests
// too. Destruction closes. Whoever lets the last reference go on the pool's own thread does not
// wait for it: the thread ends behind it. TLS: 1.2 or newer, always verified. Proxies: http_proxy,
// https_proxy, no_proxy as curl reads them.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "cache/base/clock.h"
#include "cache/base/executor.h"
#include "s3/http.h"

namespace cairn {

struct CurlOptions {
  std::string ca_bundle;  // PEM file; empty: the system's
  size_t max_active = 64;
  size_t max_waiting = 16384;
  uint64_t kept_bytes_max = 16ULL << 20;  // memory of answers kept for the next; a second or two
  Duration connect_timeout = std::chrono::seconds(10);
  // A transfer on which nothing moves for this long is given up (kTransient).
  Duration stall_timeout = std::chrono::seconds(30);
  std::string user_agent = "cairn";
};

class CurlPool final : public HttpClient {
 public:
  CurlPool(CurlOptions options, Executor& executor, Clock& clock);
  ~CurlPool() override;
  CurlPool(const CurlPool&) = delete;
  CurlPool& operator=(const CurlPool&) = delete;

  void send(HttpRequest request, Callback<HttpResponse> done) override;
  // Ends every request with kCancelled (told through the executor), but for those that clean up,
  // which may finish within a few seconds; refuses what comes later, and waits for the thread.
  // Idempotent; by one thread at a time, and not by the pool's own.
  void close();

 private:
  class Loop;
  std::shared_ptr<Loop> loop_;  // the thread has it, too
};

}  // namespace cairn
