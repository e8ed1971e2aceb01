// The log: the only door to spdlog. Thread-safe.
//
// Messages say what happened, where, and what to do. Secrets never reach it: no keys, tokens,
// signatures, Authorization headers or presigned URLs. `log_once_per` keeps a failing store from
// writing the same sentence a thousand times.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "cache/base/clock.h"

namespace cairn {

enum class LogLevel { kTrace, kDebug, kInfo, kWarn, kError, kOff };

// "trace" ... "error", "off"; false when the name is none of them.
bool parse_log_level(std::string_view name, LogLevel& level);
void set_log_level(LogLevel level);
bool log_enabled(LogLevel level);
// From now on messages go to this file (appended, mode 0600) instead of stderr. With `bytes_max`
// it is renamed to PATH.1 when it has half of that, and begun anew.
bool log_to_file(const std::string& path, uint64_t bytes_max = 0);
void log_message(LogLevel level, std::string_view message);

template <class... Args>
void log_at(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(level)) log_message(level, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  log_at(LogLevel::kDebug, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_at(LogLevel::kInfo, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_warn(fmt::format_string<Args...> format, Args&&... args) {
  log_at(LogLevel::kWarn, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  log_at(LogLevel::kError, format, std::forward<Args>(args)...);
}

// Logs `message` at warn level unless the same `topic` was logged less than `interval` ago; what
// was swallowed is counted and said the next time.
void log_once_per(Duration interval, std::string_view topic, std::string_view message);

}  // namespace cairn
