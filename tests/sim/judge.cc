// Comparing what is found with what was done.
#include <fmt/format.h>

#include "cache/check.h"
#include "tests/sim/world.h"

namespace cairn::sim {

World::World(const Wish& wanted) : wish(wanted), scheduler(wanted.seed), bucket(scheduler) {
  scheduler.set_verbose(wanted.verbose);
  bucket.set_lie(wanted.bucket_lie);
  for (Machine* machine : {&a, &b}) machine->disk.set_lie(wanted.lie);
  bucket.on_commit([this](Buffer record, std::shared_ptr<MemoryStore> at) {
    heard_of_commit(std::move(record), std::move(at));
  });
}

std::unique_ptr<Mount> World::make_mount(Machine& machine, Mount::Plan plan) {
  return std::make_unique<Mount>(scheduler, machine.disk, bucket, std::move(plan));
}

void World::heard_of_commit(Buffer record, std::shared_ptr<MemoryStore> at) {
  auto decoded = CommitRecord::decode(record);
  if (!decoded) scheduler.give_up("a commit record that cannot be read was created");
  Commit commit{*std::move(decoded), std::move(at), nullptr, 0};
  for (Machine* machine : {&a, &b}) {
    const auto& ids = machine->cache_ids;
    const bool mounted =
        machine->mount && machine->mount->cache_id() == commit.record.writer.cache_id;
    if (mounted || std::find(ids.begin(), ids.end(), commit.record.writer.cache_id) != ids.end())
      commit.writer = machine;
  }
  if (commit.writer != nullptr && !commit.writer->timeline.moments.empty())
    commit.newest = commit.writer->timeline.last();
  scheduler.note(fmt::format("commit {} by {} epoch {} lsn {}", commit.record.seq,
                             commit.writer != nullptr ? commit.writer->name : "format",
                             commit.record.epoch, commit.record.writer.lsn));
  unseen.push_back(std::move(commit));
}

void World::look_at_commits() {
  while (!unseen.empty()) {
    Commit commit = std::move(unseen.front());
    unseen.pop_front();
    const CommitRecord& record = commit.record;
    const std::string what = fmt::format("commit {}", record.seq);
    if (record.seq != last_seq + 1)
      scheduler.give_up(fmt::format("{} follows on commit {}", what, last_seq));
    if (record.epoch < last_epoch) scheduler.give_up(what + ": its writer had been taken over");
    last_seq = record.seq;
    last_epoch = record.epoch;

    const Listing listing = list_bucket(commit.bucket, what);
    const bool checks = chance(6);
    happened("commits looked at");

    if (!last_model) {
      last_model = Model();
      const auto found = difference(*last_model, listing);
      if (found) scheduler.give_up(what + " of a new volume is not empty: " + *found);
      adopt(*last_model, listing);
    } else if (difference(*last_model, listing)) {
      if (commit.writer == nullptr || commit.writer->timeline.moments.empty())
        scheduler.give_up(
            what + " opens the volume and changes it: " + *difference(*last_model, listing));
      Timeline& timeline = commit.writer->timeline;
      const size_t newest = std::min(commit.newest, timeline.last());
      timeline.committed =
          find_moment(timeline, timeline.committed, newest, listing, what, Which::kOldest);
      last_model = timeline.moments[timeline.committed].model;
      adopt(*last_model, listing);
    }
    commits.emplace(record.seq, *last_model);
    if (checks) check_bucket(commit.bucket, what);
  }
}

Listing World::list_bucket(std::shared_ptr<MemoryStore> at, const std::string& what,
                           std::optional<HistoryPoint> point) {
  lookers.push_back(std::make_unique<Machine>(scheduler, "looker"));
  Mount::Plan plan;
  plan.options = options;
  plan.options.engine.read_only = true;
  plan.options.at = std::move(point);
  Mount looker(scheduler, lookers.back()->disk, bucket, std::move(at), plan);
  const unsigned rate = scheduler.set_switch_rate(0);
  const Status opened = looker.open();
  if (!opened)
    scheduler.give_up(what + " cannot be opened by itself: " + opened.error().message());
  auto listing = looker.list();
  if (!listing) scheduler.give_up(what + " cannot be read: " + listing.error().message());
  looker.bury();
  scheduler.set_switch_rate(rate);
  return *std::move(listing);
}

size_t World::find_moment(const Timeline& timeline, size_t oldest, size_t newest,
                          const Listing& listing, const std::string& what, Which which) {
  std::optional<size_t> found_at;
  for (size_t at = newest + 1; at-- > oldest && (!found_at || which == Which::kOldest);)
    if (!difference(timeline.moments[at].model, listing)) found_at = at;
  if (found_at) {
    scheduler.note(fmt::format("{} is state {} of [{}, {}]", what, *found_at, oldest, newest));
    return *found_at;
  }
  std::string why = fmt::format("{} is none of the states {} to {}.\n", what, oldest, newest);
  for (size_t at = timeline.moments.size(); at-- > 0;) {
    const auto found = difference(timeline.moments[at].model, listing);
    if (!found) {
      why += fmt::format("  It is state {}.\n", at);
      break;
    }
    if (at + 6 > newest && at <= newest)
      why += fmt::format("  Not state {}: {}\n", at, *found);
    else if (at + 2 > oldest && at <= oldest + 1)
      why += fmt::format("  Not state {}: {}\n", at, *found);
  }
  if (scheduler.verbose()) {
    for (const auto& [path, shown] : listing)
      why += fmt::format("  has '{}': inode {:x}, nlink {}, uid {}, {} bytes\n", path,
                         shown.attr.ino, shown.attr.nlink, shown.attr.uid, shown.attr.size);
  }
  scheduler.give_up(why);
}

Listing World::must_list(Mount& mount, const std::string& what) {
  std::string why;
  auto listing = try_list(mount, why);
  if (listing) return *std::move(listing);
  if (mount.alive()) scheduler.give_up(what + " cannot be listed: " + why);
  return {};
}

std::optional<Listing> World::try_list(Mount& mount, std::string& why) {
  const Weather before = bucket.weather;
  bucket.weather = {};
  for (int attempt = 0; attempt < 5; ++attempt) {
    auto listing = mount.list();
    if (listing) {
      bucket.weather = before;
      return *std::move(listing);
    }
    if (!mount.alive()) break;
    why = listing.error().message();
    mount.end_store_faults();
    scheduler.sleep(std::chrono::seconds(70));
  }
  bucket.weather = before;
  return std::nullopt;
}

void World::check_sums(Mount& mount, const Listing& listing) {
  std::map<Ino, uint64_t> allocated;
  for (const auto& [path, shown] : listing) allocated[shown.attr.ino] = shown.attr.allocated;
  uint64_t bytes = 0;
  for (const auto& [ino, own] : allocated) bytes += own;
  const auto space = mount.volume().statfs();
  if (!space) scheduler.give_up("statfs: " + space.error().message());
  const uint64_t used = space->total_bytes - space->free_bytes;
  const uint64_t inodes = space->total_inodes - space->free_inodes;
  if (used != bytes || inodes != allocated.size())
    scheduler.give_up(fmt::format("statfs says {} bytes in {} inodes, there are {} in {}", used,
                                  inodes, bytes, allocated.size()));
}

void World::check_bucket(std::shared_ptr<ObjectStore> at, const std::string& what) {
  CheckOptions check;
  check.data = true;
  const auto report = check_volume(*at, check);
  if (!report) scheduler.give_up(what + ": the check could not go on: " + report.error().message());
  if (!report->clean())
    scheduler.give_up(fmt::format("{}: check finds {} problems: {}: {}", what,
                                  report->problem_count, report->problems.at(0).object,
                                  report->problems.at(0).what));
  happened("volume checks");
}

}  // namespace cairn::sim
