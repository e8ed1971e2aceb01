// File content: reading and writing.
#include <algorithm>
#include <cerrno>

#include "fs/volume.h"

namespace cairn {

Result<Buffer> Volume::read(HandleId handle, uint64_t offset, uint64_t length, Need& need) {
  TRY_ASSIGN(const OpenFile file, file_of(handle));
  std::optional<ContentBase> base;
  uint64_t size = 0;
  Result<Buffer> bytes;
  {
    const std::shared_lock lock(mutex_);
    TRY_ASSIGN(const InodeRecord record, load(file.ino, need));
    size = record.size;
    base = pinned(file.ino, record);
  }
  bytes = engine_.read(file.ino, base, size, offset, length, need);
  read_ahead(handle, file.ino, size, {offset, length}, base);
  return bytes;
}

void Volume::read_ahead(HandleId handle, Ino ino, uint64_t size, ByteRange read,
                        const std::optional<ContentBase>& base) {
  const auto with_ahead = [&](auto use) {
    const std::lock_guard lock(handles_mutex_);
    const auto it = files_.find(handle);
    if (it != files_.end()) use(it->second.ahead);
  };
  std::optional<ReadAhead::Range> range;
  with_ahead([&](ReadAhead& ahead) { range = ahead.plan(size, read.offset, read.length); });
  if (!range) return;
  const uint64_t until = engine_.prefetch(ino, base, range->from, range->until - range->from);
  with_ahead([&](ReadAhead& ahead) { ahead.asked(*range, until); });
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
