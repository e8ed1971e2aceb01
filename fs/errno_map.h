// The one table from error kinds to errno, for replies to the kernel.
#pragma once

#include "cache/base/result.h"

namespace cairn {

// The errno an error carries, or the one of its kind. Always positive.
int errno_of(const Error& error);

}  // namespace cairn
