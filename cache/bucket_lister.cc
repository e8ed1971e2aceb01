#include "cache/bucket_flight.h"

#include <algorithm>
#include <cerrno>
#include <mutex>

#include "cache/base/log.h"
#include "cache/bucket_names.h"
#include "cache/bucket_past.h"

namespace cairn {

namespace {

constexpr size_t kProbesMax = 16'384;
constexpr size_t kChangesMax = 65'536;
constexpr size_t kNextNames = 64;                         // of who walks, and does not look at each
constexpr Duration kBegunMost = std::chrono::minutes(5);  // own changes are remembered for longer
constexpr Duration kPatience = std::chrono::seconds(5);   // of who waits for a long listing
constexpr Duration kAwayTerm = std::chrono::seconds(10);  // between two tries while it is away

}  // namespace

BucketLister::BucketLister(const Parts& parts, const Options& options,
                           std::shared_ptr<BucketTree> tree)
    : parts_(parts),
      options_(options),
      tree_(std::move(tree)),
      deep_(*tree_, std::min(options.ttl / 2, kBegunMost)) {}

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
  if (wanted.name.empty() || listed_whole) return Question{whole, true, {}};
  using Kind = NameMeaning::Kind;
  const NameMeaning meaning = meaning_of(wanted.name);
  const bool one_key = meaning.kind == Kind::kPart || meaning.kind == Kind::kBeside;
  // Without a part of its own (keys that begin with '/') a name cannot be asked for alone.
  if (!one_key || meaning.part.empty()) return Question{whole, true, {}};
  TRY_ASSIGN(const auto listing, tree_->listing(wanted.dir));
  if (listing && listing->complete && listing->pages <= 1) return Question{whole, false, {}};
  TRY_ASSIGN(std::string after, walked_from(wanted));
  if (!after.empty()) return Question{Key(wanted.dir, wanted.name), false, std::move(after)};
  const std::lock_guard lock(mutex_);
  if (probes_.size() >= kProbesMax) probes_.clear();
  uint64_t& probes = probes_[wanted.dir];
  if (!listing && (!options_.deep_pages || probes > 0)) return Question{whole, false, {}};
  const uint64_t cost = (options_.deep_pages ? 1 : 2) * probes;
  if (listing && listing->complete && cost >= listing->pages) return Question{whole, true, {}};
  ++probes;
  return Question{Key(wanted.dir, wanted.name), false, {}};
}

// Whoever looks at all names of a directory, for longer than what was listed counts, does so in
// their order.
Result<std::string> BucketLister::walked_from(const Missing::Name& wanted) const {
  Walk walk;
  {
    const std::lock_guard lock(mutex_);
    const auto there = walks_.find(wanted.dir);
    if (there == walks_.end() || there->second.name >= wanted.name) return std::string();
    walk = there->second;
  }
  TRY_ASSIGN(const auto next, tree_->entries(wanted.dir, walk.name + '\0', kNextNames));
  const bool follows = std::any_of(
      next.begin(), next.end(), [&wanted](const auto& each) { return each.name == wanted.name; });
  return follows ? std::move(walk.after) : std::string();
}

// `key`: what was seen last of the directory. Where nothing is behind it `after` is empty.
void BucketLister::note_walk(const Flight& flight, std::string_view key, std::string after) {
  if (!options_.deep_pages || key.size() <= flight.prefix.size()) return;
  std::string_view part = key.substr(flight.prefix.size());
  if (part.ends_with('/')) part.remove_suffix(1);
  const std::lock_guard lock(mutex_);
  if (walks_.size() >= kProbesMax) walks_.clear();
  if (after.empty())
    walks_.erase(flight.key.first);
  else
    walks_[flight.key.first] = {shown_name(part), std::move(after)};
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
        there->walk_after = question->after;
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
