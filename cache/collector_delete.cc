// Deleting: what nothing can need any more. See collector.h.
#include <algorithm>
#include <string>
#include <utility>

#include "cache/base/failpoint.h"
#include "cache/base/log.h"
#include "cache/collector.h"
#include "cache/format/commit.h"
#include "cache/store_keys.h"
#include "cache/store_scan.h"

namespace cairn {
namespace {
// A writer that sleeps may make a commit's number anew after it was removed, unless it looks at the
// boundary; it does when it has not seen the head for 5 minutes (CommitLog::boundary_fresh).
constexpr Duration kCommitsKept = std::chrono::minutes(10);
}  // namespace

// Older than the grace period. A pack that nobody names may be about to be named.
bool Collector::old_enough(const Object& object) const {
  return object.mtime_ns <= now_ns_ - options_.grace.count();
}

Status Collector::remove() {
  TRY(check_writer());
  TRY(add_snapshots());
  TRY_ASSIGN(const std::vector<std::string> packs, packs_to_remove());
  const std::vector<std::string> commits = commits_to_remove();
  CAIRN_FAILPOINT("collect.deleting");
  if (!packs.empty()) {
    step("deleting packs");
    TRY(remove_all(remote_.parts.store, packs, context_));
    report_.deleted_packs = packs.size();
    CAIRN_FAILPOINT("collect.packs_deleted");
  }
  step("deleting index segments");
  TRY(remove_segments());
  if (!commits.empty()) {
    step("deleting commits");
    TRY(remove_all(remote_.parts.store, commits, context_));
    report_.deleted_commits = commits.size();
    CAIRN_FAILPOINT("collect.commits_deleted");
  }
  return {};
}

// What was staged and named meanwhile is needed. No publish runs while that is found out, none is
// undecided, and later ones give their packs other names: so what was listed before, and is not
// needed then, never will be.
Result<std::vector<std::string>> Collector::packs_to_remove() {
  TRY_ASSIGN(const auto no_publish, remote_.hold_still(context_));
  TRY(settle_commit(remote_, context_));
  remote_.pack_salt = remote_.parts.rng.next();
  TRY(read_segment_packs(*remote_.snapshot()->commit.record));
  TRY(read_commit_names());
  std::set<Digest> needed;
  for (const PackName& pack : remote_.packs->packs()) needed.insert(pack.digest);
  const auto shown = remote_.snapshot();
  const CommitRecord& head = *shown->commit.record;
  needed.insert(covered_.begin(), covered_.end());
  for (const CommitPack& pack : head.metadata_packs) needed.insert(pack.digest);
  for (const CommitPack& pack : head.young_packs) needed.insert(pack.digest);
  for (const Snapshot& snapshot : snapshots_)
    for (const CommitPack& pack : snapshot.commit.record->metadata_packs)
      needed.insert(pack.digest);
  for (const auto& [name, last_named] : remote_.names_in_history) needed.insert(name);
  std::set<Digest> deleted;
  for (const CondemnedPack& pack : head.condemned_packs) {
    needed.insert(pack.digest);
    if (pack.size == 0) deleted.insert(pack.digest);
  }
  std::vector<std::string> keys;
  for (const auto& [pack, object] : packs_) {
    const bool condemned = deleted.contains(pack);
    if (!condemned && (needed.contains(pack) || !old_enough(object))) continue;
    keys.push_back(pack_key(pack));
    report_.deleted_bytes += object.size;
  }
  return keys;
}

// A segment that an earlier, interrupted publish has put may be made again, the same bytes under
// the same name. So nothing is published meanwhile.
Status Collector::remove_segments() {
  TRY_ASSIGN(const auto no_publish, remote_.hold_still(context_));
  TRY(check_writer());
  TRY(settle_commit(remote_, context_));
  TRY(read_commit_names());
  const auto shown = remote_.snapshot();
  std::set<Digest> needed;
  for (const CommitSegment& segment : shown->commit.record->index_segments)
    needed.insert(segment.digest);
  std::vector<std::string> keys;
  for (const auto& [segment, object] : segments_) {
    if (needed.contains(segment) || remote_.names_in_history.contains(segment) ||
        !old_enough(object))
      continue;
    keys.push_back(index_key(segment));
    report_.deleted_bytes += object.size;
  }
  if (keys.empty()) return {};
  TRY(remove_all(remote_.parts.store, keys, context_));
  report_.deleted_segments = keys.size();
  CAIRN_FAILPOINT("collect.segments_deleted");
  return {};
}

std::vector<std::string> Collector::commits_to_remove() {
  const int64_t kept_ns = std::max<Duration>(options_.grace, kCommitsKept).count();
  std::vector<std::string> keys;
  for (const auto& [seq, made_ns] : commits_)
    if (seq < kept_from_ && made_ns <= now_ns_ - kept_ns) keys.push_back(commit_key(seq));
  return keys;
}

}  // namespace cairn
