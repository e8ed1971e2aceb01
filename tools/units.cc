#include "tools/units.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

namespace cairn {

namespace {

// A number with an optional fraction, and what follows it.
Result<double> take_number(std::string_view& text, std::string_view whole) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || !std::isfinite(value) || std::signbit(value))
    return fail(Errc::kInvalid, "'" + std::string(whole) + "' does not begin with a number");
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

}  // namespace

Result<uint64_t> parse_size(std::string_view text) {
  std::string_view rest = text;
  TRY_ASSIGN(const double number, take_number(rest, text));
  int shift = 0;
  if (!rest.empty()) {
    constexpr std::string_view kUnits = "kmgtp";
    const size_t unit = kUnits.find(static_cast<char>(rest.front() | 0x20));
    if (unit != std::string_view::npos) {
      shift = static_cast<int>(unit + 1) * 10;
      rest.remove_prefix(1);
      if (rest.starts_with("i")) rest.remove_prefix(1);
    }
    if (rest == "B" || rest == "b") rest = {};
  }
  if (!rest.empty())
    return fail(Errc::kInvalid, "'" + std::string(text) + "' is not a size; write 512M, 20G or 1T");
  const double bytes = number * static_cast<double>(uint64_t{1} << shift);
  if (bytes >= 9e18) return fail(Errc::kInvalid, "'" + std::string(text) + "' is too large a size");
  return static_cast<uint64_t>(bytes);
}

Result<Duration> parse_duration(std::string_view text) {
  if (text == "never") return Duration(std::chrono::seconds(1'000'000'000));
  std::string_view rest = text;
  TRY_ASSIGN(const double number, take_number(rest, text));
  double seconds = 0;
  if (rest.empty() || rest == "s") {
    seconds = number;
  } else if (rest == "ms") {
    seconds = number / 1000;
  } else if (rest == "m" || rest == "min") {
    seconds = number * 60;
  } else if (rest == "h") {
    seconds = number * 3600;
  } else if (rest == "d") {
    seconds = number * 86400;
  } else {
    return fail(Errc::kInvalid,
                "'" + std::string(text) + "' is not a duration; write 30s, 5m or 1h");
  }
  if (seconds > 1e9) return fail(Errc::kInvalid, "'" + std::string(text) + "' is too long");
  return Duration(static_cast<int64_t>(seconds * 1e9));
}

std::string format_size(uint64_t bytes) {
  static constexpr std::array<const char*, 6> kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string format_duration(int64_t milliseconds) {
  const int64_t seconds = milliseconds / 1000;
  if (seconds < 1) return fmt::format("{} ms", milliseconds);
  if (seconds < 60) return fmt::format("{} s", seconds);
  if (seconds < 3600) return fmt::format("{} min {} s", seconds / 60, seconds % 60);
  return fmt::format("{} h {} min", seconds / 3600, seconds / 60 % 60);
}

}  // namespace cairn
