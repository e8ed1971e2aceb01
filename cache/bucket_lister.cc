#include "cache/bucket_lister.h"

#include <algorithm>
#include <cerrno>
#include <mutex>

#include "cache/base/log.h"
#include "cache/bucket_names.h"
#include "cache/bucket_past.h"

namespace cairn {

namespace {

constexpr uint32_t kPageNames = 1000;
constexpr unsigned kEmptyPagesMax = 64;  // in a row, with more to come
constexpr size_t kAbsentMax = 16'384;
constexpr size_t kProbesMax = 16'384;
constexpr size_t kChangesMax = 65'536;
constexpr Duration kPatience = std::chrono::seconds(5);   // of who waits for a long listing
constexpr Duration kAwayTerm = std::chrono::seconds(10);  // between two tries while it is away
constexpr Duration kAwayPatience = std::chrono::seconds(10);

}  // namespace

struct BucketLister::Waiter {
  Context context;
  Callback<void> done;
  std::atomic<bool> answered{false};
  CancelToken::Listener listener;
  uint64_t pages_seen = 0;
};

// One listing, or one look at a name. Its requests come one after the other, so only one thread at
// a time touches what is not marked.
struct BucketLister::Flight {
  Key key;
  bool all = false;                              // protected by mutex_: somebody wants every name
  std::vector<std::shared_ptr<Waiter>> waiters;  // protected by mutex_
  std::atomic<uint64_t> pages{0};

  std::string prefix;
  DeepPages::Next next;
  int64_t asked_ns = 0;  // the page under way
  unsigned empty_pages = 0;
  std::string last_object, last_prefix;

  std::string part;
  std::optional<ObjectInfo> object;  // of this part
  ListPage below;                    // what is in the directory of this part
};

BucketLister::BucketLister(const Parts& parts, const Options& options,
                           std::shared_ptr<BucketTree> tree)
    : parts_(parts), options_(options), tree_(std::move(tree)), deep_(*tree_, options.ttl) {}

void BucketLister::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_token_.cancel();
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return flights_.empty(); });
}

// ---- what is known

bool BucketLister::fresh(int64_t seen_ns) const {
  const int64_t age = tree_->now_ns() - seen_ns;
  if (seen_ns > 0 && age >= 0 && age < options_.ttl.count()) return true;
  return seen_ns > 0 && parts_.clock.now() < away_until_.load();
}

Result<bool> BucketLister::has_names(uint64_t dir, bool any_age) {
  TRY_ASSIGN(const bool unpublished, is_unpublished(dir));
  if (unpublished) return true;
  TRY_ASSIGN(const auto listing, tree_->listing(dir));
  return listing && listing->complete && (any_age || fresh(listing->listed_ns));
}

Result<std::optional<BucketEntry>> BucketLister::look_up(uint64_t dir, std::string_view name) {
  if (meaning_of(name).kind == NameMeaning::Kind::kNone) return std::optional<BucketEntry>();
  TRY_ASSIGN(const bool unpublished, is_unpublished(dir));
  if (unpublished) return std::optional<BucketEntry>();
  TRY_ASSIGN(const bool all, has_names(dir, false));
  TRY_ASSIGN(const auto entry, tree_->entry(dir, name));
  if (entry && (all || fresh(entry->seen_ns)) && entry->seen_ns > 0) return entry;
  if (all && !entry) return std::optional<BucketEntry>();
  if (!entry) {
    const std::lock_guard lock(mutex_);
    const auto absent = absent_.find(Key(dir, name));
    if (absent != absent_.end() && fresh(absent->second)) return std::optional<BucketEntry>();
  }
  return fail(Errc::kNotLocal, "a name has to be asked for");
}

// A directory that was made here and is not in the bucket yet: it has no names there.
Result<bool> BucketLister::is_unpublished(uint64_t dir) const {
  if (!is_own_ino(dir)) return false;
  TRY_ASSIGN(const auto node, tree_->node(dir));
  return !node;
}

