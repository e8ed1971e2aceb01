#include <doctest/doctest.h>

#include <algorithm>

#include "cache/base/random.h"
#include "cache/format/cid.h"

using namespace cairn;

TEST_CASE("a CID has its published text") {
  // The empty MST node of the repository specification, and the raw CID of "hello\n".
  const ByteVec empty_node = from_hex("a2616580616cf6").value();
  CHECK(Cid::make(Codec::kDagCbor, empty_node).text() ==
        "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm");
  CHECK(Cid::make(Codec::kRaw, as_bytes("hello\n")).text() ==
        "bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am");
}

TEST_CASE("a CID round-trips through bytes and text") {
  const std::string long_text(Cid::kMaxInline, 'x');
  for (const Codec codec : {Codec::kRaw, Codec::kDagPb, Codec::kDagCbor}) {
    std::vector<Cid> all{Cid::make(codec, as_bytes("block"))};
    for (const size_t size : {0, 1, 32, 127, 128})
      all.push_back(Cid::identity(codec, as_bytes(long_text).first(size)));
    for (const Cid& cid : all) {
      const ByteVec bytes = cid.bytes();
      CHECK(bytes.size() == cid.byte_size());
      CHECK(bytes.size() <= Cid::kMaxSize);
      CHECK(Cid::from_bytes(bytes).value() == cid);
      CHECK(cid.text().size() <= Cid::kMaxText);
      CHECK(Cid::parse(cid.text()).value() == cid);
      CHECK(cid.codec() == codec);
      for (size_t cut = 0; cut < bytes.size(); ++cut)
        CHECK_FALSE(Cid::from_bytes(Bytes(bytes).first(cut)));
      ByteVec longer = bytes;
      longer.push_back(std::byte{0});
      CHECK_FALSE(Cid::from_bytes(longer));
      Bytes rest = longer;
      CHECK(Cid::take(rest).value() == cid);
      CHECK(rest.size() == 1);
    }
  }
}

TEST_CASE("a CID of another version, codec or hash is refused") {
  const ByteVec good = Cid::make(Codec::kRaw, as_bytes("x")).bytes();
  for (size_t at = 0; at < 4; ++at) {
    for (int value = 0; value < 256; ++value) {
      ByteVec bad = good;
      bad[at] = static_cast<std::byte>(value);
      const auto cid = Cid::from_bytes(bad);
      // Only another known codec, or an identity payload of the same length, is still a CID.
      if (cid) CHECK((at == 1 || value == 0 || bad == good));
      if (cid) CHECK(cid->bytes() == bad);
      if (!cid) CHECK(cid.error().code() == Errc::kCorruption);
    }
  }
  ByteVec too_long{std::byte{1}, std::byte{0x55}, std::byte{0}, std::byte{0x81}, std::byte{1}};
  too_long.resize(too_long.size() + 129);
  CHECK_FALSE(Cid::from_bytes(too_long));
  const std::string text = Cid::make(Codec::kRaw, as_bytes("x")).text();
  for (const std::string& bad : {std::string(), std::string("b"), "z" + text.substr(1), text + "a",
                                 text.substr(0, text.size() - 1), std::string(5000, 'b')}) {
    const auto cid = Cid::parse(bad);
    REQUIRE_FALSE(cid);
    CHECK(cid.error().code() == Errc::kInvalid);
  }
}

TEST_CASE("the order of CIDs is the order of their bytes, and matches checks content") {
  auto rng = make_seeded_rng(3);
  std::vector<Cid> all;
  for (int i = 0; i < 300; ++i) {
    ByteVec data(rng->below(Cid::kMaxInline + 1));
    for (auto& byte : data) byte = static_cast<std::byte>(rng->below(4));
    const Codec codec = i % 3 == 0 ? Codec::kRaw : Codec::kDagCbor;
    all.push_back(i % 2 == 0 ? Cid::identity(codec, data) : Cid::make(codec, data));
    CHECK(all.back().matches(data));
    data.push_back(std::byte{9});
    CHECK_FALSE(all.back().matches(data));
  }
  std::sort(all.begin(), all.end());
  CHECK(std::is_sorted(all.begin(), all.end(),
                       [](const Cid& a, const Cid& b) { return a.bytes() < b.bytes(); }));
}
