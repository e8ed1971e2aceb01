#include "cache/extents.h"

#include <algorithm>
#include <array>

#include "cache/base/coding.h"

namespace cairn {

namespace {

bool continues(const Extent& left, const Extent& right) {
  if (left.end() != right.offset || left.zero != right.zero) return false;
  if (left.zero) return true;
  if (left.leaf || right.leaf)
    return left.leaf && right.leaf && left.leaf->digest == right.leaf->digest &&
           left.leaf->length == right.leaf->length &&
           left.leaf->offset + left.length == right.leaf->offset;
  return left.ref.kind == right.ref.kind && left.ref.file == right.ref.file &&
         left.ref.offset + left.length == right.ref.offset;
}

// The part of `extent` from `offset` (in the chunk) on.
Extent tail_from(Extent extent, uint32_t offset) {
  const uint32_t skipped = offset - extent.offset;
  extent.offset = offset;
  extent.length -= skipped;
  if (extent.leaf) extent.leaf->offset += skipped;
  if (extent.has_ref()) extent.ref.offset += skipped;
  return extent;
}

// The first extent that ends behind `offset`.
auto first_behind(const Extents& extents, uint32_t offset) {
  return std::partition_point(extents.begin(), extents.end(),
                              [offset](const Extent& e) { return e.end() <= offset; });
}

void add_or_join(Extents& run, const Extent& next) {
  if (!run.empty() && continues(run.back(), next)) {
    run.back().length += next.length;
    run.back().lsn = std::max(run.back().lsn, next.lsn);
  } else {
    run.push_back(next);
  }
}

}  // namespace

void write_extent(Extents& extents, const Extent& added) {
  if (added.length == 0) return;
  auto from = first_behind(extents, added.offset);
  const auto to = std::partition_point(
      from, extents.cend(), [&added](const Extent& e) { return e.offset < added.end(); });

  // What replaces [from, to), with the neighbours on both sides so that they can be joined.
  Extents run;
  auto last = to;
  if (from != extents.begin()) run.push_back(*--from);
  const auto first_covered = from + static_cast<ptrdiff_t>(run.size());
  if (first_covered != to && first_covered->offset < added.offset) {
    Extent left = *first_covered;
    left.length = added.offset - left.offset;
    add_or_join(run, left);
  }
  Extent middle = added;
  if (middle.zero) middle.leaf.reset();
  if (!middle.has_ref()) middle.ref = {};
  add_or_join(run, middle);
  if (first_covered != to && std::prev(to)->end() > added.end())
    add_or_join(run, tail_from(*std::prev(to), added.end()));
  if (to != extents.end()) add_or_join(run, *last++);

  const auto at = extents.begin() + (from - extents.cbegin());
  const auto old_count = static_cast<size_t>(last - from);
  const size_t kept = std::min(old_count, run.size());
  std::copy_n(run.begin(), kept, at);
  const auto rest = at + static_cast<ptrdiff_t>(kept);
  if (old_count > kept) {
    extents.erase(rest, at + static_cast<ptrdiff_t>(old_count));
  } else {
    extents.insert(rest, run.begin() + static_cast<ptrdiff_t>(kept), run.end());
  }
}

void cut_extents(Extents& extents, uint32_t limit) {
  while (!extents.empty() && extents.back().offset >= limit) extents.pop_back();
  if (!extents.empty() && extents.back().end() > limit)
    extents.back().length = limit - extents.back().offset;
}

void drop_published(Extents& extents, Lsn published) {
  std::erase_if(extents, [published](const Extent& e) { return e.lsn <= published; });
}

bool covers(const Extents& extents, uint32_t length) {
  uint32_t end = 0;
  for (const Extent& extent : extents) {
    if (end >= length || extent.offset != end) break;
    end = extent.end();
  }
  return end >= length;
}

std::vector<Piece> resolve(const Extents& extents, uint32_t offset, uint32_t length) {
  std::vector<Piece> pieces;
  uint32_t at = offset;
  const uint32_t end = offset + length;
  for (auto it = first_behind(extents, offset); at < end; ++it) {
    const uint32_t next = it == extents.end() ? end : std::min(end, it->offset);
    if (next > at) {
      pieces.push_back({Piece::Kind::kBase, at, next - at, {}});
      at = next;
    }
    if (at == end) break;
    const Extent part = tail_from(*it, at);
    const uint32_t size = std::min(part.length, end - at);
    const auto kind = part.zero   ? Piece::Kind::kZero
                      : part.leaf ? Piece::Kind::kLeaf
                                  : Piece::Kind::kData;
    pieces.push_back({kind, at, size, part.ref, part.leaf});
    at += size;
  }
  return pieces;
}

// Extents: for each, varints gap (since the end of the one before), length (> 0), lsn; a byte
// 0 zero, 1 in a segment, 2 in the journal, 3 in a leaf; for 1 and 2 varints file, offset; for 3
// the digest and varints length of the leaf (at least offset + length), offset in it.
namespace {
constexpr std::byte kZeroTag{0};
constexpr std::byte kSegmentTag{1};
constexpr std::byte kJournalTag{2};
constexpr std::byte kLeafTag{3};

Result<std::byte> take_byte(Bytes& in) {
  if (in.empty()) return fail(Errc::kCorruption, "cut off");
  const std::byte first = in[0];
  in = in.subspan(1);
  return first;
}

Result<SharedLeaf> take_leaf(Bytes& in, uint32_t length) {
  SharedLeaf leaf;
  if (in.size() < sizeof(Digest::bytes)) return fail(Errc::kCorruption, "cut off");
  leaf.digest = Digest::from_bytes(in.first(sizeof(Digest::bytes)));
  in = in.subspan(sizeof(Digest::bytes));
  TRY_ASSIGN(const uint64_t leaf_length, take_varint(in));
  TRY_ASSIGN(const uint64_t offset, take_varint(in));
  if (leaf_length > UINT32_MAX || offset > leaf_length || length > leaf_length - offset)
    return fail(Errc::kCorruption, "an extent is larger than its leaf");
  leaf.length = static_cast<uint32_t>(leaf_length);
  leaf.offset = static_cast<uint32_t>(offset);
  return leaf;
}

Result<Extent> take_extent(Bytes& in, uint32_t previous_end) {
  TRY_ASSIGN(const uint64_t gap, take_varint(in));
  TRY_ASSIGN(const uint64_t length, take_varint(in));
  const uint64_t room = UINT32_MAX - previous_end;
  if (gap > room || length == 0 || length > room - gap)
    return fail(Errc::kCorruption, "an extent is empty or does not fit a chunk");
  Extent extent;
  extent.offset = previous_end + static_cast<uint32_t>(gap);
  extent.length = static_cast<uint32_t>(length);
  TRY_ASSIGN(extent.lsn, take_varint(in));
  TRY_ASSIGN(const std::byte tag, take_byte(in));
  if (tag > kLeafTag) return fail(Errc::kCorruption, "an extent has an unknown tag");
  extent.zero = tag == kZeroTag;
  if (tag == kLeafTag) {
    TRY_ASSIGN(extent.leaf, take_leaf(in, extent.length));
  }
  if (!extent.has_ref()) return extent;
  extent.ref.kind = tag == kJournalTag ? DataRef::Kind::kJournal : DataRef::Kind::kSegment;
  TRY_ASSIGN(extent.ref.file, take_varint(in));
  TRY_ASSIGN(extent.ref.offset, take_varint(in));
  return extent;
}

}  // namespace

std::string encode_extents(const Extents& extents) {
  ByteVec out;
  uint32_t end = 0;
  for (const Extent& extent : extents) {
    put_varint(out, extent.offset - end);
    put_varint(out, extent.length);
    put_varint(out, extent.lsn);
    end = extent.end();
    if (extent.zero) {
      out.push_back(kZeroTag);
      continue;
    }
    if (extent.leaf) {
      out.push_back(kLeafTag);
      append(out, extent.leaf->digest.view());
      put_varint(out, extent.leaf->length);
      put_varint(out, extent.leaf->offset);
      continue;
    }
    out.push_back(extent.ref.kind == DataRef::Kind::kJournal ? kJournalTag : kSegmentTag);
    put_varint(out, extent.ref.file);
    put_varint(out, extent.ref.offset);
  }
  return to_string(out);
}

Result<Extents> decode_extents(std::string_view in) {
  Bytes rest = as_bytes(in);
  Extents extents;
  uint32_t end = 0;
  while (!rest.empty()) {
    auto extent = take_extent(rest, end);
    if (!extent) return tl::unexpected(std::move(extent).error().wrap("extents"));
    end = extent->end();
    extents.push_back(*extent);
  }
  return extents;
}

uint64_t FileState::base_limit(Lsn base_lsn) const {
  // Limits rise with the LSN, so the first cut the content does not include is the lowest.
  for (const Cut& cut : cuts)
    if (cut.lsn > base_lsn) return cut.limit;
  return UINT64_MAX;
}

void FileState::add_cut(Cut cut) {
  while (!cuts.empty() && cuts.back().limit >= cut.limit) cuts.pop_back();
  if (!cuts.empty() && cuts.back().lsn == kKeptBackLsn) return;
  cuts.push_back(cut);
}

void FileState::drop_published(Lsn published) {
  std::erase_if(cuts, [published](const Cut& cut) { return cut.lsn <= published; });
}

// FileState: varint last_lsn, i64 dirty_since (little-endian), then for each cut varints lsn
// (since the cut before, > 0) and limit (since the cut before; > 0 except in the first).
std::string encode_file_state(const FileState& state) {
  ByteVec out;
  put_varint(out, state.last_lsn);
  put_le(out, static_cast<uint64_t>(state.dirty_since_ns));
  Cut previous;
  for (const Cut& cut : state.cuts) {
    put_varint(out, cut.lsn - previous.lsn);
    put_varint(out, cut.limit - previous.limit);
    previous = cut;
  }
  return to_string(out);
}

Result<FileState> decode_file_state(std::string_view in) {
  Bytes rest = as_bytes(in);
  FileState state;
  TRY_ASSIGN(state.last_lsn, take_varint(rest));
  if (rest.size() < 8) return fail(Errc::kCorruption, "file state is cut off");
  state.dirty_since_ns = get_le<int64_t>(rest.data());
  rest = rest.subspan(8);
  Cut cut;
  while (!rest.empty()) {
    TRY_ASSIGN(const uint64_t lsn_step, take_varint(rest));
    TRY_ASSIGN(const uint64_t limit_step, take_varint(rest));
    const bool rises = lsn_step > 0 && (limit_step > 0 || state.cuts.empty());
    if (!rises || limit_step > INT64_MAX - cut.limit || lsn_step > INT64_MAX - cut.lsn)
      return fail(Errc::kCorruption, "the cuts of a file do not rise");
    cut.lsn += lsn_step;
    cut.limit += limit_step;
    state.cuts.push_back(cut);
  }
  return state;
}

namespace {
std::string two_numbers(uint64_t high, uint64_t low) {
  std::array<std::byte, 16> key{};
  put_be64(key.data(), high);
  put_be64(key.data() + 8, low);
  return to_string(key);
}
}  // namespace

std::string file_key(uint64_t inode) {
  std::array<std::byte, 8> key{};
  put_be64(key.data(), inode);
  return to_string(key);
}

std::string chunk_key(uint64_t inode, uint64_t chunk) {
  return two_numbers(inode, chunk);
}

Result<std::pair<uint64_t, uint64_t>> parse_chunk_key(std::string_view key) {
  if (key.size() != 16) return fail(Errc::kCorruption, "a chunk key is not 16 bytes");
  const Bytes bytes = as_bytes(key);
  return std::pair{get_be64(bytes.data()), get_be64(bytes.data() + 8)};
}

std::string in_segment_begin(uint64_t segment) {
  return file_key(segment);
}

std::string in_segment_key(uint64_t segment, uint64_t offset, std::string_view chunk_key) {
  return two_numbers(segment, offset).append(chunk_key);
}

}  // namespace cairn
