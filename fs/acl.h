// Acl: POSIX access control lists as the xattrs system.posix_acl_access and
// system.posix_acl_default carry them, and the rules that tie them to a mode (acl(5)).
//
// Pure functions, safe from any thread. The kernel checks permissions by what it reads here; what
// only the filesystem can do is kept in step: inheritance when something is created, the mode when
// a list is set, the list when the mode is set.
// Errors: kInvalid with errno EINVAL for bytes that are no valid list.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "cache/base/bytes.h"
#include "cache/base/result.h"

namespace cairn {

inline constexpr std::string_view kAccessAclName = "system.posix_acl_access";
inline constexpr std::string_view kDefaultAclName = "system.posix_acl_default";

// Flags of an inode record (FORMAT.md): which of the two there are, so that the many questions for
// lists that are not there cost nothing.
inline constexpr uint32_t kHasAccessAcl = 1;
inline constexpr uint32_t kHasDefaultAcl = 2;

class Acl {
 public:
  // An empty value is an empty list.
  static Result<Acl> decode(Bytes xattr);
  ByteVec encode() const;

  bool empty() const { return entries_.empty(); }
  // Says no more than permission bits do: owner, group, other.
  bool is_minimal() const { return entries_.size() == 3; }
  // `mode` with the permissions that this list stands for. Requires a list that is not empty.
  uint32_t apply_to(uint32_t mode) const;
  // What chmod to `mode` makes of this list.
  void set_mode(uint32_t mode);
  // This list is a directory's default: makes it the access list of something created there with
  // `mode` (no umask applied) and returns the mode that it gets.
  uint32_t inherit(uint32_t mode);

 private:
  struct Entry {
    uint16_t tag = 0;
    uint16_t perm = 0;
    uint32_t id = 0;
  };
  // The entry that the group bits of a mode stand for: the mask, else the owning group.
  Entry* group_class();
  Status check() const;

  std::vector<Entry> entries_;
};

}  // namespace cairn
