// Attributes.
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "fs/volume.h"

namespace cairn {

uint32_t mode_without_bits(uint32_t mode) {
  const uint32_t gone = S_ISUID | ((mode & S_IXGRP) != 0 ? S_ISGID : 0U);
  return mode & ~gone;
}

Result<Attr> Volume::getattr(Ino ino, Need& need) {
  const std::shared_lock lock(mutex_);
  TRY_ASSIGN(const InodeRecord record, load(ino, need));
  return attr_of(ino, record);
}

Result<Attr> Volume::resize(Ino ino, InodeRecord& record, uint64_t size, Change& change) {
  if (record.type() == FileType::kDirectory) return fail_errno(EISDIR, "truncate");
  if (record.type() != FileType::kRegular) return fail_errno(EINVAL, "truncate");
  if (size > kMaxFileBytes) return fail_errno(EFBIG, "truncate to " + std::to_string(size));
  if (size < record.size) {
    change.effects.emplace_back(CutContent{ino, size});
    record.allocated = allocated_without(ino, record, size, record.size);
  }
  record.size = size;
  record.mtime = change.time_ns;
  return attr_of(ino, record);
}

Result<Attr> Volume::setattr(Ino ino, const AttrChange& wanted, Need& need) {
  TRY(engine_.admit(kChangeBytes, need));
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(InodeRecord record, load(ino, need));
  Draft change;
  change.time_ns = engine_.clock().wall_ns();
  const uint64_t allocated_before = record.allocated;
  if (wanted.mode) {
    record.mode = (record.mode & S_IFMT) | (*wanted.mode & 07777);
    TRY_ASSIGN(Acl acl, acl_of(ino, record, kAccessAclName, need));
    acl.set_mode(record.mode);
    if (!acl.empty()) put_acl(change, ino, record, kAccessAclName, acl);
  }
  if (wanted.kills_bits && record.type() != FileType::kDirectory)
    record.mode = mode_without_bits(record.mode);
  if (wanted.uid) record.uid = *wanted.uid;
  if (wanted.gid) record.gid = *wanted.gid;
  if (wanted.size) TRY(resize(ino, record, *wanted.size, change));
  if (wanted.atime) record.atime = *wanted.atime;
  if (wanted.mtime) record.mtime = *wanted.mtime;
  record.ctime = wanted.ctime.value_or(change.time_ns);
  TRY(commit_record(change, ino, record, allocated_before));
  return attr_of(ino, record);
}

}  // namespace cairn
