// MetaBlocks: metadata blocks (tree nodes, file nodes, small raw blocks) that are on this machine.
//
// A directory of metadata packs as they are in the store, `<dir>/<hex>.car`, of 1 MiB windows of
// large ones, `<dir>/<hex>.<n>.win`, and of what came with a tail, `<dir>/<hex>.end`; bounded in
// bytes, least recently used goes first. What is there survives restarts. Nothing here is precious:
// any file may vanish or rot at any time, a damaged one is dropped and fetched again.
//
// Owner: the remote of one mount. Thread-safe; no lock is held across a callback or a file
// operation's wait for the network. Memory: a bounded part of the index of local blocks
// (prefix_index.h).
//
// Promise: `get` never touches the network, and gives only bytes that hash to the digest.
// Errors: kNotLocal (it was added to `missing`; `fetch` brings it), kNotFound (fetch: no pack that
// the head names has it), kIo (the cache directory fails), and those of PackStore.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cache/base/clock.h"
#include "cache/base/digest.h"
#include "cache/base/env.h"
#include "cache/base/executor.h"
#include "cache/pack_store.h"
#include "cache/remote.h"

namespace cairn {

class MetaBlocks {
 public:
  struct Options {
    std::string dir;
    uint64_t disk_bytes_max = 256ULL << 20;  // of files, and of an index of the blocks in them
    uint64_t index_memory_bytes = 4ULL << 20;
    // Larger ones come in windows; so do those that are larger than an eighth of the room on disk.
    uint64_t whole_pack_bytes_max = 16ULL << 20;
  };
  // Takes over what an earlier life left in `dir`. The references must outlive it and its
  // callbacks.
  static Result<std::unique_ptr<MetaBlocks>> open(Env& env, Executor& executor, PackStore& packs,
                                                  Options options);
  virtual ~MetaBlocks() = default;

  virtual Result<Buffer> get(const Digest& digest, Missing& missing) = 0;
  // Brings the blocks here with all that is in their packs (or windows). Blocks on their way are
  // waited for.
  virtual void fetch(std::vector<Digest> digests, Context context, Callback<void> done) = 0;
  // A pack that this mount has put into the store itself: it is never downloaded.
  virtual Status add_local(const PackName& pack, const Body& body) = 0;
  // Fetches those of `packs` that are not here and come whole, all at once.
  virtual void prefetch(std::vector<PackName> packs, Context context, Callback<void> done) = 0;

  // Larger packs come in windows.
  virtual uint64_t whole_pack_bytes_max() const = 0;
  // Whether every block of the pack is here.
  virtual bool has_all_of(const Digest& pack) const = 0;
  virtual uint64_t disk_bytes() const = 0;
};

}  // namespace cairn
