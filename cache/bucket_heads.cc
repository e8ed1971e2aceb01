#include "cache/bucket_heads.h"

#include <sys/stat.h>

#include <algorithm>
#include <mutex>

#include "cache/base/log.h"
#include "cache/object_attrs.h"

namespace cairn {

namespace {

constexpr size_t kHeadsMax = 32;
constexpr size_t kAhead = 255;
constexpr size_t kHeadsWaitingMax = 16'384;
constexpr size_t kGivenUpMax = 16'384;
constexpr uint64_t kLinkTargetMax = 4095;
constexpr Duration kAskAgainTerm = std::chrono::seconds(10);
constexpr Duration kHeadsPatience = std::chrono::seconds(10);
constexpr Duration kRefusedTerm = std::chrono::minutes(1);

bool is_link(BucketNode::Kind kind, uint64_t size, const ObjectHeaders& headers) {
  const auto mode = attrs_of(headers).mode;
  return kind == BucketNode::Kind::kFile && mode && S_ISLNK(*mode) && size > 0 &&
         size <= kLinkTargetMax;
}

}  // namespace

BucketHeads::BucketHeads(const BucketLister::Parts& parts, const Options& options,
                         std::shared_ptr<BucketTree> tree, std::shared_ptr<BucketLister> lister)
    : parts_(parts), options_(options), tree_(std::move(tree)), lister_(std::move(lister)) {}

void BucketHeads::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_token_.cancel();
  drop_waiting(fail(Errc::kCancelled, "the mount is ending", EIO));
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return under_way_ == 0; });
}

// Those that no request was made for.
void BucketHeads::drop_waiting(const Status& status) {
  std::vector<Waiter> waiters;
  {
    const std::lock_guard lock(mutex_);
    for (const uint64_t ino : std::exchange(waiting_, {})) {
      const auto flight = flights_.find(ino);
      waiters.insert(waiters.end(), flight->second.begin(), flight->second.end());
      flights_.erase(flight);
    }
  }
  for (const Waiter& waiter : waiters) waiter->finish(status);
}

bool BucketHeads::knows(const BucketNode& node) const {
  if (!node.headers) return false;
  return !options_.ahead || !node.headers_asked || !node.target.empty() ||
         !is_link(node.kind, node.size, *node.headers);
}

bool BucketHeads::given_up(uint64_t ino) const {
  const MonotonicTime now = parts_.clock.now();
  if (now < away_until_.load()) return true;
  const std::lock_guard lock(mutex_);
  const auto there = given_up_.find(ino);
  return there != given_up_.end() && now < there->second;
}

bool BucketHeads::tags_given_up(uint64_t ino) const {
  const MonotonicTime now = parts_.clock.now();
  if (now < away_until_.load()) return true;
  const std::lock_guard lock(mutex_);
  const auto there = tags_given_up_.find(ino);
  return there != tags_given_up_.end() && now < there->second;
}

void BucketHeads::want(uint64_t ino, Want what) {
  const std::lock_guard lock(mutex_);
  if (wants_.size() >= kGivenUpMax) wants_.clear();  // who waits says it again
  wants_[ino] = what;
}

void BucketHeads::give_up(uint64_t ino, Duration term) {
  const std::lock_guard lock(mutex_);
  if (given_up_.size() >= kGivenUpMax) given_up_.clear();
  given_up_[ino] = parts_.clock.now() + term;
}

void BucketHeads::fetch(const std::vector<uint64_t>& inos, const Context& context,
                        Callback<void> done) {
  const Callback<void> one = all_of(inos.size(), std::move(done));
  for (const uint64_t ino : inos) {
    const auto waiter = std::make_shared<Pending<void>>(parts_.executor, parts_.clock, context,
                                                        "attributes of an object", one);
    waiter->watch();
    ask(ino, waiter);
    if (options_.ahead) ask_ahead(ino);
  }
  start_some();
}

void BucketHeads::ask(uint64_t ino, const Waiter& waiter) {
  const std::lock_guard lock(mutex_);
  if (stopping_) {
    if (waiter) waiter->finish(fail(Errc::kCancelled, "the mount is ending", EIO));
    return;
  }
  const auto [flight, is_new] = flights_.try_emplace(ino);
  if (!is_new && !waiter) return;
  if (!waiter) return waiting_.push_back(ino);
  const bool was_ahead = !is_new && flight->second.empty();
  flight->second.push_back(waiter);
  if (was_ahead && std::erase(waiting_, ino) == 0) return;  // its request is under way
  if (is_new || was_ahead) waiting_.push_front(ino);
}

