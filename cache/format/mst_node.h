// MstNode: one decoded node of the tree. Immutable, shared by pointer, safe from any thread; it
// holds its own memory and does not keep the block it came from.
//
// decode accepts exactly what encode_mst_node writes: canonical DAG-CBOR, keys ascending and fully
// prefix-compressed, all of one layer, children that are sha2-256 dag-cbor links. What a node
// cannot show by itself (the layer of its children, the keys around it) check_mst_child checks.
// Errors: kCorruption. Format: FORMAT.md, "Tree" (atproto repository version 3).
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "cache/base/bytes.h"
#include "cache/base/digest.h"
#include "cache/base/result.h"
#include "cache/format/cid.h"

namespace cairn {

inline constexpr size_t kMaxMstKey = 1024;
// Far above what keys that nobody chose for it produce (a few hundred entries); low enough that
// one node fits memory.
inline constexpr size_t kMaxMstEntries = 1 << 20;
inline constexpr size_t kMaxMstBlock = 64 << 20;

// The layer of a key: leading zero bits of its sha2-256, divided by fanout_bits, rounded down.
int mst_layer(std::string_view key, unsigned fanout_bits);

size_t common_prefix(std::string_view a, std::string_view b);

class MstNode {
 public:
  static Result<std::shared_ptr<const MstNode>> decode(Bytes block, unsigned fanout_bits);

  // The layer of the node's keys; -1 when it has none.
  int layer() const { return layer_; }
  size_t size() const { return entries_.size(); }
  std::string_view key(size_t i) const;
  Cid value(size_t i) const;
  // The subtree before entry i, and behind the last one for i == size(); null when there is none.
  const Digest* child(size_t i) const;
  bool empty() const { return entries_.empty() && child(0) == nullptr; }
  // The first entry whose key is not less than `key`; size() when there is none.
  size_t lower_bound(std::string_view key) const;
  // Bytes of memory this node holds.
  size_t memory() const;

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Entry {
    uint32_t key_at;    // in arena_
    uint32_t value_at;  // in arena_: a CID's bytes
    uint16_t key_size;
    uint16_t value_size;
    uint32_t child;  // behind this entry: in children_, or kNone
  };
  int layer_ = -1;
  uint32_t left_ = kNone;
  std::vector<Entry> entries_;
  std::vector<Digest> children_;
  ByteVec arena_;
};

// What encode_mst_node writes. The views must live until it returns.
struct MstNodeEntry {
  std::string_view key;
  Cid value;
  std::optional<Digest> right;  // the subtree behind this entry
};
// Requires ascending keys of one layer.
ByteVec encode_mst_node(const std::optional<Digest>& left,
                        const std::vector<MstNodeEntry>& entries);

// The keys that a subtree must lie between, both ends excluded; an absent end is open.
struct MstBounds {
  std::optional<std::string_view> lo;
  std::optional<std::string_view> hi;
};
// kCorruption unless `node` can be a subtree of this layer between these keys.
Status check_mst_child(const MstNode& node, int layer, const MstBounds& bounds);
// The layer of a root; -1 for the empty tree. kCorruption when it cannot be a root.
Result<int> mst_root_layer(const MstNode& node);

}  // namespace cairn
