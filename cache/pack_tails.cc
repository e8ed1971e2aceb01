#include "cache/pack_tails.h"

#include <fmt/format.h>

#include <algorithm>

#include "cache/pack_layout.h"
#include "cache/store_keys.h"

namespace cairn {
namespace {
constexpr uint64_t kTailEntryBytes = 256;
// Read at least so much of a pack's end: it costs nothing more, and may hold the hints, too.
constexpr uint64_t kSuffixBytesMin = 16 << 10;
// All tails of a volume are fetched at once up to here; larger ones when they are worth it.
constexpr uint64_t kFilesAtOnceMax = 32ULL << 20;

uint64_t tail_bytes_of(const PackName& pack) {
  return pack.blocks * kPackEntrySize + kPackFooterSize;
}

bool is_for_file(const PackName& pack) {
  return pack.kind == PackKind::kMeta && tail_bytes_of(pack) >= TailFiles::kBytesMin;
}

// What of a metadata pack comes with its tail.
uint64_t upper_bytes_of(const PackName& pack) {
  return pack.size / kUpperNodesShare;
}

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
  const bool in_file = files_ && tail.kind() == PackKind::kMeta;
  if (in_file && tail_here(tail.name())) return;
  bool named = false;
  {
    const std::lock_guard lock(mutex_);
    named = named_.contains(tail.name());
  }
  const auto kept = in_file && named ? files_->keep(tail) : std::nullopt;
  if (!kept || !insert_mapped(*kept)) insert_in_memory(tail);
}

void PackTails::insert_in_memory(const PackTail& tail) {
  std::list<PackTail> evicted;  // destroyed without the lock
  const std::lock_guard lock(mutex_);
  if (by_pack_.contains(tail.name())) return;
  bytes_ += memory_of(tail);
  tails_.push_front(tail);
  newest_ = tail.name();
  by_pack_.emplace(tail.name(), tails_.begin());
  // The newest stays whatever its size: somebody is about to use it.
  while (bytes_ > bytes_max_ && tails_.size() > 1) {
    const auto last = std::prev(tails_.end());
    bytes_ -= memory_of(*last);
    by_pack_.erase(last->name());
    evicted.splice(evicted.begin(), tails_, last);
  }
}

// False when it was erased meanwhile.
bool PackTails::insert_mapped(const PackTail& tail) {
  std::shared_ptr<const Mapped> before;  // destroyed without the lock
  const std::lock_guard lock(mutex_);
  if (!named_.contains(tail.name()) || !files_->has(tail.name())) return false;
  auto next = std::make_shared<Mapped>(*mapped_);
  next->push_back(tail);
  before = std::exchange(mapped_, std::move(next));
  return true;
}

Task PackTails::erase(const std::set<Digest>& packs) {
  // Destroyed, and unlinked, by who runs the task.
  struct Gone {
    std::list<PackTail> erased;
    std::shared_ptr<const Mapped> before;
    std::vector<Digest> files;
  };
  const auto gone = std::make_shared<Gone>();
  const std::lock_guard lock(mutex_);
  auto next = std::make_shared<Mapped>();
  for (const PackTail& tail : *mapped_)
    if (!packs.contains(tail.name())) next->push_back(tail);
  if (next->size() != mapped_->size()) gone->before = std::exchange(mapped_, std::move(next));
  for (const Digest& pack : packs) {
    const auto it = by_pack_.find(pack);
    if (it == by_pack_.end()) continue;
    bytes_ -= memory_of(*it->second);
    gone->erased.splice(gone->erased.begin(), tails_, it->second);
    by_pack_.erase(it);
  }
  if (files_) gone->files = files_->forget({packs.begin(), packs.end()});
  if (gone->erased.empty() && !gone->before && gone->files.empty()) return {};
  return [gone, files = files_] {
    if (files) files->unlink(gone->files);
  };
}

Task PackTails::set_named(std::set<Digest> packs) {
  std::set<Digest> unnamed;
  {
    const std::lock_guard lock(mutex_);
    named_ = std::move(packs);
    for (const PackTail& tail : *mapped_)
      if (!named_.contains(tail.name())) unnamed.insert(tail.name());
    if (files_)
      for (const Digest& pack : files_->packs())
        if (!named_.contains(pack)) unnamed.insert(pack);
  }
  return erase(unnamed);
}

void PackTails::add_named(const Digest& pack) {
  const std::lock_guard lock(mutex_);
  named_.insert(pack);
}

std::optional<PackTail> PackTails::tail_here(const Digest& pack) {
  const std::lock_guard lock(mutex_);
  const auto it = by_pack_.find(pack);
  if (it != by_pack_.end()) {
    tails_.splice(tails_.begin(), tails_, it->second);
    return *it->second;
  }
  for (const PackTail& tail : *mapped_)
    if (tail.name() == pack) return tail;
  return std::nullopt;
}

bool PackTails::has(const Digest& pack) const {
  if (files_ && files_->has(pack)) return true;
  const std::lock_guard lock(mutex_);
  return by_pack_.contains(pack);
}

bool PackTails::gets_file(const PackName& pack) const {
  if (!files_ || !is_for_file(pack)) return false;
  const std::lock_guard lock(mutex_);
  return named_.contains(pack.digest);
}

bool PackTails::have_room_for(const std::vector<PackName>& packs) const {
  uint64_t in_memory = 0;
  uint64_t in_files = 0;
  for (const PackName& pack : packs) {
    if (files_ && files_->has(pack.digest)) continue;
    (gets_file(pack) ? in_files : in_memory) += tail_bytes_of(pack);
  }
  const uint64_t files_max = files_ ? std::min(files_->room(), kFilesAtOnceMax) : 0;
  return in_memory + in_files <= bytes_max_ || (in_memory <= bytes_max_ && in_files <= files_max);
}

bool PackTails::may_keep(const PackName& pack) const {
  return gets_file(pack) && tail_bytes_of(pack) <= files_->room();
}

std::optional<Digest> PackTails::newest() const {
  const std::lock_guard lock(mutex_);
  return newest_;
}

std::optional<BlockPlace> PackTails::find(const Digest& digest, const Skip& skip) {
  if (auto place = find_in_memory(digest, skip)) return place;
  return find_mapped(digest, skip);
}

std::optional<BlockPlace> PackTails::find_in_memory(const Digest& digest, const Skip& skip) {
  const std::lock_guard lock(mutex_);
  for (auto tail = tails_.begin(); tail != tails_.end(); ++tail) {
    const auto entry = tail->find(digest);
    if (!entry || (skip && skip(*tail))) continue;
    const BlockPlace place{tail->name(), entry->offset, entry->length};
    newest_ = tail->name();
    tails_.splice(tails_.begin(), tails_, tail);
    return place;
  }
  return std::nullopt;
}

std::optional<BlockPlace> PackTails::find_mapped(const Digest& digest, const Skip& skip) {
  std::shared_ptr<const Mapped> mapped;
  {
    const std::lock_guard lock(mutex_);
    mapped = mapped_;
  }
  for (auto tail = mapped->rbegin(); tail != mapped->rend(); ++tail) {
    const auto entry = tail->find(digest);
    if (!entry || (skip && skip(*tail))) continue;
    const std::lock_guard lock(mutex_);
    newest_ = tail->name();
    return BlockPlace{tail->name(), entry->offset, entry->length};
  }
  return std::nullopt;
}

// ---- fetching

void PackTails::on_end(KeepEnd keep) {
  const std::lock_guard lock(mutex_);
  keep_end_ = std::move(keep);
}

void PackTails::fetch(const PackName& pack, Context context, Callback<PackTail> done) {
  if (auto here = tail_here(pack.digest)) return done(*std::move(here));
  const bool begun = fetching_.join(
      pack.digest, done, [self = shared_from_this(), pack, context, done](Result<PackTail> got) {
        self->take_from_other(pack, context, done, std::move(got));
      });
  if (!begun) return;
  // It may have come since it was looked for.
  if (auto here = tail_here(pack.digest)) return fetching_.land(pack.digest, *std::move(here));
  if (files_) {
    auto loaded = files_->load(pack);
    if (loaded && insert_mapped(*loaded)) return fetching_.land(pack.digest, *std::move(loaded));
  }
  // The commit says how many blocks there are, so that one request is enough; hints make it more.
  const uint64_t entries = std::min(pack.blocks, kMaxPackSize / kPackEntrySize);
  const uint64_t tail_bytes = entries * kPackEntrySize + kPackFooterSize;
  const uint64_t beside = gets_file(pack) ? upper_bytes_of(pack) : 0;
  const auto fetch = std::make_shared<Fetch>(Fetch{pack, std::move(context), 0});
  get_suffix(fetch, std::max(kSuffixBytesMin, tail_bytes + beside));
}

// Who fetched it for us may have given up.
void PackTails::take_from_other(const PackName& pack, Context context, Callback<PackTail> done,
                                Result<PackTail> got) {
  const bool gave_up =
      !got && (got.error().code() == Errc::kCancelled || got.error().code() == Errc::kTimeout);
  if (gave_up && !context.cancel.cancelled())
    return fetch(pack, std::move(context), std::move(done));
  done(std::move(got));
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
  if (!got) return fetching_.land(pack, tl::unexpected<Error>(std::move(got).error()));
  const auto refuse = [&](Error error) {
    fetching_.land(pack, tl::unexpected<Error>(std::move(error).wrap(gets_->store().description() +
                                                                     ": " + pack_key(pack))));
  };
  const auto need = PackTail::need(got->bytes, got->object_size);
  if (!need) return refuse(need.error());
  if (*need > got->bytes.size()) {
    if (*need <= fetch->asked)
      return refuse(Error(Errc::kCorruption, "the object's end came short"));
    return get_suffix(fetch, *need);
  }
  // The tail alone, where it comes to stay in memory.
  const Buffer end = got->bytes.size() - *need < kSuffixBytesMin
                         ? got->bytes
                         : Buffer::copy(got->bytes.view().last(static_cast<size_t>(*need)));
  auto tail = PackTail::parse(end, got->object_size, pack);
  if (!tail) return refuse(std::move(tail).error());
  KeepEnd keep;
  {
    const std::lock_guard lock(mutex_);
    if (tail->kind() == PackKind::kMeta) keep = keep_end_;
  }
  if (keep) keep(*tail, got->bytes);
  insert(*tail);
  fetching_.land(pack, tail);
}

}  // namespace cairn