// Those that follow in the same directory.
void BucketHeads::ask_ahead(uint64_t ino) {
  const auto node = tree_->node(ino);
  if (!node || !*node) return;
  const auto name = tree_->shown_as(ino, **node);
  if (!name || name->empty()) return;
  const auto names = tree_->entries((*node)->parent, *name + '\0', kAhead);
  if (!names) return;
  for (const BucketTree::Named& each : *names) {
    const auto next = tree_->node(each.entry.ino);
    if (!next || !*next || knows(**next)) continue;
    if (tree_->is_held(each.entry.ino) || given_up(each.entry.ino)) continue;
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.size() >= kHeadsWaitingMax) return;
    }
    ask(each.entry.ino, nullptr);
  }
}

void BucketHeads::start_some() {
  while (!needs_room()) {
    uint64_t ino = 0;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_ || makes_room_ || waiting_.empty() || under_way_ >= kHeadsMax) return;
      ino = waiting_.front();
      waiting_.pop_front();
      ++under_way_;
    }
    parts_.executor.submit([self = shared_from_this(), ino] { self->request(ino); });
  }
}

// What is known goes to the disk first when there is too much of it in memory.
bool BucketHeads::needs_room() {
  if (tree_->memory_bytes() < options_.memory_bytes) return false;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || makes_room_) return true;
    makes_room_ = true;
    ++under_way_;
  }
  parts_.background.submit([self = shared_from_this()] {
    if (const Status kept = self->tree_->checkpoint(); !kept)
      self->away_until_ = self->parts_.clock.now() + kAskAgainTerm;
    {
      const std::lock_guard lock(self->mutex_);
      self->makes_room_ = false;
      if (--self->under_way_ == 0) self->idle_.notify_all();
    }
    if (self->tree_->memory_bytes() < self->options_.memory_bytes) return self->start_some();
    self->drop_waiting({});  // they look again, and see that nothing can be learned
  });
  return true;
}

// Who has something to show while the store is away is not kept waiting for long.
Context BucketHeads::request_context() const {
  Context context;
  context.cancel = stop_token_;
  context.deadline = Deadline::after(parts_.clock, std::min(kHeadsPatience, options_.io_timeout));
  return context;
}

void BucketHeads::request(uint64_t ino) {
  const auto node = tree_->node(ino);
  if (!node || !*node) return finish(ino);
  std::optional<Want> want;
  {
    const std::lock_guard lock(mutex_);
    if (const auto wanted = wants_.extract(ino)) want = wanted.mapped();
  }
  if (!want && knows(**node)) return finish(ino);
  if (want == Want::kPlace && (*node)->version_id) return finish(ino);
  if (tree_->is_bucket(ino, **node)) return ask_bucket(ino, **node, want);
  auto key = tree_->key_of(**node);
  if (key && (*node)->kind == BucketNode::Kind::kDirectory) *key += '/';
  if (!key || !tree_->check_any_key(*key)) {
    give_up(ino, kRefusedTerm);
    return finish(ino);
  }
  if (want == Want::kTags) return ask_tags(ino, **node, *key);
  parts_.store.head(
      *key, request_context(),
      [self = shared_from_this(), ino, node = **node, key = *key](Result<ObjectHead> head) {
        self->parts_.executor.submit([self, ino, node, key, head = std::move(head)] {
          self->answered(ino, node, key, head);
        });
      });
}

// No object stands for it: it has tags and nothing else.
void BucketHeads::ask_bucket(uint64_t ino, const BucketNode& node, std::optional<Want> want) {
  if (want != Want::kTags) {
    give_up(ino, kRefusedTerm);
    return finish(ino);
  }
  ask_tags(ino, node, ino == BucketTree::kRoot ? std::string() : node.part + "/");
}

void BucketHeads::answered(uint64_t ino, const BucketNode& node, const std::string& key,
                           Result<ObjectHead> head) {
  const bool is_dir = node.kind == BucketNode::Kind::kDirectory;
  const bool gone = !head && head.error().code() == Errc::kNotFound;
  if (is_dir && gone) {
    learn(ino, node, ObjectHead(), "");  // it is there because of what is below it
    return finish(ino);
  }
  if (gone || (head && !is_dir && bare_etag(head->info.etag) != bare_etag(node.etag))) {
    lister_->expire(ino);
    give_up(ino, kAskAgainTerm);
    return finish(ino);
  }
  if (!head) {
    failed(ino, head.error());
    return finish(ino);
  }
  if (options_.ahead && is_link(node.kind, head->info.size, head->headers))
    return read_target(ino, node, key, *head);
  learn(ino, node, *head, "");
  finish(ino);
}

