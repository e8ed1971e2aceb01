// Result<T>, Status, Error: the one way a function says that it failed.
//
// An Error has a kind (what a caller would act on), a message (what happened, where, and what to
// do, for a person), and optionally the errno that the failure is for a POSIX caller. Each layer
// that passes an Error on adds where it was with `wrap`. fs/errno_map.cc is the only table from
// kinds to errno.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace cairn {

enum class Errc : uint8_t {
  kNotFound,      // the thing named does not exist
  kExists,        // it exists already and must not
  kPrecondition,  // a conditional request lost: somebody else was first
  kCorruption,    // bytes are not what their digest, checksum or format says
  kTransient,     // may well work when tried again (network, 5xx, throttling)
  kTimeout,       // the deadline passed; for a write the outcome is unknown
  kPermission,    // the store or the system refuses us
  kNoSpace,       // no room: disk, cache ceiling, quota
  kFenced,        // another writer took the volume over; nothing may be published any more
  kCancelled,     // the caller gave up (interrupt, shutdown)
  kInvalid,       // the input is wrong; the message names it
  kUnsupported,   // known and refused (future format, operation not offered)
  kIo,            // a local read or write failed
  kNotLocal,      // the answer needs a block that is not here: fetch it, then run again
};

std::string_view errc_name(Errc code);

class [[nodiscard]] Error {
 public:
  Error(Errc code, std::string message, int sys_errno = 0)
      : code_(code), sys_errno_(sys_errno), message_(std::move(message)) {}

  Errc code() const noexcept { return code_; }
  // The errno for a POSIX caller, or 0 when the kind alone decides it.
  int sys_errno() const noexcept { return sys_errno_; }
  const std::string& message() const noexcept { return message_; }
  // How long the other side asked us to wait before trying again; zero when it did not say.
  std::chrono::nanoseconds retry_after() const noexcept { return retry_after_; }
  // For a write: the request failed before it could have had any effect (never sent, refused).
  bool no_effect() const noexcept { return no_effect_; }

  Error with_retry_after(std::chrono::nanoseconds wait) && {
    retry_after_ = wait;
    return std::move(*this);
  }
  Error with_no_effect() && {
    no_effect_ = true;
    return std::move(*this);
  }
  // The same error, its message prefixed with where it passed through.
  Error wrap(std::string_view where) && {
    message_.insert(0, ": ").insert(0, where);
    return std::move(*this);
  }

 private:
  Errc code_;
  bool no_effect_ = false;
  int sys_errno_;
  std::chrono::nanoseconds retry_after_{0};
  std::string message_;
};

template <class T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
};

using Status = Result<void>;

inline tl::unexpected<Error> fail(Errc code, std::string message, int sys_errno = 0) {
  return tl::unexpected<Error>(Error(code, std::move(message), sys_errno));
}

// A failed POSIX rule or system call: the kind follows from the errno.
tl::unexpected<Error> fail_errno(int sys_errno, std::string message);

}  // namespace cairn

#define CAIRN_CAT2(a, b) a##b
#define CAIRN_CAT(a, b) CAIRN_CAT2(a, b)

// TRY(expr): returns the error of `expr` from the enclosing function, or goes on.
#define TRY(expr)                                                                      \
  do {                                                                                 \
    if (auto cairn_try = (expr); !cairn_try)                                           \
      return tl::unexpected<::cairn::Error>(std::move(cairn_try).error());             \
  } while (0)

// TRY_ASSIGN(auto x, expr): x = the value of `expr`, or its error is returned.
#define TRY_ASSIGN(lhs, expr) CAIRN_TRY_ASSIGN_IMPL(CAIRN_CAT(cairn_try_, __LINE__), lhs, expr)
#define CAIRN_TRY_ASSIGN_IMPL(tmp, lhs, expr)                                          \
  auto tmp = (expr);                                                                   \
  if (!tmp) return tl::unexpected<::cairn::Error>(std::move(tmp).error());             \
  lhs = *std::move(tmp)
