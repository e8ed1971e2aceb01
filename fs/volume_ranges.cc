// Ranges of a file: allocate, punch, seek, copy; and what a file counts as storage (st_blocks).
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "fs/volume.h"

namespace cairn {

namespace {

constexpr uint64_t kBlock = 4096;
constexpr uint64_t kCopyBytes = 3ULL << 20;  // for a copy, with what it may have to move
constexpr size_t kSpansMax = 4096;           // of data, punched by one record

uint64_t round_down(uint64_t bytes) {
  return bytes / kBlock * kBlock;
}
uint64_t round_up(uint64_t bytes) {
  return round_down(bytes + kBlock - 1);
}

// No block is missing: nothing has to be looked up then.
bool is_dense(const InodeRecord& record) {
  return record.allocated >= round_up(record.size);
}

}  // namespace

// ---- storage

uint64_t Volume::stored_bytes(Ino ino, const InodeRecord& record, uint64_t first, uint64_t last) {
  last = std::min(last, round_up(record.size));
  if (last <= first) return 0;
  if (is_dense(record)) return last - first;
  return std::min(engine_.stored_bytes(ino, pinned(ino, record), first, last - first),
                  last - first);
}

uint64_t Volume::allocated_with_data(Ino ino, const InodeRecord& record, uint64_t offset,
                                     uint64_t length) {
  const uint64_t first = round_down(offset);
  const uint64_t last = round_up(offset + length);
  const uint64_t before = stored_bytes(ino, record, first, last);
  const uint64_t allocated = record.allocated + (last - first) - before;
  return std::min(allocated, round_up(std::max(offset + length, record.size)));
}

uint64_t Volume::allocated_without(Ino ino, const InodeRecord& record, uint64_t offset,
                                   uint64_t end) {
  // Blocks that keep some bytes stay.
  const uint64_t first = round_up(offset);
  const uint64_t last = end >= record.size ? round_up(record.size) : round_down(end);
  const uint64_t others = round_up(record.size) - (last > first ? last - first : 0);
  const uint64_t gone = stored_bytes(ino, record, first, last);
  return std::min(others, record.allocated - std::min(record.allocated, gone));
}

// ---- allocating and punching

// Data in the range becomes zeroes. What is a hole already is left alone, so that the effects grow
// with the data and not with the range.
Status Volume::punch(Ino ino, const InodeRecord& record, uint64_t offset, uint64_t end,
                     Change& change, Need& need) {
  if (offset >= record.size) return {};
  if (end >= record.size) {
    change.effects.emplace_back(CutContent{ino, offset});
    return {};
  }
  const std::optional<ContentBase> base = pinned(ino, record);
  for (size_t spans = 0; offset < end; ++spans) {
    TRY_ASSIGN(const auto data, engine_.seek(ino, base, end, offset, true, need));
    if (!data) return {};
    uint64_t stop = end;
    if (spans < kSpansMax) {
      TRY_ASSIGN(const auto hole, engine_.seek(ino, base, end, *data, false, need));
      stop = hole.value_or(end);
    }
    change.effects.emplace_back(ZeroRange{ino, *data, stop - *data});
    offset = stop;
  }
  return {};
}

Status Volume::fallocate(HandleId handle, int mode, uint64_t offset, uint64_t length, Need& need) {
  const bool keep_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  const bool punches = (mode & FALLOC_FL_PUNCH_HOLE) != 0;
  const bool zeroes = (mode & FALLOC_FL_ZERO_RANGE) != 0;
  const int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
  if ((mode & ~known) != 0 || (punches && (zeroes || !keep_size)))
    return fail_errno(EOPNOTSUPP, "fallocate mode " + std::to_string(mode));
  if (length == 0) return fail_errno(EINVAL, "fallocate of nothing");
  if (offset > kMaxFileBytes || length > kMaxFileBytes - offset)
    return fail_errno(EFBIG, "fallocate");
  TRY_ASSIGN(const OpenFile file, file_of(handle));
  TRY(engine_.admit(kChangeBytes, need));
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(InodeRecord record, load(file.ino, need));
  if (record.type() != FileType::kRegular) return fail_errno(ENODEV, "fallocate");
  Draft change;
  change.time_ns = engine_.clock().wall_ns();
  const uint64_t end = offset + length;
  const uint64_t allocated = punches ? allocated_without(file.ino, record, offset, end)
                                     : allocated_with_data(file.ino, record, offset, length);
  if (punches || zeroes) TRY(punch(file.ino, record, offset, end, change, need));
  if (!keep_size) record.size = std::max(record.size, end);
  // Blocks behind the end are not kept.
  const uint64_t allocated_before = record.allocated;
  record.allocated = std::min(allocated, round_up(record.size));
  record.mtime = change.time_ns;
  record.ctime = change.time_ns;
  return commit_record(change, file.ino, record, allocated_before);
}

Result<uint64_t> Volume::seek(HandleId handle, uint64_t offset, int whence, Need& need) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return fail_errno(EINVAL, "seek");
  TRY_ASSIGN(const OpenFile file, file_of(handle));
  const std::shared_lock lock(mutex_);
  TRY_ASSIGN(const InodeRecord record, load(file.ino, need));
  if (offset >= record.size) return fail_errno(ENXIO, "seek");
  if (is_dense(record)) return whence == SEEK_DATA ? offset : record.size;
  TRY_ASSIGN(const auto found, engine_.seek(file.ino, pinned(file.ino, record), record.size, offset,
                                            whence == SEEK_DATA, need));
  if (!found) return fail_errno(ENXIO, "seek");
  return *found;
}

