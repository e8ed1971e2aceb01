// Bucket: the object store of a simulated life, and Wire: how one process reaches it.
//
// What was put stays, whatever becomes of the process. A request travels: it is delayed, overtaken
// by others, refused while the store is away, or carried out although nobody waits for the answer
// any more. A process that dies leaves its requests behind: what was sent may still be carried out
// much later, after its successor has begun. Answers 500/503/409/412, lost answers and spoiled
// bytes come from tests/support/faulty_store, which stands in front of the wire.
// Each commit record that is created is told to a listener, with the bucket as it is at that
// moment.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "s3/memory_store.h"
#include "s3/request.h"
#include "tests/sim/scheduler.h"

namespace cairn::sim {

struct Weather {
  bool away = false;  // every request fails or hangs
  Duration slowest_usual = std::chrono::milliseconds(5);
  unsigned late_one_in = 0;  // a request or an answer takes up to `slowest_late`; 0: none
  Duration slowest_late = std::chrono::seconds(20);
};

// Canaries: what a store must never do with a pack.
enum class BucketLie : uint8_t {
  kNone,
  kForgets,       // answers a put and keeps nothing
  kAnswersEarly,  // answers before the bytes have arrived
  kKeeps,         // answers a delete and keeps the object
};

class Bucket {
 public:
  explicit Bucket(Scheduler& scheduler)
      : scheduler_(scheduler),
        executor_(scheduler, "store", 4, nullptr),
        objects_(executor_, scheduler.clock()) {}
  Weather weather;
  // `seq` of a commit that was just created, its record, and the bucket at that moment.
  using CommitListener = std::function<void(Buffer record, std::shared_ptr<MemoryStore> bucket)>;
  void on_commit(CommitListener listener) { listener_ = std::move(listener); }
  MemoryStore& objects() { return objects_; }
  std::shared_ptr<MemoryStore> copy() { return objects_.copy(executor_); }
  uint64_t requests() const { return requests_; }
  void set_lie(BucketLie lie) { lie_ = lie; }

 private:
  friend class Wire;
  Duration travel_time();

  Scheduler& scheduler_;
  SimExecutor executor_;
  MemoryStore objects_;
  CommitListener listener_;
  uint64_t requests_ = 0;
  BucketLie lie_ = BucketLie::kNone;
};

class Wire final : public ObjectStore {
 public:
  Wire(Bucket& bucket, Executor& executor);
  // The process is dead: nothing more is sent, nothing comes back.
  void cut();

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
  std::string description() const override { return "sim:bucket"; }

 private:
  template <class T>
  void travel(const std::string& what, Context context, Callback<T> done,
              std::function<void(Callback<T>)> carry_out);

  Bucket& bucket_;
  Executor& executor_;
  const std::shared_ptr<bool> cut_ = std::make_shared<bool>(false);
  CancelToken gone_;
};

}  // namespace cairn::sim
