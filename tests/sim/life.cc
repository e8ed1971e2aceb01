#include "tests/sim/life.h"

#include <fmt/format.h>

#include "cache/volume_format.h"
#include "tests/sim/collections.h"
#include "tests/sim/leftovers.h"
#include "tests/sim/operations.h"
#include "tests/sim/world.h"

namespace cairn::sim {

namespace {

constexpr Duration kSyncedByItself = std::chrono::seconds(10);  // what is older survives power loss

class Life {
 public:
  explicit Life(const Wish& wish) : w_(wish) {}
  Outcome run();

 private:
  uint64_t below(uint64_t bound) { return w_.below(bound); }
  bool chance(uint64_t one_in) { return w_.chance(one_in); }
  Machine& writer() { return *w_.writer; }
  Machine& other() { return w_.writer == &w_.a ? w_.b : w_.a; }

  void format();
  void event();
  void change_weather();
  void change_disk();
  void heal();
  Mount::Plan plan();
  void start_client();
  void stop_client();
  void lay_down(Machine& machine);  // ends its process, however it ended
  void after_death();
  Status try_open(Machine& machine, Mount::Plan plan);
  void opened(Machine& machine);
  static size_t survives(const Machine& machine);
  void fsync();
  void flush();
  void close_and_reopen();
  void take_over();
  void fenced(Machine& machine);
  void recover_unpublished(Machine& machine);
  void mount_offline();
  void follow();
  void verify();
  void finish();
  void collect_everything();

