// TailProbes: finds blocks in packs whose tails are too many to be kept, by reading a few of a
// tail's entries: digests are spread evenly, so where one would stand is nearly known.
//
// Costs a small request a digest and pack, and once a pack one for the footer; a whole tail where
// that is less, where chance put the entry somewhere else, or, where there is room to keep it, once
// all that was read of it comes to as much: who looks at little pays at most twice, who looks at
// much pays once. What is read this way is not authenticated: a place is a hint, whoever reads a
// block at one verifies it.
// Owner: PackStoreCore; shared with the look-ups under way. Thread-safe; no lock is held across a
// callback. Memory: some 100 bytes a pack. Errors: those of the store, kCorruption.
#pragma once

#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "cache/base/mutex.h"
#include "cache/get_limiter.h"
#include "cache/pack_store.h"
#include "cache/pack_tails.h"

namespace cairn {

class TailProbes : public std::enable_shared_from_this<TailProbes> {
 public:
  using Places = std::vector<std::optional<BlockPlace>>;

  TailProbes(std::shared_ptr<GetLimiter> gets, std::shared_ptr<PackTails> tails)
      : gets_(std::move(gets)), tails_(std::move(tails)) {}

  // Where the digests lie in the pack; nothing for those that it does not have.
  void find(const PackName& pack, std::vector<Digest> digests, Context context,
            Callback<Places> done);

 private:
  class Operation;
  struct Entries {
    uint64_t offset = 0;  // of the first one in the pack
    uint32_t count = 0;
    uint64_t read = 0;  // entries, since the tail was read whole
  };
  std::optional<Entries> entries_of(const Digest& pack) const;
  void remember(const Digest& pack, const Entries& entries);
  void start_anew(const Digest& pack);
  void note_read(const Digest& pack, uint64_t entries);

  const std::shared_ptr<GetLimiter> gets_;
  const std::shared_ptr<PackTails> tails_;
  mutable RankedMutex<Rank::kBlockCache> mutex_;
  std::unordered_map<Digest, Entries> entries_;
};

}  // namespace cairn
