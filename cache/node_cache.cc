#include "cache/node_cache.h"

namespace cairn {
namespace {
constexpr uint64_t kEntryOverheadBytes = 160;  // list node, map node, shared_ptr's counts
}

NodeCache::Node NodeCache::find(const Digest& digest) {
  const std::lock_guard lock(mutex_);
  const auto it = by_digest_.find(digest);
  if (it == by_digest_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, it->second);
  return it->second->node;
}

void NodeCache::insert(const Digest& digest, Node node) {
  const uint64_t bytes = node->memory() + kEntryOverheadBytes;
  std::list<Entry> evicted;  // destroyed without the lock
  const std::lock_guard lock(mutex_);
  if (bytes > bytes_max_ || by_digest_.contains(digest)) return;
  entries_.push_front({digest, std::move(node), bytes});
  by_digest_.emplace(digest, entries_.begin());
  bytes_ += bytes;
  while (bytes_ > bytes_max_) {
    const auto last = std::prev(entries_.end());
    bytes_ -= last->bytes;
    by_digest_.erase(last->digest);
    evicted.splice(evicted.begin(), entries_, last);
  }
}

uint64_t NodeCache::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
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
