// What is read and said at the FUSE device: bytes through a pipe, as the kernel sends them.
#include "fs/fuse_wire.h"

#include <doctest/doctest.h>
#include <linux/fuse.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>

#include "fs/fuse_request.h"

namespace cairn {
namespace {

class Pipe {
 public:
  Pipe() { REQUIRE(::pipe(ends_.data()) == 0); }
  ~Pipe() {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  int out() const { return ends_[0]; }
  int in() const { return ends_[1]; }

 private:
  std::array<int, 2> ends_{};
};

template <class... Parts>
std::string joined(const Parts&... parts) {
  std::string bytes;
  (bytes.append(reinterpret_cast<const char*>(&parts), sizeof parts), ...);
  return bytes;
}

fuse_in_header header_of(uint32_t opcode, uint64_t unique) {
  fuse_in_header header{};
  header.opcode = opcode;
  header.unique = unique;
  return header;
}

// The session reads what the kernel sends.
void receive(const std::string& request) {
  const Pipe pipe;
  REQUIRE(::write(pipe.in(), request.data(), request.size()) == ssize_t(request.size()));
  std::string buffer(1 << 16, '\0');
  const ssize_t got = read_request(pipe.out(), buffer.data(), buffer.size());
  REQUIRE(got == ssize_t(request.size()));
  CHECK(buffer.substr(0, request.size()) == request);
}

// Which flags the kernel gets in an answer to INIT that has `said`.
uint32_t answered(uint64_t unique, int32_t error, uint32_t said) {
  const Pipe pipe;
  fuse_out_header header{};
  header.len = sizeof header + sizeof(fuse_init_out);
  header.error = error;
  header.unique = unique;
  fuse_init_out init{};
  init.flags = said;
  std::array<iovec, 2> pieces{iovec{&header, sizeof header}, iovec{&init, sizeof init}};
  REQUIRE(write_reply(pipe.in(), pieces.data(), 2) == ssize_t(header.len));
  std::string bytes(header.len, '\0');
  REQUIRE(::read(pipe.out(), bytes.data(), bytes.size()) == ssize_t(bytes.size()));
  std::memcpy(&init, bytes.data() + sizeof header, sizeof init);
  return init.flags;
}

std::string init_offering(uint32_t flags, uint64_t unique) {
  fuse_init_in init{};
  init.flags = flags;
  return joined(header_of(FUSE_INIT, unique), init);
}

std::string write_saying(uint32_t flags) {
  fuse_write_in write{};
  write.write_flags = flags;
  return joined(header_of(FUSE_WRITE, 9), write, 'x');
}

TEST_CASE("the answer to INIT takes the flag when the kernel offers it") {
  constexpr uint32_t kFlag = FUSE_HANDLE_KILLPRIV_V2;
  receive(init_offering(FUSE_MAX_PAGES | kFlag, 2));
  CHECK(answered(2, 0, FUSE_MAX_PAGES) == (FUSE_MAX_PAGES | kFlag));
  // Not of another request, not of a refusal, not of a kernel that does not know it.
  CHECK(answered(3, 0, FUSE_MAX_PAGES) == FUSE_MAX_PAGES);
  CHECK(answered(2, -EPROTO, 0) == 0);
  receive(init_offering(FUSE_MAX_PAGES, 2));
  CHECK(answered(2, 0, FUSE_MAX_PAGES) == FUSE_MAX_PAGES);
  receive(init_offering(kFlag, 2));
  receive(write_saying(0));
  CHECK(answered(2, 0, 0) == 0);
}

TEST_CASE("a write says whether suid and sgid go") {
  receive(write_saying(FUSE_WRITE_KILL_SUIDGID));
  CHECK(write_kills_bits({}));
  receive(write_saying(FUSE_WRITE_LOCKOWNER));
  CHECK_FALSE(write_kills_bits({}));
  receive(write_saying(FUSE_WRITE_KILL_SUIDGID));
  receive(joined(header_of(FUSE_READ, 9), fuse_read_in{}));
  CHECK_FALSE(write_kills_bits({}));
  // Cut short: nothing is read beyond what came.
  receive(write_saying(FUSE_WRITE_KILL_SUIDGID).substr(0, sizeof(fuse_in_header) + 8));
  CHECK_FALSE(write_kills_bits({}));
  receive("ab");
  CHECK_FALSE(write_kills_bits({}));
}

// True where this is built with headers that have the field.
template <class Info>
bool set_field(Info& info) {
  if constexpr (requires { info.kill_suidgid; }) {
    info.kill_suidgid = 1;
    return true;
  } else {
    return false;
  }
}

TEST_CASE("a libfuse that passes the bit on is believed") {
  receive(write_saying(0));
  fuse_file_info file{};
  const bool has_field = set_field(file);
  CHECK(write_kills_bits(file) == has_field);
  const unsigned all = ~0U;
  const bool asked = has_field && passes_bit_on(fuse_pkgversion());
  CHECK((wanted_of_library(all) != 0) == asked);
  CHECK(wanted_of_library(0) == 0);
}

TEST_CASE("libfuse passes the bit on from 3.18.3") {
  for (const char* version : {"3.18.3", "3.18.10", "3.19.0-rc1", "3.20", "4.0.0"})
    CHECK(passes_bit_on(version));
  for (const char* version : {"3.14.0", "3.17.4", "3.18.2", "3.18", "2.9.9", "", "main"})
    CHECK_FALSE(passes_bit_on(version));
}

}  // namespace
}  // namespace cairn
