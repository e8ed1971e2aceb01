// File content: reading and writing.
#include <algorithm>
#include <cerrno>

#include "fs/volume.h"

namespace cairn {

namespace {

// Read-ahead window of a sequential stream: doubles from the first to the last.
constexpr uint64_t kWindowFirst = 1ULL << 20;
constexpr uint64_t kAheadTimes = 4;
constexpr uint64_t kWindowLast = 16ULL << 20;
// So much in a row behind a jump is a stream.
constexpr uint64_t kStreamBytes = 256ULL << 10;

}  // namespace

Result<Buffer> Volume::read(HandleId handle, uint64_t offset, uint64_t length, Need& need) {
  TRY_ASSIGN(const OpenFile file, file_of(handle));
  std::optional<ContentBase> pinned;
  uint64_t size = 0;
  Result<Buffer> bytes;
  {
    const std::shared_lock lock(mutex_);
    TRY_ASSIGN(const InodeRecord record, load(file.ino, need));
    size = record.size;
    if (const auto orphan = orphan_of(file.ino)) pinned = orphan->base;
  }
  bytes = engine_.read(file.ino, pinned, size, offset, length, need);
  read_ahead(handle, file, size, offset, length, pinned);
  return bytes;
}

void Volume::read_ahead(HandleId handle, const OpenFile& file, uint64_t size, uint64_t offset,
                        uint64_t length, const std::optional<ContentBase>& pinned) {
  const uint64_t end = std::min(offset + length, size);
  // A read that begins where the last one ended, or a little behind it (the kernel's own
  // read-ahead may come out of order), goes on with the stream.
  const bool goes_on = file.next_offset > 0 && offset <= file.next_offset + length &&
                       offset + 4 * length >= file.next_offset;
  // The same read run again with what it needed, or one that was overtaken: nothing new.
  if (goes_on && end <= file.next_offset) return;
  OpenFile next = file;
  next.next_offset = end;
  if (!goes_on) {
    next.stream_from = offset;
    next.window_bytes = 0;
    next.ahead_until = 0;
  }
  uint64_t ahead_from = 0;
  // Whoever jumped and reads a record or two will jump again.
  const bool streams = next.stream_from == 0 || end - next.stream_from >= kStreamBytes;
  if (goes_on && streams) {
    // No more than a few times what it read: a program that reads an index or a record and stops
    // has not paid for a film.
    const uint64_t grown = std::min(file.window_bytes * 2, kAheadTimes * (end - next.stream_from));
    next.window_bytes = std::clamp(grown, kWindowFirst, kWindowLast);
    const uint64_t want_until = std::min(size, end + next.window_bytes);
    // Ask in halves of the window, so that requests stay large.
    if (want_until > file.ahead_until &&
        (want_until - file.ahead_until >= next.window_bytes / 2 || want_until == size)) {
      ahead_from = std::max(file.ahead_until, end);
      next.ahead_until = want_until;
    }
  }
  {
    const std::lock_guard lock(handles_mutex_);
    const auto it = files_.find(handle);
    if (it == files_.end()) return;
    // Another read of this handle may have asked for more meanwhile.
    if (ahead_from > 0 && it->second.ahead_until >= next.ahead_until) ahead_from = 0;
    it->second = next;
  }
  if (ahead_from == 0) return;
  const uint64_t until =
      engine_.prefetch(file.ino, pinned, ahead_from, next.ahead_until - ahead_from);
  if (until >= next.ahead_until) return;
  // The rest is asked for when some of it has arrived; taken for done it would stay a hole, which
  // the stream then crosses one chunk and one round trip at a time.
  const std::lock_guard lock(handles_mutex_);
  const auto it = files_.find(handle);
  if (it != files_.end() && it->second.ahead_until == next.ahead_until)
    it->second.ahead_until = until;
}

Status Volume::write(HandleId handle, uint64_t offset, Bytes data, Need& need, bool kills_bits) {
  if (data.empty()) return {};
  if (offset > kMaxFileBytes || data.size() > kMaxFileBytes - offset)
    return fail_errno(EFBIG, "write at " + std::to_string(offset));
  TRY_ASSIGN(const OpenFile file, file_of(handle));
  TRY(engine_.admit(data.size() + kChangeBytes, need));
  {
    // Before data is put anywhere: so that the operation is not run again behind that.
    const std::shared_lock lock(mutex_);
    TRY_ASSIGN(const InodeRecord record, load(file.ino, need));
    const uint64_t allocated = allocated_with_data(file.ino, record, offset, data.size());
    TRY(check_quota(static_cast<int64_t>(allocated - record.allocated)));
  }
  TRY_ASSIGN(WriteData placed, engine_.place(file.ino, offset, data, need));
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(InodeRecord record, load(file.ino, need));
  const uint64_t end = offset + data.size();
  Draft change;
  change.time_ns = engine_.clock().wall_ns();
  const uint64_t allocated_before = record.allocated;
  record.allocated = allocated_with_data(file.ino, record, offset, data.size());
  record.size = std::max(record.size, end);
  record.mtime = change.time_ns;
  record.ctime = change.time_ns;
  if (kills_bits) record.mode = mode_without_bits(record.mode);
  change.effects.emplace_back(std::move(placed));
  return commit_record(change, file.ino, record, allocated_before);
}

}  // namespace cairn
