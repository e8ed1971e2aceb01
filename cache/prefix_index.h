// PrefixIndex: where blocks lie in local files, 24 bytes a block.
//
// Keeps the first 8 bytes of each digest only: a find may give places of other blocks, so the
// caller checks what it reads. Sorted runs, merged when a newer one has grown to half the size of
// the one before, so that a find looks at a logarithmic number of them. Not thread-safe: its
// owner's lock protects it.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "cache/base/digest.h"

namespace cairn {

class PrefixIndex {
 public:
  struct Entry {
    uint64_t prefix = 0;  // of the digest
    uint32_t offset = 0;  // in the file
    uint32_t length = 0;
    uint32_t file = 0;  // a number that is not used again
  };
  static uint64_t prefix_of(const Digest& digest) { return get_be64(digest.bytes.data()); }

  // Adds the blocks of one file. Entries of files that `alive` refuses are dropped where runs are
  // merged.
  void add(std::vector<Entry> entries, const std::function<bool(uint32_t file)>& alive);
  // Calls `visit` for every entry that may be the block, newest first, until it returns true.
  void find(const Digest& digest, const std::function<bool(const Entry&)>& visit) const;
  // Drops every entry of files that `alive` refuses.
  void sweep(const std::function<bool(uint32_t file)>& alive);
  size_t size() const;

 private:
  using Run = std::vector<Entry>;
  std::vector<Run> runs_;  // oldest first
};

}  // namespace cairn
