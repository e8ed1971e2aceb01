#include "fs/fuse_wire.h"

#include <linux/fuse.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>

#include "cache/base/log.h"
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

// The headers' field for the bit; a libfuse that does not know it leaves it zero. The headers have
// no patch level, so they are asked for the field.
template <class Info>
constexpr bool kHasField = requires(const Info& info) { info.kill_suidgid; };

template <class Info>
bool field_of(const Info& info) {
  if constexpr (kHasField<Info>) {
    return info.kill_suidgid != 0;
  } else {
    return false;
  }
}

bool library_passes_it_on() {
  static const bool does = kHasField<fuse_file_info> && passes_bit_on(fuse_pkgversion());
  return does;
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
  if (library_passes_it_on()) return {};
  fuse_custom_io io{};
  io.read = [](int fd, void* buffer, size_t size, void*) { return read_request(fd, buffer, size); };
  io.writev = [](int fd, iovec* pieces, int count, void*) {
    return write_reply(fd, pieces, count);
  };
  const int rc = fuse_session_custom_io(session, &io, fuse_session_fd(session));
  if (rc == -ENOTSUP) {
    log_info(
        "libfuse {} does not let its requests be read, and cairn was built with an older one: the "
        "kernel asks once more before each write",
        fuse_pkgversion());
    return {};
  }
  if (rc < 0) return fail_errno(-rc, "the connection to the kernel was not taken");
  return {};
}

unsigned wanted_of_library(unsigned capable) {
  constexpr unsigned kKillprivV2 = 1U << 21;  // FUSE_CAP_HANDLE_KILLPRIV_V2, which is new in 3.17
  return library_passes_it_on() ? capable & kKillprivV2 : 0;
}

bool passes_bit_on(const std::string& version) {
  std::array<unsigned, 3> parts{};
  std::sscanf(version.c_str(), "%u.%u.%u", &parts[0], &parts[1], &parts[2]);
  return parts >= std::array<unsigned, 3>{3, 18, 3};
}

bool write_kills_bits(const fuse_file_info& file) {
  return serving.kills_bits || field_of(file);
}

}  // namespace cairn
