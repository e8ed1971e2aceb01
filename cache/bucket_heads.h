// BucketHeads: what objects say beside their bytes (attributes, metadata, content type), asked for
// once per object and version, and kept in the tree.
//
// Storage class, version and tags are asked for when somebody wants them: the first two by a HEAD,
// tags by a request of their own, again when they are older than the TTL.
// One HEAD for an object; one GET more where it turns out to be a symbolic link. Who looks at one
// name of a directory mostly looks at the next ones, too: with `ahead` those are asked for on the
// way, 32 requests at a time. What could not be asked for counts as given up for a while: then the
// listing's attributes are shown.
//
// Threads: all methods are thread-safe. No lock is held across a request, a table or a callback.
// Owner: BucketRemote, which calls `stop` before it goes; requests under way keep it alive.
// Errors: kTimeout and kCancelled of who waits; what the store refuses is logged and given up.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/bucket_lister.h"

namespace cairn {

class BucketHeads : public std::enable_shared_from_this<BucketHeads> {
 public:
  struct Options {
    Duration io_timeout = std::chrono::seconds(60);
    bool ahead = false;
    uint64_t memory_bytes = 8ULL << 20;  // of names that are not on the disk yet
  };
  BucketHeads(const BucketLister::Parts& parts, const Options& options,
              std::shared_ptr<BucketTree> tree, std::shared_ptr<BucketLister> lister);
  // Ends all requests; when it returned none is under way.
  void stop();

  // Is all that is shown of the object known?
  bool knows(const BucketNode& node) const;
  // Was it asked for a short while ago in vain, or the store does not answer at all?
  bool given_up(uint64_t ino) const;
  // The same of tags, which have a permission of their own.
  bool tags_given_up(uint64_t ino) const;
  // What `fetch` is to ask for beside headers, or instead of them when these are known.
  enum class Want : uint8_t { kPlace, kTags };  // kPlace: storage class and version
  void want(uint64_t ino, Want what);
  void fetch(const std::vector<uint64_t>& inos, const Context& context, Callback<void> done);

 private:
  using Waiter = std::shared_ptr<Pending<void>>;

  void ask(uint64_t ino, const Waiter& waiter);
  void ask_ahead(uint64_t ino);
  void start_some();
  void request(uint64_t ino);
  void answered(uint64_t ino, const BucketNode& node, const std::string& key,
                Result<ObjectHead> head);
  void read_target(uint64_t ino, const BucketNode& node, const std::string& key,
                   const ObjectHead& head);
  void learn(uint64_t ino, const BucketNode& node, const ObjectHead& head, std::string target);
  void drop_waiting(const Status& status);
  void failed(uint64_t ino, const Error& error);
  void ask_bucket(uint64_t ino, const BucketNode& node, std::optional<Want> want);
  void ask_tags(uint64_t ino, const BucketNode& node, const std::string& key);
  void tags_answered(uint64_t ino, const BucketNode& node, Result<ObjectTags> tags,
                     int64_t asked_ns);
  bool needs_room();
  void give_up(uint64_t ino, Duration term);
  void finish(uint64_t ino);
  Context request_context() const;

  const BucketLister::Parts parts_;
  const Options options_;
  const std::shared_ptr<BucketTree> tree_;
  const std::shared_ptr<BucketLister> lister_;
  CancelToken stop_token_;
  std::atomic<MonotonicTime> away_until_{MonotonicTime::min()};

  mutable RankedMutex<Rank::kRemote> mutex_;
  ConditionVariable idle_;
  bool stopping_ = false;                            // protected by mutex_, as is all below
  std::map<uint64_t, std::vector<Waiter>> flights_;  // who waits for each
  std::deque<uint64_t> waiting_;  // for a request; those that somebody waits for come first
  size_t under_way_ = 0;          // requests, and a checkpoint
  bool makes_room_ = false;
  std::map<uint64_t, MonotonicTime> given_up_;  // until then
  std::map<uint64_t, MonotonicTime> tags_given_up_;
  std::map<uint64_t, Want> wants_;
};

}  // namespace cairn
