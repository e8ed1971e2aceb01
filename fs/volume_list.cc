// Directory listings.
#include <cerrno>

#include "fs/volume.h"

namespace cairn {

Result<HandleId> Volume::open_dir(Ino ino, Need& need) {
  const std::shared_lock lock(mutex_);
  TRY_ASSIGN(const InodeRecord record, load_dir(ino, need));
  OpenDir dir;
  dir.ino = ino;
  dir.parent = parent_of(ino, record);
  const std::lock_guard handles_lock(handles_mutex_);
  const HandleId id = next_handle_++;
  dirs_.emplace(id, std::move(dir));
  return id;
}

void Volume::release_dir(HandleId handle) {
  const std::lock_guard lock(handles_mutex_);
  dirs_.erase(handle);
}

Result<Volume::DirPosition> Volume::position_of(HandleId handle, uint64_t after) {
  const std::lock_guard lock(handles_mutex_);
  const auto it = dirs_.find(handle);
  if (it == dirs_.end()) return fail_errno(EBADF, "directory handle");
  return DirPosition{it->second.ino, it->second.parent, it->second.cookies.find(after)};
}

Result<std::vector<DirEntry>> Volume::list(const DirPosition& dir, uint64_t after, size_t limit,
                                           bool plus, Need& need) {
  std::vector<DirEntry> out;
  if (after < DirCookies::kDot)
    out.push_back({".", dir.ino, FileType::kDirectory, DirCookies::kDot, {}});
  if (after < DirCookies::kDotDot && out.size() < limit)
    out.push_back({"..", dir.parent, FileType::kDirectory, DirCookies::kDotDot, {}});
  const std::string prefix = dirent_prefix(dir.ino);
  const std::string end = prefix_end(prefix);
  std::string from = dir.names.name ? prefix + *dir.names.name + '\0' : prefix;
  while (out.size() < limit) {
    TRY_ASSIGN(const auto range, engine_.scan(from, end, limit - out.size(), need));
    for (const TreeEntry& entry : range.entries) {
      TRY_ASSIGN(const Buffer bytes, engine_.value_bytes(entry.value, need));
      TRY_ASSIGN(const Dirent dirent, Dirent::decode(bytes));
      out.push_back({entry.key.substr(prefix.size()), dirent.ino, dirent.type, 0, {}});
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
    if (entry.cookie != 0) continue;  // "." and ".."
    const auto record = load(entry.ino, need);
    if (record) {
      entry.attr = attr_of(entry.ino, *record);
    } else if (record.error().code() == Errc::kNotLocal) {
      missing = tl::unexpected<Error>(record.error());  // go on: fetch all of the page together
    } else if (record.error().sys_errno() == ESTALE) {
      continue;  // replaced since the names were read: whoever looks at it sees what is there now
    } else {
      return tl::unexpected<Error>(record.error());
    }
  }
  return missing;
}

Result<std::vector<DirEntry>> Volume::readdir(HandleId handle, uint64_t after, size_t limit,
                                              bool plus, Need& need) {
  TRY_ASSIGN(const DirPosition from, position_of(handle, after));
  std::vector<DirEntry> entries;
  {
    const std::shared_lock lock(mutex_);
    TRY_ASSIGN(entries, list(from, after, limit, plus, need));
  }
  const std::lock_guard lock(handles_mutex_);
  const auto it = dirs_.find(handle);
  if (it == dirs_.end()) return fail_errno(EBADF, "directory handle");
  uint64_t cookie = from.names.cookie;
  for (DirEntry& entry : entries)
    if (entry.cookie == 0) entry.cookie = cookie = it->second.cookies.next(cookie, entry.name);
  return entries;
}

}  // namespace cairn
