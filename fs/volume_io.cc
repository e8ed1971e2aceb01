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
    TRY(load(file.ino, need));
  }
  TRY_ASSIGN(WriteData placed, engine_.place(file.ino, offset, data, need));
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(InodeRecord record, load(file.ino, need));
  const uint64_t end = offset + data.size();
  if (end > record.size) TRY(check_quota(end - record.size));
  Change change;
  change.time_ns = engine_.clock().wall_ns();
  record.allocated = allocated_after(record, offset, data.size());
  record.size = std::max(record.size, end);
  record.mtime = change.time_ns;
  record.ctime = change.time_ns;
  change.effects.emplace_back(std::move(placed));
  if (orphan_of(file.ino)) {
    set_orphan_record(file.ino, record);
  } else {
    put_inode(change, file.ino, record);
  }
  TRY(engine_.commit(change));
  return {};
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
    TRY(check_quota(end - record.size));
    record.size = end;
  }
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
  if (orphan_of(file.ino)) {
    set_orphan_record(file.ino, record);
  } else {
    put_inode(change, file.ino, record);
  }
  TRY(engine_.commit(change));
  return {};
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

// ---- directories

Result<HandleId> Volume::open_dir(Ino ino, Need& need) {
  const std::shared_lock lock(mutex_);
  TRY_ASSIGN(const InodeRecord record, load_dir(ino, need));
  OpenDir dir;
  dir.ino = ino;
  const auto* parent = std::get_if<uint64_t>(&record.body);
  dir.parent = parent != nullptr && *parent != 0 ? *parent : ino;
  const std::lock_guard handles_lock(handles_mutex_);
  const HandleId id = next_handle_++;
  dirs_.emplace(id, std::move(dir));
  return id;
}

void Volume::release_dir(HandleId handle) {
  const std::lock_guard lock(handles_mutex_);
  dirs_.erase(handle);
}

namespace {

// Cookies: 1 is ".", 2 is "..", then entries are counted as they are given out.
constexpr uint64_t kDot = 1;
constexpr uint64_t kDotDot = 2;
// Of the names given out, the last so many are all remembered, of older ones every so many-th:
// seeking back far lands on an entry near by, going on where one stopped is exact.
constexpr uint64_t kRecentNames = 4096;
constexpr uint64_t kSparseNames = 256;

void thin_out(std::map<uint64_t, std::string>& emitted) {
  if (emitted.size() < 2 * kRecentNames) return;
  const uint64_t newest = emitted.rbegin()->first;
  const auto end = emitted.lower_bound(newest - kRecentNames);
  for (auto it = emitted.begin(); it != end;)
    it = it->first % kSparseNames == 0 ? std::next(it) : emitted.erase(it);
}

}  // namespace

Result<std::vector<DirEntry>> Volume::list(const OpenDir& dir, uint64_t after, size_t limit,
                                           bool plus, Need& need) {
  std::vector<DirEntry> out;
  if (after < kDot) out.push_back({".", dir.ino, FileType::kDirectory, kDot, {}});
  if (after < kDotDot && out.size() < limit)
    out.push_back({"..", dir.parent, FileType::kDirectory, kDotDot, {}});

  const std::string prefix = dirent_prefix(dir.ino);
  const std::string end = prefix_end(prefix);
  std::string from = prefix;
  uint64_t cookie = kDotDot;
  if (after > kDotDot) {
    auto known = dir.emitted.upper_bound(after);
    if (known != dir.emitted.begin()) {
      --known;
      from = prefix + known->second + '\0';
      cookie = known->first;
    }
  }
  while (out.size() < limit) {
    TRY_ASSIGN(const auto range, engine_.scan(from, end, limit - out.size() + 1, need));
    for (const TreeEntry& entry : range.entries) {
      ++cookie;
      if (cookie <= after) continue;
      if (out.size() == limit) return out;
      TRY_ASSIGN(const Buffer bytes, engine_.value_bytes(entry.value, need));
      TRY_ASSIGN(const Dirent dirent, Dirent::decode(bytes));
      out.push_back({entry.key.substr(prefix.size()), dirent.ino, dirent.type, cookie, {}});
    }
    if (!range.more) break;
    from = range.last_seen + '\0';
  }
  if (plus) TRY(add_attrs(out, need));
  return out;
}

Status Volume::add_attrs(std::vector<DirEntry>& entries, Need& need) {
  Status missing;
  for (DirEntry& entry : entries) {
    if (entry.cookie <= kDotDot) continue;
    const auto record = load(entry.ino, need);
    if (record) {
      entry.attr = attr_of(entry.ino, *record);
    } else if (record.error().code() == Errc::kNotLocal) {
      missing = tl::unexpected<Error>(record.error());  // go on: fetch all of the page together
    } else {
      return tl::unexpected<Error>(record.error());
    }
  }
  return missing;
}

Result<std::vector<DirEntry>> Volume::readdir(HandleId handle, uint64_t after, size_t limit,
                                              bool plus, Need& need) {
  OpenDir dir;
  {
    const std::lock_guard lock(handles_mutex_);
    const auto it = dirs_.find(handle);
    if (it == dirs_.end()) return fail_errno(EBADF, "directory handle");
    dir = it->second;
  }
  const std::shared_lock lock(mutex_);
  TRY_ASSIGN(auto entries, list(dir, after, limit, plus, need));
  const std::lock_guard handles_lock(handles_mutex_);
  const auto it = dirs_.find(handle);
  if (it == dirs_.end()) return entries;
  for (const DirEntry& entry : entries)
    if (entry.cookie > kDotDot) it->second.emitted[entry.cookie] = entry.name;
  thin_out(it->second.emitted);
  return entries;
}

}  // namespace cairn
