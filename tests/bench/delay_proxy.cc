// delay_proxy URL MS [BYTES]: forwards TCP to the host of URL, each direction half of MS late, a
// new connection one round trip more. Bytes are delayed, not slowed: what arrives together leaves
// together. With BYTES each direction of a connection carries that many a second, as one of a large
// store does, however many connections there are. Prints the URL to use instead.
//
// A line on its input is answered by a line with four numbers, counted since the start: HTTP/1.1
// requests, bytes to the server, bytes from it, connections. It ends when that pipe ends; with
// /dev/null as its input it runs until it is ended.
// One thread. What a connection may have on its way is bounded; then its sender waits.
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kReadBytes = 256 << 10;
constexpr size_t kOnTheWayMax = 32 << 20;  // of one direction: more than a line of 1 GB/s holds
constexpr size_t kHeadMax = 64 << 10;

struct Counts {
  uint64_t requests = 0;
  uint64_t bytes_up = 0;
  uint64_t bytes_down = 0;
  uint64_t connections = 0;
};

// Counts the requests in a stream of HTTP/1.1: heads are read, bodies skipped by their length.
class RequestCounter {
 public:
  // How many requests began in these bytes.
  uint64_t count(std::string_view bytes) {
    uint64_t found = 0;
    while (!bytes.empty()) {
      if (body_left_ > 0) {
        const auto skipped = std::min<uint64_t>(body_left_, bytes.size());
        body_left_ -= skipped;
        bytes.remove_prefix(skipped);
        continue;
      }
      head_.push_back(bytes.front());
      bytes.remove_prefix(1);
      if (head_.size() > kHeadMax) head_.clear();  // not HTTP: nothing to count
      if (!head_.ends_with("\r\n\r\n")) continue;
      ++found;
      body_left_ = body_length();
      head_.clear();
    }
    return found;
  }

 private:
  uint64_t body_length() const {
    constexpr std::string_view kName = "\r\ncontent-length:";
    for (size_t at = 0; at + kName.size() < head_.size(); ++at)
      if (strncasecmp(head_.data() + at, kName.data(), kName.size()) == 0)
        return std::strtoull(head_.data() + at + kName.size(), nullptr, 10);
    return 0;
  }

  std::string head_;
  uint64_t body_left_ = 0;
};

struct Piece {
  Clock::time_point due;
  std::vector<char> bytes;  // none: the sender has ended
  size_t sent = 0;
};

// From one socket of a connection to the other.
struct Direction {
  int from = -1;
  int to = -1;
  std::deque<Piece> pieces;
  size_t on_the_way = 0;
  Clock::time_point not_before;  // the handshake, and what was sent before
  bool ended = false;            // the sender has
  bool closed = false;           // all of it has gone out
  bool blocked = false;          // the receiver takes nothing now
};

struct Connection {
  Direction up;
  Direction down;
  RequestCounter counter;
  bool broken = false;
};

class Proxy {
 public:
  Proxy(addrinfo* upstream, Clock::duration one_way, double bytes_per_second, int listener)
      : upstream_(upstream),
        one_way_(one_way),
        bytes_per_second_(bytes_per_second),
        listener_(listener),
        epoll_(epoll_create1(0)) {
    watch(listener_, EPOLLIN);
    watch(STDIN_FILENO, EPOLLIN);
  }

  void run() {
    while (!stop_) {
      forward_due();
      const auto wait = next_due();
      epoll_event events[64];
      const int n = epoll_pwait2(epoll_, events, 64, wait ? &*wait : nullptr, nullptr);
      for (int i = 0; i < n; ++i) serve(events[i].data.fd);
    }
  }

 private:
  void watch(int fd, uint32_t what) const {
    epoll_event event{};
    event.events = what;
    event.data.fd = fd;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
  }

  void serve(int fd) {
    if (fd == listener_) return accept_one();
    if (fd == STDIN_FILENO) return answer();
    const auto found = by_socket_.find(fd);
    if (found == by_socket_.end()) return;
    Connection& connection = *found->second;
    connection.up.blocked = connection.down.blocked = false;
    receive(connection, fd == connection.up.from ? connection.up : connection.down);
  }

  void answer() {
    char line[256];
    const ssize_t n = read(STDIN_FILENO, line, sizeof line);
    if (n <= 0) {
      stop_ = true;
      return;
    }
    std::printf("%llu %llu %llu %llu\n", static_cast<unsigned long long>(counts_.requests),
                static_cast<unsigned long long>(counts_.bytes_up),
                static_cast<unsigned long long>(counts_.bytes_down),
                static_cast<unsigned long long>(counts_.connections));
    std::fflush(stdout);
  }

