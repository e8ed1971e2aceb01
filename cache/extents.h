// Extents: what was written over one chunk since its published content, as a sorted list of
// non-overlapping pieces. Pure functions on values; positions are relative to the chunk.
//
// Each extent carries the LSN of the newest record it came from. Neighbours whose data lies
// end to end in one file are merged and keep the larger LSN: keeping an extent longer than needed
// is harmless (it holds the newest bytes), dropping it early is not.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cache/base/digest.h"
#include "cache/base/result.h"
#include "cache/segments.h"

namespace cairn {

// Bytes of a leaf that the store holds under its digest, whatever file they were published with.
struct SharedLeaf {
  Digest digest;
  uint32_t length = 0;  // of the leaf
  uint32_t offset = 0;  // in the leaf
  bool operator==(const SharedLeaf&) const = default;
};

// Of content that is kept back from the store: newer than anything that is published.
inline constexpr Lsn kKeptBackLsn = UINT64_MAX >> 1;  // as a varint has it

// Zeroes, bytes of a leaf, or else bytes at `ref`.
struct Extent {
  uint32_t offset = 0;  // in the chunk
  uint32_t length = 0;
  bool zero = false;  // a hole punched or cut
  DataRef ref;
  Lsn lsn = 0;
  std::optional<SharedLeaf> leaf = std::nullopt;  // copied from another place without moving bytes
  bool has_ref() const { return !zero && !leaf; }
  // What an extent is made of, still without a place.
  static Extent zeroes() { return {0, 0, true, {}, 0}; }
  static Extent at_ref(const DataRef& ref) { return {0, 0, false, ref, 0}; }
  static Extent of_leaf(const SharedLeaf& leaf) { return {0, 0, false, {}, 0, leaf}; }
  uint32_t end() const { return offset + length; }
  bool operator==(const Extent&) const = default;
};
using Extents = std::vector<Extent>;

// Cuts [offset, offset + length) of a file, which is made of `source` from its first byte on, at
// the ends of chunks: `visit(chunk, extent)` gets each part. The first error ends it.
template <class Visit>
Status each_chunk_extent(uint32_t chunk_bytes, uint64_t offset, uint64_t length, Extent source,
                         const Visit& visit) {
  while (length > 0) {
    source.offset = static_cast<uint32_t>(offset % chunk_bytes);
    source.length =
        static_cast<uint32_t>(std::min<uint64_t>(length, chunk_bytes - source.offset));
    TRY(visit(offset / chunk_bytes, source));
    offset += source.length;
    length -= source.length;
    if (source.leaf) source.leaf->offset += source.length;
    if (source.has_ref()) source.ref.offset += source.length;
  }
  return {};
}

// Puts `added` over what is there.
void write_extent(Extents& extents, const Extent& added);
// Removes everything at or behind `limit`.
void cut_extents(Extents& extents, uint32_t limit);
// Removes the extents whose LSN is <= `published`.
void drop_published(Extents& extents, Lsn published);
// True when [0, length) is covered without a gap.
bool covers(const Extents& extents, uint32_t length);

// [offset, offset + length) as extents and gaps, in order; a gap has kind kBase.
struct Piece {
  enum class Kind : uint8_t { kData, kZero, kLeaf, kBase };
  Kind kind = Kind::kBase;
  uint32_t offset = 0;
  uint32_t length = 0;
  DataRef ref;                                    // of the piece's first byte, for kData
  std::optional<SharedLeaf> leaf = std::nullopt;  // the same for kLeaf
  bool operator==(const Piece&) const = default;
};
std::vector<Piece> resolve(const Extents& extents, uint32_t offset, uint32_t length);

std::string encode_extents(const Extents& extents);
Result<Extents> decode_extents(std::string_view in);  // kCorruption unless sorted and disjoint

// The state of a file with unpublished content (table kFiles): where its published content was cut
// short. A cut at LSN n to `limit` means: of published content older than n, bytes at or behind
// `limit` are gone (zero, unless an extent covers them). Kept with rising LSN and rising limit:
// an older cut with a larger limit says nothing more.
struct Cut {
  Lsn lsn = 0;
  uint64_t limit = 0;
  bool operator==(const Cut&) const = default;
};
struct FileState {
  Lsn last_lsn = 0;           // newest record that changed the content
  int64_t dirty_since_ns = 0; // wall time of the oldest unpublished one
  std::vector<Cut> cuts;
  // Bytes of published content that still count, for content that includes records <= `base_lsn`.
  uint64_t base_limit(Lsn base_lsn) const;
  void add_cut(Cut cut);  // says nothing behind one of content that is kept back
  void drop_published(Lsn published);
};
std::string encode_file_state(const FileState& state);
Result<FileState> decode_file_state(std::string_view in);

// Row keys of kFiles, kDirty, kResident (big-endian, so that order is numeric) and kInSegment.
std::string file_key(uint64_t inode);
std::string chunk_key(uint64_t inode, uint64_t chunk);
Result<std::pair<uint64_t, uint64_t>> parse_chunk_key(std::string_view key);
// Several chunks may lie at one place in a segment. What lies in a segment is a range of keys: from
// in_segment_begin of its number to that of the next one.
std::string in_segment_begin(uint64_t segment);
std::string in_segment_key(uint64_t segment, uint64_t offset, std::string_view chunk_key);

}  // namespace cairn
