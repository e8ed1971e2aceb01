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

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/base/mutex.h"
#include "cache/meta_store.h"

namespace cairn {

// A row that is written again and again, kept as what it stands for: a change to it touches only
// what it changes. Its bytes are made when somebody reads the row, and before a checkpoint.
class DecodedRow {
 public:
  virtual ~DecodedRow() = default;
  virtual std::optional<std::string> encode() const = 0;  // nullopt: there is no such row
  virtual uint64_t memory_bytes() const = 0;
};

class LiveTables {
 public:
  // Decoded rows that are kept, and the memory they may take.
  static constexpr size_t kDecodedRowsMax = 16;
  static constexpr uint64_t kDecodedBytesMax = 4ULL << 20;

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
  void apply(std::vector<TableChange> changes) { apply(std::move(changes), {}); }
  // The same, and of rows that are kept decoded: `change` runs under the tables' lock (short, and
  // it may not call back), then `row` is what the key has. It stays until the key is changed in
  // another way, until a checkpoint, or until others need its room.
  struct DecodedChange {
    Table table;
    std::string key;
    std::shared_ptr<DecodedRow> row;
    std::function<void()> change;
  };
  void apply(std::vector<TableChange> changes, std::vector<DecodedChange> decoded);
  // What is kept of a row, or nothing. Only who orders all changes may look into it.
  std::shared_ptr<DecodedRow> decoded(Table table, std::string_view key) const;
  // Atomic read-modify-write of one row: `change` gets the present value and returns the new one
  // (nullopt removes). It runs under the tables' lock: short, and it may not call back.
  Status update(
      Table table, std::string_view key,
      const std::function<std::optional<std::string>(std::optional<std::string>)>& change);

  // The two halves of a checkpoint. `freeze` sets apart what was applied so far; it is quick, so
  // that the caller can hold the lock that orders its changes. `write_frozen` writes that to the
  // store; changes go on meanwhile. On failure they stay in memory and the next checkpoint writes
  // them; so they do when a freeze is never followed by its write. One checkpoint at a time: while
  // one is being written, both do nothing.
  void freeze();
  Status write_frozen();
  // Both: everything applied before the call is in the store. A second caller waits.
  Status checkpoint();
  // Memory held by the memtables, estimated; what decoded rows stand for comes on top.
  uint64_t memory_bytes() const;
  MetaStore& store() { return *store_; }

 private:
  using Rows = std::map<std::string, std::optional<std::string>, std::less<>>;  // nullopt: removed
  struct Memtable {
    std::array<Rows, kTableCount> tables;
    uint64_t bytes = 0;
    bool empty() const { return bytes == 0; }
    void put(Table table, std::string_view key, std::optional<std::string> value);
    const std::optional<std::string>* find(Table table, std::string_view key) const;
    // Takes over every row of `older` that is not here already.
    void put_under(Memtable& older);
  };
  struct Source;  // the memtable rows that one scan can touch
  struct Decoded {
    Table table;
    std::string key;
    std::shared_ptr<DecodedRow> row;
    bool is_newer = false;  // than what the memtable has
    bool is(Table of, std::string_view name) const { return table == of && key == name; }
  };

  // Puts a decoded row into the memtable, where readers find it.
  void settle(Decoded& decoded) const;
  void settle(Table table, std::string_view key) const;
  void forget_decoded(Table table, std::string_view key);
  void keep_decoded(DecodedChange change);
  const std::optional<std::string>* find_in_memory(Table table, std::string_view key) const;
  Source collect(Table table, std::string_view from, std::string_view to, size_t limit) const;
  Result<std::vector<Row>> merge(Table table, std::string_view from, std::string_view to,
                                 size_t limit, const Source& source) const;

  std::unique_ptr<MetaStore> store_;
  // The fields up to checkpoint_mutex_ are protected by mutex_. Reads of the store happen without
  // it: whoever read the store takes the lock again and compares freezes_; when it is the same,
  // everything written since lies in the active memtable.
  mutable RankedMutex<Rank::kMetaStore> mutex_;
  mutable Memtable active_;               // also when a decoded row is read
  mutable std::vector<Decoded> decoded_;  // the last one was changed last
  std::unique_ptr<Memtable> frozen_;  // read without the lock while is_writing_
  bool is_writing_ = false;
  uint64_t freezes_ = 0;
  // Serialises checkpoints; taken before mutex_ and held across the store's transaction, which is
  // why nothing else may wait on it while holding another lock.
  LongMutex checkpoint_mutex_;
};

}  // namespace cairn
