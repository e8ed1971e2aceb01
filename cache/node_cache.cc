#include "cache/node_cache.h"

namespace cairn {

Result<std::shared_ptr<const UnixfsLinks>> LocalBlocks::links(const Digest& digest) {
  if (auto cached = links_.find(digest)) return cached;
  TRY_ASSIGN(auto decoded, BlockReader::links(digest));
  links_.insert(digest, decoded);
  return decoded;
}

Result<std::shared_ptr<const MstNode>> LocalNodes::node(const Digest& digest) {
  if (auto cached = cache_.find(digest)) return cached;
  TRY_ASSIGN(const Buffer block, blocks_.get(digest, missing_));
  auto node = MstNode::decode(block, fanout_bits_);
  if (!node)
    return tl::unexpected<Error>(std::move(node).error().wrap("tree node " + digest.hex()));
  cache_.insert(digest, *node);
  return node;
}

}  // namespace cairn
