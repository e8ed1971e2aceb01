#include "tests/support/scripted_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

namespace cairn {

namespace {

bool readable(int fd, int timeout_ms) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, timeout_ms) > 0;
}

bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

}  // namespace

std::string http_reply(int status, const std::string& body, const std::string& more_headers) {
  return "HTTP/1.1 " + std::to_string(status) +
         " Because\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + more_headers +
         "\r\n" + body;
}

ScriptedServer::ScriptedServer(Handler handler) : handler_(std::move(handler)) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (listener_ < 0 || ::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(listener_, 64) != 0 ||
      ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    std::abort();
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_loop(); });
}

ScriptedServer::~ScriptedServer() {
  stopping_ = true;
  acceptor_.join();
  for (std::thread& worker : workers_) worker.join();
  ::close(listener_);
}

std::vector<ScriptedRequest> ScriptedServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

void ScriptedServer::accept_loop() {
  while (!stopping_) {
    if (!readable(listener_, 20)) continue;
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    const int number = ++connections_;
    workers_.emplace_back([this, fd, number] { serve(fd, number); });
  }
}

void ScriptedServer::pause(std::chrono::milliseconds time) const {
  const auto end = std::chrono::steady_clock::now() + time;
  while (!stopping_ && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

void ScriptedServer::serve(int fd, int number) {
  std::string buffered;
  ScriptedRequest request;
  while (read_request(fd, buffered, request)) {
    request.connection = number;
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    const ScriptedReply reply = handler_(request);
    pause(reply.pause_before);
    const std::string_view bytes = reply.bytes;
    const size_t first = reply.pause_inside.count() > 0 ? reply.pause_after_bytes : bytes.size();
    if (!send_all(fd, bytes.substr(0, first))) break;
    if (first < bytes.size()) {
      pause(reply.pause_inside);
      if (!send_all(fd, bytes.substr(first))) break;
    }
    if (reply.close_after) break;
    request = {};
  }
  ::close(fd);
}

bool ScriptedServer::read_request(int fd, std::string& buffered, ScriptedRequest& out) const {
  const auto fill = [&] {
    char block[65536];
    while (!stopping_) {
      if (!readable(fd, 20)) continue;
      const ssize_t n = ::recv(fd, block, sizeof block, 0);
      if (n <= 0) return false;
      buffered.append(block, static_cast<size_t>(n));
      return true;
    }
    return false;
  };
  size_t end = 0;
  while ((end = buffered.find("\r\n\r\n")) == std::string::npos)
    if (!fill()) return false;
  const std::string head = buffered.substr(0, end + 2);
  buffered.erase(0, end + 4);
  out.method = head.substr(0, head.find(' '));
  const size_t target = out.method.size() + 1;
  out.target = head.substr(target, head.find(' ', target) - target);
  for (size_t at = head.find("\r\n") + 2; at < head.size();) {
    const size_t line_end = head.find("\r\n", at);
    const std::string line = head.substr(at, line_end - at);
    const size_t colon = std::min(line.find(':'), line.size());
    std::string name = line.substr(0, colon);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const size_t value = line.find_first_not_of(' ', colon + 1);
    out.headers[name] = value == std::string::npos ? "" : line.substr(value);
    at = line_end + 2;
  }
  const auto length = out.headers.find("content-length");
  const size_t body = length == out.headers.end() ? 0 : std::stoul(length->second);
  while (buffered.size() < body)
    if (!fill()) return false;
  out.body = buffered.substr(0, body);
  buffered.erase(0, body);
  return true;
}

}  // namespace cairn
