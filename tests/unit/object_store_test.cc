#include "cache/object_store.h"

#include <doctest/doctest.h>

using namespace cairn;

TEST_CASE("keys: what is refused and what is not") {
  for (const std::string& key :
       {std::string(), std::string("/a"), std::string("a//"), std::string("a//b"), std::string("."),
        std::string(".."), std::string("a/../b"), std::string("a/."), std::string("a\0b", 3),
        std::string(1025, 'k')}) {
    const Status status = check_key(key);
    REQUIRE_FALSE(status);
    CHECK(status.error().code() == Errc::kInvalid);
  }
  for (const std::string& key :
       {std::string("a"), std::string("a/"), std::string("a/b"), std::string(".a/..b/..."),
        std::string(1024, 'k'), std::string("\xff\x01 +%?&")})
    CHECK(check_key(key));
}

TEST_CASE("which failures leave the outcome of a write open") {
  CHECK(outcome_unknown(Error(Errc::kTimeout, "")));
  CHECK(outcome_unknown(Error(Errc::kTransient, "")));
  CHECK_FALSE(outcome_unknown(Error(Errc::kTransient, "").with_no_effect()));
  CHECK_FALSE(outcome_unknown(Error(Errc::kPrecondition, "")));
  CHECK_FALSE(outcome_unknown(Error(Errc::kNoSpace, "")));
}

TEST_CASE("a body of bytes and ranges: sections, slices, what can be read") {
  Body body;
  body.add(Buffer::copy("ab"));
  body.add(Buffer::copy("cd"));
  body.add(ObjectRange{"k", "e", 1000, {100, 50}});
  body.add(ObjectRange{"k", "e", 1000, {300, 0}});  // nothing
  body.add(ObjectRange{"l", "f", 10, {0, 10}});
  body.add(Buffer::copy("xyz"));
  CHECK(body.size() == 67);
  CHECK(body.own_bytes() == 7);
  CHECK(body.has_object_ranges());
  const auto sections = body.sections();
  REQUIRE(sections.size() == 4);
  CHECK(sections[0].at == ByteRange{0, 4});
  CHECK(sections[0].object == nullptr);
  CHECK(sections[1].object->key == "k");
  CHECK(sections[2].at == ByteRange{54, 10});
  CHECK(sections[3].at == ByteRange{64, 3});
  ByteVec out(4);
  REQUIRE(body.read_at(0, out));
  CHECK(as_chars(out) == "abcd");
  CHECK(body.read_at(2, out).error().code() == Errc::kInvalid);
  CHECK(body.to_buffer().error().code() == Errc::kInvalid);
  const Body slice = body.slice({10, 55});
  const auto parts = slice.sections();
  REQUIRE(parts.size() == 3);
  CHECK(parts[0].object->range == ByteRange{106, 44});
  CHECK(slice.slice(parts[2].at).to_buffer()->size() == 1);
  CHECK_FALSE(body.slice({0, 4}).has_object_ranges());
  CHECK(body.in_memory()->size() == body.size());
  CHECK(body.in_memory()->own_bytes() == 7);
}
