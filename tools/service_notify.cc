#include "tools/service_notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>

namespace cairn {

namespace {

// A status is one line of the message.
std::string one_line(std::string text) {
  for (char& c : text)
    if (c == '\n') c = ' ';
  return text;
}

}  // namespace

std::string ServiceNotify::address() {
  const char* address = std::getenv("NOTIFY_SOCKET");
  return address == nullptr ? "" : address;
}

ServiceNotify::ServiceNotify(const std::string& address) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (address.size() < 2 || address.size() >= sizeof to.sun_path) return;
  if (address[0] != '/' && address[0] != '@') return;
  address.copy(to.sun_path, address.size());
  if (address[0] == '@') to.sun_path[0] = '\0';
  fd_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return;
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.size());
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&to), length) == 0) return;
  ::close(fd_);
  fd_ = -1;
}

ServiceNotify::~ServiceNotify() {
  if (fd_ >= 0) ::close(fd_);
}

void ServiceNotify::send(const std::string& message) {
  if (fd_ >= 0) (void)!::send(fd_, message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void ServiceNotify::ready(const std::string& status) {
  send("READY=1\nSTATUS=" + one_line(status) + "\nMAINPID=" + std::to_string(::getpid()));
}

void ServiceNotify::stopping(const std::string& status, Duration patience) {
  const auto wait = std::chrono::duration_cast<std::chrono::microseconds>(patience).count();
  send("STOPPING=1\nSTATUS=" + one_line(status) + "\nEXTEND_TIMEOUT_USEC=" + std::to_string(wait));
}

}  // namespace cairn
