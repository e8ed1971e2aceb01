#include "tests/sim/mount.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace cairn::sim {

Mount::Mount(Scheduler& scheduler, Disk& disk, Bucket& bucket, Plan plan)
    : Mount(scheduler, disk, bucket, nullptr, std::move(plan)) {
  wire_ = std::make_shared<Wire>(bucket, io_);
  faulty_ = std::make_shared<test::FaultyStore>(
      wire_, test::FaultyStore::Parts{io_, scheduler_.clock(), *rng_});
  for (const test::StoreFault& fault : plan_.store) faulty_->add(fault);
  auto limiting = std::make_shared<LimitingStore>(faulty_, io_, scheduler_.clock());
  store_ = std::make_shared<RetryingStore>(std::move(limiting),
                                           RetryingStore::Parts{io_, scheduler_.clock(), *rng_});
}

Mount::Mount(Scheduler& scheduler, Disk& disk, Bucket&, std::shared_ptr<ObjectStore> store,
             Plan plan)
    : scheduler_(scheduler),
      disk_(disk),
      plan_(std::move(plan)),
      view_(disk, plan_.disk),
      io_(scheduler, "io", 2, this),
      work_(scheduler, "work", 2, this),
      maintenance_(scheduler, "maint", 1, this),
      publishing_(scheduler, "pub", 1, this),
      rng_(make_seeded_rng(scheduler.rng().next())),
      store_(std::move(store)) {
  view_.set_dying([this] { return !dead_ && points_ + 1 == plan_.death.at_point; });
}

Mount::~Mount() = default;

void Mount::at_point(const char* name) {
  if (dead_) return;
  ++points_;
  scheduler_.mix(points_);
  const Death& death = plan_.death;
  const bool due =
      points_ == death.at_point ||
      (!death.at_failpoint.empty() && death.at_failpoint == name && ++named_ == death.nth);
  if (due) {
    scheduler_.note(fmt::format("dies at point {} '{}'", points_, name));
    died_where_ = name;
    die(death.power_cut);
  }
}

void Mount::die(bool power_cut) {
  if (dead_) return;
  scheduler_.note(power_cut ? "POWER CUT" : "KILLED");
  dead_ = true;
  power_cut_ = power_cut;
  died_at_ = scheduler_.now();
  view_.die();
  if (power_cut) {
    disk_.power_cut();
  } else {
    disk_.kill();
  }
  if (wire_) wire_->cut();
  hung_up_.cancel();
  no_collection_.cancel();
}

Status Mount::open() {
  Process* before = scheduler_.enter(this);
  const auto opened = [&]() -> Status {
    TRY_ASSIGN(cache_, CacheDir::open(view_, *rng_, "/cache", store_->description()));
    cache_id_ = cache_->identity().cache_id;
    const MountEnvironment environment{
        *store_,
        view_,
        scheduler_.clock(),
        *rng_,
        work_,
        maintenance_,
        publishing_,
        [this](const std::string&, uint64_t) -> Result<std::unique_ptr<MetaStore>> {
          return view_.meta();
        }};
    Context context;
    context.deadline = Deadline::after(scheduler_.clock(), std::chrono::minutes(2));
    context.cancel = hung_up_;
    TRY_ASSIGN(mount_, open_mount(*cache_, environment, plan_.options, context));
    TRY_ASSIGN(volume_, Volume::open(engine(), mount_.slot.slot, mount_.slot.next_group));
    return {};
  }();
  was_open_ = opened.has_value();
  if (!opened) {
    mount_ = {};
    cache_.reset();
  }
  scheduler_.enter(before);
  return opened;
}

bool Mount::collect(CollectOptions how, std::function<void(const Result<CollectReport>&)> done) {
  if (collecting_ || no_collection_.cancelled()) return false;
  collecting_ = true;
  scheduler_.spawn("collector", this, [this, how = std::move(how), done = std::move(done)] {
    Context context;
    context.cancel = no_collection_;
    const auto report = engine().collect(
        [&](PublishHost& host) { return mount_.remote->collect(how, host, context); });
    if (alive()) done(report);
    collecting_ = false;
  });
  return true;
}

