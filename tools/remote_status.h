// `cairn status` of a remote: what is there, without a mount.
#pragma once

#include <string>

#include "tools/compose.h"
#include "tools/target.h"

namespace cairn {

// One JSON object; tools/README.md has its fields. kNotFound: nothing is there.
Result<Json> remote_status(const Target& target, const StoreOptions& options);
std::string remote_status_text(const Json& status);

}  // namespace cairn
