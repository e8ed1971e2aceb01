// IndexRebuild: the block index from the packs alone, for a volume whose segments are damaged.
//
// Every data pack in the store is read by its tail, also one that no commit names any more: what
// an index says too much costs nothing, blocks are verified. Condemned packs are left out.
// Owner: one call of TreeRemote::rebuild_index, on its thread; blocks on the store.
// Memory: the tails of the packs of one segment. Errors: the store's; those of single packs are in
// the result.
#pragma once

#include <string>
#include <vector>

#include "cache/tree_remote_impl.h"

namespace cairn {

class IndexRebuild {
 public:
  IndexRebuild(TreeRemote::Impl& remote, Remote& port, PublishHost& host, Context context)
      : remote_(remote), port_(port), host_(host), context_(std::move(context)) {}
  // The keys of packs that cannot be read, and why.
  Result<std::vector<std::string>> run();

 private:
  Result<std::vector<Digest>> list_packs();
  Status write_segment();

  TreeRemote::Impl& remote_;
  Remote& port_;
  PublishHost& host_;
  const Context context_;
  std::vector<PackName> batch_;
  uint64_t batch_blocks_ = 0;
  std::vector<SegmentName> segments_;
};

}  // namespace cairn
