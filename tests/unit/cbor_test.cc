#include <doctest/doctest.h>

#include "cache/base/coding.h"
#include "cache/format/cbor.h"

using namespace cairn;

namespace {

ByteVec hex(std::string_view text) {
  return from_hex(text).value();
}

template <class Write>
std::string written(const Write& write) {
  ByteVec out;
  CborWriter writer(out);
  write(writer);
  CHECK(cbor_validate(out));
  return to_hex(out);
}

}  // namespace

TEST_CASE("integers have the encodings of RFC 8949, appendix A") {
  const std::pair<uint64_t, const char*> unsigned_cases[] = {{0, "00"},
                                                             {23, "17"},
                                                             {24, "1818"},
                                                             {255, "18ff"},
                                                             {256, "190100"},
                                                             {65535, "19ffff"},
                                                             {1000000, "1a000f4240"},
                                                             {UINT32_MAX, "1affffffff"},
                                                             {1000000000000, "1b000000e8d4a51000"},
                                                             {UINT64_MAX, "1bffffffffffffffff"}};
  for (const auto& [value, text] : unsigned_cases) {
    CHECK(written([v = value](CborWriter& w) { w.uint(v); }) == text);
    const ByteVec bytes = hex(text);
    CHECK(CborReader(bytes).uint().value() == value);
  }
  const std::pair<int64_t, const char*> signed_cases[] = {{0, "00"},
                                                          {-1, "20"},
                                                          {-100, "3863"},
                                                          {-1000, "3903e7"},
                                                          {INT64_MAX, "1b7fffffffffffffff"},
                                                          {INT64_MIN, "3b7fffffffffffffff"}};
  for (const auto& [value, text] : signed_cases) {
    CHECK(written([v = value](CborWriter& w) { w.integer(v); }) == text);
    const ByteVec bytes = hex(text);
    CHECK(CborReader(bytes).integer().value() == value);
  }
  const ByteVec too_big = hex("1b8000000000000000");
  CHECK_FALSE(CborReader(too_big).integer());
  CHECK_FALSE(CborReader(too_big).uint_at_most(5));
}

TEST_CASE("other values have their encodings and read back") {
  const Cid cid = Cid::make(Codec::kDagCbor, hex("a2616580616cf6"));
  ByteVec out;
  CborWriter w(out);
  w.map(4);
  w.text("a");
  w.array(3);
  w.null();
  w.boolean(true);
  w.boolean(false);
  w.text("b");
  w.bytes(as_bytes("xyz"));
  w.text("c");
  w.link(cid);
  w.text("aa");
  w.text("\xc3\xa9");
  CHECK(to_hex(out) == "a4616183f6f5f461624378797a6163d82a5825" + to_hex(hex("00")) +
                           to_hex(cid.bytes()) + "62616162c3a9");
  CHECK(cbor_validate(out));
  CHECK(cbor_links(out).value() == std::vector<Cid>{cid});

  CborReader in(out);
  CborMap map = in.map().value();
  CHECK(map.left == 4);
  CHECK(in.key(map).value() == "a");
  CHECK(in.array().value() == 3);
  CHECK(in.take_null().value());
  CHECK_FALSE(in.take_null().value());
  CHECK(in.boolean().value());
  CHECK_FALSE(in.boolean().value());
  CHECK(in.key(map).value() == "b");
  CHECK(as_chars(in.bytes().value()) == "xyz");
  CHECK(in.key(map).value() == "c");
  CHECK(in.peek().value() == CborType::kLink);
  CHECK(in.link().value() == cid);
  CHECK_FALSE(in.finish());
  CHECK(in.key(map).value() == "aa");
  CHECK(in.text().value() == "\xc3\xa9");
  CHECK_FALSE(in.key(map));
  CHECK(in.finish());
}

