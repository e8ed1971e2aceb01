// Blocks in memory: reader and sink of the tree functions, with blocks that can be held back to
// play a cache that lacks them. One thread.
#pragma once

#include <set>
#include <unordered_map>

#include "cache/format/block_reader.h"

namespace cairn {

class MemoryBlocks final : public BlockReader, public BlockSink {
 public:
  Result<Buffer> get(const Digest& digest) override {
    asked.insert(digest);
    const auto found = blocks.find(digest);
    if (found == blocks.end()) return fail(Errc::kNotFound, "no block " + digest.hex());
    if (remote.contains(digest)) return fail(Errc::kNotLocal, "not here: " + digest.hex());
    return found->second;
  }

  Status put(const Cid& cid, Buffer bytes) override {
    if (!cid.matches(bytes)) return fail(Errc::kCorruption, "a block that is not " + cid.text());
    ++puts;
    blocks.insert_or_assign(cid.digest(), std::move(bytes));
    return {};
  }

  // Gets what was asked for from "the store": it is local from now on. Returns how many.
  size_t fetch_asked() {
    size_t fetched = 0;
    for (const Digest& digest : asked) fetched += remote.erase(digest);
    asked.clear();
    return fetched;
  }
  // Every block is in the store only.
  void hold_back_all() {
    for (const auto& [digest, bytes] : blocks) remote.insert(digest);
    asked.clear();
  }

  std::unordered_map<Digest, Buffer> blocks;
  std::set<Digest> asked;
  std::set<Digest> remote;
  size_t puts = 0;
};

}  // namespace cairn