// ---- copying

Result<uint64_t> Volume::copy_range(HandleId from, uint64_t from_offset, HandleId to,
                                    uint64_t to_offset, uint64_t length, Need& need) {
  TRY_ASSIGN(const OpenFile source_file, file_of(from));
  TRY_ASSIGN(const OpenFile target_file, file_of(to));
  TRY(engine_.admit(kCopyBytes, need));
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(const InodeRecord source, load(source_file.ino, need));
  TRY_ASSIGN(InodeRecord target, load(target_file.ino, need));
  if (source.type() != FileType::kRegular || target.type() != FileType::kRegular)
    return fail_errno(EINVAL, "copy_file_range of what is no file");
  if (from_offset >= source.size || length == 0) return uint64_t{0};
  length = std::min(length, source.size - from_offset);
  if (to_offset > kMaxFileBytes || length > kMaxFileBytes - to_offset)
    return fail_errno(EFBIG, "copy_file_range to " + std::to_string(to_offset));
  if (source_file.ino == target_file.ino && from_offset < to_offset + length &&
      to_offset < from_offset + length)
    return fail_errno(EINVAL, "copy_file_range onto itself");

  Engine::CopyFrom range{source_file.ino, {}, source.size, from_offset, length, true};
  range.pinned = pinned(source_file.ino, source);
  while (true) {
    TRY_ASSIGN(Engine::Copy copy, engine_.copy(range, target_file.ino, to_offset, need));
    InodeRecord record = target;
    Draft change;
    change.time_ns = engine_.clock().wall_ns();
    record.allocated = allocated_with_copy(source_file.ino, source, from_offset, target_file.ino,
                                           target, to_offset, copy.length);
    record.size = std::max(record.size, to_offset + copy.length);
    record.mtime = change.time_ns;
    record.ctime = change.time_ns;
    change.effects = std::move(copy.effects);
    const Status done = commit_record(change, target_file.ino, record, target.allocated);
    if (done) return copy.length;
    if (done.error().code() != Errc::kTransient || !range.share)
      return tl::unexpected<Error>(done.error());
    // What was to be shared moved into the store just now. Once more, with nothing shared.
    range.share = false;
  }
}

uint64_t Volume::allocated_with_copy(Ino source_ino, const InodeRecord& source,
                                     uint64_t from_offset, Ino target_ino,
                                     const InodeRecord& target, uint64_t to_offset,
                                     uint64_t length) {
  // As if all of it were data, less the holes of the source.
  const uint64_t all = allocated_with_data(target_ino, target, to_offset, length);
  const uint64_t first = round_down(from_offset);
  const uint64_t last = round_up(from_offset + length);
  const uint64_t holes = (last - first) - stored_bytes(source_ino, source, first, last);
  return all - std::min(all, holes);
}

}  // namespace cairn
