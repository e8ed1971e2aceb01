// Looking: what is there, what is needed, what should go. See collector.h.
#include "cache/collector.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "cache/base/failpoint.h"
#include "cache/base/log.h"
#include "cache/commit_parts.h"
#include "cache/format/commit.h"
#include "cache/format/index.h"
#include "cache/store_keys.h"
#include "cache/store_scan.h"
#include "cache/store_source.h"

namespace cairn {
namespace {

// The store's size is to come back to within 20 % of what lives; moving starts before that.
constexpr uint64_t kDeadPercentMax = 12;
// What a block and a pack cost besides the block's bytes.
constexpr uint64_t kBlockOverhead = 90;
constexpr uint64_t kPackOverhead = 250;
// So many condemned packs fit a commit, which every commit repeats.
constexpr size_t kCondemnedMax = 8192;

}  // namespace

Collector::Collector(TreeRemote::Impl& remote, Remote& port, PublishHost& host,
                     CollectOptions options, Context context)
    : remote_(remote),
      port_(port),
      host_(host),
      options_(std::move(options)),
      context_(std::move(context)) {}

Collector::~Collector() {
  remote_.packs->set_suspects({});
  remote_.packs->also_look_in({});
}

void Collector::step(std::string_view name) {
  if (options_.progress) options_.progress(name, report_);
}

Result<CollectReport> Collector::run() {
  TRY(look());
  CAIRN_FAILPOINT("collect.looked");
  TRY(count_uses());
  CAIRN_FAILPOINT("collect.counted");
  choose();
  if (!options_.dry_run) {
    TRY(move());
    TRY(remove());
  }
  const CommitRecord& head = *remote_.snapshot()->commit.record;
  report_.head = head.seq;
  for (const CondemnedPack& pack : head.condemned_packs) {
    if (pack.size == 0) continue;
    ++report_.waiting_packs;
    report_.waiting_bytes += pack.size;
  }
  return report_;
}

// ---- looking

Status Collector::look() {
  report_.grace = options_.grace;
  if (!options_.dry_run) TRY(check_writer());
  TRY(read_clock());
  // After the clock was read: what another writer makes from now on is younger than that.
  if (!options_.dry_run) TRY(check_writer());
  TRY(read_history());
  TRY(read_snapshots());
  step("commits");
  TRY(read_commit_names());
  return list_objects();
}

Status Collector::check_writer() {
  const TreeRemote::State state = remote_.state();
  if (state.fenced || !state.writing)
    return fail(state.fenced ? Errc::kFenced : Errc::kUnsupported,
                "only the volume's writer collects");
  const auto shown = remote_.snapshot();
  auto look = remote_.log->look_back(shown->commit, context_);
  TRY(remote_.log->check_back(look, context_));
  TRY_ASSIGN(const auto newer, remote_.log->find_newer(shown->commit, context_));
  // A publish of our own may have come between: it has our epoch. Another process that writes
  // under the name of this cache has not.
  if (!newer || newer->record->epoch == shown->state.epoch) return {};
  return tl::unexpected<Error>(remote_.log->lost_to(newer->record->seq, context_));
}

// The store's own clock decides what is old: that of this machine may be wrong.
Status Collector::read_clock() {
  step("clock");
  now_ns_ = remote_.parts.clock.wall_ns();
  if (options_.dry_run) return {};
  TRY(put_sync(remote_.parts.store, std::string(kClockKey),
               Body(Buffer::copy(number_text(remote_.snapshot()->state.epoch))),
               PutCondition::kAlways, context_));
  CAIRN_FAILPOINT("collect.clock_set");
  std::optional<int64_t> changed_ns;
  TRY(list_all(remote_.parts.store, kClockKey, context_, [&](const ObjectInfo& object) {
    if (object.key == kClockKey) changed_ns = object.mtime_ns;
  }));
  if (!changed_ns)
    return fail(Errc::kTransient, std::string(kClockKey) + " is not listed after it was written");
  now_ns_ = *changed_ns;
  return {};
}

Status Collector::read_history() {
  step("history");
  TRY_ASSIGN(boundary_, remote_.log->oldest(context_));
  TRY(list_all(remote_.parts.store, kCommitPrefix, context_, [&](const ObjectInfo& object) {
    if (const auto seq = parse_commit_key(object.key)) commits_[*seq] = object.mtime_ns;
  }));
  const uint64_t head = remote_.snapshot()->state.seq;
  if (boundary_ > head)
    return fail(Errc::kCorruption,
                fmt::format("{} says {}, the newest commit is {}", kBoundaryKey, boundary_, head));
  // The newest commit that was the head before the grace period began, or is the head.
  for (const auto& [seq, made_ns] : commits_) {
    if (seq <= head && made_ns <= now_ns_ - options_.grace.count()) past_ = std::max(past_, seq);
  }
  kept_from_ = std::max(boundary_, past_);
  report_.kept_from = kept_from_;
  if (options_.dry_run) return {};
  step("boundary");
  TRY(remote_.log->raise_oldest(kept_from_, context_));
  CAIRN_FAILPOINT("collect.boundary_raised");
  // It may have taken long: another writer may have gone on with a boundary of its own.
  return check_writer();
}

// After the boundary was written: who names a commit below it from now on sees that.
Status Collector::read_snapshots() {
  step("snapshots");
  TRY(add_snapshots());
  report_.snapshots = snapshots_.size();
  return {};
}

// Adds those that are there now. One that was seen before counts on: that a list does not name it
// may be a stale answer.
Status Collector::add_snapshots() {
  TRY_ASSIGN(auto now, list_snapshots(remote_.parts.store, context_));
  for (Snapshot& snapshot : now) {
    const bool known = std::any_of(snapshots_.begin(), snapshots_.end(), [&](const Snapshot& one) {
      return one.name == snapshot.name && one.commit.digest == snapshot.commit.digest;
    });
    if (!known) snapshots_.push_back(std::move(snapshot));
  }
  // The head names other metadata packs by now, or some of these.
  std::vector<PackName> trees;
  std::set<Digest> seen;
  for (const Snapshot& snapshot : snapshots_)
    for (const PackName& pack : metadata_packs(*snapshot.commit.record))
      if (seen.insert(pack.digest).second) trees.push_back(pack);
  remote_.packs->also_look_in(std::move(trees));
  return {};
}

// Which metadata packs and segments the commits that are kept name. What earlier collections of
// this mount have read is remembered.
Status Collector::read_commit_names() {
  auto& names = remote_.names_in_history;
  const uint64_t head = remote_.snapshot()->state.seq;
  uint64_t& read_from = remote_.history_from;
  if (read_from == 0 || kept_from_ < read_from) {
    names.clear();
    remote_.history_read = 0;
  }
  read_from = kept_from_;
  for (uint64_t at = std::max(kept_from_, remote_.history_read + 1); at <= head;) {
    std::vector<std::string> keys;
    for (; at <= head && keys.size() < kCommitsAtOnce; ++at) keys.push_back(commit_key(at));
    auto records = get_all(remote_.parts.store, keys, CommitRecord::kMaxBytes + 1, context_);
    for (size_t i = 0; i < keys.size(); ++i) {
      if (!records[i])
        return tl::unexpected<Error>(std::move(records[i]).error().wrap(keys[i]));
      auto record = CommitRecord::decode(records[i]->bytes);
      if (!record) return tl::unexpected<Error>(std::move(record).error().wrap(keys[i]));
      for (const CommitPack& pack : record->metadata_packs) names[pack.digest] = record->seq;
      for (const CommitSegment& segment : record->index_segments)
        names[segment.digest] = record->seq;
      remote_.history_read = record->seq;
    }
  }
  std::erase_if(names, [&](const auto& name) { return name.second < kept_from_; });
  return {};
}

Status Collector::list_objects() {
  step("objects");
  const auto add = [&](std::map<Digest, Object>& objects, const std::optional<Digest>& digest,
                       const ObjectInfo& info) {
    if (!digest) return;  // none of ours
    objects[*digest] = {info.size, info.mtime_ns};
    report_.stored_bytes += info.size;
  };
  TRY(list_all(remote_.parts.store, kPackPrefix, context_, [&](const ObjectInfo& info) {
    add(packs_, parse_pack_key(info.key), info);
  }));
  return list_all(remote_.parts.store, kIndexPrefix, context_, [&](const ObjectInfo& info) {
    add(segments_, parse_index_key(info.key), info);
  });
}

// Which packs the segments of this head cover. A segment is read once a mount, and all of it: what
// is deleted on its word must not be decided by a damaged one.
Status Collector::read_segment_packs(const CommitRecord& head) {
  auto& known = remote_.packs_of_segments;
  std::map<Digest, std::vector<Digest>> now;
  for (const CommitSegment& segment : head.index_segments) {
    auto found = known.find(segment.digest);
    if (found == known.end()) {
      TRY_ASSIGN(StoreSource source, StoreSource::open(remote_.parts.store,
                                                       index_key(segment.digest), context_));
      TRY(verify_index_segment(source, segment.digest));
      TRY_ASSIGN(const IndexSegmentView view, IndexSegmentView::open(source));
      std::vector<Digest> packs;
      for (uint32_t i = 0; i < view.pack_count(); ++i) {
        TRY_ASSIGN(const Digest pack, view.pack(i));
        packs.push_back(pack);
      }
      found = known.emplace(segment.digest, std::move(packs)).first;
    }
    covered_.insert(found->second.begin(), found->second.end());
    now.insert(*found);
  }
  known = now;
  segment_packs_ = std::move(now);
  return {};
}

const std::vector<Digest>& Collector::packs_of(const Digest& segment) const {
  static const std::vector<Digest> kNone;
  const auto found = segment_packs_.find(segment);
  return found == segment_packs_.end() ? kNone : found->second;
}

// ---- counting

Status Collector::walk(const Digest& root, const LiveWalk::Visit& visit) {
  LiveWalk walk(remote_, context_);
  TRY(walk.tree(root, visit));
  metadata_live_bytes_ = walk.metadata_bytes();
  // Of a file's node a pack also says where each child was, which is no longer than the node.
  metadata_needed_bytes_ =
      walk.metadata_bytes() + walk.metadata_blocks() * kBlockOverhead + walk.content_node_bytes();
  for (const Snapshot& snapshot : snapshots_) {
    auto walked = walk.beyond(root, snapshot.commit.record->root.digest(), visit);
    if (!walked)
      return tl::unexpected<Error>(std::move(walked).error().wrap("snapshot " + snapshot.name));
  }
  for (const UnixfsRoot& file : pinned_) TRY(walk.content(file, visit));
  return {};
}

Status Collector::count_uses() {
  step("marking");
  const auto shown = remote_.snapshot();
  const CommitRecord& head = *shown->commit.record;
  if (options_.pinned) pinned_ = options_.pinned();
  // A publish may have merged segments since.
  TRY(read_segment_packs(head));
  PackUsage::Input input;
  input.young = young_packs(head);
  input.segments = index_segments(head);
  input.packs_of = [this](const Digest& segment) -> const std::vector<Digest>& {
    return packs_of(segment);
  };
  for (const CondemnedPack& pack : head.condemned_packs) {
    input.leaving.insert(pack.digest);
    if (pack.size != 0) input.condemned.push_back(pack.digest);
  }
  const Digest root = head.root.digest();
  input.walk = [this, root](const LiveWalk::Visit& visit) { return walk(root, visit); };
  input.leaves = head.totals.live_bytes / remote_.params.chunk_bytes + head.totals.inodes;
  input.digests_at_once = options_.digests_at_once;
  PackUsage usage(remote_, std::move(input), context_);
  TRY(usage.run());
  uses_ = usage.packs();
  report_.live_bytes = usage.live_bytes();
  report_.live_blocks = usage.live_blocks();
  report_.lost_blocks = usage.not_found();
  std::set<Digest> metadata;
  const auto add_metadata = [&](const CommitRecord& record) {
    for (const CommitPack& pack : record.metadata_packs)
      if (metadata.insert(pack.digest).second) report_.metadata_bytes += pack.size;
  };
  add_metadata(head);
  for (const Snapshot& snapshot : snapshots_) add_metadata(*snapshot.commit.record);
  return {};
}

// Packs without anything that lives go first, then those of which most is dead, until what is dead
// in the others is little enough.
void Collector::choose() {
  const auto shown = remote_.snapshot();
  const CommitRecord& head = *shown->commit.record;
  std::set<Digest> candidates = covered_;
  for (const CommitPack& pack : head.young_packs) candidates.insert(pack.digest);
  uint64_t blocks = 0;
  for (const CondemnedPack& pack : head.condemned_packs) {
    candidates.erase(pack.digest);
    // By its age, too: what the boundary says may have been another grace period's.
    const bool due = pack.size != 0 && pack.since <= past_;
    if (due && due_.size() < kCondemnedMax) due_.push_back(pack.digest);
  }
  struct Candidate {
    Digest pack;
    uint64_t size = 0;
    uint64_t dead = 0;
    uint64_t blocks = 0;
  };
  std::vector<Candidate> all;
  uint64_t dead = 0;
  for (const Digest& pack : candidates) {
    const auto object = packs_.find(pack);
    if (object == packs_.end()) continue;  // damage; check names it
    const auto use = uses_.find(pack);
    const PackUse used = use == uses_.end() ? PackUse{} : use->second;
    const uint64_t needed =
        used.live_blocks == 0
            ? 0
            : used.live_bytes + used.live_blocks * kBlockOverhead + kPackOverhead;
    Candidate candidate{pack, object->second.size, 0, used.live_blocks};
    candidate.dead = candidate.size - std::min(candidate.size, needed);
    dead += candidate.dead;
    all.push_back(candidate);
  }
  // By the share that is dead, the largest first.
  std::sort(all.begin(), all.end(), [](const Candidate& a, const Candidate& b) {
    return static_cast<double>(a.dead) * static_cast<double>(b.size) >
           static_cast<double>(b.dead) * static_cast<double>(a.size);
  });
  const uint64_t allowed = report_.live_bytes / 100 * kDeadPercentMax;
  for (const Candidate& candidate : all) {
    const bool useless = candidate.blocks == 0;
    if (!useless && dead <= allowed) break;
    if (candidate.dead * 10 < candidate.size) break;  // to move nine tenths gains nothing
    if (head.condemned_packs.size() + victims_.size() >= kCondemnedMax) break;
    if (blocks + candidate.blocks > options_.blocks_at_once) break;
    blocks += candidate.blocks;
    dead -= candidate.dead;
    victims_.push_back(candidate.pack);
    ++report_.condemned_packs;
    report_.condemned_bytes += candidate.size;
  }
}

// When a quarter is dead. What is small is measured by what it would be, or it would be written
// anew by every collection.
bool Collector::metadata_is_worth_rewriting() const {
  uint64_t bytes = 0;
  const auto shown = remote_.snapshot();
  for (const CommitPack& pack : shown->commit.record->metadata_packs) bytes += pack.size;
  const MetadataLimits& limits = remote_.options.metadata;
  const uint64_t packs = 1 + metadata_live_bytes_ / limits.pack_bytes;
  const uint64_t needed = metadata_needed_bytes_ + packs * kPackOverhead;
  return bytes > limits.rewrite_bytes_min && bytes - bytes / 4 > needed;
}

}  // namespace cairn
