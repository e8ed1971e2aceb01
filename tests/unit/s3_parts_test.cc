#include "s3/s3_parts.h"

#include <doctest/doctest.h>

#include "cache/base/random.h"

using namespace cairn;

namespace {

constexpr uint64_t kMiB = 1ULL << 20;
constexpr uint64_t kGiB = 1ULL << 30;
constexpr uint64_t kTiB = 1ULL << 40;

// A file that is only said to be there.
class Imagined final : public File {
 public:
  Result<size_t> read_at(uint64_t, MutableBytes) override { return fail(Errc::kIo, "imagined"); }
  Status write_at(uint64_t, Bytes) override { return fail(Errc::kIo, "imagined"); }
  Status sync_data() override { return {}; }
  Result<uint64_t> size() override { return 0; }
  Result<uint64_t> allocated_bytes() override { return 0; }
  Status allocate(uint64_t, uint64_t) override { return {}; }
  Status punch(uint64_t, uint64_t) override { return {}; }
  Status truncate(uint64_t) override { return {}; }
};

void add_own(Body& body, uint64_t length) {
  body.add(std::make_shared<Imagined>(), {0, length});
}
void add_range(Body& body, ByteRange range, uint64_t object_size = 5 * kTiB) {
  body.add(ObjectRange{"k", "\"e\"", object_size, range});
}

// The parts cover the body in order, keep S3's bounds, and say rightly what is copied.
std::vector<PlannedPart> checked(const Body& body, uint64_t part_size) {
  REQUIRE(check_put(body, {}));
  const auto parts = plan_parts(body, part_size);
  CHECK(parts.size() <= kS3PartsMax);
  const auto sections = body.sections();
  size_t section = 0;
  uint64_t at = 0;
  bool good = true;
  for (const PlannedPart& part : parts) {
    const bool last = &part == &parts.back();
    good = good && part.at.offset == at && part.at.length <= kS3PartBytesMax &&
           part.at.length > 0 && (last || part.at.length >= std::min(part_size, 5 * kMiB));
    while (at >= sections[section].at.end()) ++section;
    const Body::Section& in = sections[section];
    good = good && part.object == in.object && part.at.end() <= in.at.end();
    if (part.object != nullptr)
      good = good && part.source.length == part.at.length &&
             part.source.offset == part.object->range.offset + (at - in.at.offset);
    at = part.at.end();
  }
  CHECK(good);
  CHECK(at == body.size());
  return parts;
}

}  // namespace

TEST_CASE("bytes go in parts of the size asked for, larger ones when there were too many") {
  Body small;
  add_own(small, 20 * kMiB);
  CHECK(checked(small, 16 * kMiB).size() == 2);
  Body huge;
  add_own(huge, 5 * kTiB);
  CHECK(checked(huge, 16 * kMiB).size() > 5000);
  CHECK_FALSE(check_put(
      [] {
        Body over;
        add_own(over, 5 * kTiB + 1);
        return over;
      }(),
      {}));
}

TEST_CASE("parts follow the pieces; a rest too small for a part goes with the one before") {
  Body body;
  add_own(body, 17 * kMiB);
  add_range(body, {3, 6 * kMiB});
  add_own(body, 5 * kMiB);
  add_range(body, {kGiB, 1025 * kMiB});
  add_own(body, 1);
  const auto parts = checked(body, 16 * kMiB);
  REQUIRE(parts.size() == 6);
  CHECK(parts[0].at.length == 17 * kMiB);
  CHECK(parts[1].source == ByteRange{3, 6 * kMiB});
  CHECK(parts[3].at.length == 512 * kMiB);
  CHECK(parts[4].at.length == 513 * kMiB);
  CHECK(parts[5].at.length == 1);
}

TEST_CASE("any body within the rules becomes parts within S3's bounds") {
  const auto rng = make_seeded_rng(17);
  for (int round = 0; round < 200; ++round) {
    Body body;
    const uint64_t count = 1 + rng->below(round % 10 == 0 ? Body::kSectionsMax : 8);
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t most = std::max<uint64_t>((5 * kTiB) / count / 2, 1);
      const uint64_t length = 5 * kMiB + rng->below(round % 3 == 0 ? most : 40 * kMiB);
      if (i % 2 == 0) {
        add_range(body, {rng->below(kGiB), length});
      } else {
        add_own(body, length);
      }
    }
    CAPTURE(round);
    checked(body, 5 * kMiB + rng->below(32 * kMiB));
  }
}

TEST_CASE("one request copies a whole object of up to 5 GiB") {
  const auto whole = [](ByteRange range, uint64_t size) {
    Body body;
    add_range(body, range, size);
    return whole_object(body) != nullptr;
  };
  CHECK(whole({0, 1}, 1));
  CHECK(whole({0, 5 * kGiB}, 5 * kGiB));
  CHECK_FALSE(whole({0, 5 * kGiB + 1}, 5 * kGiB + 1));
  CHECK_FALSE(whole({0, 6 * kMiB}, 7 * kMiB));
  CHECK_FALSE(whole({1, 6 * kMiB}, 6 * kMiB + 1));
  Body more;
  add_range(more, {0, 6 * kMiB}, 6 * kMiB);
  add_own(more, 1);
  CHECK(whole_object(more) == nullptr);
  CHECK(whole_object(Body()) == nullptr);
}
