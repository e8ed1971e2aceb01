// SHA-1 and MD5, for the few places where somebody else's protocol names its files or checks its
// headers with them. They protect nothing here: what must be protected uses digest.h.
#pragma once

#include <array>
#include <string>

#include "cache/base/bytes.h"

namespace cairn {

// 40 lower-case hex digits.
std::string sha1_hex(Bytes in);
std::array<std::byte, 16> md5(Bytes in);

}  // namespace cairn
