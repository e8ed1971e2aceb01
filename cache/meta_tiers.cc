#include "cache/meta_tiers.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "cache/format/commit.h"
#include "cache/format/unixfs.h"
#include "cache/pack_layout.h"

namespace cairn {
namespace {

constexpr size_t kPacksATier = 8;
constexpr uint64_t kTierGrowth = 8;
constexpr uint8_t kTiersMax = CommitRecord::kMaxTier;
constexpr int kContentDepthMax = 64;

uint8_t tier_of(uint64_t bytes, const MetadataLimits& limits) {
  uint8_t tier = 0;
  for (uint64_t most = limits.first_tier_bytes; bytes >= most && tier < kTiersMax;
       most *= kTierGrowth)
    ++tier;
  return tier;
}

// How many small packs a tier may have. Where a whole tier fits one pack it is one pack: a cold
// mount pays a request for each, and rewriting so little costs none.
size_t packs_a_tier(uint8_t tier, const MetadataLimits& limits) {
  uint64_t most = limits.first_tier_bytes;
  for (uint8_t i = 0; i < tier && most <= limits.pack_bytes; ++i) most *= kTierGrowth;
  return most <= limits.pack_bytes ? 1 : kPacksATier;
}

}  // namespace

MetadataPlan plan_rewrite(const MetadataState& state) {
  return {0, tier_of(state.live_bytes, state.limits)};
}

MetadataPlan plan_metadata(const MetadataState& state) {
  MetadataPlan plan;
  plan.keep = state.packs.size();
  uint64_t total = state.fresh_bytes;
  for (const TieredPack& pack : state.packs) total += pack.name.size;
  if (state.live_bytes != 0 && total > state.limits.rewrite_bytes_min &&
      total / 2 > state.live_bytes)
    return plan_rewrite(state);
  uint64_t bytes = state.fresh_bytes;
  plan.tier = tier_of(bytes, state.limits);
  while (plan.keep > 0) {
    // What is newer and in a lower tier goes along: tiers fall from old to new.
    const TieredPack& last = state.packs[plan.keep - 1];
    if (last.tier < plan.tier) {
      bytes += last.name.size;
      --plan.keep;
      continue;
    }
    size_t small = 1;  // what this commit writes
    size_t from = plan.keep;
    for (; from > 0 && state.packs[from - 1].tier == plan.tier; --from)
      small += state.packs[from - 1].name.size < state.limits.pack_bytes / 2 ? 1 : 0;
    const size_t allowed = packs_a_tier(plan.tier, state.limits);
    if (small <= allowed) break;
    while (plan.keep > from) bytes += state.packs[--plan.keep].name.size;
    const auto above = static_cast<uint8_t>(plan.tier + (allowed > 1 ? 1 : 0));
    plan.tier =
        std::min<uint8_t>(kTiersMax, std::max<uint8_t>(above, tier_of(bytes, state.limits)));
  }
  return plan;
}

Result<std::optional<Buffer>> MetaMerger::take(const Cid& cid, bool upper) {
  const Digest digest = cid.digest();
  const auto fresh = fresh_.find(digest);
  const bool written = out_.has(digest);  // by this commit, or visited already
  const auto in_merged = [&] {
    return std::any_of(merged_.begin(), merged_.end(),
                       [&](const PackTail& tail) { return tail.find(digest).has_value(); });
  };
  if (fresh == fresh_.end() && !written && !everything_ && !in_merged())
    return std::optional<Buffer>();
  Buffer bytes;
  if (fresh != fresh_.end()) {
    bytes = fresh->second.bytes;
  } else {
    TRY_ASSIGN(bytes, read_(digest));
  }
  bytes_ += bytes.size();
  TRY(out_.add(cid, bytes, upper));
  return std::optional<Buffer>(std::move(bytes));
}

Status MetaMerger::visit_tree(const Digest& digest, std::optional<int> layer) {
  const bool upper = !layer || is_upper_layer(*layer, fanout_bits_);
  TRY_ASSIGN(const auto block, take(Cid::from_digest(Codec::kDagCbor, digest), upper));
  if (!block) return {};
  TRY_ASSIGN(const auto node, MstNode::decode(*block, fanout_bits_));
  if (!layer) {
    TRY_ASSIGN(layer, mst_root_layer(*node));
  }
  for (size_t i = 0; i <= node->size(); ++i) {
    if (const Digest* child = node->child(i)) {
      if (*layer <= 0) return fail(Errc::kCorruption, "tree: it is too deep");
      TRY(visit_tree(*child, *layer - 1));
    }
    if (i < node->size()) TRY(visit_value(node->key(i), node->value(i)));
  }
  return {};
}

Status MetaMerger::visit_value(std::string_view key, const Cid& value) {
  TRY_ASSIGN(const RecordKey parsed, parse_key(key));
  Buffer bytes;
  if (value.is_identity()) {
    bytes = Buffer::copy(value.payload());
  } else {
    TRY_ASSIGN(auto block, take(value));
    if (!block) return {};
    bytes = *std::move(block);
  }
  if (parsed.kind == KeyKind::kXattr) {
    TRY_ASSIGN(const XattrValue xattr, XattrValue::decode(bytes));
    const auto* cid = std::get_if<Cid>(&xattr.value);
    return cid != nullptr ? visit_leaf(*cid) : Status();
  }
  if (parsed.kind != KeyKind::kInode) return {};
  TRY_ASSIGN(const InodeRecord record, InodeRecord::decode(bytes));
  const auto* cid = std::get_if<Cid>(&record.body);
  if (cid == nullptr) return {};
  if (record.type() != FileType::kRegular) return visit_leaf(*cid);
  // A file of one chunk: its leaf is in a data pack.
  return cid->codec() == Codec::kDagPb ? visit_content(cid->digest(), 0) : Status();
}

Status MetaMerger::visit_content(const Digest& digest, int depth) {
  if (depth > kContentDepthMax) return fail(Errc::kCorruption, "UnixFS: a file's tree is too deep");
  // Copies share nodes, and the hole of a sparse file is one node many times at every level.
  if (!contents_.insert(digest).second) return {};
  TRY_ASSIGN(const auto block, take(Cid::from_digest(Codec::kDagPb, digest)));
  if (!block) return {};
  TRY_ASSIGN(const auto links, decode_unixfs_node(*block));
  for (const UnixfsLink& link : links) {
    if (link.codec == Codec::kDagPb) TRY(visit_content(link.digest, depth + 1));
  }
  return {};
}

Status MetaMerger::visit_leaf(const Cid& cid) {
  if (!cid.is_identity()) TRY(take(cid));
  return {};
}

}  // namespace cairn