void BucketLister::expire(uint64_t ino) {
  // A listing that saw it already must not go on without it.
  if (const auto node = tree_->node(ino); node && *node) deep_.forget((*node)->parent);
  auto keys = tree_->expire(ino);
  if (keys) note_changes(*std::move(keys));
}

void BucketLister::note_changes(BucketTree::Keys keys) {
  const std::lock_guard lock(mutex_);
  for (std::string& key : keys) {
    // What is left out the kernel forgets after the TTL.
    if (changes_.keys.size() == kChangesMax) break;
    changes_.keys.push_back(std::move(key));
  }
  changes_.moved = !changes_.keys.empty();
}

Changes BucketLister::take_changes() {
  const std::lock_guard lock(mutex_);
  return std::exchange(changes_, Changes());
}

// ---- who waits

void BucketLister::fetch(const std::vector<Missing::Name>& names, Context context,
                         Callback<void> done) {
  const Callback<void> one = all_of(names.size() + 1, std::move(done));
  for (const Missing::Name& wanted : names) join(wanted, context, one);
  parts_.executor.submit([one] { one({}); });
}

// Lists the directory, or looks for the one name?
Result<BucketLister::Question> BucketLister::what_to_ask(const Missing::Name& wanted) {
  const Key whole(wanted.dir, "");
  const bool of_buckets = tree_->has_buckets() && wanted.dir == BucketTree::kRoot;
  const bool listed_whole = !options_.probe_names || of_buckets || is_past_ino(wanted.dir);
  if (wanted.name.empty() || listed_whole) return Question{whole, true};
  using Kind = NameMeaning::Kind;
  const NameMeaning meaning = meaning_of(wanted.name);
  const bool one_key = meaning.kind == Kind::kPart || meaning.kind == Kind::kBeside;
  // Without a part of its own (keys that begin with '/') a name cannot be asked for alone.
  if (!one_key || meaning.part.empty()) return Question{whole, true};
  TRY_ASSIGN(const auto listing, tree_->listing(wanted.dir));
  if (listing && listing->complete && listing->pages <= 1) return Question{whole, false};
  const std::lock_guard lock(mutex_);
  if (probes_.size() >= kProbesMax) probes_.clear();
  uint64_t& probes = probes_[wanted.dir];
  if (!listing && (!options_.deep_pages || probes > 0)) return Question{whole, false};
  const uint64_t cost = (options_.deep_pages ? 1 : 2) * probes;
  if (listing && listing->complete && cost >= listing->pages) return Question{whole, true};
  ++probes;
  return Question{Key(wanted.dir, wanted.name), false};
}

void BucketLister::join(const Missing::Name& wanted, const Context& context, Callback<void> done) {
  auto waiter = std::make_shared<Waiter>();
  waiter->context = context;
  waiter->done = std::move(done);
  waiter->listener =
      context.cancel.on_cancel([self = weak_from_this(), weak = std::weak_ptr<Waiter>(waiter)] {
        const auto lister = self.lock();
        const auto there = weak.lock();
        if (lister && there)
          lister->answer(there, fail(Errc::kCancelled, "the wait was interrupted", EINTR));
      });
  const auto question = what_to_ask(wanted);
  if (!question) return answer(waiter, tl::unexpected<Error>(question.error()));
  std::shared_ptr<Flight> flight;
  bool is_new = false;
  {
    const std::lock_guard lock(mutex_);
    if (!stopping_) {
      auto& there = flights_[question->key];
      is_new = !there;
      if (is_new) {
        there = std::make_shared<Flight>();
        there->key = question->key;
      }
      flight = there;
      flight->all |= question->all;
      flight->waiters.push_back(waiter);
      waiter->pages_seen = flight->pages;
    }
  }
  if (!flight) return answer(waiter, fail(Errc::kCancelled, "the mount is ending", EIO));
  watch(flight, waiter);
  if (is_new) parts_.executor.submit([self = shared_from_this(), flight] { self->start(flight); });
}