void Mount::stop_collecting() {
  no_collection_.cancel();
  while (collecting_) scheduler_.sleep(std::chrono::milliseconds(1));
}

Status Mount::close(Duration patience) {
  stop_collecting();
  Process* before = scheduler_.enter(this);
  Context context;
  context.deadline = Deadline::after(scheduler_.clock(), patience);
  context.cancel = hung_up_;
  const Status closed = engine().close(context, nullptr);
  volume_.reset();
  mount_ = {};
  cache_.reset();
  scheduler_.enter(before);
  return closed;
}

void Mount::bury() {
  die(false);
  stop_collecting();
  Process* before = scheduler_.enter(this);
  if (mount_.engine) engine().abandon();
  volume_.reset();
  mount_ = {};
  cache_.reset();
  scheduler_.enter(before);
}

void Mount::end_store_faults() {
  if (faulty_) faulty_->clear();
}

// ---- what it shows

Result<Listing> Mount::list() {
  Listing out;
  TRY(list_node(kRootIno, "", out));
  return out;
}

Status Mount::read_node(Ino ino, Shown& shown) {
  const auto type = type_of_mode(shown.attr.mode);
  if (!type) return fail(Errc::kCorruption, "a mode without a type");
  if (*type == FileType::kSymlink) {
    TRY_ASSIGN(shown.bytes, run([&](Volume& v, Need& n) { return v.readlink(ino, n); }));
  } else if (*type == FileType::kRegular) {
    TRY_ASSIGN(const HandleId handle, run([&](Volume& v, Need& n) { return v.open_file(ino, n); }));
    const auto read =
        run([&](Volume& v, Need& n) { return v.read(handle, 0, shown.attr.size + 100, n); });
    if (volume_) volume_->release_file(handle);
    if (!read) return tl::unexpected<Error>(read.error());
    shown.bytes = to_string(*read);
  }
  TRY_ASSIGN(const auto names,
             run([&](Volume& v, Need& n) { return v.listxattr(ino, Caller{}, n); }));
  for (const std::string& name : names) {
    TRY_ASSIGN(const auto value, run([&](Volume& v, Need& n) { return v.getxattr(ino, name, n); }));
    shown.xattrs[name] = to_string(value);
  }
  return {};
}

Status Mount::list_node(Ino ino, const std::string& path, Listing& out) {
  Shown shown;
  TRY_ASSIGN(shown.attr, run([&](Volume& v, Need& n) { return v.getattr(ino, n); }));
  TRY(read_node(ino, shown));
  const bool is_dir = type_of_mode(shown.attr.mode) == FileType::kDirectory;
  std::vector<DirEntry> entries;
  if (is_dir) {
    TRY_ASSIGN(const HandleId handle, run([&](Volume& v, Need& n) { return v.open_dir(ino, n); }));
    uint64_t after = 0;
    Status status;
    while (true) {
      const auto page = run([&](Volume& v, Need& n) {
        return v.readdir(handle, after, 1 + scheduler_.rng().below(9), true, n);
      });
      if (!page) status = tl::unexpected<Error>(page.error());
      if (!page || page->empty()) break;
      after = page->back().cookie;
      for (const DirEntry& entry : *page)
        if (entry.name != "." && entry.name != "..") entries.push_back(entry);
    }
    if (volume_) volume_->release_dir(handle);
    TRY(status);
    for (const DirEntry& entry : entries) shown.children.push_back(entry.name);
    std::sort(shown.children.begin(), shown.children.end());
    if (std::adjacent_find(shown.children.begin(), shown.children.end()) != shown.children.end())
      scheduler_.give_up("a directory lists a name twice: " + path);
  }
  out[path] = std::move(shown);
  for (const DirEntry& entry : entries) TRY(list_node(entry.ino, path + "/" + entry.name, out));
  return {};
}

}  // namespace cairn::sim
