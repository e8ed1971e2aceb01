#include "fs/read_ahead.h"

#include <algorithm>

namespace cairn {

namespace {
constexpr uint64_t kWindowFirst = 1ULL << 20;
constexpr uint64_t kWindowLast = 48ULL << 20;
// Asked for at once, so that requests stay large.
constexpr uint64_t kStep = 2ULL << 20;
// A program that reads an index or a record and stops has not paid for a film: up to four times
// what it read in the beginning, when each round trip counts, and twice as much later.
constexpr uint64_t kAheadTimesFirst = 4;
constexpr uint64_t kAheadTimes = 2;
constexpr uint64_t kBeginning = 2ULL << 20;
// So much in a row behind a jump is a stream.
constexpr uint64_t kStreamBytes = 128ULL << 10;

uint64_t paid_for(uint64_t read_bytes) {
  const uint64_t first = kAheadTimesFirst * std::min(read_bytes, kBeginning);
  return std::max(first, kAheadTimes * read_bytes);
}
}  // namespace

std::optional<ReadAhead::Range> ReadAhead::plan(uint64_t size, uint64_t offset, uint64_t length) {
  const uint64_t end = std::min(offset + length, size);
  // A read that begins where the last one ended, or a little behind it (the kernel's own
  // read-ahead may come out of order), goes on with the stream.
  const bool goes_on = next_ > 0 && offset <= next_ + length && offset + 4 * length >= next_;
  // The same read run again with what it needed, or one that was overtaken: nothing new.
  if (goes_on && end <= next_) return std::nullopt;
  next_ = end;
  if (!goes_on) {
    from_ = offset;
    window_bytes_ = 0;
    ahead_until_ = 0;
    return std::nullopt;
  }
  if (from_ > 0 && end - from_ < kStreamBytes) return std::nullopt;
  const uint64_t grown = std::min(window_bytes_ * 2, paid_for(end - from_));
  window_bytes_ = std::clamp(grown, kWindowFirst, kWindowLast);
  const uint64_t until = std::min(size, end + window_bytes_);
  const uint64_t from = std::max(ahead_until_, end);
  if (asks_ || until <= from) return std::nullopt;
  if (until < ahead_until_ + std::min(window_bytes_ / 2, kStep) && until < size)
    return std::nullopt;
  asks_ = true;
  return Range{from_, from, until};
}

void ReadAhead::asked(const Range& range, uint64_t until) {
  asks_ = false;
  // Taken for done, what was not asked for would stay a hole, which the stream then crosses one
  // chunk and one round trip at a time.
  if (from_ == range.stream_from) ahead_until_ = std::min(range.until, until);
}

}  // namespace cairn
