// Attributes and extended attributes.
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "fs/volume.h"

namespace cairn {

namespace {

constexpr uint64_t kChangeBytes = 4096;
constexpr uint64_t kBlock = 4096;

uint64_t round_up(uint64_t bytes) {
  return (bytes + kBlock - 1) / kBlock * kBlock;
}

}  // namespace

Result<Attr> Volume::getattr(Ino ino, Need& need) {
  const std::shared_lock lock(mutex_);
  TRY_ASSIGN(const InodeRecord record, load(ino, need));
  return attr_of(ino, record);
}

Result<Attr> Volume::resize(Ino ino, InodeRecord& record, uint64_t size, Change& change) {
  if (record.type() == FileType::kDirectory) return fail_errno(EISDIR, "truncate");
  if (record.type() != FileType::kRegular) return fail_errno(EINVAL, "truncate");
  if (size > kMaxFileBytes) return fail_errno(EFBIG, "truncate to " + std::to_string(size));
  if (size < record.size) change.effects.emplace_back(CutContent{ino, size});
  record.size = size;
  record.allocated = std::min(record.allocated, round_up(size));
  record.mtime = change.time_ns;
  return attr_of(ino, record);
}

Result<Attr> Volume::setattr(Ino ino, const AttrChange& wanted, Need& need) {
  TRY(engine_.admit(kChangeBytes, need));
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(InodeRecord record, load(ino, need));
  Change change;
  change.time_ns = engine_.clock().wall_ns();
  if (wanted.mode) record.mode = (record.mode & S_IFMT) | (*wanted.mode & 07777);
  if (wanted.uid) record.uid = *wanted.uid;
  if (wanted.gid) record.gid = *wanted.gid;
  if (wanted.size) TRY(resize(ino, record, *wanted.size, change));
  if (wanted.atime) record.atime = *wanted.atime;
  if (wanted.mtime) record.mtime = *wanted.mtime;
  record.ctime = wanted.ctime.value_or(change.time_ns);
  if (orphan_of(ino)) {
    set_orphan_record(ino, record);
  } else {
    put_inode(change, ino, record);
  }
  TRY(engine_.commit(change));
  return attr_of(ino, record);
}

// ---- extended attributes

namespace {

constexpr std::string_view kOwnPrefix = "user.cairn.";

// What setxattr of this name answers before anything is looked at; 0 when it may go on.
int refuse_name(std::string_view name) {
  static constexpr std::array<std::string_view, 3> kNamespaces{"user.", "trusted.", "security."};
  if (name.starts_with(kOwnPrefix)) return EPERM;
  if (name.size() > kMaxName) return ERANGE;
  const bool known = std::any_of(kNamespaces.begin(), kNamespaces.end(), [&](std::string_view ns) {
    return name.starts_with(ns) && name.size() > ns.size();
  });
  return known && valid_xattr_name(name) ? 0 : EOPNOTSUPP;
}

}  // namespace

Result<Buffer> Volume::virtual_xattr(Ino ino, std::string_view name, Need& need) {
  const std::string_view what = name.substr(kOwnPrefix.size());
  TRY_ASSIGN(const InodeRecord record, load(ino, need));
  TRY_ASSIGN(const auto row, engine_.live().tree_row(inode_key(ino)));
  const bool pending = row.has_value();
  if (what == "state" || what == "commit") {
    TRY_ASSIGN(const FileStatus status, engine_.file_status(ino));
    if (what == "state") return Buffer::copy(name_of(status.state));
    if (status.state != FileStatus::State::kStored)
      return fail_errno(ENODATA, "not in the store yet");
    return Buffer::copy(std::to_string(status.commit));
  }
  if (what == "cid" && record.type() == FileType::kRegular) {
    TRY_ASSIGN(const auto state, engine_.live().file_state(ino));
    if (state || (pending && record.size > 0 && !orphan_of(ino))) {
      // The row may only carry attributes; content that waits has a file state.
      if (state) return fail_errno(ENODATA, "the content is not in the store yet");
    }
    TRY_ASSIGN(const ContentBase base, engine_.base_of(ino, need));
    if (base.content) return Buffer::copy(base.content->text());
    if (record.size == 0) return Buffer::copy(Cid::make(Codec::kRaw, {}).text());
  }
  return fail_errno(ENODATA, std::string(name));
}

Result<Buffer> Volume::getxattr(Ino ino, std::string_view name, Need& need) {
  const std::shared_lock lock(mutex_);
  if (name.starts_with(kOwnPrefix)) return virtual_xattr(ino, name, need);
  if (const int refused = refuse_name(name)) return fail_errno(refused, std::string(name));
  TRY_ASSIGN(const auto value, engine_.get(xattr_key(ino, name), need));
  if (!value) return fail_errno(ENODATA, std::string(name));
  TRY_ASSIGN(const Buffer bytes, engine_.value_bytes(*value, need));
  TRY_ASSIGN(const XattrValue xattr, XattrValue::decode(bytes));
  if (const auto* inline_value = std::get_if<ByteVec>(&xattr.value))
    return Buffer(ByteVec(*inline_value));
  return engine_.value_bytes(std::get<Cid>(xattr.value), need);
}

Status Volume::setxattr(Ino ino, std::string_view name, Bytes value, int flags, Need& need) {
  if (const int refused = refuse_name(name)) return fail_errno(refused, std::string(name));
  if (value.size() > XattrValue::kMaxBytes) return fail_errno(E2BIG, std::string(name));
  TRY(engine_.admit(kChangeBytes + value.size(), need));
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(InodeRecord record, load(ino, need));
  TRY_ASSIGN(const auto present, engine_.get(xattr_key(ino, name), need));
  if ((flags & XATTR_CREATE) != 0 && present) return fail_errno(EEXIST, std::string(name));
  if ((flags & XATTR_REPLACE) != 0 && !present) return fail_errno(ENODATA, std::string(name));
  if (orphan_of(ino)) return fail_errno(ENOENT, "the file was removed");
  Change change;
  change.time_ns = engine_.clock().wall_ns();
  const XattrValue xattr = XattrValue::of(value);
  if (const auto* block = std::get_if<Cid>(&xattr.value))
    change.effects.emplace_back(AddBlock{block->digest(), value});
  const ByteVec encoded = xattr.encode();
  const Cid cid = record_cid(encoded);
  if (!cid.is_identity()) change.effects.emplace_back(AddBlock{cid.digest(), encoded});
  change.effects.emplace_back(PutKey{xattr_key(ino, name), cid});
  record.ctime = change.time_ns;
  put_inode(change, ino, record);
  TRY(engine_.commit(change));
  return {};
}

Status Volume::removexattr(Ino ino, std::string_view name, Need& need) {
  if (const int refused = refuse_name(name)) return fail_errno(refused, std::string(name));
  TRY(engine_.admit(kChangeBytes, need));
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(InodeRecord record, load(ino, need));
  TRY_ASSIGN(const auto present, engine_.get(xattr_key(ino, name), need));
  if (!present) return fail_errno(ENODATA, std::string(name));
  Change change;
  change.time_ns = engine_.clock().wall_ns();
  change.effects.emplace_back(PutKey{xattr_key(ino, name), std::nullopt});
  record.ctime = change.time_ns;
  put_inode(change, ino, record);
  TRY(engine_.commit(change));
  return {};
}

Result<std::vector<std::string>> Volume::listxattr(Ino ino, Need& need) {
  const std::shared_lock lock(mutex_);
  const std::string prefix = xattr_prefix(ino);
  const std::string end = prefix_end(prefix);
  std::vector<std::string> names;
  std::string from = prefix;
  while (true) {
    TRY_ASSIGN(const auto range, engine_.scan(from, end, 256, need));
    for (const TreeEntry& entry : range.entries) names.push_back(entry.key.substr(prefix.size()));
    if (!range.more) return names;
    from = range.last_seen + '\0';
  }
}

}  // namespace cairn