  World w_;
  std::unique_ptr<Operations> operations_;
  Collections collections_{w_};
  Leftovers leftovers_{w_};
  bool client_wanted_ = false;
  bool client_runs_ = false;
  unsigned deaths_one_in_ = 2;  // a process is planned to die
};

void Life::format() {
  SimExecutor executor(w_.scheduler, "format", 2, nullptr);
  Wire wire(w_.bucket, executor);
  FormatOptions options;
  options.chunk_size = 4096;
  options.links_per_node = 3 + below(6);
  options.fanout_bits = 2 + below(4);
  options.host = "sim";
  options.probe = []() -> Result<VolumeProbe> { return VolumeProbe{true, "simulated"}; };
  const auto rng = make_seeded_rng(w_.rng().next());
  const auto made = format_volume(wire, executor, w_.scheduler.clock(), *rng, options, Context());
  if (!made) w_.scheduler.give_up("format: " + made.error().message());
  w_.look_at_commits();
  w_.a.timeline.moments.push_back({*w_.last_model, w_.scheduler.now()});
}

Mount::Plan Life::plan() {
  Mount::Plan plan;
  plan.options = w_.options;
  plan.death = w_.some_death(deaths_one_in_);
  if (chance(3)) plan.disk.slow_sync_one_in = 2 + static_cast<unsigned>(below(20));
  if (chance(12)) plan.disk.fail_sync_at = 1 + below(60);
  if (chance(12)) plan.disk.fail_write_at = 1 + below(200);
  if (w_.trouble && chance(2)) {
    const auto rate = static_cast<uint32_t>(8 + below(60));
    using test::FaultKind;
    using test::StoreOp;
    const auto ever = [&](FaultKind kind, StoreOp ops, Errc code, std::string prefix = "") {
      test::StoreFault fault;
      fault.kind = kind;
      fault.ops = ops;
      fault.prefix = std::move(prefix);
      fault.count = test::FaultyStore::kForever;
      fault.one_in = rate;
      fault.code = code;
      fault.delay = std::chrono::milliseconds(below(3000));
      plan.store.push_back(fault);
    };
    ever(FaultKind::kFail, StoreOp::kAny, Errc::kTransient);                   // 500
    ever(FaultKind::kThrottle, StoreOp::kAny, Errc::kTransient);               // 503
    ever(FaultKind::kFail, StoreOp::kPut, Errc::kTransient, "c/");             // 409
    ever(FaultKind::kRefuseCreate, StoreOp::kPut, Errc::kPrecondition, "c/");  // 412
    ever(FaultKind::kLoseReply, StoreOp::kAny, Errc::kTimeout);
    ever(FaultKind::kTruncate, StoreOp::kGet, Errc::kTransient, "p/");
    ever(FaultKind::kFlipByte, StoreOp::kGet, Errc::kTransient, "p/");
    ever(FaultKind::kTruncate, StoreOp::kGet, Errc::kTransient, "x/");
  }
  return plan;
}

void Life::change_weather() {
  Weather& weather = w_.bucket.weather;
  weather = {};
  weather.slowest_usual = std::chrono::microseconds(below(chance(2) ? 2'000 : 100'000));
  if (chance(2)) weather.late_one_in = 3 + static_cast<unsigned>(below(30));
  weather.slowest_late = std::chrono::milliseconds(100 + below(30'000));
  weather.away = chance(5);
  w_.trouble |= weather.away || weather.late_one_in != 0;
  w_.scheduler.note(fmt::format("weather: away {} late 1/{}", weather.away, weather.late_one_in));
  if (weather.away) w_.happened("outages");
}

void Life::change_disk() {
  test::MemoryEnv& env = writer().disk.env();
  if (chance(2)) {
    env.set_capacity(1ULL << 40);
    return;
  }
  env.set_capacity(env.allocated_bytes() + below(12 << 20));
  w_.trouble = true;
  w_.happened("small disks");
}

void Life::heal() {
  w_.bucket.weather = {};
  for (Machine* machine : {&w_.a, &w_.b, &w_.c}) machine->disk.env().set_capacity(1ULL << 40);
}

// ---- the other program on the writer's machine: it syncs while the first one works

void Life::start_client() {
  client_wanted_ = true;
  client_runs_ = true;
  Machine& machine = writer();
  w_.scheduler.spawn("syncer", machine.mount.get(), [this, &machine] {
    while (client_wanted_ && machine.mount->alive()) {
      w_.scheduler.sleep(std::chrono::milliseconds(1 + below(chance(2) ? 40 : 2000)));
      if (!client_wanted_ || !machine.mount->alive()) break;
      const size_t target = machine.timeline.answered;
      const Status synced = machine.mount->volume().sync();
      if (synced && machine.mount->alive())
        machine.timeline.synced = std::max(machine.timeline.synced, target);
    }
    client_runs_ = false;
  });
}

void Life::stop_client() {
  client_wanted_ = false;
  while (client_runs_) w_.scheduler.sleep(std::chrono::milliseconds(1));
}

void Life::lay_down(Machine& machine) {
  if (&machine == w_.writer) stop_client();
  if (machine.mount == nullptr) return;
  if (const std::string& where = machine.mount->died_where(); !where.empty())
    w_.happened("died at " + where);
  machine.timeline.answered = survives(machine);
  machine.mount->bury();
  machine.cache_ids.push_back(machine.mount->cache_id());
  w_.retire(std::move(machine.mount));
}

// ---- opening

// The newest state that its disk must still have.
size_t Life::survives(const Machine& machine) {
  const Timeline& timeline = machine.timeline;
  const Mount& mount = *machine.mount;
  if (!mount.power_was_cut() || timeline.moments.empty()) return timeline.answered;
  size_t oldest = std::max({timeline.synced, timeline.flushed, timeline.committed});
  if (mount.disk_failed() || !mount.was_open()) return std::min(oldest, timeline.answered);
  for (size_t at = oldest; at <= timeline.answered; ++at)
    if (timeline.moments[at].answered <= mount.died_at() - kSyncedByItself) oldest = at;
  return oldest;
}

Status Life::try_open(Machine& machine, Mount::Plan plan) {
  machine.mount = w_.make_mount(machine, std::move(plan));
  w_.happened("mounts");
  w_.scheduler.note(fmt::format("opens {}", machine.name));
  const Status opened = machine.mount->open();
  if (machine.mount->alive() && opened) return {};
  w_.scheduler.note("not opened: " + (opened ? "died" : opened.error().message()));
  return opened ? Status(fail(Errc::kIo, "the process died")) : opened;
}

// Its mount is open: finds out which state it shows, and goes on from there.
void Life::opened(Machine& machine) {
  Timeline& timeline = machine.timeline;
  const Listing listing = w_.must_list(*machine.mount, "the mount");
  if (!machine.mount->alive()) return;
  w_.check_sums(*machine.mount, listing);
  w_.look_at_commits();
  const size_t at = w_.find_moment(timeline, std::max(timeline.answered, timeline.committed),
                                   timeline.last(), listing, "the mount of " + machine.name);
  w_.happened(at == timeline.last() ? "opened with everything" : "opened with less");
  timeline.moments.resize(at + 1);
  adopt(timeline.moments[at].model, listing);
  timeline.moments[at].answered = std::min(timeline.moments[at].answered, w_.scheduler.now());
  timeline.answered = at;
  timeline.synced = at;  // what was replayed is durable
  timeline.flushed = std::min(timeline.flushed, at);
}

void Life::after_death() {
  if (!writer().mount->alive())
    w_.happened(writer().mount->power_was_cut() ? "power cuts" : "kills");
  if (!writer().mount->alive() && chance(4)) {
    take_over();
    return;
  }
  lay_down(writer());
  w_.scheduler.sleep(std::chrono::milliseconds(below(chance(2) ? 100 : 60'000)));
  for (int attempt = 0;; ++attempt) {
    Mount::Plan next = plan();
    if (attempt >= 4) {
      heal();
      next.death = {};
      next.disk = {};
      next.store.clear();
    }
    const Status opened_now = try_open(writer(), std::move(next));
    if (opened_now) {
      opened(writer());
      if (writer().mount->alive()) break;
    } else if (attempt > 8) {
      w_.scheduler.give_up("cannot be opened again: " + opened_now.error().message());
    }
    lay_down(writer());
    w_.scheduler.sleep(std::chrono::seconds(below(40)));
  }
  operations_ = std::make_unique<Operations>(w_, writer());
  start_client();
}

// ---- events

void Life::fsync() {
  const size_t target = writer().timeline.answered;
  const Status synced = writer().mount->volume().sync();
  w_.scheduler.note(fmt::format("fsync {}", synced.has_value()));
  if (!writer().mount->alive()) return;
  if (synced) {
    writer().timeline.synced = std::max(writer().timeline.synced, target);
    w_.happened("fsyncs");
  } else if (!writer().mount->disk_failed()) {
    w_.scheduler.give_up("fsync: " + synced.error().message());
  }
}

void Life::flush() {
  Timeline& timeline = writer().timeline;
  const size_t target = timeline.answered;
  Context context;
  context.deadline = Deadline::after(w_.scheduler.clock(), std::chrono::seconds(below(100)));
  const Status flushed = writer().mount->engine().flush(context, nullptr);
  w_.scheduler.note(fmt::format("flush {}", flushed ? "" : flushed.error().message()));
  if (!writer().mount->alive() || !flushed) return;
  timeline.flushed = target;
  timeline.synced = std::max(timeline.synced, target);
  w_.look_at_commits();
  if (timeline.committed < target &&
      !same(timeline.moments[timeline.committed].model, timeline.moments[target].model))
    w_.scheduler.give_up(fmt::format("flush up to state {} was answered, the store has state {}",
                                     target, timeline.committed));
  w_.happened("flushes");
}

void Life::close_and_reopen() {
  stop_client();
  operations_->release_handles();
  Timeline& timeline = writer().timeline;
  const size_t target = timeline.answered;
  const bool failed_before = writer().mount->disk_failed();
  const Status closed = writer().mount->close(std::chrono::seconds(below(200)));
  w_.scheduler.note(fmt::format("close {}", closed ? "" : closed.error().message()));
  if (writer().mount->alive() && !failed_before && !writer().mount->disk_failed()) {
    // Whatever the store says: what was answered survives.
    w_.happened(closed ? "clean closes" : "closes with work left");
    if (closed) {
      timeline.flushed = target;
      leftovers_.judge_cache(writer());
    }
  }
  const bool alive = writer().mount->alive();
  // Nothing runs any more: a power cut must not matter.
  if (alive && !writer().mount->disk_failed() && chance(3)) writer().disk.power_cut();
  if (closed && alive && chance(2)) {
    lay_down(writer());
    take_over();
    return;
  }
  after_death();
}

void Life::verify() {
  const Listing listing = w_.must_list(*writer().mount, "the mount");
  if (!writer().mount->alive()) return;
  if (const auto found = difference(writer().timeline.now(), listing))
    w_.scheduler.give_up("the mount shows another state than was made: " + *found);
  w_.check_sums(*writer().mount, listing);
}

// The writer's machine is lost, or another one just takes the volume.
void Life::take_over() {
  Machine& old = writer();
  Machine& next = other();
  w_.happened("takeovers");
  stop_client();
  heal();
  if (next.mount) lay_down(next);
  bool discard = false;
  for (int attempt = 0;; ++attempt) {
    Mount::Plan wanted = plan();
    wanted.options.takeover = true;
    wanted.options.discard_local = discard;
    if (attempt > 3) {
      wanted.death = {};
      wanted.disk = {};
      wanted.store.clear();
    }
    // What the cache still held when it was taken over itself is no part of the volume.
    Status done = try_open(next, wanted);
    if (!done && done.error().code() == Errc::kFenced && next.mount->alive()) {
      // The commit that has its work may have left the history: then nobody can tell.
      if (!next.behind && w_.collections == next.behind_since)
        w_.scheduler.give_up("refused: " + done.error().message());
      lay_down(next);
      recover_unpublished(next);
      wanted.options.discard_local = discard = true;
      wanted.death = {};
      done = try_open(next, wanted);
    }
    if (done && next.surely_behind() && !discard)
      w_.scheduler.give_up("unpublished work of " + next.name + " was given up unasked");
    if (done) {
      const Listing listing = w_.must_list(*next.mount, "the mount that took over");
      if (next.mount->alive()) {
        w_.check_sums(*next.mount, listing);
        w_.look_at_commits();
        Timeline& from = old.timeline;
        const size_t at = w_.find_moment(from, std::max(from.flushed, from.committed), from.last(),
                                         listing, "what " + next.name + " took over");
        Timeline taken;
        taken.moments.assign(from.moments.begin(),
                             from.moments.begin() + static_cast<ptrdiff_t>(at) + 1);
        adopt(taken.moments.back().model, listing);
        taken.answered = taken.synced = taken.flushed = taken.committed = at;
        next.timeline = std::move(taken);
        next.behind = false;
        break;
      }
    }
    if (attempt > 8) w_.scheduler.give_up("cannot take over");
    lay_down(next);
    w_.scheduler.sleep(std::chrono::seconds(below(40)));
  }
  w_.writer = &next;
  fenced(old);
  operations_ = std::make_unique<Operations>(w_, next);
  start_client();
}

// A writer that was taken over: it serves what it had, and publishes nothing more.
void Life::fenced(Machine& machine) {
  Timeline& timeline = machine.timeline;
  const size_t committed = timeline.committed;
  if (machine.mount && machine.mount->alive() && machine.mount->is_open()) {
    w_.happened("fenced while it ran");
    Operations more(w_, machine);
    for (uint64_t i = below(10); i > 0 && machine.mount->alive() && !more.broken(); --i)
      more.step();
    more.release_handles();
    if (machine.mount->alive() && !more.broken()) {
      const Listing listing = w_.must_list(*machine.mount, "the fenced mount");
      if (machine.mount->alive()) {
        if (const auto found = difference(timeline.now(), listing))
          w_.scheduler.give_up("the fenced mount shows another state than was made: " + *found);
        const bool has_more = !same(timeline.now(), timeline.moments[committed].model);
        Context context;
        context.deadline = Deadline::after(w_.scheduler.clock(), std::chrono::seconds(60));
        const Status flushed = machine.mount->engine().flush(context, nullptr);
        if (flushed && has_more && machine.mount->alive())
          w_.scheduler.give_up("a writer that was taken over says that it flushed");
      }
    }
  }
  lay_down(machine);
  machine.behind = timeline.last() > committed;
  // What dies after it deleted something may have no record here of the commit that allowed it.
  machine.behind_since = w_.collections - (w_.collecting ? 1 : 0);
}

// What only the fenced cache has can be taken out of it.
void Life::recover_unpublished(Machine& machine) {
  Mount::Plan wanted;
  wanted.options = w_.options;
  wanted.options.engine.read_only = true;
  wanted.options.recover = true;
  // What it rests on may have gone when the grace period was over.
  const bool may_be_gone = w_.collections > machine.behind_since;
  std::string why;
  std::optional<Listing> listing;
  if (const Status done = try_open(machine, wanted); !done) {
    why = done.error().message();
  } else {
    listing = w_.try_list(*machine.mount, why);
  }
  if (listing) {
    w_.find_moment(machine.timeline, machine.timeline.answered, machine.timeline.last(), *listing,
                   "the unpublished work of " + machine.name);
    w_.happened("unpublished work recovered");
  } else if (!may_be_gone) {
    w_.scheduler.give_up("the unpublished work cannot be read: " + why);
  }
  lay_down(machine);
}

// The machine restarts while the store is away.
void Life::mount_offline() {
  writer().mount->die(chance(2));
  w_.bucket.weather.away = true;
  w_.trouble = true;
  w_.happened("restarts without the store");
}

void Life::follow() {
  Machine& c = w_.c;
  if (!c.mount) {
    Mount::Plan wanted = plan();
    wanted.options.engine.read_only = true;
    if (!try_open(c, wanted)) lay_down(c);
    return;
  }
  if (!c.mount->alive()) {
    lay_down(c);
    return;
  }
  const uint64_t before = c.mount->engine().remote().published().seq;
  const auto listing = c.mount->list();
  if (!c.mount->alive() || !listing) return;
  if (c.mount->engine().remote().published().seq != before) return;
  w_.look_at_commits();
  const auto it = w_.commits.find(before);
  if (it == w_.commits.end()) w_.scheduler.give_up("a follower shows a commit that never was");
  if (const auto found = difference(it->second, *listing))
    w_.scheduler.give_up(fmt::format("a follower shows commit {} differently: {}", before, *found));
  w_.happened("followers looked at");
}

void Life::event() {
  if (!writer().mount->alive() || operations_->broken()) {
    after_death();
    return;
  }
  // Collections are rare: who is to die in one gets it soon.
  if (writer().mount->planned_death().at_failpoint.starts_with("collect.") && chance(5)) {
    if (chance(5)) w_.scheduler.sleep(std::chrono::minutes(11));  // commits stay for ten
    collections_.collect();
  }
  // So are disks that are too small for what is cached.
  if (writer().mount->planned_death().at_failpoint == "segment.evicted" && chance(5)) change_disk();
  const uint64_t kind = below(205);
  if (kind < 160) {
    operations_->step();
  } else if (kind < 170) {
    w_.scheduler.sleep(std::chrono::milliseconds(below(chance(3) ? 5'000 : 100)));
  } else if (kind < 176) {
    fsync();
  } else if (kind < 180) {
    flush();
  } else if (kind < 182) {
    change_weather();
  } else if (kind < 183) {
    change_disk();
  } else if (kind < 185) {
    verify();
  } else if (kind < 187) {
    close_and_reopen();
  } else if (kind < 188) {
    writer().mount->die(chance(2));
  } else if (kind < 189) {
    take_over();
  } else if (kind < 190) {
    mount_offline();
  } else if (kind < 196) {
    follow();
  } else if (kind < 200) {
    collections_.collect();
  } else if (kind < 201) {
    collections_.snapshot();
  } else if (kind < 202) {
    leftovers_.plant();
  } else {
    w_.look_at_commits();
  }
  if (w_.unseen.size() > 4) w_.look_at_commits();
}

// Everything gets well; then all must agree: the mount, the store, a machine that never saw it.
void Life::finish() {
  while (!writer().mount->alive() || operations_->broken()) after_death();
  heal();
  stop_client();
  writer().mount->end_store_faults();
  if (!writer().mount->disk_failed()) verify();
  if (writer().mount->alive() && !writer().mount->disk_failed()) {
    const Status closed = writer().mount->close(std::chrono::hours(1));
    if (!closed && writer().mount->alive() && !writer().mount->disk_failed())
      w_.scheduler.give_up("the last close: " + closed.error().message());
    if (closed) {
      w_.look_at_commits();
      if (const auto& now = writer().timeline.now(); !same(now, *w_.last_model))
        w_.scheduler.give_up("closed, and the store has something else");
    }
  }
  lay_down(writer());
  w_.look_at_commits();
  if (w_.c.mount) lay_down(w_.c);
  if (other().mount) lay_down(other());
  w_.scheduler.sleep(std::chrono::hours(2));  // what is under way ends
  collect_everything();
  collections_.look_at_snapshots();
  w_.check_bucket(w_.bucket.copy(), "the bucket in the end");
  w_.shells.clear();  // waits for the threads of the dead
  collections_.end();
  w_.scheduler.sleep(std::chrono::seconds(1));  // the store's own threads
}

// The whole volume, once more, without what nobody needs.
void Life::collect_everything() {
  Mount::Plan well;
  well.options = w_.options;
  if (const Status open = try_open(writer(), std::move(well)); !open)
    w_.scheduler.give_up("the mount that is to collect: " + open.error().message());
  opened(writer());
  leftovers_.collect_all(*writer().mount);
  verify();
  if (const Status closed = writer().mount->close(std::chrono::hours(1)); !closed)
    w_.scheduler.give_up("the close after the collection: " + closed.error().message());
  w_.look_at_commits();
  leftovers_.judge_cache(writer());
  lay_down(writer());
  leftovers_.judge_store();
}

Outcome Life::run() {
  const bool good = w_.scheduler.run([this] {
    w_.choose_settings();
    deaths_one_in_ = 1 + static_cast<unsigned>(below(4));
    format();
    if (const Status done = try_open(writer(), Mount::Plan{w_.options, {}, {}, {}}); !done)
      w_.scheduler.give_up("the first mount: " + done.error().message());
    opened(writer());
    operations_ = std::make_unique<Operations>(w_, writer());
    start_client();
    const uint64_t events = 50 + below(350);
    for (uint64_t i = 0; i < events; ++i) event();
    finish();
  });
  Outcome outcome;
  outcome.good = good;
  outcome.failure = w_.scheduler.failure();
  outcome.trace = w_.scheduler.trace();
  outcome.steps = w_.scheduler.steps();
  outcome.simulated_seconds =
      std::chrono::duration<double>(w_.scheduler.now().time_since_epoch()).count();
  outcome.reached = w_.reached;
  for (const auto& [name, count] : w_.scheduler.failpoints()) outcome.reached[name] += count;
  return outcome;
}

}  // namespace

Outcome live(const Wish& wish) {
  // A life that was given up is left where it stands: its fibers hold what they hold.
  auto life = std::make_unique<Life>(wish);
  Outcome outcome = life->run();
  if (!outcome.good) (void)life.release();
  return outcome;
}

}  // namespace cairn::sim
