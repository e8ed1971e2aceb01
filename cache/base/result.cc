#include "cache/base/result.h"

#include <cerrno>
#include <cstring>

namespace cairn {

std::string_view errc_name(Errc code) {
  switch (code) {
    case Errc::kNotFound: return "not found";
    case Errc::kExists: return "exists";
    case Errc::kPrecondition: return "precondition failed";
    case Errc::kCorruption: return "corruption";
    case Errc::kTransient: return "transient";
    case Errc::kTimeout: return "timeout";
    case Errc::kPermission: return "permission";
    case Errc::kNoSpace: return "no space";
    case Errc::kFenced: return "fenced";
    case Errc::kCancelled: return "cancelled";
    case Errc::kInvalid: return "invalid";
    case Errc::kUnsupported: return "unsupported";
    case Errc::kIo: return "i/o";
    case Errc::kNotLocal: return "not local";
  }
  return "unknown";
}

namespace {
Errc kind_of(int sys_errno) {
  switch (sys_errno) {
    case ENOENT: return Errc::kNotFound;
    case EEXIST: return Errc::kExists;
    case EACCES:
    case EPERM:
    case EROFS: return Errc::kPermission;
    case ENOSPC:
    case EDQUOT: return Errc::kNoSpace;
    case EINTR: return Errc::kCancelled;
    case EOPNOTSUPP: return Errc::kUnsupported;
    case EIO: return Errc::kIo;
    default: return Errc::kInvalid;
  }
}
}  // namespace

tl::unexpected<Error> fail_errno(int sys_errno, std::string message) {
  message.append(": ").append(std::strerror(sys_errno));
  return fail(kind_of(sys_errno), std::move(message), sys_errno);
}

}  // namespace cairn
