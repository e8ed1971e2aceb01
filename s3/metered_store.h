// MeteredStore: counts the requests that reach the store below it.
//
// Put it directly above the real store, below retries, so that it counts what is paid for.
// Thread-safe. Adds no errors and no waiting.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "cache/object_store.h"

namespace cairn {

// How many requests of each kind were started, and what came of them.
struct RequestCounts {
  uint64_t get = 0;   // of tags, too
  uint64_t put = 0;   // likewise
  uint64_t list = 0;  // of versions, too
  uint64_t remove = 0;
  uint64_t head = 0;
  uint64_t copy = 0;           // puts of ranges of objects
  uint64_t failed = 0;         // answered with an error other than kNotFound and kPrecondition
  uint64_t bytes_read = 0;     // of completed gets
  uint64_t bytes_written = 0;  // of completed puts and copies, what travelled to the store
  uint64_t in_flight = 0;
  uint64_t total() const { return get + put + list + remove + head + copy; }
};

class MeteredStore final : public ObjectStore {
 public:
  explicit MeteredStore(std::shared_ptr<ObjectStore> base);

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

  // Each number is exact, the set is not one moment's.
  RequestCounts counts() const;

 private:
  struct Counters {
    std::atomic<uint64_t> get{0};
    std::atomic<uint64_t> put{0};
    std::atomic<uint64_t> list{0};
    std::atomic<uint64_t> remove{0};
    std::atomic<uint64_t> head{0};
    std::atomic<uint64_t> copy{0};
    std::atomic<uint64_t> failed{0};
    std::atomic<uint64_t> bytes_read{0};
    std::atomic<uint64_t> bytes_written{0};
    std::atomic<uint64_t> in_flight{0};
  };
  template <class T>
  Callback<T> counted(std::atomic<uint64_t>& kind, Callback<T> done);
  template <class T>
  static void finished(Counters& counters, const Result<T>& result);

  const std::shared_ptr<ObjectStore> base_;
  const std::shared_ptr<Counters> counters_;  // shared with the requests under way
};

}  // namespace cairn