  void accept_one() {
    const int client = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) return;
    const int server = socket(upstream_->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(server, upstream_->ai_addr, upstream_->ai_addrlen) != 0) {
      close(client);
      close(server);
      return;
    }
    const int on = 1;
    for (const int fd : {client, server}) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ++counts_.connections;
    auto connection = std::make_shared<Connection>();
    connection->up.from = connection->down.to = client;
    connection->up.to = connection->down.from = server;
    if (one_way_.count() > 0) connection->up.not_before = Clock::now() + 3 * one_way_;
    by_socket_[client] = by_socket_[server] = connection;
    // Edge-triggered: a socket is read until it has no more, or as much as may be on the way.
    watch(client, EPOLLIN | EPOLLOUT | EPOLLET);
    watch(server, EPOLLIN | EPOLLOUT | EPOLLET);
  }

  void receive(Connection& connection, Direction& way) {
    while (!way.ended && way.on_the_way < kOnTheWayMax) {
      const ssize_t n = recv(way.from, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
      way.ended = n <= 0;
      std::vector<char> bytes(buffer_.begin(), buffer_.begin() + std::max<ssize_t>(n, 0));
      if (!way.ended) count(connection, way, bytes);
      way.on_the_way += bytes.size();
      const auto due = std::max(Clock::now() + one_way_, way.not_before) + time_of(bytes.size());
      if (bytes_per_second_ > 0) way.not_before = due;
      way.pieces.push_back({due, std::move(bytes)});
    }
  }

  Clock::duration time_of(size_t bytes) const {
    if (bytes_per_second_ <= 0) return {};
    const std::chrono::duration<double> seconds(static_cast<double>(bytes) / bytes_per_second_);
    return std::chrono::duration_cast<Clock::duration>(seconds);
  }

  void count(Connection& connection, const Direction& way, const std::vector<char>& bytes) {
    if (&way == &connection.up) {
      counts_.bytes_up += bytes.size();
      counts_.requests += connection.counter.count({bytes.data(), bytes.size()});
    } else {
      counts_.bytes_down += bytes.size();
    }
  }

  void forward_due() {
    const auto now = Clock::now();
    std::vector<std::shared_ptr<Connection>> over;
    for (const auto& [fd, connection] : by_socket_) {
      if (fd != connection->up.from) continue;
      for (Direction* way : {&connection->up, &connection->down}) send_due(*connection, *way, now);
      if (connection->broken || (connection->up.closed && connection->down.closed))
        over.push_back(connection);
    }
    for (const auto& connection : over) {
      for (const int fd : {connection->up.from, connection->up.to}) {
        by_socket_.erase(fd);
        close(fd);
      }
    }
  }

  void send_due(Connection& connection, Direction& way, Clock::time_point now) {
    bool was_full = false;
    while (!way.blocked && !way.pieces.empty() && way.pieces.front().due <= now) {
      Piece& piece = way.pieces.front();
      if (piece.bytes.empty()) {
        shutdown(way.to, SHUT_WR);
        way.closed = true;
        way.pieces.pop_front();
        continue;
      }
      const ssize_t n = send(way.to, piece.bytes.data() + piece.sent,
                             piece.bytes.size() - piece.sent, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n < 0) {
        if (errno == EAGAIN || errno == EINTR)
          way.blocked = true;
        else
          connection.broken = true;
        break;
      }
      piece.sent += static_cast<size_t>(n);
      was_full = was_full || way.on_the_way >= kOnTheWayMax;
      way.on_the_way -= static_cast<size_t>(n);
      if (piece.sent == piece.bytes.size()) way.pieces.pop_front();
    }
    if (was_full) receive(connection, way);  // its edge has passed
  }

  // How long until something has to go out; nothing: until a socket speaks.
  std::optional<timespec> next_due() const {
    std::optional<Clock::time_point> first;
    for (const auto& [fd, connection] : by_socket_) {
      for (const Direction* way : {&connection->up, &connection->down}) {
        if (way->pieces.empty() || way->blocked) continue;
        if (!first || way->pieces.front().due < *first) first = way->pieces.front().due;
      }
    }
    if (!first) return std::nullopt;
    const auto left = std::max(*first - Clock::now(), Clock::duration::zero());
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(left).count();
    return timespec{ns / 1'000'000'000, ns % 1'000'000'000};
  }

  addrinfo* upstream_;
  Clock::duration one_way_;
  double bytes_per_second_;  // of each direction of a connection; 0: as many as there are
  int listener_;
  int epoll_;
  bool stop_ = false;
  Counts counts_;
  std::vector<char> buffer_ = std::vector<char>(kReadBytes);
  std::unordered_map<int, std::shared_ptr<Connection>> by_socket_;
};

// "http://host:port" -> host, port.
bool split_url(std::string_view url, std::string& host, std::string& port) {
  if (!url.starts_with("http://")) return false;
  url.remove_prefix(7);
  url = url.substr(0, url.find('/'));
  const size_t colon = url.rfind(':');
  host = url.substr(0, colon);
  port = colon == std::string_view::npos ? "80" : std::string(url.substr(colon + 1));
  return !host.empty();
}

}  // namespace

int main(int argc, char** argv) {
  std::string host;
  std::string port;
  if (argc < 3 || argc > 4 || !split_url(argv[1], host, port)) {
    std::fputs("usage: delay_proxy http://HOST[:PORT] MS [BYTES]\n", stderr);
    return 2;
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* upstream = nullptr;
  if (const int failed = getaddrinfo(host.c_str(), port.c_str(), &hints, &upstream)) {
    std::fprintf(stderr, "delay_proxy: %s: %s\n", host.c_str(), gai_strerror(failed));
    return 1;
  }
  sockaddr_in here{};
  here.sin_family = AF_INET;
  here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof here;
  auto* const address = reinterpret_cast<sockaddr*>(&here);
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (bind(listener, address, length) != 0 || listen(listener, 512) != 0 ||
      getsockname(listener, address, &length) != 0) {
    std::perror("delay_proxy");
    return 1;
  }
  std::printf("http://127.0.0.1:%u\n", ntohs(here.sin_port));
  std::fflush(stdout);
  const auto one_way = std::chrono::duration<double, std::milli>(std::atof(argv[2]) / 2);
  const double bytes_per_second = argc == 4 ? std::atof(argv[3]) : 0;
  Proxy(upstream, std::chrono::duration_cast<Clock::duration>(one_way), bytes_per_second, listener)
      .run();
  freeaddrinfo(upstream);
  return 0;
}
