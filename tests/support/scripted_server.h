// ScriptedServer: an HTTP/1.1 server on a loopback port that answers as a test says.
//
// A thread takes connections, one more serves each. The handler gets every complete request and
// returns the bytes to send as they are, so that it can break any rule. Thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace cairn {

struct ScriptedRequest {
  std::string method;
  std::string target;
  std::map<std::string, std::string> headers;  // lower-case names
  std::string body;
  int connection = 0;  // 1 for the first that was made
};

struct ScriptedReply {
  std::string bytes;
  std::chrono::milliseconds pause_before{0};
  size_t pause_after_bytes = 0;  // with pause_inside: send so many, wait, send the rest
  std::chrono::milliseconds pause_inside{0};
  bool close_after = false;
};

// A complete answer with a Content-Length.
std::string http_reply(int status, const std::string& body, const std::string& more_headers = "");

class ScriptedServer {
 public:
  using Handler = std::function<ScriptedReply(const ScriptedRequest&)>;
  explicit ScriptedServer(Handler handler);
  ~ScriptedServer();
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  int port() const { return port_; }
  std::vector<ScriptedRequest> requests() const;
  int connections() const { return connections_; }

 private:
  void accept_loop();
  void serve(int fd, int number);
  bool read_request(int fd, std::string& buffered, ScriptedRequest& out) const;
  void pause(std::chrono::milliseconds time) const;

  Handler handler_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> connections_{0};
  mutable std::mutex mutex_;
  std::vector<ScriptedRequest> requests_;
  std::vector<std::thread> workers_;
  std::thread acceptor_;
};

}  // namespace cairn
