// LiveTables: the live state of a mount: what changed since the last checkpoint in memory
// (memtables), everything older in the MetaStore.
//
//     reads:  active memtable -> frozen memtable (while a checkpoint runs) -> MetaStore
//
// A checkpoint freezes the active memtable, writes it in one durable transaction, and drops it.
// Reads and changes go on meanwhile. Owner: the engine. Thread-safe; `apply` is atomic: a reader
// sees all changes of one call or none.
// The state after a crash is that of the last finished checkpoint; the journal replays the rest.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/base/mutex.h"
#include "cache/meta_store.h"

namespace cairn {

class LiveTables {
 public:
  explicit LiveTables(std::unique_ptr<MetaStore> store);
  ~LiveTables();

  Result<std::optional<std::string>> get(Table table, std::string_view key) const;
  // Rows with from <= key < to (empty `to`: no end), at most `limit`, in order.
  struct Row {
    std::string key;
    std::string value;
  };
  Result<std::vector<Row>> scan(Table table, std::string_view from, std::string_view to,
                                size_t limit) const;
  void apply(const std::vector<TableChange>& changes);
  // Atomic read-modify-write of one row: `change` gets the present value and returns the new one
  // (nullopt removes). It runs under the tables' lock: short, and it may not call back.
  Status update(Table table, std::string_view key,
                const std::function<std::optional<std::string>(std::optional<std::string>)>&
                    change);

  // Writes everything applied before the call to the store. One at a time; a second caller waits.
  // On failure the changes stay in memory and the next checkpoint writes them.
  Status checkpoint();
  // Memory held by the memtables, estimated.
  uint64_t memory_bytes() const;
  MetaStore& store() { return *store_; }

 private:
  using Memtable = std::map<std::pair<Table, std::string>, std::optional<std::string>, std::less<>>;

  std::unique_ptr<MetaStore> store_;
  mutable RankedMutex<Rank::kMetaStore> mutex_;
  std::shared_ptr<Memtable> active_;
  std::shared_ptr<const Memtable> frozen_;
  uint64_t active_bytes_ = 0;
  uint64_t frozen_bytes_ = 0;
  // Serialises checkpoints; taken before mutex_ and held across the store's transaction, which is
  // why nothing else may wait on it while holding another lock.
  std::mutex checkpoint_mutex_;
};

}  // namespace cairn
