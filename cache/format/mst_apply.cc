// Edits of a tree. One recursive rule makes inserts, deletes, splits and merges alike:
//
// A node is built for a layer and a range of keys (both ends excluded) from old nodes of that
// layer that overlap the range, the sources, and from the edits in the range. The sources' entries
// in the range, changed by the edits of this layer, are the new node's entries. They cut the range
// into gaps; the subtree of a gap is built likewise, one layer below, from the sources' children
// that overlap it. A child that lies in one gap whole, alone and without edits stays as it is.
// So inserting a key splits the child it falls into (two gaps share that source), and removing one
// merges its neighbours (one gap has two sources).
#include <algorithm>
#include <unordered_map>
#include <utility>

#include "cache/format/mst.h"

namespace cairn {
namespace {

using NodePtr = std::shared_ptr<const MstNode>;

bool before(const std::optional<std::string_view>& lo, std::string_view key) {
  return !lo || *lo < key;
}
bool after(const std::optional<std::string_view>& hi, std::string_view key) {
  return !hi || key < *hi;
}
// Whether the range (a.lo, a.hi) can share a key with (b.lo, b.hi).
bool overlap(const MstBounds& a, const MstBounds& b) {
  return (!a.lo || !b.hi || *a.lo < *b.hi) && (!b.lo || !a.hi || *b.lo < *a.hi);
}
bool ends_before(const MstBounds& a, const MstBounds& b) {
  return a.hi && b.lo && *a.hi <= *b.lo;
}
bool inside(const MstBounds& inner, const MstBounds& outer) {
  return (!outer.lo || (inner.lo && *inner.lo >= *outer.lo)) &&
         (!outer.hi || (inner.hi && *inner.hi <= *outer.hi));
}

// An edit with its key's layer, computed once.
struct Edit {
  std::string_view key;
  const std::optional<Cid>* value;
  int layer;
};
using Edits = std::span<const Edit>;

// An old subtree: where it stands and which keys it may hold.
struct Source {
  Digest digest;
  int layer;
  MstBounds extent;
};

// A new node and the new nodes below it, in key order.
struct NewNode {
  Digest digest;
  ByteVec block;
  int layer = 0;
  std::vector<std::unique_ptr<NewNode>> children;
  bool has_entries = false;
  std::optional<Digest> first_child;
};

struct Subtree {
  std::optional<Digest> digest;    // nothing: no subtree
  std::unique_ptr<NewNode> fresh;  // set when it is not an old one
};

class Builder {
 public:
  explicit Builder(MstNodeReader& reader) : reader_(reader) {}

  Result<NodePtr> load(const Digest& digest) {
    const auto known = loaded_.find(digest);
    if (known != loaded_.end()) return known->second;
    TRY_ASSIGN(NodePtr node, reader_.node(digest));
    loaded_.emplace(digest, node);
    return node;
  }

  Result<Subtree> build(int layer, const MstBounds& range, std::span<const Source> sources,
                        Edits edits);

 private:
  struct Items {
    std::vector<MstNodeEntry> entries;
    std::vector<Source> children;
  };
  Status take_source(int layer, const MstBounds& range, const Source& source, Items& out);
  Result<std::vector<MstNodeEntry>> edited(int layer, std::vector<MstNodeEntry> old, Edits edits);
  Result<Subtree> build_gap(int layer, const MstBounds& gap, std::span<const Source> children,
                            Edits edits);

