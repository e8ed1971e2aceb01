#include "tools/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <mutex>

#include "tools/units.h"

namespace cairn {

namespace {
constexpr Duration kBetween = std::chrono::milliseconds(200);
}  // namespace

Progress::Progress(std::string what, uint64_t total)
    : on_terminal_(::isatty(STDERR_FILENO) != 0),
      what_(printable_name(what)),
      begun_(system_clock().now()),
      total_(total) {}

Progress::~Progress() {
  if (on_terminal_) std::cerr << "\r\x1b[K" << std::flush;
}

void Progress::set_total(uint64_t total) {
  const std::lock_guard lock(mutex_);
  total_ = total;
}

void Progress::add(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  bytes_ += bytes;
  show();
}

void Progress::reach(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  bytes_ = std::max(bytes_, bytes);
  show();
}

void Progress::show() {
  const MonotonicTime now = system_clock().now();
  if (!on_terminal_ || (shown_ != MonotonicTime::min() && now - shown_ < kBetween)) return;
  shown_ = now;
  const double seconds = std::chrono::duration<double>(now - begun_).count();
  const auto rate = static_cast<uint64_t>(static_cast<double>(bytes_) / std::max(seconds, 0.1));
  std::string line = what_ + ": " + format_size(bytes_);
  if (total_ > 0) line += fmt::format(" of {}, {} %", format_size(total_), bytes_ * 100 / total_);
  std::cerr << "\r" << line << ", " << format_size(rate) << "/s\x1b[K" << std::flush;
}

std::string printable_name(const std::string& name) {
  std::string out = name;
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return out;
}

}  // namespace cairn
