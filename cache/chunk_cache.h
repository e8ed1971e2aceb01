// ChunkCache: clean file content that is here: in segments (rows kResident), and the last few
// leaves in memory.
//
// A chunk is found by (inode, chunk) and counts only while it holds exactly the leaf that the
// published tree names, so a stale row is a miss, never wrong bytes. What a segment gives is
// verified against its digest (a leaf that is only named: against the checksum its row keeps) the
// first time in a process; a damaged one is forgotten and fetched
// again. Eviction removes whole segments; a chunk that was read again after others had been read is
// worth moving first (`is_hot`), one that was read once, as a scan does, is not.
// Owner: the engine. Thread-safe. Nothing here is durable by promise: losing it costs a fetch.
#pragma once

#include <list>
#include <unordered_map>
#include <unordered_set>

#include "cache/base/mutex.h"
#include "cache/live_state.h"
#include "cache/remote.h"
#include "cache/segments.h"

namespace cairn {

class ChunkCache {
 public:
  ChunkCache(LiveState& live, Segments& segments, uint64_t memory_bytes_max)
      : live_(live), segments_(segments), memory_bytes_max_(memory_bytes_max) {}

  // Copies [offset, offset + out.size()) of the leaf into `out`; false when it is not here.
  Result<bool> read(uint64_t inode, uint64_t chunk, const Leaf& leaf, uint32_t offset,
                    MutableBytes out);
  // True when a read would find it (without verifying).
  Result<bool> has(uint64_t inode, uint64_t chunk, const Leaf& leaf);
  Result<std::optional<Buffer>> whole(uint64_t inode, uint64_t chunk, const Leaf& leaf);

  // Keeps a leaf whose bytes were verified: in memory, and in a segment of class `to_disk`. A full
  // disk only costs the copy.
  void put(uint64_t inode, uint64_t chunk, const Leaf& leaf, const Buffer& bytes,
           std::optional<SegmentClass> to_disk);
  // The leaf's bytes lie at `ref` in a segment already (they were written here and published).
  void adopt(uint64_t inode, uint64_t chunk, const Leaf& leaf, DataRef ref);
  bool is_hot(uint64_t inode, uint64_t chunk) const;
  // Copies what lies in `from` to a segment that stays; false when it could not.
  bool move(const LiveState::InSegment& from);

 private:
  struct Recent {
    Digest digest;
    Buffer bytes;
  };
  // When a chunk was read last, in steps of kHeatStepBytes read of anything.
  struct Heat {
    uint32_t step = 0;
    bool hot = false;
  };
  void note_read(uint64_t inode, uint64_t chunk, uint64_t bytes);
  std::optional<Buffer> recent(const Digest& digest);
  void remember(const Digest& digest, const Buffer& bytes);
  bool is_verified(const ResidentRow& row);
  void set_verified(const ResidentRow& row);
  Result<std::optional<ResidentRow>> row_for(uint64_t inode, uint64_t chunk, const Leaf& leaf);
  Result<std::optional<Buffer>> read_verified(uint64_t inode, uint64_t chunk,
                                              const ResidentRow& row);

  LiveState& live_;
  Segments& segments_;
  const uint64_t memory_bytes_max_;
  mutable RankedMutex<Rank::kChunkCache> mutex_;
  std::list<Recent> recent_;  // newest first
  std::unordered_map<Digest, std::list<Recent>::iterator> recent_index_;
  uint64_t recent_bytes_ = 0;
  std::unordered_set<uint64_t> verified_;
  std::unordered_map<uint64_t, Heat> heat_;  // by hashed (inode, chunk): a clash only misjudges
  uint64_t bytes_read_ = 0;
};

}  // namespace cairn
