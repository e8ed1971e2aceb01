// Live tables against a std::map, with checkpoints that succeed, fail, or are still under way.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <atomic>
#include <thread>

#include "cache/live_tables.h"

using namespace cairn;

namespace {

using Model = std::map<std::pair<Table, std::string>, std::string>;

// Holds every write at the gate until it is opened, and then does it or not.
class GatedStore final : public MetaStore {
 public:
  explicit GatedStore(std::unique_ptr<MetaStore> base) : base_(std::move(base)) {}
  Result<std::optional<std::string>> get(Table table, std::string_view key) override {
    return base_->get(table, key);
  }
  Status scan(Table table, std::string_view from,
              const std::function<bool(std::string_view, std::string_view)>& visit) override {
    if (before_scan) std::exchange(before_scan, {})();
    return base_->scan(table, from, visit);
  }
  Status write(const std::vector<TableChange>& changes) override {
    std::unique_lock lock(mutex_);
    waiting_ = true;
    moved_.notify_all();
    moved_.wait(lock, [this] { return open_; });
    open_ = waiting_ = false;
    if (commit_) TRY(base_->write(changes));
    written_ = true;
    moved_.notify_all();
    if (!commit_) return fail(Errc::kIo, "refused by the test");
    moved_.wait(lock, [this] { return returns_; });
    returns_ = false;
    return {};
  }
  uint64_t bytes() const override { return base_->bytes(); }
  uint64_t used_bytes() const override { return base_->used_bytes(); }
  uint64_t bytes_max() const override { return base_->bytes_max(); }

  void await_write() {
    std::unique_lock lock(mutex_);
    moved_.wait(lock, [this] { return waiting_; });
  }
  // Lets the waiting write happen; its caller learns of it when `finish` is called.
  void commit() {
    std::unique_lock lock(mutex_);
    open_ = commit_ = true;
    written_ = false;
    moved_.notify_all();
    moved_.wait(lock, [this] { return written_; });
  }
  void finish() {
    const std::lock_guard lock(mutex_);
    returns_ = true;
    moved_.notify_all();
  }
  void refuse() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    commit_ = false;
    moved_.notify_all();
  }
  std::function<void()> before_scan;

 private:
  std::unique_ptr<MetaStore> base_;
  std::mutex mutex_;
  std::condition_variable moved_;
  bool waiting_ = false;
  bool open_ = false;
  bool commit_ = false;
  bool written_ = false;
  bool returns_ = false;
};

std::string any_key() {
  return std::string(1, static_cast<char>('a' + *rc::gen::inRange(0, 12)));
}
Table any_table() {
  return *rc::gen::element(Table::kTree, Table::kDirty);
}

void change_both(LiveTables& tables, Model& model) {
  std::vector<TableChange> changes;
  for (int i = *rc::gen::inRange(1, 6); i > 0; --i) {
    TableChange change{any_table(), any_key(), std::nullopt};
    if (*rc::gen::inRange(0, 3) > 0) change.value = std::to_string(*rc::gen::inRange(0, 1000));
    if (change.value) {
      model[{change.table, change.key}] = *change.value;
    } else {
      model.erase({change.table, change.key});
    }
    changes.push_back(std::move(change));
  }
  tables.apply(changes);
}

void append_both(LiveTables& tables, Model& model) {
  const Table table = any_table();
  const std::string key = any_key();
  std::optional<std::string> expected;
  if (const auto it = model.find({table, key}); it != model.end()) expected = it->second;
  const bool removes = *rc::gen::inRange(0, 3) == 0;
  RC_ASSERT(tables
                .update(table, key,
                        [&](std::optional<std::string> present) -> std::optional<std::string> {
                          RC_ASSERT(present == expected);
                          if (removes) return std::nullopt;
                          return present.value_or("") + "+";
                        })
                .has_value());
  if (removes) {
    model.erase({table, key});
  } else {
    model[{table, key}] = expected.value_or("") + "+";
  }
}

// A row that is a number, and no row when it is 0.
struct Counted final : DecodedRow {
  int value = 0;
  uint64_t bytes = 0;
  std::optional<std::string> encode() const override {
    return value == 0 ? std::nullopt : std::optional(std::to_string(value));
  }
  uint64_t memory_bytes() const override { return bytes; }
};