// The waiter's deadline, and the steps of a long listing.
void BucketLister::watch(const std::weak_ptr<Flight>& flight,
                         const std::shared_ptr<Waiter>& waiter) {
  const MonotonicTime step = parts_.clock.now() + kPatience;
  const MonotonicTime at = std::min(step, waiter->context.deadline.at());
  parts_.executor.submit_at(
      at, [lister = weak_from_this(), flight, weak = std::weak_ptr<Waiter>(waiter)] {
        const auto self = lister.lock();
        const auto there = weak.lock();
        const auto listing = flight.lock();
        if (!self || !there || !listing || there->answered) return;
        if (listing->pages > there->pages_seen) return self->answer(there, {});
        if (there->context.deadline.passed(self->parts_.clock))
          return self->answer(there, fail(Errc::kTimeout, "the store did not answer in time"));
        self->watch(listing, there);
      });
}

void BucketLister::answer(const std::shared_ptr<Waiter>& waiter, Status status) {
  if (waiter->answered.exchange(true)) return;
  parts_.executor.submit(
      [waiter, status = std::move(status)] { std::exchange(waiter->done, nullptr)(status); });
}

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
                      self->parts_.executor.submit(
                          [self, flight, page = std::move(page)] { self->listed(flight, page); });
                    });
}

void BucketLister::listed(const std::shared_ptr<Flight>& flight, const Result<ListPage>& page) {
  if (!page) return finish(flight, tl::unexpected<Error>(page.error()));
  const uint64_t dir = flight->key.first;
  // The directory was moved meanwhile: what is here is of the old place. Who waits asks again.
  const auto prefix = tree_->prefix_of(dir);
  if (!prefix || *prefix != flight->prefix) return finish(flight, {});
  const auto complete = take_page(*flight, *page);
  if (!complete) return finish(flight, tl::unexpected<Error>(complete.error()));
  flight->pages = flight->next.pages;
  if (*complete) {
    auto keys = tree_->finish_listing(dir, flight->next.started_ns, flight->next.pages);
    if (!keys) return finish(flight, tl::unexpected<Error>(std::move(keys).error()));
    note_changes(*std::move(keys));
    return done_with(flight);
  }
  bool all = false;
  {
    const std::lock_guard lock(mutex_);
    all = flight->all;
  }
  if (all)
    return with_room(flight, [self = shared_from_this(), flight] { self->list_next(flight); });
  tree_->leave_listing(dir);
  deep_.leave(dir, flight->next);
  done_with(flight);
}

void BucketLister::done_with(const std::shared_ptr<Flight>& flight) {
  with_room(flight, [self = shared_from_this(), flight] { self->finish(flight, {}); });
}

// A store whose pages do not come forward must not keep us for ever.
Status BucketLister::check_page(Flight& flight, const ListPage& page) const {
  const auto stuck = [&flight] {
    return fail(Errc::kIo, "list '" + flight.prefix + "': the listing does not come to an end");
  };
  if (!tree_->has_room())
    return fail(Errc::kNoSpace,
                "the cache has no room for the names of the bucket; mount with a larger "
                "--cache-size",
                ENOSPC);
  if (flight.next.how != DeepPages::How::kLevel) {
    const bool goes_back = !page.objects.empty() && page.objects.front().key <= flight.next.after;
    return goes_back || (page.truncated && page.objects.empty()) ? stuck() : Status();
  }
  // Of what is past a page shows nothing where each version is the newest of its name.
  const bool is_empty = page.objects.empty() && page.prefixes.empty();
  flight.empty_pages = is_empty && !is_past_ino(flight.key.first) ? flight.empty_pages + 1 : 0;
  if (flight.empty_pages > kEmptyPagesMax) return stuck();
  if (page.truncated && page.next.empty()) return stuck();
  // Pages of what is past have no order among them.
  if (is_past_ino(flight.key.first)) {
    if (page.truncated && page.next == flight.next.after) return stuck();
  } else if (!page.objects.empty()) {
    if (page.objects.front().key <= flight.last_object) return stuck();
    flight.last_object = page.objects.back().key;
  }
  if (!page.prefixes.empty()) {
    if (page.prefixes.front() <= flight.last_prefix) return stuck();
    flight.last_prefix = page.prefixes.back();
  }
  return {};
}

