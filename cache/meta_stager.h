// MetaStager: collects the new metadata blocks of one publish (tree nodes, file nodes, small raw
// blocks) into metadata packs, sends full ones, and gives blocks back while they are being
// collected.
//
// Owner: one publish, on its thread. Memory: one open pack. Sealed packs go to the local metadata
// blocks as well, so that what was just written is never downloaded.
// A pack that an earlier, failed publish has sent is not sent again. Errors: those of the uploader;
// a local cache that takes nothing costs downloads, not the publish.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "cache/format/block_reader.h"
#include "cache/format/mst.h"
#include "cache/meta_blocks.h"
#include "cache/node_cache.h"
#include "cache/open_pack.h"
#include "cache/pack_uploader.h"

namespace cairn {

struct PendingBlock {
  Cid cid;
  Buffer bytes;
};

class MetaStager {
 public:
  // Everything must outlive it. `sent_before`: durable packs that no commit names.
  // `salt`: of the packs' names.
  MetaStager(MetaBlocks& blocks, PackUploader& uploader, uint64_t pack_bytes,
             std::span<const PackName> sent_before, uint64_t salt)
      : blocks_(blocks),
        uploader_(uploader),
        pack_bytes_(pack_bytes),
        sent_before_(sent_before),
        salt_(salt),
        pack_(PackKind::kMeta, salt) {}

  // Takes a block; one that this publish has already is left out. `upper`: a node of the tree that
  // comes last in its pack, before the tail, so that who reads the tail may read it with that.
  Status add(const Cid& cid, Buffer bytes, bool upper = false);
  // A block of the open pack.
  std::optional<Buffer> find(const Digest& digest) const;
  // True when this publish has written the block.
  bool has(const Digest& digest) const { return added_.contains(digest); }
  // Takes the blocks of the open pack out again, to be added in another order.
  std::unordered_map<Digest, PendingBlock> take_open();
  bool empty() const { return open_.empty() && packs_.empty(); }
  uint64_t open_bytes() const { return open_.empty() ? 0 : pack_.bytes() + upper_bytes_; }
  Status flush();
  // Every pack sealed so far, in order.
  const std::vector<PackName>& packs() const { return packs_; }

 private:
  Status seal();

  MetaBlocks& blocks_;
  PackUploader& uploader_;
  const uint64_t pack_bytes_;
  const std::span<const PackName> sent_before_;
  const uint64_t salt_;
  OpenPack pack_;
  std::vector<PendingBlock> upper_;                // will be added to pack_ last
  uint64_t upper_bytes_ = 0;                       // that they will take there
  std::unordered_map<Digest, PendingBlock> open_;  // what is in both
  std::unordered_set<Digest> added_;
  std::vector<PackName> packs_;
};

// Reads a tree whose newest nodes are still being collected.
class StagedNodes final : public MstNodeReader, public BlockReader {
 public:
  StagedNodes(const MetaStager& staged, MetaBlocks& blocks, NodeCache& cache, unsigned fanout_bits,
              Missing& missing)
      : staged_(staged),
        nodes_(blocks, cache, fanout_bits, missing),
        blocks_(blocks),
        missing_(missing) {}
  unsigned fanout_bits() const override { return nodes_.fanout_bits(); }
  Result<std::shared_ptr<const MstNode>> node(const Digest& digest) override;
  Result<Buffer> get(const Digest& digest) override;

 private:
  const MetaStager& staged_;
  LocalNodes nodes_;
  MetaBlocks& blocks_;
  Missing& missing_;
};

}  // namespace cairn
