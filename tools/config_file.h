// A configuration file: TOML, one `name = value` a line, names as those of options. Options of one
// kind may stand in a table: `[filter]` with `visible` is `filter-visible`. What may be given more
// than once may be a list.
//
// Pure over text, but for read_config. Errors: kInvalid, a sentence that names file and line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cache/base/env.h"
#include "cache/base/result.h"

namespace cairn {

struct ConfigEntry {
  std::string key;
  std::string value;  // as it would be typed: numbers and booleans as text
  uint32_t line = 0;
  bool in_list = false;
};

// `path` is only for messages.
Result<std::vector<ConfigEntry>> parse_config(std::string_view text, const std::string& path);
Result<std::vector<ConfigEntry>> read_config(Env& env, const std::string& path);

}  // namespace cairn
