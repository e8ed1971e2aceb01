#include "cache/format/pack.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <optional>

#include "cache/base/env.h"
#include "cache/base/random.h"
#include "cache/format/cbor.h"
#include "cache/format/unixfs.h"
#include "tests/support/test_pack.h"

using namespace cairn;

namespace {

ByteVec random_bytes(Rng& rng, size_t size) {
  ByteVec out(size);
  for (std::byte& byte : out) byte = static_cast<std::byte>(rng.next());
  return out;
}

// Two leaves, the node above them, a tree node; hints of every kind.
TestPack small_pack(std::vector<PackRun>* runs = nullptr) {
  TestPack pack(PackKind::kMeta);
  ByteVec cbor;
  CborWriter(cbor).text("a tree node");
  const Cid first = pack.add(Codec::kRaw, as_bytes("first leaf"));
  const Cid second = pack.add(Codec::kRaw, as_bytes("second"));
  const std::vector<UnixfsLink> links{{first.digest(), Codec::kRaw, 10, 10},
                                      {second.digest(), Codec::kRaw, 6, 6}};
  const Cid node = pack.add(Codec::kDagPb, encode_unixfs_node(links));
  pack.add(Codec::kDagCbor, cbor);
  const std::vector<PackRun> hints{{PackRun::Place::kHere, {}, 96, 1},
                                   {PackRun::Place::kPack, sha256(as_bytes("p")), 77, 3},
                                   {PackRun::Place::kUnknown, {}, 0, 5},
                                   {PackRun::Place::kPack, sha256(as_bytes("q")), 78, 4}};
  REQUIRE(pack.builder().add_runs(node.digest(), hints));
  if (runs != nullptr) *runs = hints;
  return pack;
}

Status verify(Bytes object, const Digest& name) {
  MemorySource source(object);
  const auto tail = verify_pack(source, name);
  if (!tail) return tl::unexpected<Error>(tail.error());
  return {};
}

// The object with its footer's bytes changed and the footer's checksum made right again.
ByteVec with_footer(ByteVec object, size_t at, uint8_t value) {
  const size_t start = object.size() - kPackFooterSize;
  object[start + at] = std::byte{value};
  ByteVec sum;
  put_le(sum, crc32c(Bytes(object).subspan(start, kPackFooterSize - 4)));
  std::copy(sum.begin(), sum.end(), object.end() - 4);
  return object;
}

// Parses the end of `object` as if it were named by what it holds.
Result<PackTail> parse_renamed(const ByteVec& object, uint64_t tail_size) {
  const Buffer tail = Buffer::copy(Bytes(object).last(tail_size));
  return PackTail::parse(tail, object.size(), sha256(tail));
}

}  // namespace

TEST_CASE("a pack is known before its payloads and read back from its end") {
  const auto rng = make_seeded_rng(1);
  TestPack pack(PackKind::kData);
  std::vector<std::pair<Cid, ByteVec>> blocks;
  for (size_t i = 0; i < 300; ++i) {
    ByteVec data = random_bytes(*rng, rng->below(20) == 0 ? 70000 : rng->below(200));
    put_le(data, i);
    const Cid cid = pack.add(Codec::kRaw, data);
    blocks.emplace_back(cid, std::move(data));
  }
  const uint64_t promised = pack.builder().size();
  const PackPlan plan = pack.plan();
  const ByteVec object = pack.object(plan);
  CHECK(object.size() == plan.size());
  CHECK(object.size() == promised);
  CHECK(verify(object, plan.name()));

  // A suffix that is too short says how much is needed; a longer one is fine.
  const auto suffix = [&](size_t size) { return Buffer::copy(Bytes(object).last(size)); };
  CHECK(PackTail::need({}, object.size()).value() == kPackFooterSize);
  const uint64_t needed = PackTail::need(suffix(64), object.size()).value();
  CHECK(needed == 300 * kPackEntrySize + kPackFooterSize);
  CHECK_FALSE(PackTail::parse(suffix(needed - 1), object.size(), plan.name()));
  for (const size_t size : {size_t{needed}, size_t{65536}, object.size()}) {
    const PackTail tail = PackTail::parse(suffix(size), object.size(), plan.name()).value();
    CHECK(tail.kind() == PackKind::kData);
    REQUIRE(tail.size() == 300);
    CHECK(tail.block().size() == needed);
    for (size_t i = 0; i < blocks.size(); ++i) {
      const auto entry = tail.find(blocks[i].first.digest());
      REQUIRE(entry);
      CHECK(entry->offset == plan.offset(i));
      CHECK(equal(Bytes(object).subspan(entry->offset, entry->length), blocks[i].second));
    }
    for (uint32_t i = 1; i < tail.size(); ++i)
      CHECK(tail.entry(i - 1).digest < tail.entry(i).digest);
    CHECK_FALSE(tail.find(sha256(as_bytes("not there"))));
    CHECK_FALSE(tail.find(Digest{}));
    Digest last;
    last.bytes.fill(std::byte{0xff});
    CHECK_FALSE(tail.find(last));
  }
  // The tail's block alone is enough, too.
  CHECK(PackTail::parse(plan.tail().block(), object.size(), plan.name()));
}

