// NodeCache, LinkCache: decoded tree nodes, and links of inner nodes of files.
// LocalNodes, LocalBlocks: what the format code reads trees through: nodes and blocks that are on
// this machine; what is not is noted in a Missing and answered with kNotLocal.
//
// The caches are thread-safe and shared by all operations of a mount; a LocalNodes or LocalBlocks
// belongs to one operation on one thread and must not outlive what it was made from.
// Errors: kNotLocal, kCorruption (the block is not a node), and those of MetaBlocks::get.
#pragma once

#include <memory>

#include "cache/decoded_cache.h"
#include "cache/format/block_reader.h"
#include "cache/format/mst.h"
#include "cache/format/unixfs.h"
#include "cache/meta_blocks.h"

namespace cairn {

using NodeCache = DecodedCache<MstNode>;
using LinkCache = DecodedCache<UnixfsLinks>;

class LocalBlocks final : public BlockReader {
 public:
  LocalBlocks(MetaBlocks& blocks, LinkCache& links, Missing& missing)
      : blocks_(blocks), links_(links), missing_(missing) {}
  Result<Buffer> get(const Digest& digest) override { return blocks_.get(digest, missing_); }
  Result<std::shared_ptr<const UnixfsLinks>> links(const Digest& digest) override;

 private:
  MetaBlocks& blocks_;
  LinkCache& links_;
  Missing& missing_;
};

class LocalNodes final : public MstNodeReader {
 public:
  LocalNodes(MetaBlocks& blocks, NodeCache& cache, unsigned fanout_bits, Missing& missing)
      : blocks_(blocks), cache_(cache), fanout_bits_(fanout_bits), missing_(missing) {}
  unsigned fanout_bits() const override { return fanout_bits_; }
  Result<std::shared_ptr<const MstNode>> node(const Digest& digest) override;

 private:
  MetaBlocks& blocks_;
  NodeCache& cache_;
  const unsigned fanout_bits_;
  Missing& missing_;
};

}  // namespace cairn
