// Extents against a model that keeps, for every byte of a chunk, where it comes from.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include "cache/extents.h"

using namespace cairn;

namespace {

constexpr uint32_t kChunk = 64;

struct ModelByte {
  Piece::Kind kind = Piece::Kind::kBase;
  DataRef ref;
  std::optional<SharedLeaf> leaf;
  Lsn lsn = 0;
};
using Model = std::vector<ModelByte>;

void check_against(const Model& model, const Extents& extents) {
  // Sorted, disjoint, and nothing that could be joined is left apart.
  for (size_t i = 0; i < extents.size(); ++i) {
    RC_ASSERT(extents[i].length > 0U);
    if (i == 0) continue;
    const Extent& left = extents[i - 1];
    const Extent& right = extents[i];
    RC_ASSERT(left.end() <= right.offset);
    if (left.end() != right.offset || left.zero != right.zero) continue;
    RC_ASSERT_FALSE(left.zero);
    if (left.leaf.has_value() != right.leaf.has_value()) continue;
    if (left.leaf) {
      RC_ASSERT(left.leaf->digest != right.leaf->digest ||
                left.leaf->offset + left.length != right.leaf->offset);
      continue;
    }
    RC_ASSERT(left.ref.file != right.ref.file || left.ref.kind != right.ref.kind ||
              left.ref.offset + left.length != right.ref.offset);
  }
  uint32_t covered = 0;
  while (covered < kChunk && model[covered].kind != Piece::Kind::kBase) ++covered;
  RC_ASSERT(covers(extents, covered));
  if (covered < kChunk) RC_ASSERT_FALSE(covers(extents, covered + 1));

  const auto offset = *rc::gen::inRange<uint32_t>(0, kChunk + 1);
  const auto length = *rc::gen::inRange<uint32_t>(0, kChunk - offset + 1);
  uint32_t at = offset;
  for (const Piece& piece : resolve(extents, offset, length)) {
    RC_ASSERT(piece.offset == at);
    RC_ASSERT(piece.length > 0U);
    for (uint32_t i = 0; i < piece.length; ++i) {
      const ModelByte& byte = model[at + i];
      RC_ASSERT(byte.kind == piece.kind);
      if (piece.kind == Piece::Kind::kLeaf) {
        SharedLeaf expected_leaf = *piece.leaf;
        expected_leaf.offset += i;
        RC_ASSERT(byte.leaf == expected_leaf);
      }
      if (piece.kind != Piece::Kind::kData) continue;
      DataRef expected = piece.ref;
      expected.offset += i;
      RC_ASSERT(byte.ref == expected);
    }
    at += piece.length;
  }
  RC_ASSERT(at == offset + length);

  for (const Extent& extent : extents)
    for (uint32_t i = extent.offset; i < extent.end(); ++i) RC_ASSERT(extent.lsn >= model[i].lsn);
  const auto decoded = decode_extents(encode_extents(extents));
  RC_ASSERT(decoded.has_value());
  RC_ASSERT(*decoded == extents);
}

Extent any_extent(Lsn lsn, uint64_t& segment_end) {
  Extent extent;
  extent.lsn = lsn;
  extent.offset = *rc::gen::inRange<uint32_t>(0, kChunk);
  extent.length = *rc::gen::inRange<uint32_t>(0, kChunk - extent.offset + 1);
  extent.zero = *rc::gen::inRange(0, 4) == 0;
  extent.ref.kind = *rc::gen::element(DataRef::Kind::kSegment, DataRef::Kind::kJournal);
  extent.ref.file = *rc::gen::inRange<uint64_t>(1, 3);
  // Often right behind the last data, so that neighbours do join.
  extent.ref.offset =
      *rc::gen::arbitrary<bool>() ? segment_end : *rc::gen::inRange<uint64_t>(0, 99);
  segment_end = extent.ref.offset + extent.length;
  if (!extent.zero && *rc::gen::inRange(0, 4) == 0) {
    // Mostly at its own place, as copies are.
    const bool in_place = *rc::gen::inRange(0, 4) != 0;
    extent.leaf = SharedLeaf{sha256(as_bytes(*rc::gen::element<std::string>("a", "b"))), 2 * kChunk,
                             in_place ? extent.offset : kChunk};
  }
  return extent;
}

}  // namespace

