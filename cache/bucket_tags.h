// BucketTags: tags of objects, as rules ask for them.
//
// Tags change without a new version of their object, so what was told counts for the metadata TTL;
// what the store refuses or does not tell counts as given up for a while. In memory only.
// Threads: all methods are thread-safe; no lock is held across a request or a callback.
// Owner: BucketRemote; requests under way keep it alive. Errors: those of who gave up waiting.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/bucket_tree.h"
#include "cache/object_store.h"

namespace cairn {

class BucketTags : public std::enable_shared_from_this<BucketTags> {
 public:
  BucketTags(ObjectStore& store, Clock& clock, Duration ttl, std::shared_ptr<BucketTree> tree)
      : store_(store), clock_(clock), ttl_(ttl), tree_(std::move(tree)) {}

  struct Known {
    std::optional<ObjectTags> tags;
    bool given_up = false;
    bool must_be_asked() const { return !tags && !given_up; }
  };
  Known of(uint64_t ino, const BucketNode& node) const;
  void fetch(const std::vector<uint64_t>& inos, const Context& context, Callback<void> done);
  // Blocks; an object that is gone has none.
  Result<ObjectTags> ask(const std::string& key, Context context) const;

 private:
  struct Told {
    std::string etag;
    std::optional<ObjectTags> tags;
    MonotonicTime until;
  };
  void request(uint64_t ino, const Context& context, const Callback<void>& done);
  Status note(uint64_t ino, const std::string& etag, Result<ObjectTags> got);

  ObjectStore& store_;
  Clock& clock_;
  const Duration ttl_;
  const std::shared_ptr<BucketTree> tree_;
  mutable RankedMutex<Rank::kRemote> mutex_;
  std::map<uint64_t, Told> told_;  // protected by mutex_
};

}  // namespace cairn
