// File content and directory listings.
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "fs/volume.h"

namespace cairn {

namespace {

constexpr uint64_t kBlock = 4096;
constexpr uint64_t kRecordBytes = 4096;  // room in the journal besides the data

// Read-ahead window of a sequential stream: doubles from the first to the last.
constexpr uint64_t kWindowFirst = 1ULL << 20;
constexpr uint64_t kWindowLast = 16ULL << 20;

uint64_t round_up(uint64_t bytes) {
  return (bytes + kBlock - 1) / kBlock * kBlock;
}

// Storage of a file after [offset, offset + length) was written: what lies behind the old end is
// new, a hole before it stays a hole.
uint64_t allocated_after(const InodeRecord& record, uint64_t offset, uint64_t length) {
  const uint64_t end = offset + length;
  const uint64_t old_end = round_up(record.size);
  uint64_t allocated = record.allocated;
  if (end > old_end)
    allocated += round_up(end) - std::max(offset / kBlock * kBlock, old_end);
  else if (allocated < old_end)
    allocated += std::min(round_up(length), old_end - allocated);
  return std::min(allocated, round_up(std::max(end, record.size)));
}

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
  // A read that begins where the last one ended, or a little behind it (the kernel's own
  // read-ahead may come out of order), goes on with the stream.
  const bool sequential = offset <= file.next_offset + length &&
                          offset + 4 * length >= file.next_offset && file.next_offset > 0;
  const bool from_start = offset == 0 && file.next_offset == 0;
  OpenFile next = file;
  next.next_offset = std::max(offset + length, sequential ? file.next_offset : 0);
  uint64_t ahead_from = 0;
  if (sequential) {
    next.window_bytes = std::clamp(file.window_bytes * 2, kWindowFirst, kWindowLast);
    const uint64_t want_until = std::min(size, next.next_offset + next.window_bytes);
    // Ask in halves of the window, so that requests stay large.
    if (want_until > file.ahead_until &&
        (want_until - file.ahead_until >= next.window_bytes / 2 || want_until == size)) {
      ahead_from = std::max(file.ahead_until, next.next_offset);
      next.ahead_until = want_until;
    }
  } else if (!from_start) {
    next.window_bytes = 0;
    next.ahead_until = 0;
  }
  {
    const std::lock_guard lock(handles_mutex_);
    const auto it = files_.find(handle);
    if (it == files_.end()) return;
    // Another read of this handle may have asked for more meanwhile.
    if (ahead_from > 0 && it->second.ahead_until >= next.ahead_until) ahead_from = 0;
    it->second = next;
  }
  if (ahead_from > 0) engine_.prefetch(file.ino, pinned, ahead_from, next.ahead_until - ahead_from);
}

Status Volume::write(HandleId handle, uint64_t offset, Bytes data, Need& need) {
  if (data.empty()) return {};
  if (offset > kMaxFileBytes || data.size() > kMaxFileBytes - offset)
    return fail_errno(EFBIG, "write at " + std::to_string(offset));
  TRY_ASSIGN(const OpenFile file, file_of(handle));
  TRY(engine_.admit(data.size() + kRecordBytes, need));
  {
    // Before data is put anywhere: so that the operation is not run again behind that.
    const std::shared_lock lock(mutex_);
    TRY_ASSIGN(const InodeRecord record, load(file.ino, need));
    TRY(check_quota(static_cast<int64_t>(allocated_after(record, offset, data.size()) -
                                         record.allocated)));
  }
  TRY_ASSIGN(WriteData placed, engine_.place(file.ino, offset, data, need));
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(InodeRecord record, load(file.ino, need));
  const uint64_t end = offset + data.size();
  Change change;
  change.time_ns = engine_.clock().wall_ns();
  const uint64_t allocated_before = record.allocated;
  record.allocated = allocated_after(record, offset, data.size());
  record.size = std::max(record.size, end);
  record.mtime = change.time_ns;
  record.ctime = change.time_ns;
  change.effects.emplace_back(std::move(placed));
  return commit_record(change, file.ino, record, allocated_before);
}

Status Volume::fallocate(HandleId handle, int mode, uint64_t offset, uint64_t length, Need& need) {
  const bool keep_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  const bool punch = (mode & FALLOC_FL_PUNCH_HOLE) != 0;
  const bool zero = (mode & FALLOC_FL_ZERO_RANGE) != 0;
  const int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
  if ((mode & ~known) != 0 || (punch && (zero || !keep_size)))
    return fail_errno(EOPNOTSUPP, "fallocate mode " + std::to_string(mode));
  if (length == 0) return fail_errno(EINVAL, "fallocate of nothing");
  if (offset > kMaxFileBytes || length > kMaxFileBytes - offset)
    return fail_errno(EFBIG, "fallocate");
  TRY_ASSIGN(const OpenFile file, file_of(handle));
  TRY(engine_.admit(kRecordBytes, need));
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(InodeRecord record, load(file.ino, need));
  if (record.type() != FileType::kRegular) return fail_errno(ENODEV, "fallocate");
  Change change;
  change.time_ns = engine_.clock().wall_ns();
  const uint64_t end = offset + length;
  if ((punch || zero) && offset < record.size) {
    if (end >= record.size) {
      change.effects.emplace_back(CutContent{file.ino, offset});
    } else {
      change.effects.emplace_back(ZeroRange{file.ino, offset, length});
    }
  }
  if (!keep_size && end > record.size) {
    record.size = end;
  }
  const uint64_t allocated_before = record.allocated;
  if (punch) {
    const uint64_t first = round_up(offset);
    const uint64_t last = std::min(end, round_up(record.size)) / kBlock * kBlock;
    if (last > first) record.allocated -= std::min(record.allocated, last - first);
  } else {
    record.allocated = std::min(
        round_up(record.size), std::max(record.allocated, allocated_after(record, offset, length)));
  }
  record.mtime = change.time_ns;
  record.ctime = change.time_ns;
  return commit_record(change, file.ino, record, allocated_before);
}

Result<uint64_t> Volume::seek(HandleId handle, uint64_t offset, int whence, Need& need) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return fail_errno(EINVAL, "seek");
  TRY_ASSIGN(const OpenFile file, file_of(handle));
  const std::shared_lock lock(mutex_);
  TRY_ASSIGN(const InodeRecord record, load(file.ino, need));
  std::optional<ContentBase> pinned;
  if (const auto orphan = orphan_of(file.ino)) pinned = orphan->base;
  TRY_ASSIGN(const auto found,
             engine_.seek(file.ino, pinned, record.size, offset, whence == SEEK_DATA, need));
  if (!found) return fail_errno(ENXIO, "seek");
  return *found;
}

}  // namespace cairn