TEST_CASE("hints come back as they were given, for the node they were given for") {
  std::vector<PackRun> runs;
  TestPack pack = small_pack(&runs);
  const PackPlan plan = pack.plan();
  size_t nodes = 0;
  for (uint32_t i = 0; i < plan.tail().size(); ++i) {
    const PackEntry entry = plan.tail().entry(i);
    if (entry.codec == Codec::kDagPb) {
      CHECK(plan.tail().runs(entry.digest) == runs);
      ++nodes;
    } else {
      CHECK(plan.tail().runs(entry.digest).empty());
    }
  }
  CHECK(nodes == 1);
  CHECK(plan.tail().kind() == PackKind::kMeta);
  CHECK(plan.tail().runs(sha256(as_bytes("no node"))).empty());
}

TEST_CASE("every change of one byte of a pack is found by verifying it under its name") {
  TestPack pack = small_pack();
  const PackPlan plan = pack.plan();
  const ByteVec object = pack.object(plan);
  REQUIRE(verify(object, plan.name()));
  size_t refused = 0;
  for (size_t at = 0; at < object.size(); ++at) {
    for (unsigned change = 1; change < 256; ++change) {
      ByteVec flipped = object;
      flipped[at] ^= static_cast<std::byte>(change);
      refused += verify(flipped, plan.name()) ? 0 : 1;
    }
  }
  CHECK(refused == object.size() * 255);
  for (size_t cut = 0; cut < object.size(); ++cut)
    CHECK_FALSE(verify(Bytes(object).first(cut), plan.name()));
  ByteVec longer = object;
  longer.push_back(std::byte{0});
  CHECK_FALSE(verify(longer, plan.name()));
  CHECK_FALSE(verify(object, sha256(as_bytes("another name"))));
}

TEST_CASE("a pack whose parts are valid but do not belong together is refused") {
  TestPack pack = small_pack();
  const PackPlan plan = pack.plan();
  const ByteVec object = pack.object(plan);
  // The first two sections exchanged: every block is sound, the index is not theirs any more.
  const size_t first = 59;
  const size_t second = plan.offset(0) + 10;
  const size_t third = plan.offset(1) + 6;
  ByteVec swapped(object.begin(), object.begin() + static_cast<ptrdiff_t>(first));
  append(swapped, Bytes(object).subspan(second, third - second));
  append(swapped, Bytes(object).subspan(first, second - first));
  append(swapped, Bytes(object).subspan(third));
  MemorySource source(swapped);
  REQUIRE(verify_car(source));
  CHECK_FALSE(verify(swapped, plan.name()));
}

TEST_CASE("tails with impossible contents are refused although their name fits") {
  TestPack pack = small_pack();
  const PackPlan plan = pack.plan();
  const ByteVec object = pack.object(plan);
  const uint64_t size = plan.tail().block().size();
  REQUIRE(parse_renamed(object, size));
  const auto refused = [&](const ByteVec& changed) { return !parse_renamed(changed, size); };
  CHECK(refused(with_footer(object, 0, 'x')));  // magic
  CHECK(parse_renamed(with_footer(object, 8, 2), size).error().code() == Errc::kUnsupported);
  CHECK(parse_renamed(with_footer(object, 12, 2), size).error().code() == Errc::kUnsupported);
  CHECK(refused(with_footer(object, 16, 0xff)));  // index offset
  for (const uint8_t count : std::initializer_list<uint8_t>{0, 3, 5})
    CHECK(refused(with_footer(object, 24, count)));
  CHECK(refused(with_footer(object, 27, 0xff)));  // count
  CHECK(refused(with_footer(object, 28, 0)));     // length of the hints
  CHECK(refused(with_footer(object, 32, 1)));     // end of the data
  CHECK(refused(with_footer(object, 40, 0)));     // checksums
  CHECK(refused(with_footer(object, 44, 0)));
  CHECK(refused(with_footer(object, 57, 1)));  // reserved
  // Under any name: no changed byte of index or hints goes past their checksums.
  for (uint64_t at = object.size() - size; at < object.size() - kPackFooterSize; ++at) {
    ByteVec changed = object;
    changed[at] ^= std::byte{0x10};
    CHECK(refused(changed));
  }
}

TEST_CASE("what cannot be in a pack is refused by the builder") {
  PackBuilder builder(PackKind::kData);
  CHECK_FALSE(builder.finish());
  const Cid cid = Cid::make(Codec::kRaw, as_bytes("x"));
  CHECK(builder.add(cid, 1));
  CHECK(builder.contains(cid.digest()));
  CHECK_FALSE(builder.add(cid, 1));
  CHECK_FALSE(builder.add(Cid::from_digest(Codec::kDagPb, cid.digest()), 1));
  CHECK_FALSE(builder.add(Cid::identity(Codec::kRaw, as_bytes("y")), 1));
  CHECK_FALSE(builder.add(Cid::make(Codec::kRaw, as_bytes("z")), kMaxCarBlock + 1));
  const PackRun run{PackRun::Place::kUnknown, {}, 0, 1};
  CHECK_FALSE(builder.add_runs(cid.digest(), {&run, 1}));  // no node
}

