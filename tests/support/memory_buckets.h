// MemoryBuckets: buckets in memory, as an account has them.
//
// Owner: the test. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "s3/all_buckets_store.h"
#include "s3/memory_store.h"

namespace cairn::test {

class MemoryBuckets final : public BucketSource {
 public:
  explicit MemoryBuckets(Executor& executor) : executor_(executor) {}

  MemoryStore& make(const std::string& name) {
    const std::lock_guard lock(mutex_);
    auto& there = stores_[name];
    if (!there) there = std::make_shared<MemoryStore>(executor_, system_clock());
    return *there;
  }
  void remove(const std::string& name) {
    const std::lock_guard lock(mutex_);
    stores_.erase(name);
  }
  // It is listed, and nothing in it may be looked at.
  void deny(const std::string& name) {
    const std::lock_guard lock(mutex_);
    stores_[name] = nullptr;
  }
  void list(Context, Callback<std::vector<std::string>> done) override {
    std::vector<std::string> names;
    {
      const std::lock_guard lock(mutex_);
      ++lists_;
      for (const auto& [name, store] : stores_) names.push_back(name);
    }
    executor_.submit([done = std::move(done), names] { done(names); });
  }
  Result<std::shared_ptr<ObjectStore>> open(const std::string& bucket) override {
    const std::lock_guard lock(mutex_);
    const auto there = stores_.find(bucket);
    if (there == stores_.end())
      return fail(Errc::kPermission, "bucket '" + bucket + "' does not exist");
    if (!there->second) return fail(Errc::kPermission, "the policy of '" + bucket + "' says no");
    return std::shared_ptr<ObjectStore>(there->second);
  }
  std::string description() const override { return "s3://"; }
  uint64_t lists() const {
    const std::lock_guard lock(mutex_);
    return lists_;
  }

 private:
  Executor& executor_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<MemoryStore>> stores_;
  uint64_t lists_ = 0;
};

}  // namespace cairn::test
