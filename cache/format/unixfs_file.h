// UnixFS files as trees: build one from its leaves, walk one, and derive a new one from an old one.
//
// Pure functions over a BlockReader and a BlockSink, on the caller's thread. Memory is
// O(levels x links), never a function of the file's size. Inner nodes go to the sink as they are
// complete, children before parents; the caller has put the leaves itself, except full leaves of
// zeroes and leaves that stand for holes, which update_unixfs puts.
// Errors: kNotLocal (see block_reader.h; run again from the start), kCorruption, kInvalid.
// Format: FORMAT.md, "UnixFS files".
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "cache/format/block_reader.h"
#include "cache/format/unixfs.h"

namespace cairn {

// A file's content: its CID, and the size without which the tree cannot be read.
struct UnixfsRoot {
  Cid cid;
  uint64_t size = 0;
  bool operator==(const UnixfsRoot&) const = default;
};

// Builds a file from its leaves in order. `shape` and `sink` must outlive it.
class UnixfsBuilder {
 public:
  UnixfsBuilder(const UnixfsShape& shape, BlockSink& sink) : shape_(shape), sink_(sink) {}
  // Every leaf but the last is a full chunk; none is empty.
  Status add_leaf(const Digest& leaf, uint64_t size);
  // Once. Without any leaf: the empty file, whose empty block goes to the sink.
  Result<UnixfsRoot> finish();

 private:
  Status add(size_t level, const UnixfsLink& link);
  Status close_node(size_t level);

  const UnixfsShape& shape_;
  BlockSink& sink_;
  std::vector<std::vector<UnixfsLink>> open_;  // by level: the node being filled
  uint64_t size_ = 0;
};

// A block of a file's tree, at its place.
struct UnixfsPlace {
  Digest digest;
  unsigned level = 0;            // 0: a leaf
  uint64_t first_chunk = 0;      // of those below it
  uint64_t size = 0;             // bytes of the file below it
  bool zero = false;             // a full leaf or node of zeroes, known without reading it
  std::optional<Digest> parent;  // the node that links to it; none for the root
  uint32_t position = 0;         // among the parent's links
};

class UnixfsVisitor {
 public:
  virtual ~UnixfsVisitor() = default;
  // An inner node, before its children. False: leave its children out.
  virtual Result<bool> node(const UnixfsPlace& place) = 0;
  virtual Status leaf(const UnixfsPlace& place) = 0;
};

// Visits what lies in chunks [first, last] of the file, in order. Nodes of zeroes are never read.
// When blocks are missing, the others are still visited (and asked for) before kNotLocal comes.
Status walk_unixfs(const UnixfsShape& shape, const UnixfsRoot& root, uint64_t first, uint64_t last,
                   BlockReader& reader, UnixfsVisitor& visitor);

// The leaves [first, last], clipped to the file. At most kMaxUnixfsLeaves are asked for at once.
constexpr uint64_t kMaxUnixfsLeaves = 65536;
Result<std::vector<UnixfsPlace>> unixfs_leaves(const UnixfsShape& shape, const UnixfsRoot& root,
                                               uint64_t first, uint64_t last, BlockReader& reader);

// The first chunk >= `first` that is not a full chunk of zeroes; nullopt: there is none.
Result<std::optional<uint64_t>> next_unixfs_data(const UnixfsShape& shape, const UnixfsRoot& root,
                                                 uint64_t first, BlockReader& reader);

// A chunk that has new content; the leaf's length follows from the file's new size.
struct UnixfsChange {
  uint64_t chunk = 0;
  Digest leaf;
};

// The file that `old` (none: an empty file) becomes when it gets `new_size` and the changed chunks,
// which are sorted and lie below the new size. Every other chunk keeps its content, or is a hole
// where the old file had none. A chunk whose length changes (the old or the new last one) must be
// among the changes unless it is a hole. Writes the changed nodes only; reads nodes on the way to
// a change and on the right edges of both trees.
Result<UnixfsRoot> update_unixfs(const UnixfsShape& shape, const std::optional<UnixfsRoot>& old,
                                 uint64_t new_size, std::span<const UnixfsChange> changes,
                                 BlockReader& reader, BlockSink& sink);

}  // namespace cairn