// Changes a row that is kept decoded, or begins to keep it.
void count_both(LiveTables& tables, Model& model) {
  const Table table = any_table();
  const std::string key = any_key();
  auto row = std::static_pointer_cast<Counted>(tables.decoded(table, key));
  const bool is_kept = row != nullptr;
  if (is_kept) {
    const auto expected = row->encode();
    const auto it = model.find({table, key});
    RC_ASSERT(expected.has_value() == (it != model.end()));
    if (expected) RC_ASSERT(*expected == it->second);
  } else {
    row = std::make_shared<Counted>();
    row->bytes = *rc::gen::element<uint64_t>(10, LiveTables::kDecodedBytesMax / 3,
                                             LiveTables::kDecodedBytesMax + 1);
  }
  const int value = *rc::gen::inRange(0, 1000);
  std::function<void()> change;
  if (is_kept) {
    change = [row, value] { row->value = value; };
  } else {
    row->value = value;
  }
  tables.apply({}, {{table, key, row, change}});
  if (value == 0) {
    model.erase({table, key});
  } else {
    model[{table, key}] = std::to_string(value);
  }
}

void check_same(const LiveTables& tables, const Model& model) {
  const Table table = any_table();
  const std::string key = any_key();
  const auto got = tables.get(table, key);
  RC_ASSERT(got.has_value());
  const auto it = model.find({table, key});
  RC_ASSERT(got->has_value() == (it != model.end()));
  if (*got) RC_ASSERT(**got == it->second);

  const std::string from = any_key();
  const std::string to = *rc::gen::arbitrary<bool>() ? any_key() : "";
  const auto limit = *rc::gen::inRange<size_t>(0, 14);
  const auto rows = tables.scan(table, from, to, limit);
  RC_ASSERT(rows.has_value());
  std::vector<std::pair<std::string, std::string>> expected;
  for (auto row = model.lower_bound({table, from}); row != model.end(); ++row) {
    if (row->first.first != table || expected.size() == limit) break;
    if (!to.empty() && row->first.second >= to) break;
    expected.emplace_back(row->first.second, row->second);
  }
  RC_ASSERT(rows->size() == expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    RC_ASSERT((*rows)[i].key == expected[i].first);
    RC_ASSERT((*rows)[i].value == expected[i].second);
  }
}

void random_steps(LiveTables& tables, Model& model) {
  for (int i = *rc::gen::inRange(0, 8); i > 0; --i) {
    const int kind = *rc::gen::inRange(0, 5);
    if (kind == 0) {
      append_both(tables, model);
    } else if (kind == 1) {
      count_both(tables, model);
    } else {
      change_both(tables, model);
    }
    check_same(tables, model);
  }
}

// One checkpoint with changes and reads in each of its stages.
bool checkpoint_slowly(LiveTables& tables, GatedStore& store, Model& model) {
  tables.apply({{Table::kState, "round", "x"}});
  model[{Table::kState, "round"}] = "x";
  Status result;
  std::thread writer([&] { result = tables.checkpoint(); });
  store.await_write();
  // An assertion may leave by an exception: the writer must be joined all the same.
  struct Join {
    std::function<void()> let_go;
    std::thread& writer;
    ~Join() {
      let_go();
      writer.join();
    }
  };
  const bool commits = *rc::gen::arbitrary<bool>();
  {
    bool committed = false;
    const Join join{[&] {
                      if (!commits) return store.refuse();
                      if (!committed) store.commit();
                      store.finish();
                    },
                    writer};
    random_steps(tables, model);
    if (commits) {
      store.commit();
      committed = true;
      random_steps(tables, model);
    }
  }
  RC_ASSERT(result.has_value() == commits);
  return commits;
}

}  // namespace

