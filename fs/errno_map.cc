#include "fs/errno_map.h"

#include <cerrno>

namespace cairn {

int errno_of(const Error& error) {
  if (error.sys_errno() > 0) return error.sys_errno();
  switch (error.code()) {
    case Errc::kNotFound:
      return ENOENT;
    case Errc::kExists:
      return EEXIST;
    case Errc::kPermission:
      return EACCES;
    case Errc::kNoSpace:
      return ENOSPC;
    case Errc::kFenced:
      return EROFS;
    case Errc::kCancelled:
      return EINTR;
    case Errc::kInvalid:
      return EINVAL;
    case Errc::kUnsupported:
      return EOPNOTSUPP;
    // What a caller cannot do anything about.
    case Errc::kPrecondition:
    case Errc::kCorruption:
    case Errc::kTransient:
    case Errc::kTimeout:
    case Errc::kIo:
    case Errc::kNotLocal:
      return EIO;
  }
  return EIO;
}

}  // namespace cairn
