// AllBucketsStore: the buckets of an account as one store. A key is a bucket's name, a '/' and the
// key in that bucket.
//
// One level of the whole lists the buckets, as what keys begin with; a bucket itself is no object
// and cannot be made, removed or put. Everything else goes to the store of its bucket, the keys of
// ranges of objects, too: these are of the bucket that is put to. Not all objects of all buckets
// can be listed flat.
// The rules for keys are for what follows the bucket's name.
//
// Thread-safe. Owner: the composition root; requests under way keep what they need alive.
// Errors: those of the bucket's store; kInvalid for a put or removal outside of a bucket or from
// one bucket to another, kUnsupported for a flat list of all buckets, kNotFound for what is no key
// in a bucket.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "cache/base/executor.h"
#include "cache/base/mutex.h"
#include "cache/object_store.h"

namespace cairn {

// PORT: which buckets there are, and the store of each. Thread-safe; `done` runs as a task.
class BucketSource {
 public:
  virtual ~BucketSource() = default;
  // Their names.
  virtual void list(Context context, Callback<std::vector<std::string>> done) = 0;
  virtual Result<std::shared_ptr<ObjectStore>> open(const std::string& bucket) = 0;
  virtual std::string description() const = 0;
};

class AllBucketsStore final : public ObjectStore {
 public:
  AllBucketsStore(std::shared_ptr<BucketSource> buckets, Executor& executor);

  void get(std::string key, GetRange range, Context context, Callback<GetResult> done) override;
  void head(std::string key, Context context, Callback<ObjectHead> done) override;
  void put(std::string key, Body body, PutHow how, Context context,
           Callback<std::string> done) override;
  void remove(std::string key, Context context, Callback<void> done) override;
  void list(ListScope scope, std::string after, uint32_t limit, Context context,
            Callback<ListPage> done) override;
  void head_version(std::string key, std::string version, Context context,
                    Callback<ObjectHead> done) override;
  void get_tags(std::string key, std::string version, Context context,
                Callback<ObjectTags> done) override;
  void put_tags(std::string key, std::string version, ObjectTags tags, Context context,
                Callback<void> done) override;
  void list_versions(ListScope scope, std::string after, uint32_t limit, Context context,
                     Callback<VersionPage> done) override;
  // False: each bucket has its own answer.
  void keeps_versions(Context context, Callback<bool> done) override;
  std::string description() const override { return buckets_->description(); }

  // Is called once for each bucket that something is put to, as a task; also for those of before.
  void on_first_put(std::function<void(const std::string& bucket)> tell);

 private:
  struct Place {
    std::string bucket;
    std::string key;  // in the bucket
  };
  struct Opened {
    Place place;
    std::shared_ptr<ObjectStore> store;  // of its bucket
  };
  // Shared with the requests under way.
  struct State {
    RankedMutex<Rank::kStore> mutex;
    // Protected by mutex: "bucket/" of each bucket, in order; buckets that were put to.
    std::shared_ptr<const std::vector<std::string>> listed;
    std::set<std::string> written;
    std::function<void(const std::string& bucket)> first_put;
  };

  static Place place_of(std::string_view key);
  Result<Opened> open(const std::string& key, const char* what, Errc outside) const;
  template <class T>
  void answer(const Callback<T>& done, Error error) const;
  void note_put(const std::string& bucket);
  void list_buckets(const std::string& prefix, const std::string& after, uint32_t limit,
                    Context context, Callback<ListPage> done);
  static ListPage page_of(const std::vector<std::string>& listed, const std::string& prefix,
                          const std::string& after, uint32_t limit);

  const std::shared_ptr<BucketSource> buckets_;
  Executor& executor_;
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace cairn
