// Packs and index segments that the head names.
#include <fmt/format.h>

#include <algorithm>

#include "cache/check_parts.h"
#include "cache/pack_file.h"
#include "cache/store_keys.h"
#include "cache/store_source.h"

namespace cairn {
namespace {
constexpr size_t kSmallPacksMax = 17;

// Problems of an object, as opposed to a store that does not answer.
bool is_finding(const Error& error) {
  return error.code() == Errc::kCorruption || error.code() == Errc::kNotFound ||
         error.code() == Errc::kUnsupported || error.code() == Errc::kInvalid;
}
}  // namespace

Status CheckPacks::run(const CommitRecord& head, const std::vector<CommitRecord>& snapshots) {
  for (const CondemnedPack& pack : head.condemned_packs) {
    condemned_.insert(pack.digest);
    named_.insert(pack.digest);
  }
  log_.progress("metadata packs");
  for (const CommitPack& pack : head.metadata_packs) {
    ++log_.report.counts.metadata_packs;
    TRY_ASSIGN(auto tail, read_pack(pack, PackKind::kMeta, Depth::kEveryByte));
    if (tail) collect(*tail, meta_);
    log_.progress("metadata packs");
  }
  check_tiers(head);
  for (const CommitRecord& snapshot : snapshots) {
    for (const CommitPack& pack : snapshot.metadata_packs) {
      if (names(pack.digest)) continue;
      ++log_.report.counts.metadata_packs;
      TRY_ASSIGN(auto tail, read_pack(pack, PackKind::kMeta, Depth::kEveryByte));
      if (tail) collect(*tail, meta_);
      log_.progress("metadata packs");
    }
  }
  log_.progress("data packs");
  for (const CommitPack& pack : head.young_packs) TRY(read_data_pack(pack, /*known=*/true));
  for (const CommitSegment& segment : head.index_segments) {
    log_.progress("index segments");
    ++log_.report.counts.index_segments;
    TRY(read_segment(segment));
  }
  data_tails_.clear();
  std::erase_if(data_, [this](const Block& block) {
    return unlisted_.contains({block.digest, packs_[block.pack]});
  });
  sort(meta_);
  sort(data_);
  return {};
}

Status CheckPacks::add_condemned(const CommitRecord& head,
                                 const std::vector<CommitRecord>& snapshots) {
  uint64_t oldest = UINT64_MAX;
  for (const CommitRecord& snapshot : snapshots) oldest = std::min(oldest, snapshot.seq);
  for (const CondemnedPack& pack : head.condemned_packs) {
    if (pack.size == 0 || pack.since <= oldest) continue;  // deleted, or too old to be needed
    auto source = StoreSource::open(store_, pack_key(pack.digest), log_.options.context);
    auto tail = source ? read_pack_tail(*source, pack.digest)
                       : Result<PackTail>(tl::unexpected<Error>(source.error()));
    if (!tail && !is_finding(tail.error())) return tl::unexpected<Error>(std::move(tail).error());
    if (tail) collect(*tail, data_);  // without it, what needs it is a problem
  }
  sort(data_);
  return {};
}

// However old a volume is, its tree lies in few packs: tiers fall from old to new, and none has
// more small packs than a commit merges.
void CheckPacks::check_tiers(const CommitRecord& head) {
  uint64_t largest = 0;
  for (const CommitPack& pack : head.metadata_packs) largest = std::max(largest, pack.size);
  std::map<uint64_t, size_t> small;
  uint64_t above = CommitRecord::kMaxTier;
  for (const CommitPack& pack : head.metadata_packs) {
    if (pack.tier > above)
      log_.problem(commit_key(head.seq),
                   fmt::format("names {} in tier {} behind packs of lower tiers",
                               pack_key(pack.digest), pack.tier));
    above = pack.tier;
    if (pack.size < largest / 2 && ++small[pack.tier] == kSmallPacksMax)
      log_.problem(commit_key(head.seq),
                   fmt::format("names more than {} small metadata packs in tier {}",
                               kSmallPacksMax - 1, pack.tier));
  }
}

void CheckPacks::collect(const PackTail& tail, Blocks& blocks) {
  const auto pack = static_cast<uint32_t>(packs_.size());
  packs_.push_back(tail.name());
  for (uint32_t i = 0; i < tail.size(); ++i) {
    const PackEntry entry = tail.entry(i);
    blocks.push_back({entry.digest, pack, entry.offset, entry.length});
  }
}

void CheckPacks::sort(Blocks& blocks) {
  std::sort(blocks.begin(), blocks.end(), [](const Block& a, const Block& b) {
    return a.digest != b.digest ? a.digest < b.digest : a.pack > b.pack;
  });
}

std::optional<CheckPacks::Place> CheckPacks::find(const Blocks& blocks,
                                                  const Digest& digest) const {
  const auto it = std::lower_bound(
      blocks.begin(), blocks.end(), digest,
      [](const Block& block, const Digest& wanted) { return block.digest < wanted; });
  if (it == blocks.end() || it->digest != digest) return std::nullopt;
  return Place{packs_[it->pack], it->offset, it->length};
}

Status CheckPacks::run_metadata_tails(const CommitRecord& commit) {
  for (const CommitPack& pack : commit.metadata_packs) {
    TRY_ASSIGN(StoreSource source,
               StoreSource::open(store_, pack_key(pack.digest), log_.options.context));
    TRY_ASSIGN(const PackTail tail, read_pack_tail(source, pack.digest));
    collect(tail, meta_);
  }
  sort(meta_);
  return {};
}

Status CheckPacks::read_data_pack(const CommitPack& pack, bool known) {
  if (names(pack.digest)) return {};
  ++log_.report.counts.data_packs;
  const Depth depth = log_.options.data ? Depth::kEveryByte : Depth::kTail;
  TRY_ASSIGN(auto tail, read_pack(pack, PackKind::kData, depth, known));
  if (tail) {
    collect(*tail, data_);
    data_tails_.emplace(pack.digest, *std::move(tail));
  }
  log_.progress("data packs");
  return {};
}

Result<std::optional<PackTail>> CheckPacks::read_pack(const CommitPack& pack, PackKind kind,
                                                      Depth depth, bool known) {
  named_.insert(pack.digest);
  const std::string key = pack_key(pack.digest);
  const auto give_up = [&](Error error) -> Result<std::optional<PackTail>> {
    if (!is_finding(error)) return tl::unexpected<Error>(std::move(error));
    const bool missing = error.code() == Errc::kNotFound;
    log_.problem(key, missing ? "missing" : error.message());
    return std::nullopt;
  };
  auto source = StoreSource::open(store_, key, log_.options.context);
  if (!source) return give_up(source.error());
  auto tail = read_pack_tail(*source, pack.digest);
  if (depth == Depth::kEveryByte) {
    // A pack whose tail can be read serves the blocks that are still whole.
    const auto whole = verify_pack(*source, pack.digest);
    if (!whole && !is_finding(whole.error())) return tl::unexpected<Error>(whole.error());
    if (!whole) log_.problem(key, whole.error().message());
    if (whole) log_.report.counts.blocks_hashed += whole->size();
    if (!whole && !tail) return std::nullopt;
  }
  if (!tail) return give_up(tail.error());
  if (tail->kind() != kind)
    log_.problem(key, kind == PackKind::kMeta ? "is not a metadata pack" : "is not a data pack");
  if (known && (tail->object_size() != pack.size || tail->size() != pack.blocks))
    log_.problem(key, fmt::format("has {} bytes and {} blocks, the commit says {} and {}",
                                  tail->object_size(), tail->size(), pack.size, pack.blocks));
  return *std::move(tail);
}

Status CheckPacks::read_segment(const CommitSegment& segment) {
  named_.insert(segment.digest);
  const std::string key = index_key(segment.digest);
  const auto give_up = [&](const Error& error) -> Status {
    if (!is_finding(error)) return tl::unexpected<Error>(error);
    log_.problem(key, error.code() == Errc::kNotFound ? "missing" : error.message());
    return {};
  };
  auto got = get_sync(store_, key, GetRange::all(), log_.options.context);
  if (!got) return give_up(got.error());
  MemorySource source(got->bytes);
  if (const Status whole = verify_index_segment(source, segment.digest); !whole)
    return give_up(whole.error());
  const auto view = IndexSegmentView::open(source);
  if (!view) return give_up(view.error());
  if (got->bytes.size() != segment.size || view->entry_count() != segment.entries)
    log_.problem(
        key, fmt::format("has {} bytes and {} entries, the commit says {} and {}",
                         got->bytes.size(), view->entry_count(), segment.size, segment.entries));
  for (uint32_t i = 0; i < view->pack_count(); ++i) {
    const auto pack = view->pack(i);
    if (!pack) return give_up(pack.error());
    // A condemned pack may be gone, and nothing may need it.
    if (!condemned_.contains(*pack)) TRY(read_data_pack({*pack, 0, 0, 0}, /*known=*/false));
  }
  return compare_segment(key, *view);
}

// Every entry is where the pack's own tail says, and no block of its packs is left out.
Status CheckPacks::compare_segment(const std::string& key, const IndexSegmentView& view) {
  std::vector<Digest> packs;
  for (uint32_t i = 0; i < view.pack_count(); ++i) {
    TRY_ASSIGN(const Digest pack, view.pack(i));
    packs.push_back(pack);
  }
  const auto entries = make_index_source(view);
  while (true) {
    TRY_ASSIGN(const auto entry, entries->next());
    if (!entry) break;
    ++log_.report.counts.index_entries;
    const auto tail = data_tails_.find(packs[entry->pack]);
    if (tail == data_tails_.end()) continue;  // said already, or condemned
    const auto there = tail->second.find(entry->digest);
    if (!there || there->offset != entry->offset || there->length != entry->length)
      log_.problem(key, fmt::format("says that block {} is in {}, at another place than the pack "
                                    "says",
                                    entry->digest.hex(), pack_key(tail->first)));
  }
  for (const Digest& pack : packs) {
    const auto tail = data_tails_.find(pack);
    if (tail == data_tails_.end()) continue;
    for (uint32_t i = 0; i < tail->second.size(); ++i) {
      const Digest block = tail->second.entry(i).digest;
      TRY_ASSIGN(const auto found, view.find(block));
      // Of a block that is in several packs a segment lists one, which may be gone by now.
      if (!found) unlisted_.emplace(block, pack);
    }
  }
  return {};
}

// ---- metadata blocks

Result<Buffer> CheckBlocks::get(const Digest& digest) {
  const auto place = packs_.find_metadata(digest);
  if (!place)
    return fail(Errc::kNotFound, "block " + digest.hex() + " is in none of the metadata packs");
  TRY_ASSIGN(Buffer bytes, range(place->pack, place->offset, place->length));
  ++log_.report.counts.blocks_hashed;
  if (sha256(bytes) != digest)
    return fail(Errc::kCorruption,
                fmt::format("{}: block {} is damaged", pack_key(place->pack), digest.hex()));
  return bytes;
}

Result<Buffer> CheckBlocks::range(const Digest& pack, uint64_t offset, uint64_t length) {
  for (auto it = windows_.begin(); it != windows_.end(); ++it) {
    if (it->pack != pack || offset < it->offset || offset + length > it->offset + it->bytes.size())
      continue;
    windows_.splice(windows_.begin(), windows_, it);
    return Buffer::copy(it->bytes.view().subspan(static_cast<size_t>(offset - it->offset), length));
  }
  // The tree was packed in the order in which it is walked: what follows is wanted next.
  TRY_ASSIGN(GetResult got, get_sync(store_, pack_key(pack),
                                     GetRange::from(offset, std::max(length, kWindowBytes)),
                                     log_.options.context));
  if (got.bytes.size() < length) return fail(Errc::kCorruption, pack_key(pack) + " is too short");
  const Buffer wanted = Buffer::copy(got.bytes.view().first(static_cast<size_t>(length)));
  windows_.push_front({pack, offset, std::move(got.bytes)});
  if (windows_.size() > kWindowsMax) windows_.pop_back();
  return wanted;
}

}  // namespace cairn
