// POSIX access control lists: the form of the xattr, and what ties a list to a mode.
#include "fs/acl.h"

#include <doctest/doctest.h>
#include <linux/posix_acl.h>

#include <cerrno>
#include <vector>

#include "cache/base/coding.h"

namespace cairn {
namespace {

struct Raw {
  uint16_t tag;
  uint16_t perm;
  uint32_t id = 0xffffffff;
};

ByteVec bytes_of(const std::vector<Raw>& entries, uint32_t version = 2) {
  ByteVec out;
  put_le(out, version);
  for (const Raw& entry : entries) {
    put_le(out, entry.tag);
    put_le(out, entry.perm);
    put_le(out, entry.id);
  }
  return out;
}

Acl acl_of(const std::vector<Raw>& entries) {
  auto acl = Acl::decode(bytes_of(entries));
  REQUIRE(acl);
  return *acl;
}

const std::vector<Raw> kNamed{{ACL_USER_OBJ, 7}, {ACL_USER, 6, 12},  {ACL_USER, 1, 7},
                              {ACL_GROUP_OBJ, 5}, {ACL_GROUP, 7, 9}, {ACL_MASK, 6},
                              {ACL_OTHER, 4}};
const std::vector<Raw> kMinimal{{ACL_USER_OBJ, 6}, {ACL_GROUP_OBJ, 4}, {ACL_OTHER, 1}};

TEST_CASE("an access control list is what was set") {
  for (const auto& entries : {kNamed, kMinimal, std::vector<Raw>()})
    CHECK(acl_of(entries).encode() == bytes_of(entries));
  CHECK(acl_of(kMinimal).is_minimal());
  CHECK_FALSE(acl_of(kNamed).is_minimal());
  CHECK(Acl::decode({})->empty());
}

TEST_CASE("what is no list is refused") {
  const auto refused = [](const ByteVec& bytes) {
    const auto acl = Acl::decode(bytes);
    return !acl && acl.error().sys_errno() == EINVAL;
  };
  CHECK(refused(bytes_of(kNamed, 1)));
  CHECK(refused(ByteVec(3)));
  ByteVec cut = bytes_of(kNamed);
  cut.pop_back();
  CHECK(refused(cut));
  // Every single entry is needed: each of the three, and the mask where somebody is named.
  for (const size_t gone : {0U, 3U, 5U, 6U}) {
    std::vector<Raw> entries = kNamed;
    entries.erase(entries.begin() + static_cast<std::ptrdiff_t>(gone));
    CHECK(refused(bytes_of(entries)));
  }
  for (const Raw& wrong : {Raw{ACL_OTHER, 8}, Raw{ACL_USER, 7}, Raw{0x40, 7}, Raw{ACL_OTHER, 4}}) {
    std::vector<Raw> entries = kNamed;
    entries.push_back(wrong);
    CHECK(refused(bytes_of(entries)));
  }
}

TEST_CASE("list and mode say the same") {
  CHECK(acl_of(kMinimal).apply_to(0102777) == 0102641);
  // With a mask the group bits are the mask.
  CHECK(acl_of(kNamed).apply_to(0100000) == 0100764);
  Acl acl = acl_of(kNamed);
  acl.set_mode(0100512);
  CHECK(acl.apply_to(0) == 0512);
  std::vector<Raw> expected = kNamed;
  expected[0].perm = 5;
  expected[5].perm = 1;
  expected[6].perm = 2;
  CHECK(acl.encode() == bytes_of(expected));
}

TEST_CASE("what is created gets the default list, cut by the mode asked for") {
  Acl named = acl_of(kNamed);
  CHECK(named.inherit(0100640) == 0100640);
  CHECK(named.apply_to(0) == 0640);
  CHECK_FALSE(named.is_minimal());
  Acl minimal = acl_of(kMinimal);
  CHECK(minimal.inherit(0040777) == 0040641);
  Acl again = acl_of(kNamed);
  CHECK(again.inherit(0100777) == 0100764);
  CHECK(again.encode() == bytes_of(kNamed));
}

}  // namespace
}  // namespace cairn
