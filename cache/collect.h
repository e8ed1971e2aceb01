// What a collection is told and what it tells. See collector.h.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "cache/base/clock.h"
#include "cache/format/unixfs_file.h"

namespace cairn {

struct CollectReport {
  uint64_t head = 0;         // the commit after the collection
  uint64_t snapshots = 0;
  uint64_t stored_bytes = 0;       // of all packs and segments that were found
  uint64_t live_bytes = 0;         // of file blocks that the head and the snapshots need
  uint64_t live_blocks = 0;
  uint64_t metadata_bytes = 0;     // of the metadata packs of the head and the snapshots
  uint64_t condemned_packs = 0;    // by this collection
  uint64_t condemned_bytes = 0;
  uint64_t moved_bytes = 0;        // live blocks of these, written anew
  uint64_t waiting_packs = 0;      // condemned, to be deleted when the grace period is over
  uint64_t waiting_bytes = 0;
  uint64_t deleted_packs = 0;
  uint64_t deleted_segments = 0;
  uint64_t deleted_commits = 0;
  uint64_t deleted_bytes = 0;
  uint64_t lost_blocks = 0;        // needed and in no pack: 'cairn check' says which
  Duration grace{};                // that was asked for
  uint64_t kept_from = 0;          // the oldest commit that can still be read
};

struct CollectOptions {
  // How long what nothing needs any more stays, and how far back the history can be read.
  Duration grace = std::chrono::hours(24);
  bool dry_run = false;                      // look and report, change nothing
  uint64_t round_bytes = 256ULL << 20;       // moved between two commits
  uint64_t digests_at_once = 1 << 20;        // of a mark in memory
  uint64_t blocks_at_once = 1 << 19;         // of packs that one collection condemns or deletes
  // Contents that are needed besides: of files that were removed and are still open.
  // Asked when the tree that is counted is known: what was removed from it before is among them.
  std::function<std::vector<UnixfsRoot>()> pinned;
  // Called before each step with its name; no lock is held.
  std::function<void(std::string_view step, const CollectReport& so_far)> progress;
};

}  // namespace cairn
