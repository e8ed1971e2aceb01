// LimitingStore: bounds how many requests are under way and how many wait.
//
// Reads (get, head, list) and writes (put, remove) have a lane each, so that a reader never waits
// behind uploads. A lane is first in, first out. A request that waits ends at once when its
// deadline passes or its caller gives up; one that finds the queue full gets kTransient with
// no_effect(). Put it below retries, so that a request that backs off holds no slot. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "cache/base/executor.h"
#include "cache/object_store.h"

namespace cairn {

struct StoreLimits {
  uint32_t reads_max = 64;
  uint32_t writes_max = 32;
  uint32_t waiting_max = 10'000;  // in each lane
};

class LimitingStore final : public ObjectStore {
 public:
  LimitingStore(std::shared_ptr<ObjectStore> base, Executor& executor, Clock& clock,
                StoreLimits limits = {});

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
  void keeps_versions(Context context, Callback<bool> done) override;
  std::string description() const override { return base_->description(); }

 private:
  class Lane;
  template <class T, class Start>
  void run(const std::shared_ptr<Lane>& lane, Context context, std::string what, Callback<T> done,
           Start start);

  const std::shared_ptr<ObjectStore> base_;
  Executor& executor_;
  Clock& clock_;
  const std::shared_ptr<Lane> reads_;
  const std::shared_ptr<Lane> writes_;
};

}  // namespace cairn
