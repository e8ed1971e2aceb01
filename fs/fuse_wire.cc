#include "fs/fuse_wire.h"

#include <linux/fuse.h>
#include <unistd.h>

#include <cstring>

#include "fs/fuse_request.h"

namespace cairn {

namespace {

// Of the request that this thread read last, which is the one it serves: libfuse's loop reads and
// serves on one thread, and INIT is answered there.
struct Serving {
  uint64_t init = 0;  // the number of an INIT that offers the flag
  bool kills_bits = false;
};
thread_local Serving serving;

// A copy of what the buffer holds at `at`; nothing when it is shorter.
template <class T>
std::optional<T> peek(const void* buffer, ssize_t size, size_t at) {
  T value;
  if (size < 0 || static_cast<size_t>(size) < at + sizeof value) return std::nullopt;
  std::memcpy(&value, static_cast<const char*>(buffer) + at, sizeof value);
  return value;
}

}  // namespace

ssize_t read_request(int fd, void* buffer, size_t size) {
  const ssize_t got = ::read(fd, buffer, size);
  serving = {};
  const auto header = peek<fuse_in_header>(buffer, got, 0);
  if (!header) return got;
  if (header->opcode == FUSE_WRITE) {
    const auto write = peek<fuse_write_in>(buffer, got, sizeof *header);
    serving.kills_bits = write && (write->write_flags & FUSE_WRITE_KILL_SUIDGID) != 0;
  } else if (header->opcode == FUSE_INIT) {
    const auto init = peek<fuse_init_in>(buffer, got, sizeof *header);
    if (init && (init->flags & FUSE_HANDLE_KILLPRIV_V2) != 0) serving.init = header->unique;
  }
  return got;
}

ssize_t write_reply(int fd, iovec* pieces, int count) {
  if (serving.init != 0 && count == 2 && pieces[1].iov_len >= sizeof(fuse_init_out)) {
    const auto* header = static_cast<const fuse_out_header*>(pieces[0].iov_base);
    if (header->unique == serving.init && header->error == 0)
      static_cast<fuse_init_out*>(pieces[1].iov_base)->flags |= FUSE_HANDLE_KILLPRIV_V2;
  }
  return ::writev(fd, pieces, count);
}

Status use_wire(fuse_session* session) {
  fuse_custom_io io{};
  io.read = [](int fd, void* buffer, size_t size, void*) { return read_request(fd, buffer, size); };
  io.writev = [](int fd, iovec* pieces, int count, void*) {
    return write_reply(fd, pieces, count);
  };
  const int rc = fuse_session_custom_io(session, &io, fuse_session_fd(session));
  if (rc < 0) return fail_errno(-rc, "the connection to the kernel was not taken");
  return {};
}

bool write_kills_bits() {
  return serving.kills_bits;
}

}  // namespace cairn
