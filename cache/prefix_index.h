// PrefixIndex: where blocks lie in local files, 24 bytes a block, of which a bounded part is in
// memory.
//
// Keeps the first 8 bytes of each digest only: a find may give places of other blocks, so the
// caller checks what it reads. Sorted runs, merged when a newer one has grown to half the size of
// the one before, so that a find looks at a logarithmic number of them. Large runs lie in mapped
// files without a name, whose pages the kernel may drop; nothing of it survives the process.
// Thread-safe. Changes take turns, and write files while they do; a find waits for no change.
// Errors: none; where a file cannot be written runs stay as they are until the next change, and
// the oldest are forgotten when they do not fit memory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "cache/base/digest.h"
#include "cache/base/env.h"
#include "cache/base/mutex.h"

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

  // Files that are there. Asked while changes stand still: what it leaves out is forgotten.
  using Alive = std::function<std::set<uint32_t>()>;

  // `scratch` is the path of a file that may be made and removed.
  PrefixIndex(Env& env, std::string scratch, uint64_t memory_bytes_max)
      : env_(env), scratch_(std::move(scratch)), run_bytes_max_(memory_bytes_max / 4) {}

  // Adds blocks of new files. Entries of files that are not there are dropped where runs are
  // merged. Gives the files of which something was forgotten.
  std::set<uint32_t> add(std::vector<Entry> entries, const Alive& alive);
  // Calls `visit` for every entry that may be the block, newest first, until it returns true.
  void find(const Digest& digest, const std::function<bool(const Entry&)>& visit) const;
  // Drops every entry of files that are not there.
  void sweep(const Alive& alive);
  size_t size() const;
  uint64_t disk_bytes() const;

 private:
  struct Run {
    std::vector<Entry> own;
    Buffer mapped;
    std::span<const Entry> entries;  // of one of these
  };
  using RunPtr = std::shared_ptr<const Run>;
  using Runs = std::vector<RunPtr>;  // oldest first
  using Entries = std::span<const Entry>;

  std::shared_ptr<const Runs> runs() const;
  void set_runs(Runs runs);
  std::set<uint32_t> forget_oldest(Runs& runs) const;
  // Of both, without those of files that are not there; null when there is no room for it.
  RunPtr merge(Entries older, Entries newer, const std::set<uint32_t>* alive);
  Result<RunPtr> merge_into_file(Entries older, Entries newer, const std::set<uint32_t>* alive);

  Env& env_;
  const std::string scratch_;
  const uint64_t run_bytes_max_;  // of one in memory
  LongMutex changing_;
  mutable RankedMutex<Rank::kBlockCache> mutex_;
  std::shared_ptr<const Runs> runs_ = std::make_shared<Runs>();
};

}  // namespace cairn