TEST_CASE("a full pack says so, by its size and by the size of its tail") {
  const auto fill = [](uint64_t length) {
    PackBuilder builder(PackKind::kData);
    for (uint64_t i = 0; builder.fits(length); ++i) {
      ByteVec key;
      put_le(key, i);
      REQUIRE(builder.add(Cid::make(Codec::kRaw, key), length));
    }
    return builder.finish().value();
  };
  const PackPlan large = fill(kMaxCarBlock);
  CHECK(large.size() <= kMaxPackSize);
  CHECK(large.size() > kMaxPackSize - (16 << 20));
  const PackPlan many = fill(1);
  CHECK(many.tail().block().size() <= kMaxCarBlock);
  CHECK(many.tail().size() == (kMaxCarBlock - kPackFooterSize) / kPackEntrySize);
}

// tests/oracles/car.sh gives these to another program's reader.
TEST_CASE("packs are left in the folder that CAIRN_PACK_DIR names") {
  const char* folder = std::getenv("CAIRN_PACK_DIR");
  if (folder == nullptr) return;
  const auto write = [&](const std::string& name, Bytes bytes) {
    CHECK(replace_file(posix_env(), std::string(folder) + "/" + name, bytes));
  };
  TestPack meta = small_pack();
  const PackPlan meta_plan = meta.plan();
  const ByteVec good = meta.object(meta_plan);
  write("good-meta.car", good);
  const auto rng = make_seeded_rng(2);
  TestPack data(PackKind::kData);
  for (int i = 0; i < 100; ++i) data.add(Codec::kRaw, random_bytes(*rng, 256 << 10));
  const PackPlan data_plan = data.plan();
  write("good-data.car", data.object(data_plan));
  ByteVec flipped = good;
  flipped[meta_plan.offset(1)] ^= std::byte{1};
  write("bad-flip.car", flipped);
  write("bad-truncated.car", Bytes(good).first(good.size() - 1));
}

TEST_CASE("an entry is found among the few where its digest must stand") {
  for (const uint32_t count : {1U, 7U, 300U, 20000U}) {
    TestPack pack(PackKind::kMeta);
    std::vector<Digest> digests;
    for (uint32_t i = 0; i < count; ++i)
      digests.push_back(pack.add(Codec::kDagCbor, as_bytes(std::to_string(i))).digest());
    const PackTail tail = pack.plan().tail();
    const auto read = [&](const PackEntrySpan& span) {
      return tail.block().view().subspan(size_t{span.first} * kPackEntrySize,
                                         size_t{span.count} * kPackEntrySize);
    };
    uint32_t elsewhere = 0;
    const auto look = [&](const Digest& digest) {
      const PackEntrySpan span = likely_entries(digest, count);
      REQUIRE(span.first + span.count <= count);
      const auto found = find_pack_entry(read(span), span, count, digest);
      if (found)
        CHECK(*found == tail.find(digest));
      else
        elsewhere += found.error().code() == Errc::kNotFound ? 1 : 1000;
    };
    for (const Digest& digest : digests) look(digest);
    for (uint32_t i = 0; i < count; ++i) look(sha256(as_bytes(std::to_string(i) + " is absent")));
    CHECK(elsewhere <= count / 1000);
    CHECK(likely_entries(digests[0], count).count <= 5 * std::sqrt(count) + 20);
  }
}

TEST_CASE("entries that cannot decide about a digest say so") {
  TestPack pack(PackKind::kMeta);
  for (int i = 0; i < 100; ++i) pack.add(Codec::kDagCbor, as_bytes(std::to_string(i)));
  const PackTail tail = pack.plan().tail();
  const auto code = [&](const PackEntrySpan& span, size_t bytes,
                        const Digest& digest) -> std::optional<Errc> {
    const auto found = find_pack_entry(
        tail.block().view().subspan(size_t{span.first} * kPackEntrySize, bytes), span, 100, digest);
    if (found) return std::nullopt;
    return found.error().code();
  };
  const PackEntrySpan middle{40, 20};
  const size_t bytes = size_t{20} * kPackEntrySize;
  CHECK(code(middle, bytes, tail.entry(39).digest) == Errc::kNotFound);
  CHECK(code(middle, bytes, tail.entry(40).digest) == std::nullopt);
  CHECK(code(middle, bytes, tail.entry(59).digest) == std::nullopt);
  CHECK(code(middle, bytes, tail.entry(60).digest) == Errc::kNotFound);
  CHECK(code(middle, bytes - 1, tail.entry(45).digest) == Errc::kCorruption);
  CHECK(code({0, 0}, 0, tail.entry(45).digest) == Errc::kCorruption);
}
