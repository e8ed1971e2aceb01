#include <algorithm>
#include <cerrno>
#include <mutex>

#include "cache/base/log.h"
#include "cache/bucket_flight.h"
#include "cache/bucket_names.h"
#include "cache/bucket_past.h"

namespace cairn {

namespace {

constexpr uint32_t kPageNames = 1000;
constexpr unsigned kEmptyPagesMax = 64;  // in a row, with more to come
constexpr size_t kAbsentMax = 16'384;
constexpr uint64_t kSplitPages = 32;  // after so many a listing goes on in several places
constexpr size_t kSplitsMax = 24;
constexpr Duration kAwayPatience = std::chrono::seconds(10);

}  // namespace

// ---- requests

// Somebody who has something to show while the store is away is not kept waiting for long.
Context BucketLister::request_context(uint64_t dir) {
  const auto listing = tree_->listing(dir);
  const bool has_old = listing && *listing && (*listing)->complete;
  Context context;
  context.cancel = stop_token_;
  const Duration patience =
      has_old ? std::min(kAwayPatience, options_.io_timeout) : options_.io_timeout;
  context.deadline = Deadline::after(parts_.clock, patience);
  return context;
}

void BucketLister::start(const std::shared_ptr<Flight>& flight) {
  auto prefix = tree_->prefix_of(flight->key.first);
  if (!prefix) return finish(flight, tl::unexpected<Error>(std::move(prefix).error()));
  flight->prefix = *std::move(prefix);
  if (!flight->key.second.empty()) return probe(flight);
  const auto first_ino = tree_->first_new_ino();
  if (!first_ino) return finish(flight, tl::unexpected<Error>(first_ino.error()));
  flight->first_ino = *first_ino;
  bool all = false;
  {
    const std::lock_guard lock(mutex_);
    all = flight->all;
  }
  auto next = deep_.first(flight->key.first, flight->prefix, all && options_.deep_pages);
  if (!next) return finish(flight, tl::unexpected<Error>(std::move(next).error()));
  flight->next = *std::move(next);
  list_next(flight);
}

void BucketLister::list_next(const std::shared_ptr<Flight>& flight) {
  flight->asked_ns = tree_->now_ns();
  parts_.store.list(DeepPages::scope_of(flight->prefix, flight->next.how), flight->next.after,
                    kPageNames, request_context(flight->key.first),
                    [self = shared_from_this(), flight](Result<ListPage> page) {
                      self->with_room(std::move(page), [self, flight](const auto& listed) {
                        self->listed(flight, listed);
                      });
                    });
}

void BucketLister::listed(const std::shared_ptr<Flight>& flight, const Result<ListPage>& page) {
  if (!page) return give_up(flight, page.error());
  const uint64_t dir = flight->key.first;
  // The directory was moved meanwhile: what is here is of the old place. Who waits asks again.
  const auto prefix = tree_->prefix_of(dir);
  if (!prefix || *prefix != flight->prefix) return finish(flight, {});
  const auto complete = take_page(*flight, *page);
  if (!complete) return finish(flight, tl::unexpected<Error>(complete.error()));
  flight->pages = flight->next.pages;
  if (*complete) return end_listing(flight);
  bool all = false;
  {
    const std::lock_guard lock(mutex_);
    all = flight->all;
  }
  if (all) {
    if (!split(flight)) list_next(flight);
    return;
  }
  tree_->leave_listing(dir);
  deep_.leave(dir, flight->prefix, flight->next);
  done_with(flight);
}

void BucketLister::end_listing(const std::shared_ptr<Flight>& flight) {
  auto keys = tree_->finish_listing(flight->key.first, flight->next.started_ns, flight->pages,
                                    flight->next.idle_ns);
  if (!keys) return finish(flight, tl::unexpected<Error>(std::move(keys).error()));
  note_changes(*std::move(keys));
  done_with(flight);
}

void BucketLister::done_with(const std::shared_ptr<Flight>& flight) {
  if (has_room()) return finish(flight, {});
  parts_.background.submit(
      [self = shared_from_this(), flight] { self->finish(flight, self->make_room()); });
}

// A store whose pages do not come forward must not keep us for ever.
Status BucketLister::check_page(const Flight& flight, Run& run, const ListPage& page) const {
  const auto stuck = [&flight] {
    return fail(Errc::kIo, "list '" + flight.prefix + "': the listing does not come to an end");
  };
  if (flight.next.how != DeepPages::How::kLevel) {
    const bool goes_back = !page.objects.empty() && page.objects.front().key <= flight.next.after;
    return goes_back || (page.truncated && page.objects.empty()) ? stuck() : Status();
  }
  // Of what is past a page shows nothing where each version is the newest of its name.
  const bool is_past = is_past_ino(flight.key.first);
  const bool is_empty = page.objects.empty() && page.prefixes.empty();
  run.empty_pages = is_empty && !is_past ? run.empty_pages + 1 : 0;
  if (run.empty_pages > kEmptyPagesMax) return stuck();
  if (page.truncated && page.next.empty()) return stuck();
  // Pages of what is past have no order among them.
  if (is_past) {
    if (page.truncated && page.next == run.after) return stuck();
  } else if (!page.objects.empty()) {
    if (page.objects.front().key <= run.last_object) return stuck();
    run.last_object = page.objects.back().key;
  }
  if (!page.prefixes.empty()) {
    if (page.prefixes.front() <= run.last_prefix) return stuck();
    run.last_prefix = page.prefixes.back();
  }
  return {};
}

// Was it the last one?
Result<bool> BucketLister::take_page(Flight& flight, const ListPage& page) {
  flight.run.after = flight.next.after;
  TRY(check_page(flight, flight.run, page));
  const uint64_t dir = flight.key.first;
  if (flight.next.how != DeepPages::How::kLevel) {
    TRY_ASSIGN(auto taken, deep_.take(dir, flight.prefix, flight.next, page, flight.asked_ns));
    note_changes(std::move(taken.keys));
    flight.next = std::move(taken.next);
    return taken.complete;
  }
  TRY_ASSIGN(auto keys, tree_->note_page(dir, flight.prefix, page, flight.asked_ns));
  note_changes(std::move(keys));
  ++flight.next.pages;
  flight.next.after = page.next;
  flight.next.cut.clear();
  for (const ObjectInfo& object : page.objects)
    if (object.key.size() > flight.prefix.size())
      flight.names.note(std::string_view(object.key).substr(flight.prefix.size()));
  for (const std::string& prefix : page.prefixes) flight.names.note(part_in_prefix(prefix));
  return !page.truncated;
}

// The rest of a large directory, in several places at once.
bool BucketLister::split(const std::shared_ptr<Flight>& flight) {
  const bool is_long = flight->next.how == DeepPages::How::kLevel &&
                       flight->next.pages >= kSplitPages && options_.deep_pages &&
                       !is_past_ino(flight->key.first);
  if (!is_long) return false;
  const auto points = flight->names.split_points(kSplitsMax);
  if (points.empty()) return false;
  std::vector<std::shared_ptr<Run>> runs;
  for (const std::string& point : points) {
    auto run = std::make_shared<Run>();
    run->after = runs.empty() ? flight->next.after : level_behind_key(runs.back()->until);
    run->until = flight->prefix + point;
    runs.push_back(std::move(run));
  }
  runs.push_back(std::make_shared<Run>());
  runs.back()->after = level_behind_key(flight->prefix + points.back());
  {
    const std::lock_guard lock(mutex_);
    flight->runs_left = runs.size();
  }
  for (const auto& run : runs) run_on(flight, run);
  return true;
}

void BucketLister::run_on(const std::shared_ptr<Flight>& flight, const std::shared_ptr<Run>& run) {
  run->asked_ns = tree_->now_ns();
  run->pages_seen = flight->pages;
  const auto listed = [self = shared_from_this(), flight, run](const Result<ListPage>& page) {
    if (self->is_only_late(*flight, *run, page)) return self->run_on(flight, run);
    const auto over = self->take_run(*flight, *run, page);
    if (!over) return self->run_over(flight, tl::unexpected<Error>(over.error()));
    if (*over) return self->run_over(flight, {});
    self->run_on(flight, run);
  };
  parts_.store.list(ListScope::level(flight->prefix), run->after, kPageNames,
                    request_context(flight->key.first),
                    [self = shared_from_this(), listed](Result<ListPage> page) {
                      self->with_room(std::move(page), listed);
                    });
}

// A slow store answers the others: many are under way.
bool BucketLister::is_only_late(const Flight& flight, const Run& run,
                                const Result<ListPage>& page) const {
  if (page || stop_token_.cancelled()) return false;
  const Errc code = page.error().code();
  const bool passes = code == Errc::kTimeout || code == Errc::kTransient;
  return passes && flight.pages > run.pages_seen;
}

// Was it the last one, or is there nothing to go on for?
Result<bool> BucketLister::take_run(Flight& flight, Run& run, const Result<ListPage>& page) {
  TRY(page);
  const auto prefix = tree_->prefix_of(flight.key.first);
  if (!prefix || *prefix != flight.prefix) {
    const std::lock_guard lock(mutex_);
    return flight.moved = true;
  }
  TRY(check_page(flight, run, *page));
  TRY_ASSIGN(auto keys, tree_->note_page(flight.key.first, flight.prefix, *page, run.asked_ns));
  note_changes(std::move(keys));
  ++flight.pages;
  run.after = page->next;
  const bool is_behind =
      !run.until.empty() && std::max(run.last_object, run.last_prefix) > run.until;
  const std::lock_guard lock(mutex_);
  return !page->truncated || is_behind || !flight.failed || flight.moved;
}

void BucketLister::run_over(const std::shared_ptr<Flight>& flight, Status status) {
  Status failed;
  bool moved = false;
  {
    const std::lock_guard lock(mutex_);
    if (!status && flight->failed) flight->failed = std::move(status);
    if (--flight->runs_left > 0) return;
    failed = flight->failed;
    moved = flight->moved;
  }
  if (moved) return finish(flight, std::move(failed));  // who waits asks again
  if (!failed) return give_up(flight, failed.error());
  end_listing(flight);
}

bool BucketLister::has_room() const {
  return tree_->memory_bytes() < options_.memory_bytes && tree_->has_room();
}

// Names are written to the disk before there are too many of them in memory, and others are
// forgotten for them where they fill their place.
void BucketLister::with_room(Result<ListPage> page,
                             std::function<void(const Result<ListPage>&)> next) {
  auto& executor = page && !has_room() ? parts_.background : parts_.executor;
  executor.submit([self = shared_from_this(), next = std::move(next), page = std::move(page)] {
    if (!page || self->has_room()) return next(page);
    Status made = self->make_room();
    if (made && !self->tree_->has_room())
      made = fail(Errc::kNoSpace,
                  "the cache has no room for the names of the bucket; mount with a larger "
                  "--cache-size",
                  ENOSPC);
    if (made) return next(page);
    next(tl::unexpected<Error>(made.error()));
  });
}

// Blocks.
Status BucketLister::make_room() {
  TRY(tree_->checkpoint());
  if (tree_->has_room()) return {};
  std::set<uint64_t> busy;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, flight] : flights_) busy.insert(key.first);
  }
  BucketTree::Keys keys;
  const Status made = tree_->make_room(busy, tree_->now_ns() - options_.ttl.count(), keys);
  note_changes(std::move(keys));
  return made;
}

