// Extended attributes and access control lists.
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "cache/object_attrs.h"
#include "fs/volume.h"

namespace cairn {

namespace {

constexpr std::string_view kOwnPrefix = "user.cairn.";
constexpr std::string_view kTrusted = "trusted.";

// The flag of the inode that goes with this xattr; 0 when it is no access control list.
uint32_t acl_flag(std::string_view name) {
  if (name == kAccessAclName) return kHasAccessAcl;
  if (name == kDefaultAclName) return kHasDefaultAcl;
  return 0;
}

// What setxattr of this name answers before anything is looked at; 0 when it may go on.
int refuse_name(std::string_view name) {
  static constexpr std::array<std::string_view, 3> kNamespaces{"user.", kTrusted, "security."};
  if (name.starts_with(kOwnPrefix)) return EPERM;
  if (name.size() > kMaxName) return ERANGE;
  if (acl_flag(name) != 0) return 0;
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
    if (status.state != FileStatus::State::kStored || !engine_.remote().params().content_ids)
      return fail_errno(ENODATA, "not in the store yet");
    return Buffer::copy(std::to_string(status.commit));
  }
  const bool has_cid = engine_.remote().params().content_ids;
  if (what == "cid" && has_cid && record.type() == FileType::kRegular) {
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
  if (const uint32_t flag = acl_flag(name)) {
    // The kernel asks for the list of everything that it checks for somebody else than the owner.
    TRY_ASSIGN(const InodeRecord record, load(ino, need));
    if ((record.flags & flag) == 0) return fail_errno(ENODATA, std::string(name));
  }
  return stored_xattr(ino, name, need);
}

Result<Buffer> Volume::stored_xattr(Ino ino, std::string_view name, Need& need) {
  TRY_ASSIGN(const auto value, engine_.get(xattr_key(ino, name), need));
  if (!value) return fail_errno(ENODATA, std::string(name));
  TRY_ASSIGN(const Buffer bytes, engine_.value_bytes(*value, need));
  TRY_ASSIGN(const XattrValue xattr, XattrValue::decode(bytes));
  if (const auto* inline_value = std::get_if<ByteVec>(&xattr.value))
    return Buffer(ByteVec(*inline_value));
  return engine_.value_bytes(std::get<Cid>(xattr.value), need);
}

void Volume::put_xattr(Draft& change, Ino ino, std::string_view name, Bytes value) {
  const XattrValue xattr = XattrValue::of(value);
  if (const auto* block = std::get_if<Cid>(&xattr.value)) {
    change.kept.push_back(to_vec(value));
    change.effects.emplace_back(AddBlock{block->digest(), change.kept.back()});
  }
  const Cid cid = record_cid(xattr.encode());
  change.effects.emplace_back(PutKey{xattr_key(ino, name), cid});
}

Status Volume::setxattr(Ino ino, std::string_view name, Bytes value, int flags,
                        const Caller& caller, Need& need) {
  if (const int refused = refuse_name(name)) return fail_errno(refused, std::string(name));
  if (only_objects()) {
    if (const int refused = refuse_object_xattr(name, as_chars(value)))
      return fail_errno(refused, std::string(name));
  }
  if (acl_flag(name) != 0) return set_acl(ino, name, value, caller, need);
  if (value.size() > XattrValue::kMaxBytes) return fail_errno(E2BIG, std::string(name));
  TRY(engine_.admit(kChangeBytes + value.size(), need));
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(InodeRecord record, load(ino, need));
  if (only_objects() && record.type() != FileType::kRegular)
    return fail_errno(ENOTSUP, "only files have metadata");
  TRY_ASSIGN(const auto present, engine_.get(xattr_key(ino, name), need));
  if ((flags & XATTR_CREATE) != 0 && present) return fail_errno(EEXIST, std::string(name));
  if ((flags & XATTR_REPLACE) != 0 && !present) return fail_errno(ENODATA, std::string(name));
  if (removed_record(ino)) return fail_errno(ENOENT, "the file was removed");
  if (only_objects()) TRY(check_metadata_room(ino, name, value, need));
  Draft change;
  change.time_ns = engine_.clock().wall_ns();
  put_xattr(change, ino, name, value);
  record.ctime = change.time_ns;
  put_inode(change, ino, record);
  return commit(change, {});
}

// What is acknowledged here must fit when the object is put.
Status Volume::check_metadata_room(Ino ino, std::string_view name, Bytes value, Need& need) {
  if (name.starts_with(kTagXattr)) return check_tag_room(ino, name, need);
  if (!name.starts_with(kMetaXattr)) return {};
  const std::string prefix = xattr_prefix(ino);
  uint64_t total = metadata_bytes(name.substr(kMetaXattr.size()), as_chars(value));
  TRY_ASSIGN(const auto range, engine_.scan(prefix, prefix_end(prefix), 4096, need));
  for (const TreeEntry& entry : range.entries) {
    const std::string_view there = std::string_view(entry.key).substr(prefix.size());
    if (there == name || !there.starts_with(kMetaXattr)) continue;
    const std::string_view key = there.substr(kMetaXattr.size());
    if (is_own_metadata(key)) continue;
    TRY_ASSIGN(const Buffer text, stored_xattr(ino, there, need));
    total += metadata_bytes(key, as_chars(text));
  }
  if (total <= kUserMetadataMax) return {};
  return fail_errno(ENOSPC, "an object has no room for more metadata");
}

Status Volume::check_tag_room(Ino ino, std::string_view name, Need& need) {
  const std::string prefix = xattr_prefix(ino);
  TRY_ASSIGN(const auto range, engine_.scan(prefix, prefix_end(prefix), 4096, need));
  size_t others = 0;
  for (const TreeEntry& entry : range.entries) {
    const std::string_view there = std::string_view(entry.key).substr(prefix.size());
    others += there != name && there.starts_with(kTagXattr) ? 1U : 0U;
  }
  if (others < kTagsMax) return {};
  return fail_errno(ENOSPC, "an object has at most 10 tags");
}

Status Volume::removexattr(Ino ino, std::string_view name, Need& need) {
  if (const int refused = refuse_name(name)) return fail_errno(refused, std::string(name));
  if (only_objects()) {
    const int refused = name == kClassXattr ? EPERM : refuse_object_xattr(name, "");
    if (refused != 0) return fail_errno(refused, std::string(name));
  }
  TRY(engine_.admit(kChangeBytes, need));
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(InodeRecord record, load(ino, need));
  TRY_ASSIGN(const auto present, engine_.get(xattr_key(ino, name), need));
  if (!present || removed_record(ino)) return fail_errno(ENODATA, std::string(name));
  Draft change;
  change.time_ns = engine_.clock().wall_ns();
  change.effects.emplace_back(PutKey{xattr_key(ino, name), std::nullopt});
  record.flags &= ~acl_flag(name);
  record.ctime = change.time_ns;
  put_inode(change, ino, record);
  return commit(change, {});
}

Result<std::vector<std::string>> Volume::listxattr(Ino ino, const Caller& caller, Need& need) {
  const std::shared_lock lock(mutex_);
  const std::string prefix = xattr_prefix(ino);
  const std::string end = prefix_end(prefix);
  std::vector<std::string> names;
  std::string from = prefix;
  while (true) {
    TRY_ASSIGN(const auto range, engine_.scan(from, end, 256, need));
    for (const TreeEntry& entry : range.entries) {
      std::string name = entry.key.substr(prefix.size());
      if (caller.uid == 0 || !name.starts_with(kTrusted)) names.push_back(std::move(name));
    }
    if (!range.more) return names;
    from = range.last_seen + '\0';
  }
}

// ---- access control lists

Result<Acl> Volume::acl_of(Ino ino, const InodeRecord& record, std::string_view name, Need& need) {
  if ((record.flags & acl_flag(name)) == 0 || removed_record(ino)) return Acl();
  TRY_ASSIGN(const Buffer bytes, stored_xattr(ino, name, need));
  return Acl::decode(bytes);
}

void Volume::put_acl(Draft& change, Ino ino, InodeRecord& record, std::string_view name,
                     const Acl& acl) {
  if (acl.empty()) {
    if ((record.flags & acl_flag(name)) != 0)
      change.effects.emplace_back(PutKey{xattr_key(ino, name), std::nullopt});
    record.flags &= ~acl_flag(name);
    return;
  }
  put_xattr(change, ino, name, acl.encode());
  record.flags |= acl_flag(name);
}

Status Volume::set_acl(Ino ino, std::string_view name, Bytes value, const Caller& caller,
                       Need& need) {
  TRY_ASSIGN(Acl acl, Acl::decode(value));
  TRY(engine_.admit(kChangeBytes + value.size(), need));
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(InodeRecord record, load(ino, need));
  if (removed_record(ino)) return fail_errno(ENOENT, "the file was removed");
  if (record.type() == FileType::kSymlink) return fail_errno(EOPNOTSUPP, std::string(name));
  if (name == kDefaultAclName && record.type() != FileType::kDirectory)
    return fail_errno(EACCES, std::string(name));
  Draft change;
  change.time_ns = engine_.clock().wall_ns();
  if (name == kAccessAclName && !acl.empty()) {
    record.mode = acl.apply_to(record.mode);
    // As chmod by somebody outside of the group.
    const bool in_group =
        caller.uid == 0 || caller.gid == record.gid ||
        std::find(caller.groups.begin(), caller.groups.end(), record.gid) != caller.groups.end();
    if (!in_group) record.mode &= ~uint32_t{S_ISGID};
    if (acl.is_minimal()) acl = Acl();
  }
  put_acl(change, ino, record, name, acl);
  record.ctime = change.time_ns;
  put_inode(change, ino, record);
  return commit(change, {});
}

Status Volume::inherit(Draft& change, Ino parent, const InodeRecord& dir, Ino ino,
                       InodeRecord& record, const Caller& caller, Need& need) {
  if (record.type() == FileType::kSymlink) return {};
  TRY_ASSIGN(const Acl defaults, acl_of(parent, dir, kDefaultAclName, need));
  if (defaults.empty()) {
    record.mode &= ~(caller.umask & 0777);
    return {};
  }
  Acl access = defaults;
  record.mode = access.inherit(record.mode);
  if (!access.is_minimal()) put_acl(change, ino, record, kAccessAclName, access);
  if (record.type() == FileType::kDirectory)
    put_acl(change, ino, record, kDefaultAclName, defaults);
  return {};
}

}  // namespace cairn
