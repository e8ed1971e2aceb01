#include "tests/sim/collections.h"

#include <fmt/format.h>

#include <utility>

#include "cache/snapshots.h"

namespace cairn::sim {

// A person at a machine that has nothing open.
struct Collections::Person {
  explicit Person(World& world)
      : executor(world.scheduler, "person", 2, nullptr),
        wire(world.bucket, executor),
        rng(make_seeded_rng(world.rng().next())),
        log(wire, executor, world.scheduler.clock(), *rng, {}) {}
  SimExecutor executor;
  Wire wire;
  std::unique_ptr<Rng> rng;
  CommitLog log;
};

Collections::Collections(World& world) : w_(world) {}
Collections::~Collections() = default;

void Collections::collect() {
  CollectOptions how;
  how.grace = std::chrono::milliseconds(w_.below(w_.chance(2) ? 3'000 : 1'500'000));
  if (w_.chance(2)) how.round_bytes = 1 + w_.below(w_.chance(2) ? 2'000 : 100'000);
  if (w_.chance(2)) how.digests_at_once = 1 + w_.below(40);
  how.pinned = [mount = w_.writer->mount.get()] { return mount->volume().open_removed(); };
  ++w_.collections;
  const bool was_collecting = std::exchange(w_.collecting, true);
  const std::string name = w_.writer->name;
  const auto ended = [this, name](const Result<CollectReport>& report) {
    w_.collecting = false;
    w_.scheduler.note(name + " collected: " + (report ? "" : report.error().message()));
    if (!report) {
      w_.happened("collections that failed");
      const Errc code = report.error().code();
      if ((code == Errc::kCorruption || code == Errc::kNotFound) && !w_.trouble)
        w_.scheduler.give_up("a collection: " + report.error().message());
      return;
    }
    w_.happened("collections");
    if (report->condemned_packs > 0) w_.happened("collections that condemned");
    if (report->moved_bytes > 0) w_.happened("collections that moved");
    if (report->deleted_packs > 0) w_.happened("collections that deleted packs");
    if (report->deleted_segments > 0) w_.happened("collections that deleted segments");
    if (report->deleted_commits > 0) w_.happened("collections that deleted commits");
    if (report->lost_blocks > 0)
      w_.scheduler.give_up(fmt::format("a collection misses {} blocks", report->lost_blocks));
  };
  if (!w_.writer->mount->collect(std::move(how), ended)) w_.collecting = was_collecting;
}

void Collections::snapshot() {
  if (!person_) person_ = std::make_unique<Person>(w_);
  Context context;
  context.deadline = Deadline::after(w_.scheduler.clock(), std::chrono::minutes(2));
  if (!snapshots_.empty() && (snapshots_.size() > 3 || w_.chance(3))) {
    const std::string name = snapshots_.begin()->first;
    snapshots_.erase(snapshots_.begin());
    (void)delete_snapshot(person_->wire, name, context);
    return;
  }
  const auto head = person_->log.find_head(std::nullopt, context);
  if (!head) return;
  const std::string name = "snapshot" + std::to_string(++names_given_);
  if (const Status made = create_snapshot(person_->wire, person_->log, name, *head, context);
      !made) {
    w_.scheduler.note("no snapshot: " + made.error().message());
    (void)delete_snapshot(person_->wire, name, context);
    return;
  }
  w_.happened("snapshots");
  snapshots_[name] = head->record->seq;
}

void Collections::look_at_snapshots() {
  for (const auto& [name, seq] : snapshots_) {
    const Listing listing = w_.list_bucket(w_.bucket.copy(), name, HistoryPoint(name));
    if (const auto found = difference(w_.commits.at(seq), listing))
      w_.scheduler.give_up(fmt::format("{} shows commit {} differently: {}", name, seq, *found));
  }
}

void Collections::end() {
  person_.reset();
}

}  // namespace cairn::sim