// What there is no room for does not take it from others: what the listing found goes.
void BucketLister::give_up(const std::shared_ptr<Flight>& flight, const Error& why) {
  if (why.code() != Errc::kNoSpace || !flight->key.second.empty())
    return finish(flight, tl::unexpected<Error>(why));
  log_once_per(std::chrono::minutes(1), "names without room",
               "list '" + flight->prefix + "': " + why.message());
  parts_.background.submit([self = shared_from_this(), flight, why] {
    BucketTree::Keys keys;
    const Status forgot = self->tree_->forget_new_names(flight->key.first, flight->first_ino, keys);
    self->note_changes(std::move(keys));
    self->finish(flight, forgot ? tl::unexpected<Error>(why) : forgot);
  });
}

// Keys that begin with the name's: an object of it comes first, what is in a directory of it
// follows a few neighbours at most.
void BucketLister::probe(const std::shared_ptr<Flight>& flight) {
  flight->part = meaning_of(flight->key.second).part;
  flight->asked_ns = flight->next.started_ns = tree_->now_ns();
  const std::string key = flight->prefix + flight->part;
  if (!tree_->check_any_key(key)) return probed(flight);
  if (!flight->walk_after.empty()) return probe_page(flight);
  parts_.store.list(key, "", options_.deep_pages ? kPageNames : 1,
                    request_context(flight->key.first),
                    [self = shared_from_this(), flight, key](Result<ListPage> page) {
                      self->parts_.executor.submit([self, flight, key, page = std::move(page)] {
                        if (!page) return self->finish(flight, tl::unexpected<Error>(page.error()));
                        const std::string below = key + "/";
                        std::string last;
                        for (const ObjectInfo& object : page->objects) {
                          if (object.key == key) flight->object = object;
                          if (object.key.starts_with(below))
                            flight->below.objects.push_back(object);
                          last = object.key;
                        }
                        flight->below.truncated = page->truncated && last.starts_with(below);
                        if (page->truncated && last < below) return self->probe_directory(flight);
                        self->probed(flight);
                      });
                    });
}

