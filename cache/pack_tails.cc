#include "cache/pack_tails.h"

#include <fmt/format.h>

#include <algorithm>

#include "cache/store_keys.h"

namespace cairn {
namespace {
constexpr uint64_t kTailEntryBytes = 256;
// Read at least so much of a pack's end: it costs nothing more, and may hold the hints, too.
constexpr uint64_t kSuffixBytesMin = 16 << 10;

uint64_t memory_of(const PackTail& tail) {
  return tail.block().size() + kTailEntryBytes;
}
}  // namespace

struct PackTails::Fetch {
  PackName pack;
  Context context;
  uint64_t asked = 0;
};

void PackTails::insert(const PackTail& tail) {
  std::list<PackTail> evicted;  // destroyed without the lock
  const std::lock_guard lock(mutex_);
  if (by_pack_.contains(tail.name())) return;
  bytes_ += memory_of(tail);
  tails_.push_front(tail);
  by_pack_.emplace(tail.name(), tails_.begin());
  // The newest stays whatever its size: somebody is about to use it.
  while (bytes_ > bytes_max_ && tails_.size() > 1) {
    const auto last = std::prev(tails_.end());
    bytes_ -= memory_of(*last);
    by_pack_.erase(last->name());
    evicted.splice(evicted.begin(), tails_, last);
  }
}

void PackTails::erase(const Digest& pack) {
  std::list<PackTail> erased;  // destroyed without the lock
  const std::lock_guard lock(mutex_);
  const auto it = by_pack_.find(pack);
  if (it == by_pack_.end()) return;
  bytes_ -= memory_of(*it->second);
  erased.splice(erased.begin(), tails_, it->second);
  by_pack_.erase(it);
}

bool PackTails::has(const Digest& pack) const {
  const std::lock_guard lock(mutex_);
  return by_pack_.contains(pack);
}

std::optional<Digest> PackTails::newest() const {
  const std::lock_guard lock(mutex_);
  if (tails_.empty()) return std::nullopt;
  return tails_.front().name();
}

std::optional<BlockPlace> PackTails::find(const Digest& digest,
                                          const std::function<bool(const PackTail&)>& skip) {
  const std::lock_guard lock(mutex_);
  for (auto tail = tails_.begin(); tail != tails_.end(); ++tail) {
    const auto entry = tail->find(digest);
    if (!entry || (skip && skip(*tail))) continue;
    const BlockPlace place{tail->name(), entry->offset, entry->length};
    tails_.splice(tails_.begin(), tails_, tail);
    return place;
  }
  return std::nullopt;
}

// ---- fetching

void PackTails::fetch(const PackName& pack, Context context, Callback<PackTail> done) {
  std::optional<PackTail> here;
  {
    const std::lock_guard lock(mutex_);
    const auto it = by_pack_.find(pack.digest);
    if (it != by_pack_.end()) {
      tails_.splice(tails_.begin(), tails_, it->second);
      here = *it->second;
    } else {
      const auto [waiting, begun] = fetching_.try_emplace(pack.digest);
      waiting->second.push_back(std::move(done));
      if (!begun) return;
    }
  }
  if (here) return done(*std::move(here));
  // The commit says how many blocks there are, so that one request is enough; hints make it more.
  const uint64_t entries = std::min(pack.blocks, kMaxPackSize / kPackEntrySize);
  const auto fetch = std::make_shared<Fetch>(Fetch{pack, std::move(context), 0});
  get_suffix(fetch, std::max(kSuffixBytesMin, entries * kPackEntrySize + kPackFooterSize));
}

void PackTails::get_suffix(std::shared_ptr<Fetch> fetch, uint64_t bytes) {
  fetch->asked = bytes;
  gets_->get(pack_key(fetch->pack.digest), GetRange::suffix(bytes), fetch->context,
             [self = shared_from_this(), fetch](Result<GetResult> got) {
               self->take_suffix(fetch, std::move(got));
             });
}

void PackTails::take_suffix(const std::shared_ptr<Fetch>& fetch, Result<GetResult> got) {
  const Digest& pack = fetch->pack.digest;
  if (!got) return finish(pack, tl::unexpected<Error>(std::move(got).error()));
  const auto refuse = [&](Error error) {
    finish(pack, tl::unexpected<Error>(
                     std::move(error).wrap(gets_->store().description() + ": " + pack_key(pack))));
  };
  const auto need = PackTail::need(got->bytes, got->object_size);
  if (!need) return refuse(need.error());
  if (*need > got->bytes.size()) {
    if (*need <= fetch->asked)
      return refuse(Error(Errc::kCorruption, "the object's end came short"));
    return get_suffix(fetch, *need);
  }
  auto tail = PackTail::parse(got->bytes, got->object_size, pack);
  if (!tail) return refuse(std::move(tail).error());
  insert(*tail);
  finish(pack, tail);
}

void PackTails::finish(const Digest& pack, const Result<PackTail>& result) {
  std::vector<Callback<PackTail>> waiters;
  {
    const std::lock_guard lock(mutex_);
    const auto it = fetching_.find(pack);
    waiters = std::move(it->second);
    fetching_.erase(it);
  }
  for (const auto& waiter : waiters) waiter(result);
}

}  // namespace cairn
