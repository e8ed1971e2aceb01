// ServiceNotify: tells the service manager how a daemon is doing (systemd's notify protocol).
//
// One datagram a message to the socket that NOTIFY_SOCKET names; without one nothing is sent. What
// cannot be sent is dropped: nobody waits for it. Thread-safe after construction.
#pragma once

#include <string>

#include "cache/base/clock.h"

namespace cairn {

class ServiceNotify {
 public:
  // Where it listens, or empty.
  static std::string address();
  // `address`: the value of NOTIFY_SOCKET, a path or an abstract name ("@..."); empty: nobody
  // listens.
  explicit ServiceNotify(const std::string& address);
  ~ServiceNotify();
  ServiceNotify(const ServiceNotify&) = delete;
  ServiceNotify& operator=(const ServiceNotify&) = delete;

  void ready(const std::string& status);
  // The service is ending; it must not be killed within `patience` from now.
  void stopping(const std::string& status, Duration patience);

 private:
  void send(const std::string& message);
  int fd_ = -1;
};

}  // namespace cairn
