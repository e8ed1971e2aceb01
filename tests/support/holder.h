// Holder: a mount of objects that holds back what upload rules exclude.
//
// Owner: the test.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/support/bucket_world.h"

namespace cairn::test {

using Rules = std::vector<std::string>;
inline const Rules kNoTmp{"!/**.tmp"};

struct Holder : Writer {
  explicit Holder(const Rules& rules) { mount_with(rules); }
  void set_rules(const Rules& rules) {
    FilterPolicies policies;
    for (const std::string& rule : rules) REQUIRE(policies.upload.add(rule));
    mount.options.objects->filters.policies = std::make_shared<const FilterPolicies>(policies);
  }
  void mount_with(const Rules& rules) {
    REQUIRE(mount.close());
    set_rules(rules);
    open();
  }
  void die_and_mount_with(const Rules& rules) {
    mount.kill();
    set_rules(rules);
    open();
  }
  // It is here, also after a death, and goes whole once no rule holds it.
  void check_held(const std::string& path, const std::string& bytes) {
    CHECK(read(path) == bytes);
    die_and_mount_with(kNoTmp);
    CHECK(read(path) == bytes);
    mount_with({});
    settle();
    CHECK(object_bytes(path) == bytes);
  }
  std::string state(const std::string& path) { return xattr(path, "user.cairn.state"); }
  uint64_t held() { return mount.engine().kept_back().files; }
  // Nothing waits, and nothing is held that may go.
  void settle() {
    flush();
    for (int i = 0; i < 500; ++i) {
      const uint64_t before = held();
      const auto done = mount.engine().publish_once(false, Context());
      REQUIRE_MESSAGE(done, (done ? "" : done.error().message()));
      if (!*done && held() == before) return;
    }
    FAIL("it is never done");
  }
};

}  // namespace cairn::test
