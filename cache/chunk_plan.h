// ChunkPlan: which chunks of a file have to be staged, and what each is made of.
//
// Pure functions. A file's new content is its published content, cut to the bytes that still
// count, followed by zeroes up to the new size, with what was written laid over it. Chunks that
// come out as they were are not planned; neither are the chunks of zeroes that a longer file gains,
// which the file's DAG knows without being told.
#pragma once

#include <cstdint>
#include <vector>

#include "cache/remote.h"

namespace cairn {

struct ChunkPlan {
  uint64_t index = 0;
  uint32_t length = 0;        // bytes of the chunk in the new content
  uint32_t base_length = 0;   // bytes of the published chunk; 0: there is none or it is not needed
  uint32_t base_bytes = 0;    // how many of them still count
  std::vector<Piece> pieces;  // the new chunk, in order; kBase behind base_bytes is zero

  bool needs_base() const { return base_bytes != 0; }
  // The chunk is one run of bytes in one file.
  bool whole() const { return pieces.size() == 1 && pieces[0].kind == Piece::Kind::kData; }
  // The chunk is one leaf that the store has: nothing to read or to hash.
  bool is_leaf() const {
    return pieces.size() == 1 && pieces[0].kind == Piece::Kind::kLeaf &&
           pieces[0].leaf->offset == 0 && pieces[0].leaf->length == length;
  }
  // Nothing but zeroes, known without reading anything.
  bool zero() const;
  // Two that are equal, over the same published content, come out as the same bytes.
  bool operator==(const ChunkPlan&) const = default;
};

// Bytes of the published content (of `base_size` bytes) that the new content begins with.
uint64_t kept_bytes(const FrozenFile& file, uint64_t base_size);

// By index. kInvalid when the file's chunks are not in order.
Result<std::vector<ChunkPlan>> plan_chunks(const FrozenFile& file, uint64_t base_size,
                                           uint32_t chunk_bytes);

}  // namespace cairn
