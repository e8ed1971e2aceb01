// This machine's name, for people on other nodes.
#pragma once

#include <string>

namespace cairn {

std::string host_name();

}  // namespace cairn