// The name and what is behind it.
void BucketLister::probe_page(const std::shared_ptr<Flight>& flight) {
  parts_.store.list(ListScope::level(flight->prefix), flight->walk_after, kPageNames,
                    request_context(flight->key.first),
                    [self = shared_from_this(), flight](Result<ListPage> page) {
                      self->with_room(std::move(page), [self, flight](const auto& listed) {
                        self->probed_page(flight, listed);
                      });
                    });
}

void BucketLister::probed_page(const std::shared_ptr<Flight>& flight,
                               const Result<ListPage>& page) {
  if (!page && page.error().code() != Errc::kNoSpace)
    return finish(flight, tl::unexpected<Error>(page.error()));
  const auto& [dir, name] = flight->key;
  const auto prefix = tree_->prefix_of(dir);
  if (!prefix || *prefix != flight->prefix) return finish(flight, {});
  if (!page) {  // one name has room
    flight->walk_after.clear();
    return probe(flight);
  }
  Run run;
  run.after = flight->walk_after;
  if (Status good = check_page(*flight, run, *page); !good) return finish(flight, std::move(good));
  auto keys = tree_->note_page(dir, flight->prefix, *page, flight->asked_ns);
  if (!keys) return finish(flight, tl::unexpected<Error>(std::move(keys).error()));
  note_changes(*std::move(keys));
  const std::string last = std::max(run.last_object, run.last_prefix);
  note_walk(*flight, last, page->truncated ? page->next : std::string());
  const auto there = tree_->entry(dir, name);
  if (there && *there && (*there)->seen_ns >= flight->asked_ns) return done_with(flight);
  // It is not there, or not in this page.
  flight->walk_after.clear();
  probe(flight);
}

