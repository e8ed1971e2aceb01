// What a TreeRemote reads packs with, and how it shares out memory and disk among its parts.
#include <algorithm>

#include "cache/tail_files.h"
#include "cache/tree_remote_impl.h"

namespace cairn {

// Of the disk for metadata a quarter is for what says where blocks lie that are not here.
Status TreeRemote::Impl::make_stores() {
  const uint64_t disk_bytes = options.metadata_cache_bytes;
  PackStore::Options memory;
  memory.tail_bytes = options.tail_memory_bytes;
  memory.page_bytes = options.page_memory_bytes;
  memory.around_bytes = options.around_memory_bytes;
  memory.under_way_bytes_max = options.read_memory_bytes;
  memory.request_bytes_max =
      std::clamp<uint64_t>(options.read_memory_bytes / 8, 1ULL << 20, memory.request_bytes_max);
  TRY_ASSIGN(memory.tail_files,
             TailFiles::open(parts.env, options.metadata_dir + "/tails", disk_bytes / 4));
  packs = PackStore::make(parts.store, parts.executor, parts.clock, memory);
  MetaBlocks::Options local;
  local.dir = options.metadata_dir;
  local.disk_bytes_max = disk_bytes - disk_bytes / 4;
  local.index_memory_bytes = options.index_memory_bytes;
  TRY_ASSIGN(blocks, MetaBlocks::open(parts.env, parts.executor, *packs, local));
  return {};
}

}  // namespace cairn
