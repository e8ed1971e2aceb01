#include "cache/format/car.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cache/base/env.h"
#include "cache/format/cbor.h"

using namespace cairn;

namespace {

ByteVec cbor_text(std::string_view text) {
  ByteVec out;
  CborWriter(out).text(text);
  return out;
}

void add_section(ByteVec& car, const Cid& cid, Bytes data) {
  append_car_frame(car, cid, data.size());
  append(car, data);
}

bool valid(Bytes car) {
  MemorySource source(car);
  return verify_car(source).has_value();
}

// A header with these bytes as its map, and one block that is its root where it names it.
ByteVec with_header(Bytes header, const Cid& cid, Bytes data) {
  ByteVec car;
  put_varint(car, header.size());
  append(car, header);
  add_section(car, cid, data);
  return car;
}

const ByteVec kBlock = cbor_text("block");
const Cid kCid = Cid::make(Codec::kDagCbor, kBlock);

}  // namespace

TEST_CASE("a file of blocks is read back with their places") {
  ByteVec car = encode_car_header(kCid);
  CHECK(car.size() == 59);
  const ByteVec raw = to_vec(as_bytes("some bytes"));
  add_section(car, Cid::make(Codec::kRaw, raw), raw);
  add_section(car, Cid::make(Codec::kRaw, {}), {});
  add_section(car, kCid, kBlock);
  MemorySource source(car);
  auto reader = CarReader::open(source).value();
  CHECK(reader.roots() == std::vector<Cid>{kCid});
  size_t count = 0;
  while (const auto section = reader.next().value()) {
    CHECK(equal(section->data, Bytes(car).subspan(section->offset, section->data.size())));
    CHECK(section->cid.matches(section->data));
    ++count;
  }
  CHECK(count == 3);
  CHECK(verify_car(source).value().bytes == raw.size() + kBlock.size());
  for (size_t cut = 0; cut < car.size(); ++cut) CHECK_FALSE(valid(Bytes(car).first(cut)));
}

TEST_CASE("broken files are refused") {
  const ByteVec header = encode_car_header(kCid);
  ByteVec good = header;
  add_section(good, kCid, kBlock);
  REQUIRE(valid(good));

  SUBCASE("any flipped bit") {
    for (size_t at = 0; at < good.size(); ++at) {
      for (int bit = 0; bit < 8; ++bit) {
        ByteVec flipped = good;
        flipped[at] ^= static_cast<std::byte>(1 << bit);
        CAPTURE(at);
        CHECK_FALSE(valid(flipped));
      }
    }
  }
  SUBCASE("no root, no blocks, trailing bytes, an empty section") {
    CHECK_FALSE(valid(header));
    ByteVec other = header;
    const ByteVec block = cbor_text("other");
    add_section(other, Cid::make(Codec::kDagCbor, block), block);
    CHECK_FALSE(valid(other));
    ByteVec longer = good;
    longer.push_back(std::byte{0});
    CHECK_FALSE(valid(longer));
  }
  SUBCASE("lengths that promise more than there is") {
    for (const uint64_t length : {uint64_t{1} << 40, uint64_t{1} << 62, kMaxCarSection + 1}) {
      ByteVec huge = header;
      put_varint(huge, length);
      kCid.append_to(huge);
      CHECK_FALSE(valid(huge));
    }
    ByteVec endless = header;
    endless.insert(endless.end(), 9, std::byte{0xff});
    endless.push_back(std::byte{1});
    CHECK_FALSE(valid(endless));
    ByteVec huge_header;
    put_varint(huge_header, uint64_t{1} << 40);
    append(huge_header, header);
    CHECK_FALSE(valid(huge_header));
  }
  SUBCASE("blocks without a form") {
    const ByteVec deep(200000, std::byte{0x81});
    ByteVec nested = deep;
    nested.push_back(std::byte{0});
    for (const Codec codec : {Codec::kDagCbor, Codec::kDagPb}) {
      const Cid cid = Cid::make(codec, nested);
      ByteVec car = encode_car_header(cid);
      add_section(car, cid, nested);
      CHECK_FALSE(valid(car));
    }
  }
  SUBCASE("inline CIDs as blocks") {
    const Cid inlined = Cid::identity(Codec::kRaw, as_bytes("x"));
    ByteVec car = good;
    add_section(car, inlined, as_bytes("x"));
    CHECK_FALSE(valid(car));
  }
}

TEST_CASE("headers other than {roots, version: 1} are refused") {
  const auto header = [](const auto& fill) {
    ByteVec out;
    CborWriter writer(out);
    fill(writer);
    return valid(with_header(out, kCid, kBlock));
  };
  const auto good = [](CborWriter& out) {
    out.map(2);
    out.text("roots");
    out.array(1);
    out.link(kCid);
    out.text("version");
    out.uint(1);
  };
  CHECK(header(good));
  CHECK_FALSE(header([](CborWriter& out) { out.uint(1); }));
  CHECK_FALSE(header([](CborWriter& out) {
    out.map(1);
    out.text("version");
    out.uint(1);
  }));
  CHECK_FALSE(header([](CborWriter& out) {
    out.map(2);
    out.text("roots");
    out.array(0);
    out.text("version");
    out.uint(1);
  }));
  CHECK_FALSE(header([](CborWriter& out) {
    out.map(2);
    out.text("roots");
    out.array(1);
    out.link(kCid);
    out.text("version");
    out.uint(2);
  }));
  CHECK_FALSE(header([](CborWriter& out) {
    out.map(3);
    out.text("more");
    out.null();
    out.text("roots");
    out.array(1);
    out.link(kCid);
    out.text("version");
    out.uint(1);
  }));
}

// tests/oracles/car.sh fills a folder with files that another program wrote: what begins with
// "good" must pass, everything else must not.
TEST_CASE("files in the folder that CAIRN_CAR_DIR names are judged by their names") {
  const char* folder = std::getenv("CAIRN_CAR_DIR");
  if (folder == nullptr) return;
  size_t good = 0;
  size_t broken = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    const std::string name = file.path().filename().string();
    CAPTURE(name);
    const ByteVec car = read_file(posix_env(), file.path().string(), 64 << 20).value();
    const bool expected = name.starts_with("good");
    CHECK(valid(car) == expected);
    ++(expected ? good : broken);
  }
  CHECK(good > 0);
  CHECK(broken > 0);
}