TEST_CASE("extents say of every byte where it was last written") {
  CHECK(rc::check("writes and cuts", [] {
    Model model(kChunk);
    Extents extents;
    uint64_t segment_end = 0;
    uint32_t next_offset = 0;
    const auto steps = *rc::gen::inRange<Lsn>(1, 30);
    for (Lsn lsn = 1; lsn <= steps; ++lsn) {
      if (*rc::gen::inRange(0, 6) == 0) {
        const auto limit = *rc::gen::inRange<uint32_t>(0, kChunk + 1);
        cut_extents(extents, limit);
        std::fill(model.begin() + limit, model.end(), ModelByte{});
      } else {
        Extent extent = any_extent(lsn, segment_end);
        if (*rc::gen::arbitrary<bool>() && next_offset + extent.length <= kChunk) {
          extent.offset = next_offset;
          if (extent.leaf) extent.leaf->offset = next_offset;
        }
        next_offset = extent.end();
        write_extent(extents, extent);
        for (uint32_t i = 0; i < extent.length; ++i) {
          ModelByte& byte = model[extent.offset + i];
          byte.kind = extent.zero   ? Piece::Kind::kZero
                      : extent.leaf ? Piece::Kind::kLeaf
                                    : Piece::Kind::kData;
          byte.ref = extent.ref;
          byte.ref.offset += i;
          byte.leaf = extent.leaf;
          if (byte.leaf) byte.leaf->offset += i;
          byte.lsn = lsn;
        }
      }
      check_against(model, extents);
    }
    // Dropping what is published never drops a byte that is newer.
    const auto published = *rc::gen::inRange<Lsn>(0, steps + 1);
    drop_published(extents, published);
    for (uint32_t i = 0; i < kChunk; ++i)
      if (model[i].lsn > published) RC_ASSERT(resolve(extents, i, 1)[0].kind == model[i].kind);
    for (const Extent& extent : extents) RC_ASSERT(extent.lsn > published);
  }));
}

TEST_CASE("whatever decodes as extents is sorted, disjoint and encodes to the same bytes") {
  CHECK(rc::check("hostile bytes", [] {
    std::string bytes = *rc::gen::container<std::string>(rc::gen::map(
        rc::gen::inRange(0, 6), [](int i) { return static_cast<char>(i == 5 ? 0xff : i); }));
    const auto extents = decode_extents(bytes);
    if (!extents) {
      RC_ASSERT(extents.error().code() == Errc::kCorruption);
      return;
    }
    uint64_t end = 0;
    for (const Extent& extent : *extents) {
      RC_ASSERT(extent.offset >= end);
      RC_ASSERT(extent.length > 0U);
      end = uint64_t{extent.offset} + extent.length;
      RC_ASSERT(end <= UINT32_MAX);
    }
    RC_ASSERT(encode_extents(*extents) == bytes);
  }));
}

TEST_CASE("a file's cuts limit its published content as a replayed history would") {
  CHECK(rc::check("cuts", [] {
    FileState state;
    std::vector<Cut> history;
    const auto count = *rc::gen::inRange<Lsn>(0, 12);
    for (Lsn lsn = 1; lsn <= count; ++lsn) {
      const Cut cut{lsn * 3, *rc::gen::inRange<uint64_t>(0, 6)};
      history.push_back(cut);
      state.add_cut(cut);
    }
    state.last_lsn = count * 3;
    state.dirty_since_ns = *rc::gen::arbitrary<int64_t>();
    const auto decoded = decode_file_state(encode_file_state(state));
    RC_ASSERT(decoded.has_value());
    RC_ASSERT(decoded->cuts == state.cuts);
    RC_ASSERT(decoded->last_lsn == state.last_lsn);
    RC_ASSERT(decoded->dirty_since_ns == state.dirty_since_ns);

    const auto published = *rc::gen::inRange<Lsn>(0, count * 3 + 1);
    state.drop_published(published);
    for (Lsn base = published; base <= count * 3; ++base) {
      uint64_t limit = UINT64_MAX;
      for (const Cut& cut : history)
        if (cut.lsn > base) limit = std::min(limit, cut.limit);
      RC_ASSERT(state.base_limit(base) == limit);
    }
  }));
}

TEST_CASE("row keys sort as their numbers do") {
  CHECK(chunk_key(1, 255) < chunk_key(1, 256));
  CHECK(chunk_key(1, UINT64_MAX) < chunk_key(2, 0));
  CHECK(in_segment_key(0x7f, 1, chunk_key(2, 2)) < in_segment_begin(0x80));
  CHECK(in_segment_begin(0x80) < in_segment_key(0x80, 0, chunk_key(0, 0)));
  CHECK(file_key(UINT64_MAX - 1) < file_key(UINT64_MAX));
  CHECK(parse_chunk_key(chunk_key(7, 9)).value() == std::pair<uint64_t, uint64_t>{7, 9});
  CHECK_FALSE(parse_chunk_key("short"));
}
