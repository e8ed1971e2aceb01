#include "cache/object_store.h"

#include <doctest/doctest.h>

using namespace cairn;

TEST_CASE("keys: what is refused and what is not") {
  for (const std::string& key :
       {std::string(), std::string("/a"), std::string("a/"), std::string("a//b"), std::string("."),
        std::string(".."), std::string("a/../b"), std::string("a/."), std::string("a\0b", 3),
        std::string(1025, 'k')}) {
    const Status status = check_key(key);
    REQUIRE_FALSE(status);
    CHECK(status.error().code() == Errc::kInvalid);
  }
  for (const std::string& key :
       {std::string("a"), std::string("a/b"), std::string(".a/..b/..."), std::string(1024, 'k'),
        std::string("\xff\x01 +%?&")})
    CHECK(check_key(key));
}

TEST_CASE("which failures leave the outcome of a write open") {
  CHECK(outcome_unknown(Error(Errc::kTimeout, "")));
  CHECK(outcome_unknown(Error(Errc::kTransient, "")));
  CHECK_FALSE(outcome_unknown(Error(Errc::kTransient, "").with_no_effect()));
  CHECK_FALSE(outcome_unknown(Error(Errc::kPrecondition, "")));
  CHECK_FALSE(outcome_unknown(Error(Errc::kNoSpace, "")));
}
