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
constexpr Duration kRefusedTerm = std::chrono::minutes(1);

}  // namespace

BucketHeads::BucketHeads(const BucketLister::Parts& parts, const Options& options,
                         std::shared_ptr<BucketTree> tree, std::shared_ptr<BucketLister> lister)
    : parts_(parts), options_(options), tree_(std::move(tree)), lister_(std::move(lister)) {}

void BucketHeads::stop() {
  stop_token_.cancel();
  std::unique_lock lock(mutex_);
  stopping_ = true;
  idle_.wait(lock, [this] { return under_way_ == 0; });
}

bool BucketHeads::given_up(uint64_t ino) const {
  const std::lock_guard lock(mutex_);
  const auto there = given_up_.find(ino);
  return there != given_up_.end() && parts_.clock.now() < there->second;
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
  if (waiter) flight->second.push_back(waiter);
  if (!is_new) return;
  if (waiter)
    waiting_.push_front(ino);
  else
    waiting_.push_back(ino);
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
    if (!next || !*next || (*next)->headers || given_up(each.entry.ino)) continue;
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.size() >= kHeadsWaitingMax) return;
    }
    ask(each.entry.ino, nullptr);
  }
}

void BucketHeads::start_some() {
  while (true) {
    uint64_t ino = 0;
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.empty() || under_way_ >= kHeadsMax) return;
      ino = waiting_.front();
      waiting_.pop_front();
      ++under_way_;
    }
    parts_.executor.submit([self = shared_from_this(), ino] { self->request(ino); });
  }
}

Context BucketHeads::request_context() const {
  Context context;
  context.cancel = stop_token_;
  context.deadline = Deadline::after(parts_.clock, options_.io_timeout);
  return context;
}

void BucketHeads::request(uint64_t ino) {
  const auto node = tree_->node(ino);
  if (!node || !*node || (*node)->headers) return finish(ino);
  auto key = tree_->key_of(**node);
  if (!key) return finish(ino);
  if ((*node)->kind == BucketNode::Kind::kDirectory) *key += '/';
  if (!check_any_key(*key)) {
    give_up(ino, kRefusedTerm);
    return finish(ino);
  }
  parts_.store.head(
      *key, request_context(),
      [self = shared_from_this(), ino, node = **node, key = *key](Result<ObjectHead> head) {
        self->parts_.executor.submit([self, ino, node, key, head = std::move(head)] {
          self->answered(ino, node, key, head);
        });
      });
}

void BucketHeads::answered(uint64_t ino, const BucketNode& node, const std::string& key,
                           Result<ObjectHead> head) {
  const bool is_dir = node.kind == BucketNode::Kind::kDirectory;
  const bool gone = !head && head.error().code() == Errc::kNotFound;
  if (is_dir && gone) {
    learn(ino, node, {}, "");  // it is there because of what is below it
    return finish(ino);
  }
  if (gone || (head && !is_dir && bare_etag(head->info.etag) != bare_etag(node.etag))) {
    lister_->expire(ino);
    give_up(ino, kAskAgainTerm);
    return finish(ino);
  }
  if (!head) {
    const bool refused = head.error().code() == Errc::kPermission;
    if (refused)
      log_once_per(std::chrono::hours(1), "attributes of objects",
                   "the store does not say what objects have for attributes, the listing's are "
                   "shown: " +
                       head.error().message());
    give_up(ino, refused ? kRefusedTerm : kAskAgainTerm);
    return finish(ino);
  }
  const auto mode = attrs_of(head->headers).mode;
  const bool is_link =
      !is_dir && mode && S_ISLNK(*mode) && head->info.size > 0 && head->info.size <= kLinkTargetMax;
  if (is_link && options_.ahead) return read_target(ino, node, key, head->headers);
  learn(ino, node, std::move(head->headers), "");
  finish(ino);
}

void BucketHeads::read_target(uint64_t ino, const BucketNode& node, const std::string& key,
                              ObjectHeaders headers) {
  GetRange range = GetRange::from(0, kLinkTargetMax + 1);
  range.if_match = node.etag;
  parts_.store.get(
      key, range, request_context(),
      [self = shared_from_this(), ino, node, headers = std::move(headers)](Result<GetResult> got) {
        std::string target = got ? to_string(got->bytes) : std::string();
        const bool usable = !target.empty() && target.size() <= kLinkTargetMax &&
                            target.find('\0') == std::string::npos;
        self->parts_.executor.submit([self, ino, node, headers, target = usable ? target : ""] {
          self->learn(ino, node, headers, target);
          self->finish(ino);
        });
      });
}

void BucketHeads::learn(uint64_t ino, const BucketNode& node, ObjectHeaders headers,
                        std::string target) {
  Status known = fail(Errc::kNoSpace, "the cache has no room for the attributes of more objects");
  if (check_headers(headers) && tree_->has_room())
    known = tree_->learn(ino, node.version, std::move(headers), std::move(target));
  if (known) return;
  log_once_per(std::chrono::minutes(10), "attributes of objects", known.error().message());
  give_up(ino, kRefusedTerm);
}

void BucketHeads::finish(uint64_t ino) {
  if (tree_->memory_bytes() >= options_.memory_bytes)
    parts_.background.submit([tree = tree_] { (void)tree->checkpoint(); });
  std::vector<Waiter> waiters;
  {
    const std::lock_guard lock(mutex_);
    const auto flight = flights_.find(ino);
    waiters = std::move(flight->second);
    flights_.erase(flight);
    --under_way_;
    if (stopping_) {
      for (const uint64_t never : std::exchange(waiting_, {})) {
        const auto other = flights_.find(never);
        waiters.insert(waiters.end(), other->second.begin(), other->second.end());
        flights_.erase(other);
      }
    }
    if (under_way_ == 0) idle_.notify_all();
  }
  // They look again.
  for (const Waiter& waiter : waiters) waiter->finish({});
  start_some();
}

}  // namespace cairn