  MstNodeReader& reader_;
  std::unordered_map<Digest, NodePtr> loaded_;  // keeps alive what keys and bounds point into
};

// Adds what `source` has in `range`. A source below this layer is itself the only child.
Status Builder::take_source(int layer, const MstBounds& range, const Source& source, Items& out) {
  if (source.layer < layer) {
    out.children.push_back(source);
    return {};
  }
  TRY_ASSIGN(const NodePtr node, load(source.digest));
  TRY(check_mst_child(*node, layer, source.extent));
  size_t i = range.lo ? node->lower_bound(*range.lo) : 0;
  for (;; ++i) {
    MstBounds extent = source.extent;
    if (i > 0) extent.lo = node->key(i - 1);
    if (i < node->size()) extent.hi = node->key(i);
    const Digest* child = node->child(i);
    if (child != nullptr && overlap(extent, range))
      out.children.push_back({*child, layer - 1, extent});
    if (i == node->size() || !after(range.hi, node->key(i))) return {};
    if (before(range.lo, node->key(i)))
      out.entries.push_back({node->key(i), node->value(i), std::nullopt});
  }
}

// The entries `old` after the edits of this layer.
Result<std::vector<MstNodeEntry>> Builder::edited(int layer, std::vector<MstNodeEntry> old,
                                                  Edits edits) {
  std::vector<MstNodeEntry> out;
  size_t next = 0;
  const auto take_until = [&](std::optional<std::string_view> key) {
    while (next < old.size() && after(key, old[next].key)) out.push_back(old[next++]);
  };
  for (const Edit& edit : edits) {
    if (edit.layer != layer) continue;
    take_until(edit.key);
    if (next < old.size() && old[next].key == edit.key) ++next;
    if (*edit.value) out.push_back({edit.key, **edit.value, std::nullopt});
  }
  take_until(std::nullopt);
  if (out.size() > kMaxMstEntries)
    return fail(Errc::kUnsupported,
                "tree: a node would have more than " + std::to_string(kMaxMstEntries) + " entries");
  return out;
}

Result<Subtree> Builder::build_gap(int layer, const MstBounds& gap,
                                   std::span<const Source> children, Edits edits) {
  if (edits.empty()) {
    if (children.empty()) return Subtree{};
    const Source& only = children.front();
    if (children.size() == 1 && only.layer == layer && inside(only.extent, gap))
      return Subtree{only.digest, nullptr};
  }
  return build(layer, gap, children, edits);
}

Result<Subtree> Builder::build(int layer, const MstBounds& range, std::span<const Source> sources,
                               Edits edits) {
  const bool inserts =
      std::any_of(edits.begin(), edits.end(), [](const Edit& e) { return e.value->has_value(); });
  if (sources.empty() && !inserts) return Subtree{};
  Items items;
  Status complete;  // goes on past what is not local, so that the reader hears of all of it
  for (const Source& source : sources) {
    Status taken = take_source(layer, range, source, items);
    if (taken) continue;
    if (taken.error().code() != Errc::kNotLocal) return tl::unexpected<Error>(taken.error());
    complete = std::move(taken);
  }
  if (!complete) return tl::unexpected<Error>(std::move(complete).error());
  TRY_ASSIGN(auto entries, edited(layer, std::move(items.entries), edits));

  auto fresh = std::make_unique<NewNode>();
  size_t first_child = 0;
  size_t first_edit = 0;
  for (size_t g = 0; g <= entries.size(); ++g) {
    MstBounds gap = range;
    if (g > 0) gap.lo = entries[g - 1].key;
    if (g < entries.size()) gap.hi = entries[g].key;
    while (first_child < items.children.size() &&
           ends_before(items.children[first_child].extent, gap))
      ++first_child;
    size_t end_child = first_child;
    while (end_child < items.children.size() && overlap(items.children[end_child].extent, gap))
      ++end_child;
    while (first_edit < edits.size() && !before(gap.lo, edits[first_edit].key)) ++first_edit;
    size_t end_edit = first_edit;
    std::vector<Edit> deeper;
    for (; end_edit < edits.size() && after(gap.hi, edits[end_edit].key); ++end_edit)
      if (edits[end_edit].layer < layer) deeper.push_back(edits[end_edit]);
    auto subtree =
        build_gap(layer - 1, gap,
                  std::span(items.children).subspan(first_child, end_child - first_child), deeper);
    first_edit = end_edit;
    if (!subtree) {
      if (subtree.error().code() != Errc::kNotLocal) return subtree;
      complete = tl::unexpected<Error>(std::move(subtree).error());
      continue;
    }
    (g == 0 ? fresh->first_child : entries[g - 1].right) = subtree->digest;
    if (subtree->fresh) fresh->children.push_back(std::move(subtree->fresh));
  }
  if (!complete) return tl::unexpected<Error>(std::move(complete).error());
  if (entries.empty() && !fresh->first_child) return Subtree{};
  fresh->layer = layer;
  fresh->has_entries = !entries.empty();
  fresh->block = encode_mst_node(fresh->first_child, entries);
  if (fresh->block.size() > kMaxMstBlock)
    return fail(Errc::kUnsupported, "tree: a node would be too large");
  fresh->digest = sha256(fresh->block);
  for (const Source& source : sources)
    if (source.layer == layer && source.digest == fresh->digest)
      return Subtree{source.digest, nullptr};
  Subtree out{fresh->digest, nullptr};
  out.fresh = std::move(fresh);
  return out;
}

Status emit(NewNode& node, BlockSink& sink) {
  const Cid cid = Cid::from_digest(Codec::kDagCbor, node.digest);
  TRY(sink.put_node(cid, Buffer(std::move(node.block)), node.layer));
  for (const auto& child : node.children) TRY(emit(*child, sink));
  return {};
}

// A tree's root has keys: nodes above it without any are left out.
Result<Subtree> trimmed(Builder& builder, Subtree top) {
  while (top.digest) {
    if (top.fresh) {
      if (top.fresh->has_entries) break;
      Subtree below{top.fresh->first_child, nullptr};
      if (!top.fresh->children.empty()) below.fresh = std::move(top.fresh->children.front());
      top = std::move(below);
      continue;
    }
    TRY_ASSIGN(const NodePtr node, builder.load(*top.digest));
    if (node->size() > 0 || node->empty()) break;
    top.digest = *node->child(0);
  }
  return top;
}

Result<std::vector<Edit>> with_layers(std::span<const MstEdit> edits, unsigned fanout_bits) {
  std::vector<Edit> out;
  out.reserve(edits.size());
  for (const MstEdit& edit : edits) {
    if (edit.key.empty() || edit.key.size() > kMaxMstKey)
      return fail(Errc::kInvalid, "tree: a key of " + std::to_string(edit.key.size()) + " bytes");
    if (!out.empty() && out.back().key >= edit.key)
      return fail(Errc::kInvalid, "tree: edits not in order");
    out.push_back({edit.key, &edit.value, mst_layer(edit.key, fanout_bits)});
  }
  return out;
}

}  // namespace

Result<Digest> mst_apply(MstNodeReader& reader, const Digest& root, std::span<const MstEdit> edits,
                         BlockSink& sink) {
  TRY_ASSIGN(const std::vector<Edit> list, with_layers(edits, reader.fanout_bits()));
  Builder builder(reader);
  TRY_ASSIGN(const NodePtr old_root, builder.load(root));
  TRY_ASSIGN(const int root_layer, mst_root_layer(*old_root));
  int layer = root_layer;
  for (const Edit& edit : list)
    if (*edit.value) layer = std::max(layer, edit.layer);
  if (layer < 0) return root;  // nothing is there, nothing comes
  std::vector<Source> sources;
  if (root_layer >= 0) sources.push_back({root, root_layer, {}});
  TRY_ASSIGN(Subtree top, builder.build(layer, {}, sources, list));
  TRY_ASSIGN(top, trimmed(builder, std::move(top)));
  if (!top.digest) {
    TRY(sink.put(Cid::from_digest(Codec::kDagCbor, empty_mst_root()), Buffer(empty_mst_block())));
    return empty_mst_root();
  }
  if (top.fresh) TRY(emit(*top.fresh, sink));
  return *top.digest;
}

}  // namespace cairn