void BucketHeads::failed(uint64_t ino, const Error& error) {
  if (error.code() == Errc::kCancelled) return;
  log_once_per(std::chrono::hours(1), "attributes of objects",
               "the store does not say what attributes objects have, the listing's are shown: " +
                   error.message());
  if (error.code() != Errc::kTransient && error.code() != Errc::kTimeout)
    return give_up(ino, kRefusedTerm);
  away_until_ = parts_.clock.now() + kAskAgainTerm;
  drop_waiting({});  // they look again
}

void BucketHeads::ask_tags(uint64_t ino, const BucketNode& node, const std::string& key) {
  parts_.store.get_tags(key, {}, request_context(),
                        [self = shared_from_this(), ino, node,
                         asked_ns = tree_->now_ns()](const Result<ObjectTags>& tags) {
                          self->parts_.executor.submit([self, ino, node, tags, asked_ns] {
                            self->tags_answered(ino, node, tags, asked_ns);
                            self->finish(ino);
                          });
                        });
}

void BucketHeads::tags_answered(uint64_t ino, const BucketNode& node, Result<ObjectTags> tags,
                                int64_t asked_ns) {
  // Where there are none.
  if (!tags && tags.error().code() == Errc::kUnsupported) tags = ObjectTags();
  if (tags && tree_->has_room() && tree_->learn_tags(ino, node, *std::move(tags), asked_ns)) return;
  if (!tags && tags.error().code() == Errc::kCancelled) return;
  if (!tags && tags.error().code() == Errc::kNotFound) lister_->expire(ino);
  const bool away =
      !tags && (tags.error().code() == Errc::kTransient || tags.error().code() == Errc::kTimeout);
  if (away) away_until_ = parts_.clock.now() + kAskAgainTerm;
  if (!tags)
    log_once_per(std::chrono::hours(1), "tags of objects",
                 "the store does not say what tags objects have: " + tags.error().message());
  const std::lock_guard lock(mutex_);
  if (tags_given_up_.size() >= kGivenUpMax) tags_given_up_.clear();
  tags_given_up_[ino] = parts_.clock.now() + (away ? kAskAgainTerm : kRefusedTerm);
}

void BucketHeads::read_target(uint64_t ino, const BucketNode& node, const std::string& key,
                              const ObjectHead& head) {
  GetRange range = GetRange::from(0, kLinkTargetMax + 1);
  range.if_match = node.etag;
  parts_.store.get(key, range, request_context(),
                   [self = shared_from_this(), ino, node, head](Result<GetResult> got) {
                     self->parts_.executor.submit([self, ino, node, head, got = std::move(got)] {
                       if (!got) {
                         self->failed(ino, got.error());
                         return self->finish(ino);
                       }
                       const std::string target = to_string(got->bytes);
                       const bool usable = bare_etag(got->etag) == bare_etag(node.etag) &&
                                           target.size() == node.size &&
                                           target.find('\0') == std::string::npos;
                       if (usable)
                         self->learn(ino, node, head, target);
                       else
                         self->give_up(ino, kRefusedTerm);
                       self->finish(ino);
                     });
                   });
}

void BucketHeads::learn(uint64_t ino, const BucketNode& node, const ObjectHead& head,
                        std::string target) {
  Result<BucketTree::Keys> keys =
      fail(Errc::kNoSpace, "the cache has no room for the attributes of more objects");
  if (check_headers(head.headers) && tree_->has_room())
    keys = tree_->learn(ino, node, head, std::move(target));
  if (keys) return lister_->note_changes(*std::move(keys));
  log_once_per(std::chrono::minutes(10), "room for attributes", keys.error().message());
  give_up(ino, kRefusedTerm);
}

void BucketHeads::finish(uint64_t ino) {
  std::vector<Waiter> waiters;
  {
    const std::lock_guard lock(mutex_);
    const auto flight = flights_.find(ino);
    waiters = std::move(flight->second);
    flights_.erase(flight);
    --under_way_;
    if (under_way_ == 0) idle_.notify_all();
  }
  // They look again.
  for (const Waiter& waiter : waiters) waiter->finish({});
  start_some();
}

}  // namespace cairn
