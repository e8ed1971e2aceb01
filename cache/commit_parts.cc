#include "cache/commit_parts.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace cairn {
namespace {

constexpr uint64_t kSmallPackBytes = 1 << 20;

std::vector<PackName> names(const std::vector<CommitPack>& packs, PackKind kind) {
  std::vector<PackName> out;
  out.reserve(packs.size());
  for (const CommitPack& pack : packs) {
    PackName name;
    name.digest = pack.digest;
    name.size = pack.size;
    name.blocks = pack.blocks;
    name.kind = kind;
    out.push_back(name);
  }
  return out;
}

}  // namespace

Result<StoredCommit> stored_commit(Buffer bytes) {
  TRY_ASSIGN(CommitRecord record, CommitRecord::decode(bytes));
  StoredCommit commit;
  commit.digest = sha256(bytes);
  commit.bytes = std::move(bytes);
  commit.record = std::make_shared<const CommitRecord>(std::move(record));
  return commit;
}

std::vector<PackName> metadata_packs(const CommitRecord& record) {
  return names(record.metadata_packs, PackKind::kMeta);
}

std::optional<BlockPlace> root_place(const CommitRecord& record) {
  if (!record.root_place || record.root_place->length > kMaxCarBlock) return std::nullopt;
  return BlockPlace{record.root_place->pack, record.root_place->offset,
                    static_cast<uint32_t>(record.root_place->length)};
}

MetadataAhead metadata_ahead(const CommitRecord& record, uint64_t bytes_max,
                             uint64_t pack_bytes_max) {
  MetadataAhead ahead;
  std::vector<PackName> packs = metadata_packs(record);
  uint64_t bytes = 0;
  for (const PackName& pack : packs) bytes += pack.size;
  if (bytes <= bytes_max) {
    ahead.now = std::move(packs);
    return ahead;
  }
  const auto root = root_place(record);
  uint64_t room = bytes_max / 8;
  for (auto pack = packs.rbegin(); pack != packs.rend(); ++pack) {
    const bool small = pack->size <= std::min(kSmallPackBytes, room);
    if (small) room -= pack->size;
    const bool has_root = root && root->pack == pack->digest && pack->size <= pack_bytes_max;
    (small || has_root ? ahead.now : ahead.tails).push_back(*pack);
  }
  return ahead;
}

std::vector<PackName> young_packs(const CommitRecord& record) {
  return names(record.young_packs, PackKind::kData);
}

std::vector<PackName> all_packs(const CommitRecord& record) {
  std::vector<PackName> packs = metadata_packs(record);
  for (PackName& pack : young_packs(record)) packs.push_back(pack);
  return packs;
}

std::vector<TieredPack> tiered_packs(const CommitRecord& record) {
  const std::vector<PackName> packs = metadata_packs(record);
  std::vector<TieredPack> tiered;
  for (size_t i = 0; i < packs.size(); ++i)
    tiered.push_back({packs[i], static_cast<uint8_t>(record.metadata_packs[i].tier)});
  return tiered;
}

std::vector<SegmentName> index_segments(const CommitRecord& record) {
  std::vector<SegmentName> segments;
  for (const CommitSegment& segment : record.index_segments)
    segments.push_back({segment.digest, segment.size, segment.entries});
  return segments;
}

std::vector<CondemnedName> condemned_names(const CommitRecord& record) {
  std::vector<CondemnedName> packs;
  for (const CondemnedPack& pack : record.condemned_packs)
    packs.push_back({pack.digest, pack.size == 0});
  return packs;
}

CommitPack commit_pack(const PackName& pack, uint64_t tier) {
  return {pack.digest, pack.size, pack.blocks, tier};
}

CommitSegment commit_segment(const SegmentName& segment) {
  return {segment.digest, segment.size, segment.entries};
}

uint32_t next_group(const CommitRecord& record, uint16_t slot) {
  const auto found = record.slots.find(slot);
  return found == record.slots.end() ? 1 : found->second.highest_group + 1;
}

CommitRecord next_record(const StoredCommit& before, Rng& rng, int64_t time_ns) {
  CommitRecord record = *before.record;
  record.previous = CommitRecord::Previous{before.record->seq, before.digest};
  record.seq = before.record->seq + 1;
  record.time_ns = time_ns;
  for (size_t i = 0; i < record.nonce.size(); i += 8) {
    const uint64_t word = rng.next();
    std::memcpy(record.nonce.data() + i, &word, std::min<size_t>(8, record.nonce.size() - i));
  }
  return record;
}

}  // namespace cairn
