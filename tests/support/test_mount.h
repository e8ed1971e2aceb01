// TestMount: a whole volume without a kernel: engine, tree remote and Volume over an Env and a
// store of the test's choice. It can be closed, killed and opened again.
//
// Owner: the test. Operations are run until what they need is here, as the FUSE session does it.
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <future>
#include <map>
#include <memory>
#include <string>

#include "cache/cache_dir.h"
#include "fs/volume.h"

namespace cairn::test {

// What a test makes the tables answer; nothing fails while it is empty.
struct TablesFaults {
  std::function<Status(Table)> read;
  std::function<Status()> write;
  std::map<std::string, uint64_t> bytes_max;  // by folder of the cache
};

// What survives a mount: the tables of a MetaStore, kept while mounts come and go.
class KeptMetaStore final : public MetaStore {
 public:
  KeptMetaStore(std::shared_ptr<MetaStore> kept, const TablesFaults& faults, std::string folder)
      : kept_(std::move(kept)), faults_(faults), folder_(std::move(folder)) {}
  Result<std::optional<std::string>> get(Table table, std::string_view key) override {
    if (faults_.read) TRY(faults_.read(table));
    return kept_->get(table, key);
  }
  Status scan(Table table, std::string_view from,
              const std::function<bool(std::string_view, std::string_view)>& visit) override {
    if (faults_.read) TRY(faults_.read(table));
    return kept_->scan(table, from, visit);
  }
  Status write(const std::vector<TableChange>& changes) override {
    if (faults_.write) TRY(faults_.write());
    return kept_->write(changes);
  }
  uint64_t bytes() const override { return kept_->bytes(); }
  uint64_t used_bytes() const override { return kept_->used_bytes(); }
  uint64_t bytes_max() const override {
    const auto there = faults_.bytes_max.find(folder_);
    return there == faults_.bytes_max.end() ? kept_->bytes_max() : there->second;
  }

 private:
  std::shared_ptr<MetaStore> kept_;
  const TablesFaults& faults_;
  const std::string folder_;
};

class TestMount {
 public:
  TestMount(ObjectStore& store, Env& env, Executor& io);
  ~TestMount();

  // Makes a volume in the store, with small chunks so that files have many.
  Status format(uint64_t chunk_bytes, uint64_t links_per_node);
  // `cache` names the cache directory; a new name is an empty cache.
  Status open(const std::string& cache = "/cache");
  Status close();  // flush and say goodbye
  void kill();     // the process dies: nothing is flushed

  Volume& volume() { return *volume_; }
  Engine& engine() { return *mount_.engine; }
  bool is_open() const { return volume_ != nullptr; }
  MountOptions options;
  bool lmdb = false;  // tables as in production; for an Env that is the real disk
  // With the tables of this mount, for what works on a cache directory without one.
  MountEnvironment environment();
  const OpenedMount& opened() const { return mount_; }
  TablesFaults tables_faults;  // set while nothing runs

  // Runs an operation until it has an answer.
  template <class Op>
  auto run(const Op& op) -> decltype(op(std::declval<Volume&>(), std::declval<Need&>())) {
    while (true) {
      Need need;
      auto result = op(*volume_, need);
      if (result || result.error().code() != Errc::kNotLocal) return result;
      REQUIRE(need.any());
      std::promise<Status> done;
      Context context;
      context.deadline = Deadline::after(system_clock(), std::chrono::seconds(30));
      engine().satisfy(std::move(need), context,
                       [&done](Status status) { done.set_value(std::move(status)); });
      Status satisfied = done.get_future().get();
      if (!satisfied) return tl::unexpected<Error>(satisfied.error());
    }
  }

 private:
  ObjectStore& store_;
  Env& env_;
  ThreadExecutor work_{"work", 2};
  ThreadExecutor maintenance_{"maint", 1};
  ThreadExecutor publishing_{"pub", 1};
  std::map<std::string, std::shared_ptr<MetaStore>> kept_tables_;  // by cache directory
  std::unique_ptr<CacheDir> cache_;
  OpenedMount mount_;
  std::unique_ptr<Volume> volume_;
};

}  // namespace cairn::test