TEST_CASE("what is not canonical DAG-CBOR is refused") {
  const char* const bad[] = {"",  // nothing
                             "1817",
                             "190018",
                             "1a0000ffff",
                             "1b00000000ffffffff",
                             "3817",
                             "5803616263",
                             "780161",
                             "9800",
                             "b800",  // not the shortest length
                             "1c",
                             "1d",
                             "1e",
                             "1f",  // reserved
                             "5f6161ff",
                             "7f6161ff",
                             "9fff",
                             "bfff",  // indefinite
                             "e0",
                             "f0",
                             "f3",
                             "f7",
                             "f800",
                             "f818",
                             "f8ff",
                             "ff",  // simple values, break
                             "f90000",
                             "fa00000000",
                             "fb0000000000000000",  // floats
                             "0000",
                             "f6f6",  // two values
                             "a1",
                             "a16161",
                             "a2616100",
                             "81",
                             "82f6",  // too few
                             "a1f6f6",
                             "a10000",
                             "a14161f6",  // keys that are not text
                             "a2616200616100",
                             "a262616100616100",
                             "a2616100616100",  // key order, duplicate
                             "61ff",
                             "62c3",
                             "62c080",
                             "63eda080",
                             "64f4908080",
                             "61c3",  // not UTF-8
                             "c000",
                             "c100",
                             "d82b4100",
                             "d82a00",
                             "d82a40",
                             "d82a4100",
                             "d82a6100",
                             "d90002a",
                             "d9002a4100",  // tags
                             "9bffffffffffffffff",
                             "bb7fffffffffffffff",
                             "5bffffffffffffffff",
                             "7bffffffffffffffff",
                             "9a00ffffff00",
                             "3bffffffffffffffff"};
  for (const std::string text : bad) {
    CAPTURE(text);
    const auto bytes = from_hex(text.size() % 2 == 0 ? text : text + "0");
    REQUIRE(bytes);
    const Status status = cbor_validate(*bytes);
    REQUIRE_FALSE(status);
    CHECK(status.error().code() == Errc::kCorruption);
  }
  // A link to a CID of version 0 and one with a byte after it.
  CHECK_FALSE(cbor_validate(hex("d82a582300" + std::string("1220") + std::string(64, '0'))));
  const std::string link = "000171122" + std::string("0") + std::string(64, 'a');
  CHECK(cbor_validate(hex("d82a5825" + link)));
  CHECK_FALSE(cbor_validate(hex("d82a5826" + link + "00")));
}

TEST_CASE("nesting is bounded, and a deep or wide input costs no memory") {
  const auto nested = [](size_t depth, const char* open, const char* inner) {
    std::string text;
    for (size_t i = 0; i < depth; ++i) text += open;
    return hex(text + inner);
  };
  CHECK(cbor_validate(nested(CborReader::kMaxDepth, "81", "f6")));
  CHECK(cbor_validate(nested(CborReader::kMaxDepth, "a16161", "f6")));
  CHECK(cbor_validate(nested(CborReader::kMaxDepth - 1, "81", "80")));
  CHECK_FALSE(cbor_validate(nested(CborReader::kMaxDepth + 1, "81", "f6")));
  CHECK_FALSE(cbor_validate(nested(CborReader::kMaxDepth, "81", "80")));
  CHECK_FALSE(cbor_validate(nested(1000000, "81", "f6")));
  CHECK_FALSE(cbor_validate(nested(1000000, "a16161", "f6")));
}

TEST_CASE("every truncation and bit flip of a value is refused or another canonical value") {
  ByteVec out;
  CborWriter w(out);
  w.map(2);
  w.text("k");
  w.array(4);
  w.uint(300);
  w.integer(-70000);
  w.bytes(as_bytes("0123456789012345678901234567890"));
  w.link(Cid::make(Codec::kRaw, as_bytes("x")));
  w.text("zz");
  w.boolean(true);
  for (size_t cut = 0; cut < out.size(); ++cut) CHECK_FALSE(cbor_validate(Bytes(out).first(cut)));
  size_t refused = 0;
  for (size_t bit = 0; bit < out.size() * 8; ++bit) {
    ByteVec bad = out;
    bad[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    if (!cbor_validate(bad)) ++refused;
  }
  CHECK(refused > 100);  // heads, keys, the link's header
}

TEST_CASE("fields are written in canonical order and a raw value is kept as it was") {
  CborFields fields;
  for (const std::string_view key : {"bb", "a", "c", "aaa"}) {
    ByteVec value;
    CborWriter(value).text(key);
    fields.emplace(std::string(key), value);
  }
  ByteVec out;
  CborWriter writer(out);
  write_cbor_map(writer, fields);
  CHECK(to_hex(out) ==
        "a461616161"
        "61636163"
        "62626262"
        "6262"
        "6361616163616161");
  CborReader in(out);
  CborMap map = in.map().value();
  CborFields again;
  while (map.left > 0) {
    const std::string key(in.key(map).value());
    again.emplace(key, to_vec(in.raw().value()));
  }
  CHECK(in.finish());
  CHECK(again == fields);
}
