// IndexWriter: turns the tails of young packs, and older segments that have become too many, into
// one index segment in the store.
//
// Owner: one publish, on its thread. The segment is built in a file of the cache directory and
// streamed from there; memory is that of the young packs' tails. Errors: the store's, the Env's.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "cache/base/env.h"
#include "cache/format/pack.h"
#include "cache/object_store.h"
#include "cache/pack_store.h"

namespace cairn {

// When the block index is written anew; others than these are for tests.
struct IndexLimits {
  size_t young_packs_max = 16;    // they become a segment
  size_t segments_a_tier = 8;     // they become one of the next tier
  size_t deleted_packs_max = 64;  // listed by segments: these are worth to be written anew
};

class IndexWriter {
 public:
  struct Options {
    std::string dir;  // for the file: that of MetaFiles, which clears away what is left of it
    Duration io_timeout = std::chrono::seconds(60);
  };
  // Everything must outlive it.
  IndexWriter(ObjectStore& store, PackStore& packs, Env& env, Clock& clock, Options options,
              Context context);

  // Puts the segment that covers `packs` and replaces `segments` (both oldest first). Blocks of
  // packs for which `keep` says no are left out. `known` are tails of some of the packs, which may
  // be on their way still; the others are read.
  Result<SegmentName> write(std::span<const PackName> packs, std::span<const PackTail> known,
                            std::span<const SegmentName> segments,
                            const std::function<bool(const Digest& pack)>& keep);

 private:
  Context request(uint64_t bytes) const;

  ObjectStore& store_;
  PackStore& packs_;
  Env& env_;
  Clock& clock_;
  const Options options_;
  const Context context_;
};

// Which packs and segments a commit should turn into a new segment.
struct IndexStep {
  size_t packs = 0;          // all young ones, or none: nothing is to be done
  size_t segments_from = 0;  // segments from here on are merged into the new one
};
// Young packs are many when a look-up would have to read many tails. Segments are kept in tiers of
// eight, by the number of their entries, so that each entry is rewritten once a tier.
IndexStep next_index_step(std::span<const PackName> young, std::span<const SegmentName> segments,
                          const IndexLimits& limits);

}  // namespace cairn
