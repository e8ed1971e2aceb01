// NodeCache: decoded tree nodes, bounded in bytes, least recently used goes first.
// LocalNodes, LocalBlocks: what the format code reads trees through: nodes and blocks that are on
// this machine; what is not is noted in a Missing and answered with kNotLocal.
//
// NodeCache is thread-safe and shared by all operations of a mount; a LocalNodes or LocalBlocks
// belongs to one operation on one thread and must not outlive what it was made from.
// Errors: kNotLocal, kCorruption (the block is not a node), and those of MetaBlocks::get.
#pragma once

#include <list>
#include <memory>
#include <unordered_map>

#include "cache/base/mutex.h"
#include "cache/format/block_reader.h"
#include "cache/format/mst.h"
#include "cache/meta_blocks.h"

namespace cairn {

class NodeCache {
 public:
  using Node = std::shared_ptr<const MstNode>;

  explicit NodeCache(uint64_t bytes_max) : bytes_max_(bytes_max) {}
  Node find(const Digest& digest);  // null when it is not here
  void insert(const Digest& digest, Node node);
  uint64_t bytes() const;

 private:
  struct Entry {
    Digest digest;
    Node node;
    uint64_t bytes;
  };
  const uint64_t bytes_max_;
  mutable RankedMutex<Rank::kBlockCache> mutex_;
  std::list<Entry> entries_;  // the most recent first
  std::unordered_map<Digest, std::list<Entry>::iterator> by_digest_;
  uint64_t bytes_ = 0;
};

class LocalBlocks final : public BlockReader {
 public:
  LocalBlocks(MetaBlocks& blocks, Missing& missing) : blocks_(blocks), missing_(missing) {}
  Result<Buffer> get(const Digest& digest) override { return blocks_.get(digest, missing_); }

 private:
  MetaBlocks& blocks_;
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
