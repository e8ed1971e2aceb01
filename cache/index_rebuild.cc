#include "cache/index_rebuild.h"

#include <algorithm>
#include <set>
#include <utility>

#include "cache/commit_parts.h"
#include "cache/index_writer.h"
#include "cache/store_keys.h"
#include "cache/store_scan.h"
#include "cache/tree_publish.h"

namespace cairn {
namespace {
constexpr uint64_t kBlocksASegment = 1'000'000;
}  // namespace

// Data packs that a segment has to cover, and metadata packs besides; the oldest first.
Result<std::vector<Digest>> IndexRebuild::list_packs() {
  const auto shown = remote_.snapshot();
  const CommitRecord& head = *shown->commit.record;
  std::set<Digest> others;
  for (const PackName& pack : all_packs(head)) others.insert(pack.digest);
  for (const CondemnedPack& pack : head.condemned_packs) others.insert(pack.digest);
  std::vector<std::pair<int64_t, Digest>> found;
  TRY(list_all(remote_.parts.store, kPackPrefix, context_, [&](const ObjectInfo& info) {
    const auto pack = parse_pack_key(info.key);
    if (pack && !others.contains(*pack)) found.emplace_back(info.mtime_ns, *pack);
  }));
  std::sort(found.begin(), found.end());
  std::vector<Digest> packs;
  for (const auto& [time, pack] : found) packs.push_back(pack);
  return packs;
}

Status IndexRebuild::write_segment() {
  if (batch_.empty()) return {};
  IndexWriter writer(remote_.parts.store, *remote_.packs, remote_.parts.env, remote_.parts.clock,
                     {remote_.options.metadata_dir, remote_.options.io_timeout}, context_);
  TRY_ASSIGN(const SegmentName written,
             writer.write(batch_, {}, {}, [](const Digest&) { return true; }));
  segments_.push_back(written);
  batch_.clear();
  batch_blocks_ = 0;
  return {};
}

Result<std::vector<std::string>> IndexRebuild::run() {
  std::vector<std::string> unreadable;
  TRY_ASSIGN(const std::vector<Digest> packs, list_packs());
  for (const Digest& pack : packs) {
    const auto tail = await<PackTail>([&](Callback<PackTail> done) {
      remote_.packs->read_tail({.digest = pack}, context_, std::move(done));
    });
    if (!tail && tail.error().code() != Errc::kCorruption &&
        tail.error().code() != Errc::kUnsupported)
      return tl::unexpected<Error>(tail.error());
    if (!tail) {
      unreadable.push_back(pack_key(pack) + ": " + tail.error().message());
      continue;
    }
    if (tail->kind() != PackKind::kData) continue;
    batch_.push_back(name_of(*tail));
    batch_blocks_ += tail->size();
    if (batch_blocks_ >= kBlocksASegment) TRY(write_segment());
  }
  TRY(write_segment());
  CollectionStep step;
  step.index = segments_;
  TRY(commit_collection(remote_, port_, host_, step, context_));
  return unreadable;
}

}  // namespace cairn
