#include "cache/format/mst_node.h"

#include <algorithm>
#include <string>

#include "cache/format/cbor.h"

namespace cairn {
namespace {

Status expect_key(CborReader& in, CborMap& map, std::string_view name) {
  TRY_ASSIGN(const std::string_view key, in.key(map));
  if (key != name) return in.bad("a tree node without \"" + std::string(name) + "\"");
  return {};
}

Result<CborMap> map_of(CborReader& in, uint64_t size) {
  TRY_ASSIGN(const CborMap map, in.map());
  if (map.left != size) return in.bad("a tree node with other fields");
  return map;
}

void write_child(CborWriter& out, const std::optional<Digest>& child) {
  if (child) {
    out.link(Cid::from_digest(Codec::kDagCbor, *child));
  } else {
    out.null();
  }
}

// Takes a link to a subtree, or null, and appends it to `children`; the place it got, or `none`.
Result<uint32_t> take_child(CborReader& in, std::vector<Digest>& children, uint32_t none) {
  TRY_ASSIGN(const bool absent, in.take_null());
  if (absent) return none;
  TRY_ASSIGN(const Cid cid, in.link());
  if (cid.is_identity() || cid.codec() != Codec::kDagCbor)
    return in.bad("a subtree that is not a dag-cbor block");
  children.push_back(cid.digest());
  return static_cast<uint32_t>(children.size() - 1);
}

}  // namespace

int mst_layer(std::string_view key, unsigned fanout_bits) {
  const Digest hash = sha256(as_bytes(key));
  unsigned zeros = 0;
  for (const std::byte byte : hash.bytes) {
    const auto bits = static_cast<uint8_t>(byte);
    if (bits != 0) {
      zeros += static_cast<unsigned>(__builtin_clz(bits)) - 24;
      break;
    }
    zeros += 8;
  }
  return static_cast<int>(zeros / fanout_bits);
}

size_t common_prefix(std::string_view a, std::string_view b) {
  const size_t most = std::min(a.size(), b.size());
  return static_cast<size_t>(
      std::mismatch(a.begin(), a.begin() + static_cast<ptrdiff_t>(most), b.begin()).first -
      a.begin());
}

Result<std::shared_ptr<const MstNode>> MstNode::decode(Bytes block, unsigned fanout_bits) {
  if (block.size() > kMaxMstBlock) return fail(Errc::kCorruption, "a tree node that is too large");
  auto node = std::make_shared<MstNode>();
  CborReader in(block);
  TRY_ASSIGN(CborMap map, map_of(in, 2));
  TRY(expect_key(in, map, "e"));
  TRY_ASSIGN(const uint64_t count, in.array());
  if (count > kMaxMstEntries) return in.bad("a tree node of too many entries");
  std::string key;
  for (uint64_t i = 0; i < count; ++i) {
    TRY_ASSIGN(CborMap entry, map_of(in, 4));
    TRY(expect_key(in, entry, "k"));
    TRY_ASSIGN(const Bytes suffix, in.bytes());
    TRY(expect_key(in, entry, "p"));
    TRY_ASSIGN(const uint64_t prefix, in.uint_at_most(key.size()));
    const std::string previous = key;
    key.resize(static_cast<size_t>(prefix));
    key.append(as_chars(suffix));
    if (key.empty() || key.size() > kMaxMstKey) return in.bad("a tree key of a wrong length");
    if (i > 0 && previous >= key) return in.bad("tree keys not in order");
    if (common_prefix(previous, key) != prefix) return in.bad("a tree key not compressed");
    const int layer = mst_layer(key, fanout_bits);
    if (i > 0 && layer != node->layer_) return in.bad("tree keys of different layers");
    node->layer_ = layer;
    TRY(expect_key(in, entry, "t"));
    TRY_ASSIGN(const uint32_t child, take_child(in, node->children_, kNone));
    TRY(expect_key(in, entry, "v"));
    TRY_ASSIGN(const Cid value, in.link());
    const auto key_at = static_cast<uint32_t>(node->arena_.size());
    append(node->arena_, as_bytes(key));
    const auto value_at = static_cast<uint32_t>(node->arena_.size());
    value.append_to(node->arena_);
    node->entries_.push_back({key_at, value_at, static_cast<uint16_t>(key.size()),
                              static_cast<uint16_t>(value.byte_size()), child});
  }
  TRY(expect_key(in, map, "l"));
  TRY_ASSIGN(node->left_, take_child(in, node->children_, kNone));
  TRY(in.finish());
  if (node->layer_ == 0 && !node->children_.empty())
    return in.bad("a subtree below the lowest layer");
  node->entries_.shrink_to_fit();
  node->children_.shrink_to_fit();
  node->arena_.shrink_to_fit();
  return std::shared_ptr<const MstNode>(std::move(node));
}

std::string_view MstNode::key(size_t i) const {
  const Entry& e = entries_[i];
  return as_chars(Bytes(arena_).subspan(e.key_at, e.key_size));
}

Cid MstNode::value(size_t i) const {
  const Entry& e = entries_[i];
  return Cid::from_bytes(Bytes(arena_).subspan(e.value_at, e.value_size)).value();
}

const Digest* MstNode::child(size_t i) const {
  const uint32_t at = i == 0 ? left_ : entries_[i - 1].child;
  return at == kNone ? nullptr : &children_[at];
}

size_t MstNode::lower_bound(std::string_view key) const {
  const auto found = std::lower_bound(
      entries_.begin(), entries_.end(), key, [this](const Entry& e, std::string_view wanted) {
        return as_chars(Bytes(arena_).subspan(e.key_at, e.key_size)) < wanted;
      });
  return static_cast<size_t>(found - entries_.begin());
}

size_t MstNode::memory() const {
  return sizeof(*this) + entries_.capacity() * sizeof(Entry) +
         children_.capacity() * sizeof(Digest) + arena_.capacity();
}

ByteVec encode_mst_node(const std::optional<Digest>& left,
                        const std::vector<MstNodeEntry>& entries) {
  ByteVec block;
  CborWriter out(block);
  out.map(2);
  out.text("e");
  out.array(entries.size());
  std::string_view previous;
  for (const MstNodeEntry& entry : entries) {
    const size_t prefix = common_prefix(previous, entry.key);
    out.map(4);
    out.text("k");
    out.bytes(as_bytes(entry.key.substr(prefix)));
    out.text("p");
    out.uint(prefix);
    out.text("t");
    write_child(out, entry.right);
    out.text("v");
    out.link(entry.value);
    previous = entry.key;
  }
  out.text("l");
  write_child(out, left);
  return block;
}

Status check_mst_child(const MstNode& node, int layer, const MstBounds& bounds) {
  const auto bad = [](const char* what) {
    return fail(Errc::kCorruption, std::string("tree: ") + what);
  };
  if (layer < 0) return bad("a subtree below the lowest layer");
  if (node.size() == 0) {
    if (layer == 0 || node.empty()) return bad("an empty subtree");
    return {};
  }
  if (node.layer() != layer) return bad("a subtree of a wrong layer");
  if ((bounds.lo && node.key(0) <= *bounds.lo) ||
      (bounds.hi && node.key(node.size() - 1) >= *bounds.hi))
    return bad("a subtree with keys that belong elsewhere");
  return {};
}

Result<int> mst_root_layer(const MstNode& node) {
  if (node.size() == 0 && !node.empty())
    return fail(Errc::kCorruption, "tree: a root without keys above a subtree");
  return node.layer();
}

}  // namespace cairn
