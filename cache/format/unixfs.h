// UnixFS files: the shape of a file's DAG, the codec of its inner nodes, and its zero subtrees.
//
// A file is cut into chunks of one size, each a raw block. A file of one chunk (or none) is that
// block; a larger one is a balanced dag-pb tree whose every node is full except those on the right
// edge, so size and parameters alone decide where each chunk stands. What importers print for the
// same parameters (raw leaves, CIDv1, single leaf as itself) is what this computes.
//
// Everything here is immutable after construction and may be shared by threads. A UnixfsShape
// lives as long as the volume is open. Errors: kInvalid for parameters and arguments, kCorruption
// for blocks. Format: FORMAT.md, "UnixFS files".
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/base/bytes.h"
#include "cache/base/digest.h"
#include "cache/base/result.h"
#include "cache/format/cid.h"

namespace cairn {

struct UnixfsParams {
  uint32_t chunk_size = 256 << 10;  // bytes in a leaf, 1 to kMaxChunkSize
  uint32_t max_links = 174;         // children of an inner node, 2 to kMaxLinks

  static constexpr uint32_t kMaxChunkSize = 4 << 20;
  static constexpr uint32_t kMaxLinks = 8192;
  bool operator==(const UnixfsParams&) const = default;
};

// One child of an inner node.
struct UnixfsLink {
  Digest digest;
  Codec codec = Codec::kRaw;  // kRaw: a leaf, kDagPb: an inner node
  uint64_t size = 0;          // bytes of the file below it
  uint64_t tsize = 0;         // bytes of all blocks below it, counted with repetition
  bool operator==(const UnixfsLink&) const = default;
};

// All children of an inner node.
struct UnixfsLinks {
  std::vector<UnixfsLink> links;
  uint64_t memory() const { return sizeof(*this) + links.capacity() * sizeof(UnixfsLink); }
};

// The one encoding of an inner node. Requires at least one link.
ByteVec encode_unixfs_node(std::span<const UnixfsLink> links);
// Refuses everything that encode_unixfs_node does not write.
Result<std::vector<UnixfsLink>> decode_unixfs_node(Bytes block);

class UnixfsShape {
 public:
  static Result<UnixfsShape> make(UnixfsParams params);

  const UnixfsParams& params() const { return params_; }
  // Beyond it a file's cumulative sizes might not fit their fields; at most 1 EiB.
  uint64_t max_file_size() const { return max_file_size_; }
  uint64_t chunk_count(uint64_t file_size) const;
  // Levels of inner nodes above the leaves: 0 for a file of at most one chunk.
  unsigned depth(uint64_t file_size) const;
  // Chunks below a full node of `level` (a leaf is level 0). Requires level < level_count().
  uint64_t span(unsigned level) const { return levels_[level].span; }
  // Bytes below the node of `level` that begins at chunk `first`, in a file of `file_size` bytes.
  // Requires that the node exists there.
  uint64_t subtree_size(unsigned level, uint64_t first, uint64_t file_size) const;
  // Fails unless `links` are exactly what such a node must have: count, sizes, kinds of children.
  Status check_links(std::span<const UnixfsLink> links, unsigned level, uint64_t first,
                     uint64_t file_size) const;

  // The full node of `level` whose file bytes are all zero, as its parent links to it.
  unsigned level_count() const { return static_cast<unsigned>(levels_.size()); }
  const UnixfsLink& zero(unsigned level) const { return levels_[level].zero; }
  // Its block (level 0: a chunk of zeroes).
  Result<Buffer> zero_block(unsigned level) const;
  // A leaf of `size` zero bytes, size <= chunk size, and its block.
  Digest zero_leaf(uint64_t size) const;
  Buffer zero_leaf_block(uint64_t size) const;

 private:
  struct Level {
    uint64_t span = 1;
    UnixfsLink zero;
  };
  explicit UnixfsShape(UnixfsParams params);

  UnixfsParams params_;
  uint64_t max_file_size_;
  Buffer zeroes_;              // one chunk
  std::vector<Level> levels_;  // enough for a file of max_file_size()
};

}  // namespace cairn
