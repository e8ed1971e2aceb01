// PackTails: what the tails of packs say, for as many packs as fit a bound on memory.
//
// Shared by its owner (PackStore) and the fetches under way. Thread-safe; no lock is held across a
// callback. A tail is fetched once however many ask for it. What is here is only a set of places:
// whoever reads a block at one verifies it.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "cache/base/mutex.h"
#include "cache/get_limiter.h"
#include "cache/pack_store.h"

namespace cairn {

class PackTails : public std::enable_shared_from_this<PackTails> {
 public:
  PackTails(std::shared_ptr<GetLimiter> gets, uint64_t bytes_max)
      : gets_(std::move(gets)), bytes_max_(bytes_max) {}

  void insert(const PackTail& tail);
  void erase(const Digest& pack);
  bool has(const Digest& pack) const;
  // The pack whose tail was used last.
  std::optional<Digest> newest() const;
  // A place in a pack whose tail is here, the most recently used first; not in one that `skip`
  // refuses.
  std::optional<BlockPlace> find(const Digest& digest,
                                 const std::function<bool(const PackTail& tail)>& skip = {});
  // From memory, or with one request; two when the commit names fewer blocks than there are.
  // kCorruption when the pack's end is not such a tail.
  void fetch(const PackName& pack, Context context, Callback<PackTail> done);

 private:
  struct Fetch;
  void get_suffix(std::shared_ptr<Fetch> fetch, uint64_t bytes);
  void take_suffix(const std::shared_ptr<Fetch>& fetch, Result<GetResult> got);
  void finish(const Digest& pack, const Result<PackTail>& result);

  const std::shared_ptr<GetLimiter> gets_;
  const uint64_t bytes_max_;
  mutable RankedMutex<Rank::kBlockCache> mutex_;
  std::list<PackTail> tails_;  // the most recent first
  std::unordered_map<Digest, std::list<PackTail>::iterator> by_pack_;
  uint64_t bytes_ = 0;
  std::unordered_map<Digest, std::vector<Callback<PackTail>>> fetching_;
};

}  // namespace cairn
