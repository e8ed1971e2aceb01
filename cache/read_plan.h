// plan_reads: which ranges of which packs to ask for when some blocks are wanted. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/object_store.h"
#include "cache/pack_store.h"

namespace cairn {

// One GET: a range of a pack and the wanted blocks inside it (indexes of the places given).
struct PlannedRead {
  Digest pack;
  ByteRange range;
  std::vector<size_t> wants;
};

// Blocks of one pack come together while the bytes between them are at most `gap_max` and the
// whole is at most `bytes_max` (a larger single block makes its own read). Every place is in
// exactly one read; reads are in the order of the first place that each serves.
std::vector<PlannedRead> plan_reads(std::span<const BlockPlace> places, uint64_t gap_max,
                                    uint64_t bytes_max);

}  // namespace cairn