TEST_CASE("live tables answer like one map before, during and after checkpoints") {
  CHECK(rc::check("model", [] {
    auto rows = make_memory_rows();
    Model model;
    bool last_committed = false;
    {
      auto owned = std::make_unique<GatedStore>(make_memory_meta_store(rows));
      GatedStore& store = *owned;
      LiveTables tables(std::move(owned));
      for (int round = *rc::gen::inRange(1, 6); round > 0; --round) {
        random_steps(tables, model);
        last_committed = checkpoint_slowly(tables, store, model);
        check_same(tables, model);
      }
      if (!last_committed) {
        std::thread opener([&] {
          store.await_write();
          store.commit();
          store.finish();
        });
        const Status retried = tables.checkpoint();
        opener.join();
        RC_ASSERT(retried.has_value());
      } else if (tables.memory_bytes() == 0) {
        RC_ASSERT(tables.checkpoint().has_value());  // nothing to write: the gate is not asked
      } else {
        return;
      }
    }
    // Everything is in the store now, and only there.
    LiveTables reopened(make_memory_meta_store(rows));
    RC_ASSERT(reopened.memory_bytes() == 0U);
    for (int i = 0; i < 10; ++i) check_same(reopened, model);
  }));
}

TEST_CASE("a scan that meets a whole checkpoint sees one state of the tables") {
  auto owned = std::make_unique<GatedStore>(make_memory_meta_store());
  GatedStore& store = *owned;
  LiveTables tables(std::move(owned));
  tables.apply({{Table::kTree, "a", "old"}, {Table::kTree, "b", "old"}});
  std::thread opener([&] {
    store.await_write();
    store.commit();
    store.finish();
  });
  REQUIRE(tables.checkpoint());
  opener.join();

  tables.apply({{Table::kTree, "a", "mine"}});
  // Between what the scan takes from memory and what it reads from the store, both rows change
  // together and the change reaches the store.
  store.before_scan = [&] {
    tables.apply({{Table::kTree, "a", "new"}, {Table::kTree, "b", "new"}});
    std::thread second([&] {
      store.await_write();
      store.commit();
      store.finish();
    });
    CHECK(tables.checkpoint());
    second.join();
  };
  const auto rows = tables.scan(Table::kTree, "a", "", 10).value();
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].value == rows[1].value);
}

TEST_CASE("updates of many threads are not lost while checkpoints run") {
  LiveTables tables(make_memory_meta_store());
  constexpr int kThreads = 4;
  constexpr int kSteps = 500;
  std::atomic<bool> stop{false};
  std::thread checkpoints([&] {
    while (!stop) CHECK(tables.checkpoint());
  });
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&] {
      for (int step = 0; step < kSteps; ++step)
        CHECK(tables.update(Table::kState, "n", [](std::optional<std::string> present) {
          return std::optional(std::to_string(std::stoi(present.value_or("0")) + 1));
        }));
    });
  for (auto& thread : threads) thread.join();
  stop = true;
  checkpoints.join();
  CHECK(tables.get(Table::kState, "n").value() == std::to_string(kThreads * kSteps));
}

TEST_CASE("a freeze that was not written goes into the next one, under what came later") {
  auto rows = make_memory_rows();
  LiveTables tables(make_memory_meta_store(rows));
  tables.apply({{Table::kState, "mark", "1"}, {Table::kTree, "old", "x"}});
  tables.freeze();
  tables.apply({{Table::kState, "mark", "2"}});
  tables.freeze();
  tables.apply({{Table::kState, "mark", "3"}});
  CHECK(tables.get(Table::kState, "mark").value() == "3");
  REQUIRE(tables.write_frozen());
  const auto store = make_memory_meta_store(rows);
  CHECK(store->get(Table::kState, "mark").value() == "2");
  CHECK(store->get(Table::kTree, "old").value() == "x");
  CHECK(tables.get(Table::kState, "mark").value() == "3");
  REQUIRE(tables.checkpoint());
  CHECK(store->get(Table::kState, "mark").value() == "3");
}

TEST_CASE("a refused checkpoint says so, and one with nothing to write does not write") {
  int writes = 0;
  WriteFate fate = WriteFate::kRefused;
  LiveTables tables(make_memory_meta_store(make_memory_rows(), [&] {
    ++writes;
    return fate;
  }));
  CHECK(tables.checkpoint());
  CHECK(writes == 0);
  tables.apply({{Table::kState, "k", "v"}});
  const uint64_t held = tables.memory_bytes();
  CHECK(tables.checkpoint().error().code() == Errc::kNoSpace);
  CHECK(tables.memory_bytes() == held);
  fate = WriteFate::kDone;
  CHECK(tables.checkpoint());
  CHECK(tables.memory_bytes() == 0);
  CHECK(tables.get(Table::kState, "k").value() == "v");
}
