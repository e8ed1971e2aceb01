// BucketFilters: what the rules of a mount (cache/filter.h) say of the objects in its BucketTree.
//
// A node says of itself what the listing had; what else a rule asks for is asked for as an
// attribute is (BucketHeads), and only where the answer depends on it. What cannot be found out
// decides nothing: an object is then shown, cached and uploaded as if the rule were not there.
// Where its tags are known, `s3d.cache=pin` and `s3d.upload=false` (or true) outrank the rules.
// Threads: safe from any. Owner: BucketRemote; the tree must outlive it. Errors: those of the tree;
// kNotLocal with the object in `missing` when something has to be asked for.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "cache/bucket_tree.h"
#include "cache/filter.h"
#include "cache/remote.h"

namespace cairn {

// Which objects the rules are about.
struct FilterScope {
  std::shared_ptr<const FilterPolicies> policies;  // none: there are no rules
  std::string bucket;
  std::string key_prefix;       // of keys in the bucket, before those of the mount
  bool top_is_buckets = false;  // keys of the mount begin with their bucket's name instead
};

class BucketFilters {
 public:
  // How objects are asked for what they say of themselves.
  struct Asking {
    std::function<bool(uint64_t ino)> given_up;  // it was asked for in vain a short while ago
    std::function<bool(uint64_t ino)> tags_given_up;
    std::function<void(uint64_t ino)> want_tags;  // when it is asked for next
    std::function<bool(int64_t seen_ns)> fresh;   // do tags that were seen then count?
  };
  BucketFilters(const BucketTree& tree, FilterScope scope, Asking asking)
      : tree_(tree),
        scope_(std::move(scope)),
        asking_(std::move(asking)),
        asks_buckets_(scope_.policies && asks_buckets(*scope_.policies)) {}

  bool keeps_back_any() const { return scope_.policies && !scope_.policies->upload.empty(); }
  bool hides_names() const { return scope_.policies && !scope_.policies->visible.empty(); }
  // Is the entry of a directory shown?
  Result<bool> shows(const BucketEntry& entry, Missing& missing) const;
  // May something be called so whatever it will be? `key` ends with '/' for a directory.
  bool may_be(const std::string& key) const;
  Result<ContentPolicy> policy_of(uint64_t ino, const BucketNode& node, Missing& missing) const;
  // Is it to go to the bucket? Unset: not without headers or tags, of the object or the bucket.
  Filter::Answer uploads(const std::string& key, uint64_t size, const ObjectHeaders* headers,
                         const ObjectTags* tags, const ObjectTags* bucket_tags) const;
  // Those that count; null: they are not known, or others may be there by now. In `node`.
  const ObjectTags* known_tags(uint64_t ino, const BucketNode& node) const;
  // The bucket that a key is in, as a directory; nullopt: it is gone, or nobody asks what it is.
  Result<std::optional<uint64_t>> bucket_of(const std::string& key) const;

 private:
  struct Names {
    std::string bucket, key, path;
  };
  static bool asks_buckets(const FilterPolicies& policies);
  // What a rule asks of the bucket: its directory and what is known of it.
  struct Bucket {
    std::optional<uint64_t> ino;
    std::optional<BucketNode> node;
    const ObjectTags* tags = nullptr;  // in `node`
  };
  Status look_at_bucket(const std::string& key, Bucket& out) const;
  bool note_missing(uint64_t ino, const Bucket& bucket, const Filter::Needs& needs,
                    Missing& missing) const;
  Names names_of(const std::string& key) const;
  FilterSubject subject_of(const Names& names) const;
  FilterSubject subject_of(const Names& names, const BucketNode& node) const;

  const BucketTree& tree_;
  const FilterScope scope_;
  const Asking asking_;
  const bool asks_buckets_;
};

}  // namespace cairn
