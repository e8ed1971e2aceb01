#include "tools/control.h"

#include <poll.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>

#include "cache/base/digest.h"
#include "cache/base/env.h"
#include "cache/base/log.h"

namespace cairn {

namespace {

constexpr size_t kMaxLine = 1U << 20;

bool write_line(int fd, const Json& json) {
  const std::string line = json_line(json) + "\n";
  size_t done = 0;
  while (done < line.size()) {
    const ssize_t n = ::send(fd, line.data() + done, line.size() - done, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  return true;
}

// One line without its end; kNotFound when the peer closed.
Result<std::string> read_line(int fd, std::string& buffered) {
  while (true) {
    const size_t end = buffered.find('\n');
    if (end != std::string::npos) {
      std::string line = buffered.substr(0, end);
      buffered.erase(0, end + 1);
      return line;
    }
    if (buffered.size() > kMaxLine) return fail(Errc::kInvalid, "a control line is too long");
    std::array<char, 4096> part{};
    const ssize_t n = ::recv(fd, part.data(), part.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return fail(Errc::kTimeout, "the other end says nothing");
    if (n <= 0) return fail(Errc::kNotFound, "the daemon closed the connection");
    buffered.append(part.data(), static_cast<size_t>(n));
  }
}

// How long a read waits; 0: without an end.
void be_patient(int fd, Duration patience) {
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(patience).count();
  const timeval time{us / 1'000'000, us % 1'000'000};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
}

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return fail(Errc::kInvalid, "the path of the control socket is too long: " + path);
  path.copy(address.sun_path, path.size());
  return address;
}

}  // namespace

std::string json_line(const Json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

Result<std::string> run_directory() {
  std::string dir;
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  const char* home = std::getenv("HOME");
  if (::geteuid() == 0) {
    dir = "/run/cairn";
  } else if (runtime != nullptr && *runtime == '/') {
    dir = std::string(runtime) + "/cairn";
  } else if (home != nullptr && *home == '/') {
    dir = std::string(home) + "/.cache/cairn/run";
  } else {
    return fail(Errc::kInvalid, "neither XDG_RUNTIME_DIR nor HOME is set");
  }
  if (Status made = posix_env().make_dirs(dir); !made)
    return tl::unexpected<Error>(std::move(made).error().wrap(
        "no place for the control sockets of mounts in " + dir +
        (::geteuid() == 0 ? "" : ", set XDG_RUNTIME_DIR to a directory of yours")));
  return dir;
}

Result<std::string> canonical_mountpoint(const std::string& path) {
  // The mount itself may be dead; its parent is not.
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  const size_t slash = trimmed.rfind('/');
  const std::string parent = slash == std::string::npos ? "."
                             : slash == 0               ? "/"
                                                        : trimmed.substr(0, slash);
  const std::string name = slash == std::string::npos ? trimmed : trimmed.substr(slash + 1);
  std::array<char, PATH_MAX> resolved{};
  if (name == "." || name == ".." || name.empty()) {
    if (::realpath(trimmed.c_str(), resolved.data()) == nullptr) return fail_errno(errno, path);
    return std::string(resolved.data());
  }
  if (::realpath(parent.c_str(), resolved.data()) == nullptr) return fail_errno(errno, path);
  const std::string base = resolved.data();
  const std::string full = (base == "/" ? "" : base) + "/" + name;
  struct stat st{};
  if (::lstat(full.c_str(), &st) == 0 && S_ISLNK(st.st_mode)) {
    if (::realpath(full.c_str(), resolved.data()) == nullptr) return fail_errno(errno, path);
    return std::string(resolved.data());
  }
  return full;
}

Result<std::string> control_path(const std::string& mountpoint) {
  TRY_ASSIGN(const std::string dir, run_directory());
  return control_path_in(dir, mountpoint);
}

std::string control_path_in(const std::string& directory, const std::string& mountpoint) {
  return directory + "/" + sha256(as_bytes(mountpoint)).hex().substr(0, 24) + ".sock";
}

std::vector<std::string> run_directories_of(uid_t user) {
  std::vector<std::string> directories{"/run/user/" + std::to_string(user) + "/cairn"};
  const passwd* entry = ::getpwuid(user);
  if (entry != nullptr && entry->pw_dir != nullptr && *entry->pw_dir == '/')
    directories.push_back(std::string(entry->pw_dir) + "/.cache/cairn/run");
  return directories;
}

ControlServer::ControlServer(int fd, std::string path, Executor& executor, Handler handler)
    : fd_(fd), path_(std::move(path)), executor_(executor), handler_(std::move(handler)) {}

Result<std::unique_ptr<ControlServer>> ControlServer::open(const std::string& path,
                                                           Executor& executor, Handler handler) {
  TRY_ASSIGN(const sockaddr_un address, address_of(path));
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail_errno(errno, "control socket");
  ::unlink(path.c_str());  // of a daemon that died: the mount point is ours now
  const mode_t old_mask = ::umask(0177);
  const int rc = ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int error = errno;
  ::umask(old_mask);
  std::unique_ptr<ControlServer> server(new ControlServer(fd, path, executor, std::move(handler)));
  if (rc != 0) return fail_errno(error, "control socket " + path);
  if (::listen(fd, 16) != 0 || ::pipe(server->wake_) != 0)
    return fail_errno(errno, "control socket " + path);
  server->running_ = 1;
  executor.submit([raw = server.get()] { raw->accept_loop(); });
  return server;
}

ControlServer::~ControlServer() {
  close(Json{{"closed", true}});
  for (const int fd : {fd_, wake_[0], wake_[1]})
    if (fd >= 0) ::close(fd);
}

void ControlServer::accept_loop() {
  while (true) {
    std::array<pollfd, 2> watched{{{fd_, POLLIN, 0}, {wake_[0], POLLIN, 0}}};
    if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR) break;
    const std::lock_guard lock(mutex_);
    if (closing_) break;
    if ((watched[0].revents & POLLIN) == 0) continue;
    const int client = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) continue;
    ++running_;
    executor_.submit([this, client] { serve(client); });
  }
  const std::lock_guard lock(mutex_);
  --running_;
  idle_.notify_all();
}

Json ControlServer::answer_to(const Json& request, int fd) {
  const auto refused = [](const std::string& why) { return Json{{"ok", false}, {"error", why}}; };
  if (!request.is_object() || !request.contains("command")) return refused("not a request");
  // A field that is there as something else throws where it is read.
  try {
    return handler_(request, [fd](const Json& progress) {
      return write_line(fd, Json{{"progress", progress}});
    });
  } catch (const Json::exception& wrong) {
    return refused(std::string("not a request: ") + wrong.what());
  }
}

void ControlServer::serve(int fd) {
  std::string buffered;
  bool stays = false;
  be_patient(fd, std::chrono::seconds(5));  // a client says what it wants at once
  if (const auto line = read_line(fd, buffered)) {
    const Json request = Json::parse(*line, nullptr, false);
    const Json answer = answer_to(request, fd);
    const bool leaves = answer.value("ok", false) || answer.value("fenced", false);
    stays = leaves && request.contains("wait_for_end") && request["wait_for_end"] == true;
    if (!write_line(fd, answer)) stays = false;
  }
  const std::lock_guard lock(mutex_);
  if (stays && !closing_) {
    waiting_.push_back(fd);
  } else {
    ::close(fd);
  }
  --running_;
  idle_.notify_all();
}

void ControlServer::stop() {
  std::unique_lock lock(mutex_);
  if (!closing_) {
    closing_ = true;
    const char byte = 0;
    if (wake_[1] >= 0 && ::write(wake_[1], &byte, 1) != 1)
      log_warn("the control socket could not be woken");
  }
  idle_.wait(lock, [this] { return running_ == 0; });
}

void ControlServer::close(const Json& last_word) {
  stop();
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  closed_ = true;
  ::unlink(path_.c_str());  // first: who is told may mount there again at once
  for (const int fd : waiting_) {
    write_line(fd, last_word);
    ::close(fd);
  }
  waiting_.clear();
}

Result<std::unique_ptr<ControlClient>> ControlClient::connect(const std::string& socket_path) {
  TRY_ASSIGN(const sockaddr_un address, address_of(socket_path));
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail_errno(errno, "control socket");
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    ::close(fd);
    return fail(Errc::kNotFound, "no cairn daemon answers");
  }
  return std::unique_ptr<ControlClient>(new ControlClient(fd));
}

ControlClient::~ControlClient() {
  ::close(fd_);
}

Status ControlClient::send(const Json& request) {
  if (!write_line(fd_, request)) return fail(Errc::kNotFound, "the daemon closed the connection");
  return {};
}

pid_t ControlClient::peer() const {
  ucred who{};
  socklen_t size = sizeof who;
  return ::getsockopt(fd_, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 ? who.pid : 0;
}

Result<Json> ControlClient::receive(Duration patience) {
  be_patient(fd_, patience);
  TRY_ASSIGN(const std::string line, read_line(fd_, buffered_));
  Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) return fail(Errc::kInvalid, "the daemon sent something that is no answer");
  return json;
}

}  // namespace cairn
