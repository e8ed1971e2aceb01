#include <doctest/doctest.h>

#include "cache/base/coding.h"
#include "cache/format/commit.h"

using namespace cairn;

namespace {

Digest digest_of(std::string_view text) {
  return sha256(as_bytes(text));
}

CommitRecord small() {
  CommitRecord c;
  c.seq = 1;
  c.root = Cid::make(Codec::kDagCbor, as_bytes("root"));
  return c;
}

CommitRecord full() {
  CommitRecord c = small();
  c.seq = 300;
  c.epoch = 4;
  c.nonce.fill(std::byte{0x5a});
  c.writer = {{}, "node-1", 7, true, 123456789};
  c.writer.cache_id.fill(std::byte{9});
  c.previous = CommitRecord::Previous{299, digest_of("previous")};
  c.root_place = CommitRecord::RootPlace{digest_of("pack"), 4096, 700};
  c.time_ns = 1'790'000'000'000'000'000;
  c.metadata_packs = {{digest_of("m1"), 1 << 20, 5000, 1}, {digest_of("m2"), 2000, 3, 0}};
  c.young_packs = {{digest_of("d1"), 32 << 20, 128, 0}};
  c.index_segments = {{digest_of("i1"), 44000, 1000}, {digest_of("i2"), 440, 10}};
  c.condemned_packs = {{digest_of("old"), 1 << 25, 290}};
  c.totals = {1ULL << 40, 100000, 1ULL << 41};
  c.slots[1] = {c.writer.cache_id, 17};
  c.slots[7] = {{}, 3};
  c.features.compat = {"hint"};
  c.features.ro_compat = {"a", "b"};
  return c;
}

}  // namespace

TEST_CASE("a commit record round-trips, with the fields it does not know") {
  for (CommitRecord record : {small(), full()}) {
    const ByteVec bytes = record.encode().value();
    CHECK(cbor_validate(bytes));
    CHECK(CommitRecord::decode(bytes).value() == record);
    record.unknown.emplace("zstd_dictionary", from_hex("8101").value());
    record.unknown.emplace("a", from_hex("a16178f6").value());
    const ByteVec extended = record.encode().value();
    CHECK(CommitRecord::decode(extended).value() == record);
    CHECK(CommitRecord::decode(extended)->encode().value() == extended);
  }
}

TEST_CASE("every truncation of a commit record is refused and every changed byte is noticed") {
  const CommitRecord record = full();
  const ByteVec good = record.encode().value();
  for (size_t cut = 0; cut < good.size(); ++cut)
    CHECK_FALSE(CommitRecord::decode(Bytes(good).first(cut)));
  ByteVec longer = good;
  longer.push_back(std::byte{0});
  CHECK_FALSE(CommitRecord::decode(longer));
  for (size_t i = 0; i < good.size(); ++i) {
    for (int value = 0; value < 256; ++value) {
      ByteVec bad = good;
      if (bad[i] == static_cast<std::byte>(value)) continue;
      bad[i] = static_cast<std::byte>(value);
      REQUIRE_FALSE(CommitRecord::decode(bad));
    }
  }
}

TEST_CASE("a commit record that nobody could use is not written") {
  const auto refused = [](auto change) {
    CommitRecord c = full();
    change(c);
    const auto bytes = c.encode();
    return bytes ? Errc::kIo : bytes.error().code();
  };
  CHECK(refused([](CommitRecord& c) { c.root = {}; }) == Errc::kInvalid);
  CHECK(refused([](CommitRecord& c) { c.root = Cid::make(Codec::kRaw, {}); }) == Errc::kInvalid);
  CHECK(refused([](CommitRecord& c) { c.previous->seq = c.seq; }) == Errc::kInvalid);
  CHECK(refused([](CommitRecord& c) { c.writer.host = "\xff"; }) == Errc::kInvalid);
  CHECK(refused([](CommitRecord& c) { c.writer.host.assign(256, 'h'); }) == Errc::kInvalid);
  CHECK(refused([](CommitRecord& c) { c.metadata_packs[0].tier = 16; }) == Errc::kInvalid);
  CHECK(refused([](CommitRecord& c) { c.young_packs[0].tier = 1; }) == Errc::kInvalid);
  CHECK(refused([](CommitRecord& c) { c.condemned_packs.resize(40000); }) == Errc::kUnsupported);
  CHECK_FALSE(CommitRecord::decode(ByteVec(CommitRecord::kMaxBytes + 1, std::byte{0xa0})));
  CHECK_FALSE(CommitRecord::decode(from_hex("a0").value()));
}

TEST_CASE("a long history of slots and packs fits a commit") {
  CommitRecord c = full();
  for (int i = 0; i < 20000; ++i) c.slots[static_cast<uint16_t>(i)] = {c.writer.cache_id, 1U << 31};
  for (int i = 0; i < 200; ++i) c.metadata_packs.push_back({digest_of("m"), 1ULL << 40, 1000, 2});
  CHECK(CommitRecord::decode(c.encode().value()).value() == c);
}
