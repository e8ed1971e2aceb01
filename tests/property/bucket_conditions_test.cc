// Whether a store honours the conditions of puts is found out, or stays unknown.
#include <doctest/doctest.h>

#include <string>

#include "tests/support/bucket_world.h"

using namespace cairn;
using namespace cairn::test;

namespace {

std::optional<bool> known(Writer& w) {
  return w.mount.opened().bucket->honours_if_match();
}

uint64_t probes(Writer& w) {
  uint64_t count = 0;
  for (const auto& [key, bytes] : w.bucket()) count += key.starts_with(".cairn-probe-") ? 1 : 0;
  return count;
}

}  // namespace

TEST_CASE("a right that is missing for a while says nothing of what the store honours") {
  Writer w;
  w.put_by_other("theirs", "before");
  w.refuse(StoreOp::kPut);
  w.write("f", "text");
  for (int i = 0; i < 6; ++i) {
    CHECK_FALSE(w.mount.engine().publish_once(false, Context()));
    CHECK_FALSE(known(w).has_value());
  }
  w.faults->clear();
  w.let_ttl_pass();
  w.flush();
  CHECK(w.object_bytes("f") == "text");
  CHECK(known(w) == true);
  CHECK(probes(w) == 0);
}

TEST_CASE("where only the probe is refused other objects are written, and it is asked again") {
  Writer w;
  w.refuse(StoreOp::kPut, ".cairn-probe");
  w.write("f", "text");
  for (int i = 0; i < 2; ++i) CHECK_FALSE(w.mount.engine().publish_once(false, Context()));
  w.flush();
  CHECK(w.object_bytes("f") == "text");
  CHECK_FALSE(known(w).has_value());
  // Not with each publication: the pauses double.
  const uint64_t hits = w.faults->hits();
  for (int i = 0; i < 20; ++i) {
    w.write("g", std::to_string(i));
    w.flush();
  }
  CHECK(w.faults->hits() - hits < 10);
  w.faults->clear();
  for (int i = 0; i < 300 && !known(w); ++i) {
    w.let_ttl_pass();
    w.write("h", std::to_string(i));
    w.flush();
  }
  CHECK(known(w) == true);
}

TEST_CASE("where nothing may be removed what a probe found counts, and it is left once") {
  Writer w;
  w.refuse(StoreOp::kRemove);
  SUBCASE("it found something") {}
  SUBCASE("it found nothing") {
    w.refuse(StoreOp::kGet, ".cairn-probe");
  }
  w.write("f", "text");
  for (int i = 0; i < 3; ++i) (void)w.mount.engine().publish_once(false, Context());
  w.let_ttl_pass();
  w.write("g", "text");
  w.flush();
  CHECK(w.object_bytes("g") == "text");
  CHECK(probes(w) == 1);
}
