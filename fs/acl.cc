#include "fs/acl.h"

#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#include <cerrno>

#include "cache/base/coding.h"

namespace cairn {

namespace {

constexpr size_t kHeaderBytes = 4;
constexpr size_t kEntryBytes = 8;
constexpr uint32_t kNoId = 0xffffffff;

bool has_id(uint16_t tag) {
  return tag == ACL_USER || tag == ACL_GROUP;
}

}  // namespace

Result<Acl> Acl::decode(Bytes xattr) {
  Acl acl;
  if (xattr.empty()) return acl;
  if (xattr.size() < kHeaderBytes || (xattr.size() - kHeaderBytes) % kEntryBytes != 0 ||
      get_le<uint32_t>(xattr.data()) != POSIX_ACL_XATTR_VERSION)
    return fail_errno(EINVAL, "an access control list of another form");
  for (size_t at = kHeaderBytes; at < xattr.size(); at += kEntryBytes) {
    const std::byte* b = xattr.data() + at;
    Entry entry{get_le<uint16_t>(b), get_le<uint16_t>(b + 2), get_le<uint32_t>(b + 4)};
    if (!has_id(entry.tag)) entry.id = kNoId;
    acl.entries_.push_back(entry);
  }
  TRY(acl.check());
  return acl;
}

// The order is owner, users, owning group, groups, mask, other: that of the tags.
Status Acl::check() const {
  const auto bad = []() -> Status {
    return fail_errno(EINVAL, "an access control list against the rules");
  };
  if (entries_.empty()) return {};
  bool named = false, mask = false;
  unsigned singles = 0;
  uint16_t before = 0;
  for (const Entry& entry : entries_) {
    if ((entry.perm & ~7) != 0) return bad();
    switch (entry.tag) {
      case ACL_USER_OBJ:
      case ACL_GROUP_OBJ:
      case ACL_OTHER:
        ++singles;
        break;
      case ACL_USER:
      case ACL_GROUP:
        named = true;
        if (entry.id == kNoId) return bad();
        break;
      case ACL_MASK:
        mask = true;
        break;
      default:
        return bad();
    }
    if (entry.tag < before || (entry.tag == before && !has_id(entry.tag))) return bad();
    before = entry.tag;
  }
  return singles == 3 && (mask || !named) ? Status() : bad();
}

ByteVec Acl::encode() const {
  ByteVec out;
  put_le(out, uint32_t{POSIX_ACL_XATTR_VERSION});
  for (const Entry& entry : entries_) {
    put_le(out, entry.tag);
    put_le(out, entry.perm);
    put_le(out, entry.id);
  }
  return out;
}

Acl::Entry* Acl::group_class() {
  Entry* found = nullptr;
  for (Entry& entry : entries_)
    if (entry.tag == ACL_MASK || (entry.tag == ACL_GROUP_OBJ && found == nullptr)) found = &entry;
  return found;
}

uint32_t Acl::apply_to(uint32_t mode) const {
  uint32_t owner = 0, group = 0, mask = 0, other = 0;
  bool masked = false;
  for (const Entry& entry : entries_) {
    if (entry.tag == ACL_USER_OBJ) owner = entry.perm;
    if (entry.tag == ACL_GROUP_OBJ) group = entry.perm;
    if (entry.tag == ACL_OTHER) other = entry.perm;
    if (entry.tag == ACL_MASK) {
      mask = entry.perm;
      masked = true;
    }
  }
  return (mode & ~0777U) | owner << 6 | (masked ? mask : group) << 3 | other;
}

void Acl::set_mode(uint32_t mode) {
  for (Entry& entry : entries_) {
    if (entry.tag == ACL_USER_OBJ) entry.perm = mode >> 6 & 7;
    if (entry.tag == ACL_OTHER) entry.perm = mode & 7;
  }
  if (Entry* entry = group_class()) entry->perm = mode >> 3 & 7;
}

uint32_t Acl::inherit(uint32_t mode) {
  set_mode(apply_to(mode) & mode);
  return apply_to(mode);
}

}  // namespace cairn
