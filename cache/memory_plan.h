// How the memory limit of a mount is divided. Pure.
//
// The limit counts anonymous memory: mapped pages of LMDB and files are the kernel's page cache.
// A fixed part is for what does not scale (threads, request buffers, connections, libraries); the
// rest is shared by what has a bound of its own. docs: cache/README.md, "Memory".
#pragma once

#include <algorithm>
#include <cstdint>

namespace cairn {

struct MemoryPlan {
  static constexpr uint64_t kSmallest = 64ULL << 20;
  static constexpr uint64_t kDefault = 128ULL << 20;

  uint64_t memtable_bytes = 0;     // a checkpoint starts behind it; writers wait at 3 times that
  uint64_t chunk_bytes = 0;        // leaves kept in memory
  uint64_t around_bytes = 0;       // what came with small blocks
  uint64_t node_bytes = 0;         // decoded tree nodes
  uint64_t tail_bytes = 0;         // tails of packs
  uint64_t page_bytes = 0;         // pages of index segments
  uint64_t block_index_bytes = 0;  // where local metadata blocks lie, what is not in files
  uint64_t publish_bytes = 0;      // assembled chunks of a publish
  uint32_t packs_in_flight_max = 0;  // of a publish; their bytes are in files
  uint64_t fold_records = 0;       // journal records folded together
  uint64_t read_bytes = 0;         // on their way from the store
  uint64_t idle_read_bytes = 0;    // and so many more while nothing waits to be published

  static constexpr MemoryPlan of(uint64_t limit) {
    constexpr uint64_t kFixed = 24ULL << 20;
    constexpr uint64_t kRecordBytes = 1024;  // of a folded record with its keys and nodes
    constexpr uint64_t kPutBytes = 512ULL << 10;  // buffers of a pack that is sent
    const uint64_t shared = std::max(limit, kSmallest) - kFixed;
    const auto part = [shared](uint64_t sixtyfourths) { return shared / 64 * sixtyfourths; };
    MemoryPlan plan;
    plan.memtable_bytes = std::min<uint64_t>(part(3), 8ULL << 20);
    plan.chunk_bytes = part(5);
    plan.around_bytes = part(5);
    plan.node_bytes = part(5);
    plan.tail_bytes = part(4);
    plan.page_bytes = part(6);
    plan.block_index_bytes = part(2);
    plan.publish_bytes = part(6);
    plan.packs_in_flight_max =
        static_cast<uint32_t>(std::clamp<uint64_t>(plan.publish_bytes / kPutBytes, 3, 16));
    plan.fold_records = std::clamp<uint64_t>(part(7) / kRecordBytes, 4096, 200'000);
    plan.read_bytes = part(21);
    plan.idle_read_bytes = part(6) + part(7);  // of a publish and its fold
    return plan;
  }
};

}  // namespace cairn
