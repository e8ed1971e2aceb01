// The parts of a commit record in the words of the pack store. Pure functions.
#pragma once

#include <vector>

#include "cache/base/random.h"
#include "cache/commit_log.h"
#include "cache/format/commit.h"
#include "cache/meta_tiers.h"
#include "cache/pack_store.h"

namespace cairn {

// A record that was kept somewhere else than in the store.
Result<StoredCommit> stored_commit(Buffer bytes);

std::vector<PackName> metadata_packs(const CommitRecord& record);
std::vector<PackName> young_packs(const CommitRecord& record);
// Where the root of the tree is said to lie.
std::optional<BlockPlace> root_place(const CommitRecord& record);

// What of the metadata comes whole with the mount, and what only with its tails.
struct MetadataAhead {
  std::vector<PackName> now;
  std::vector<PackName> tails;
};

// All of a tree up to `bytes_max`. Of a larger one the pack of the root, unless it has more than
// `pack_bytes_max`, and the small packs, in which what was changed last lies.
MetadataAhead metadata_ahead(const CommitRecord& record, uint64_t bytes_max,
                             uint64_t pack_bytes_max);
// Metadata and young packs: all that no index segment covers.
std::vector<PackName> all_packs(const CommitRecord& record);
std::vector<TieredPack> tiered_packs(const CommitRecord& record);
std::vector<SegmentName> index_segments(const CommitRecord& record);

std::vector<CondemnedName> condemned_names(const CommitRecord& record);

CommitPack commit_pack(const PackName& pack, uint64_t tier = 0);
CommitSegment commit_segment(const SegmentName& segment);

// The first group of the slot that was never opened.
uint32_t next_group(const CommitRecord& record, uint16_t slot);

// The record that follows on `before` by the same writer: numbered and linked, otherwise the same.
CommitRecord next_record(const StoredCommit& before, Rng& rng, int64_t time_ns);

}  // namespace cairn