void BucketLister::probe_directory(const std::shared_ptr<Flight>& flight) {
  flight->asked_ns = tree_->now_ns();
  parts_.store.list(flight->prefix + flight->part + "/", "", options_.deep_pages ? kPageNames : 1,
                    request_context(flight->key.first),
                    [self = shared_from_this(), flight](Result<ListPage> page) {
                      self->parts_.executor.submit([self, flight, page = std::move(page)] {
                        if (!page) return self->finish(flight, tl::unexpected<Error>(page.error()));
                        flight->below = *page;
                        self->probed(flight);
                      });
                    });
}

void BucketLister::probed(const std::shared_ptr<Flight>& flight) {
  const auto prefix = tree_->prefix_of(flight->key.first);
  if (!prefix || *prefix != flight->prefix) return finish(flight, {});
  if (Status settled = settle_probe(*flight); !settled) return finish(flight, std::move(settled));
  done_with(flight);
}

Status BucketLister::settle_probe(const Flight& flight) {
  const auto& [dir, name] = flight.key;
  const bool is_dir = !flight.below.objects.empty();
  const std::string key = flight.prefix + flight.part;
  note_walk(flight, key, is_dir ? level_behind_prefix(key + "/") : level_behind_key(key));
  TRY_ASSIGN(auto keys,
             tree_->settle(dir, flight.part, flight.object, is_dir, flight.next.started_ns));
  note_changes(std::move(keys));
  TRY_ASSIGN(const auto there, tree_->entry(dir, name));
  if (!there) {
    const std::lock_guard lock(mutex_);
    if (absent_.size() >= kAbsentMax) absent_.clear();
    absent_[flight.key] = tree_->now_ns();
  }
  return is_dir && options_.deep_pages && tree_->has_room() ? take_probed_directory(flight)
                                                            : Status();
}

Status BucketLister::take_probed_directory(const Flight& flight) {
  const std::string below = flight.prefix + flight.part + "/";
  TRY_ASSIGN(const auto ino, deep_.directory_in(flight.key.first, below, flight.asked_ns));
  if (!ino) return {};
  const DeepPages::Next asked{DeepPages::How::kDeep, {}, flight.asked_ns, 0};
  TRY_ASSIGN(auto taken, deep_.take(*ino, below, asked, flight.below, flight.asked_ns));
  note_changes(std::move(taken.keys));
  if (!taken.complete) {
    deep_.leave(*ino, below, std::move(taken.next));
    return {};
  }
  TRY_ASSIGN(auto keys, tree_->finish_listing(*ino, taken.next.started_ns, 1));
  note_changes(std::move(keys));
  return {};
}

}  // namespace cairn
