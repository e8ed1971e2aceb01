// PackTails: what the tails of packs say, for as many packs as fit a bound on memory; those of
// metadata packs in files, for as many as fit a bound on disk (tail_files.h).
//
// Shared by its owner (PackStore) and the fetches under way. Thread-safe; no lock is held across a
// callback. A tail is fetched once however many ask for it. What is here is only a set of places:
// whoever reads a block at one verifies it.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "cache/base/mutex.h"
#include "cache/get_limiter.h"
#include "cache/pack_store.h"
#include "cache/tail_files.h"
#include "cache/waiters.h"

namespace cairn {

class PackTails : public std::enable_shared_from_this<PackTails> {
 public:
  // `files` may be null.
  PackTails(std::shared_ptr<GetLimiter> gets, uint64_t bytes_max, std::shared_ptr<TailFiles> files)
      : gets_(std::move(gets)), bytes_max_(bytes_max), files_(std::move(files)) {}

  void insert(const PackTail& tail);
  // No tail of these is here any more. What has to follow, without any lock, is returned; or
  // nothing.
  Task erase(const std::set<Digest>& packs);
  // Metadata packs that a commit may name: only their tails have files, those of others go.
  Task set_named(std::set<Digest> packs);
  void add_named(const Digest& pack);
  // In memory or mapped; or in a file of an earlier life.
  bool has(const Digest& pack) const;
  // Whether the tails of all these may be here at once.
  bool have_room_for(const std::vector<PackName>& packs) const;
  // Whether the pack's tail would get a file.
  bool may_keep(const PackName& pack) const;
  // The pack whose tail was used last.
  std::optional<Digest> newest() const;
  using Skip = std::function<bool(const PackTail& tail)>;
  // A place in a pack whose tail is in memory or mapped, the most recently used first; not in one
  // that `skip` refuses.
  std::optional<BlockPlace> find(const Digest& digest, const Skip& skip = {});
  // The same without those that are mapped, which are of metadata packs.
  std::optional<BlockPlace> find_in_memory(const Digest& digest, const Skip& skip);
  // Told of each metadata pack's end that came with its tail, before anybody has the tail: it may
  // hold the pack's upper nodes.
  using KeepEnd = std::function<void(const PackTail& tail, const Buffer& end)>;
  void on_end(KeepEnd keep);
  // From memory or a file, or with one request; two when the commit names fewer blocks than there
  // are.
  // kCorruption when the pack's end is not such a tail.
  void fetch(const PackName& pack, Context context, Callback<PackTail> done);

 private:
  struct Fetch;
  using Mapped = std::vector<PackTail>;
  bool insert_mapped(const PackTail& tail);
  void insert_in_memory(const PackTail& tail);
  bool gets_file(const PackName& pack) const;
  std::optional<PackTail> tail_here(const Digest& pack);
  std::optional<BlockPlace> find_mapped(const Digest& digest, const Skip& skip);
  void take_from_other(const PackName& pack, Context context, Callback<PackTail> done,
                       Result<PackTail> got);
  void get_suffix(std::shared_ptr<Fetch> fetch, uint64_t bytes);
  void take_suffix(const std::shared_ptr<Fetch>& fetch, Result<GetResult> got);

  const std::shared_ptr<GetLimiter> gets_;
  const uint64_t bytes_max_;
  const std::shared_ptr<TailFiles> files_;
  mutable RankedMutex<Rank::kBlockCache> mutex_;
  std::list<PackTail> tails_;  // the most recent first
  std::unordered_map<Digest, std::list<PackTail>::iterator> by_pack_;
  uint64_t bytes_ = 0;
  // Looked through without the lock, so replaced whole: reading a page of a file may take a while.
  std::shared_ptr<const Mapped> mapped_ = std::make_shared<Mapped>();  // oldest first
  std::set<Digest> named_;                                             // of set_named
  std::optional<Digest> newest_;  // the pack whose tail was used last
  KeepEnd keep_end_;
  Waiters<Digest, PackTail> fetching_;
};

}  // namespace cairn
