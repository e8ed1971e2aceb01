// Sizes and durations as people write them: "20G", "512M", "90s", "5m", "1h".
//
// Suffixes of sizes are powers of 1,024 (K, M, G, T, P; "KiB" and "KB" mean the same here).
// Pure functions. Errors: kInvalid, with the text in the message.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cache/base/clock.h"
#include "cache/base/result.h"

namespace cairn {

Result<uint64_t> parse_size(std::string_view text);
// A plain number means seconds; "never" is longer than any mount.
Result<Duration> parse_duration(std::string_view text);
std::string format_size(uint64_t bytes);            // "1.5 GiB"
std::string format_duration(int64_t milliseconds);  // "2 min 5 s"

}  // namespace cairn