// Was it the last one?
Result<bool> BucketLister::take_page(Flight& flight, const ListPage& page) {
  TRY(check_page(flight, page));
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
  return !page.truncated;
}

// Names are written to the disk before there are too many of them in memory.
void BucketLister::with_room(const std::shared_ptr<Flight>& flight, std::function<void()> next) {
  if (tree_->memory_bytes() < options_.memory_bytes) return next();
  parts_.background.submit([self = shared_from_this(), flight, next = std::move(next)] {
    Status kept = self->tree_->checkpoint();
    if (!kept) return self->finish(flight, std::move(kept));
    next();
  });
}

// Keys that begin with the name's: an object of it comes first, what is in a directory of it
// follows a few neighbours at most.
void BucketLister::probe(const std::shared_ptr<Flight>& flight) {
  flight->part = meaning_of(flight->key.second).part;
  flight->asked_ns = flight->next.started_ns = tree_->now_ns();
  const std::string key = flight->prefix + flight->part;
  if (!tree_->check_any_key(key)) return probed(flight);
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
  TRY_ASSIGN(const auto entry, tree_->entry(flight.key.first, shown_name(flight.part)));
  TRY_ASSIGN(const auto node,
             entry ? tree_->node(entry->ino) : Result<std::optional<BucketNode>>(std::nullopt));
  const std::string below = flight.prefix + flight.part + "/";
  if (!node || !entry->is_dir) return {};
  TRY_ASSIGN(const std::string prefix, tree_->prefix_of(entry->ino));
  if (prefix != below) return {};
  const DeepPages::Next asked{DeepPages::How::kDeep, {}, flight.asked_ns, 0};
  TRY_ASSIGN(auto taken, deep_.take(entry->ino, below, asked, flight.below, flight.asked_ns));
  note_changes(std::move(taken.keys));
  if (!taken.complete) {
    deep_.leave(entry->ino, std::move(taken.next));
    return {};
  }
  TRY_ASSIGN(auto keys, tree_->finish_listing(entry->ino, taken.next.started_ns, 1));
  note_changes(std::move(keys));
  return {};
}

void BucketLister::finish(const std::shared_ptr<Flight>& flight, Status status) {
  if (!status) {
    status = settle_for_old(*flight, status);
    // Others can be looked into: it is this bucket's own business.
    const bool in_bucket = tree_->has_buckets() && flight->key.first != BucketTree::kRoot;
    if (!status && in_bucket && status.error().code() == Errc::kPermission)
      status = fail(Errc::kPermission, status.error().message(), EACCES);
  } else {
    away_until_ = MonotonicTime::min();
  }
  std::vector<std::shared_ptr<Waiter>> waiters;
  {
    const std::lock_guard lock(mutex_);
    waiters.swap(flight->waiters);
    flights_.erase(flight->key);
    if (flight->key.second.empty()) probes_.erase(flight->key.first);
    idle_.notify_all();
  }
  for (const auto& waiter : waiters) answer(waiter, status);
}

// The store is away: what was listed once is shown on.
Status BucketLister::settle_for_old(const Flight& flight, const Status& failed) {
  const Errc code = failed.error().code();
  const auto [dir, name] = flight.key;
  if ((code != Errc::kTransient && code != Errc::kTimeout) || stop_token_.cancelled())
    return failed;
  TRY_ASSIGN(const auto listing, tree_->listing(dir));
  TRY_ASSIGN(const auto entry, tree_->entry(dir, name));
  const bool has_old = listing && listing->complete && listing->listed_ns > 0;
  if (!has_old && (!entry || entry->seen_ns == 0)) return failed;
  away_until_ = parts_.clock.now() + kAwayTerm;
  log_once_per(
      std::chrono::minutes(10), "names",
      "the store cannot be read, what was listed before is shown: " + failed.error().message());
  return {};
}

}  // namespace cairn
