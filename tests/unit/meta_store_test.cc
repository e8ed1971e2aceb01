// What every MetaStore does, on both of them, and what only LMDB has: a disk and a limit.
#include "cache/meta_store.h"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "cache/base/log.h"

using namespace cairn;

namespace {

// A directory below the working directory, gone at the end.
struct Scratch {
  std::string dir = "meta_store_test.tmp";
  Scratch() { clear(); }
  ~Scratch() { clear(); }
  void clear() const {
    Env& env = posix_env();
    for (const char* name : {"/compact/data.mdb", "/data.mdb", "/lock.mdb"})
      if (env.stat(dir + name)) CHECK(env.remove(dir + name));
    if (env.stat(dir + "/compact")) CHECK(env.remove_dir(dir + "/compact"));
    if (env.stat(dir)) CHECK(env.remove_dir(dir));
  }
};

std::string number(int i) {
  std::string text = std::to_string(i);
  return std::string(6 - text.size(), '0') + text;
}

void check_contract(MetaStore& store) {
  CHECK_FALSE(store.get(Table::kTree, "a").value());
  CHECK_FALSE(store.get(Table::kTree, "").value());
  const std::string long_key(kMetaKeyBytesMax, 'k');
  const std::string big(100'000, 'v');
  REQUIRE(store.write({{Table::kTree, "a", "1"},
                       {Table::kTree, "b", "2"},
                       {Table::kTree, "c", ""},
                       {Table::kDirty, "a", "other table"},
                       {Table::kTree, long_key, big},
                       {Table::kTree, std::string("\0\xff", 2), std::string("\0", 1)}}));
  CHECK(store.get(Table::kTree, "a").value() == "1");
  CHECK(store.get(Table::kTree, "c").value() == "");
  CHECK(store.get(Table::kDirty, "a").value() == "other table");
  CHECK(store.get(Table::kTree, long_key).value() == big);
  CHECK(store.get(Table::kTree, std::string("\0\xff", 2)).value() == std::string("\0", 1));

  // In one write the last change of a row counts.
  REQUIRE(store.write({{Table::kTree, "b", std::nullopt},
                       {Table::kTree, "gone", std::nullopt},
                       {Table::kTree, "a", "3"},
                       {Table::kTree, "a", "4"}}));
  CHECK(store.get(Table::kTree, "a").value() == "4");
  CHECK_FALSE(store.get(Table::kTree, "b").value());

  // A write with one bad change changes nothing.
  CHECK(store.write({{Table::kTree, "a", "5"}, {Table::kTree, "", "x"}}).error().code() ==
        Errc::kInvalid);
  CHECK(
      store.write({{Table::kTree, "a", "5"}, {Table::kTree, long_key + "k", "x"}}).error().code() ==
      Errc::kInvalid);
  CHECK(store.get(Table::kTree, "a").value() == "4");

  std::vector<std::string> seen;
  const auto scan_from = [&](std::string_view from, size_t limit) {
    seen.clear();
    CHECK(store.scan(Table::kTree, from, [&](std::string_view key, std::string_view value) {
      if (key == "a") CHECK(value == "4");
      seen.emplace_back(key);
      return seen.size() < limit;
    }));
    return seen;
  };
  CHECK(scan_from("", 100) ==
        std::vector<std::string>{std::string("\0\xff", 2), "a", "c", long_key});
  CHECK(scan_from("b", 100) == std::vector<std::string>{"c", long_key});
  CHECK(scan_from("a", 1) == std::vector<std::string>{"a"});
  CHECK(scan_from(long_key + "z", 100).empty());
  CHECK(store.scan(Table::kState, "", [](std::string_view, std::string_view) { return false; }));
}

}  // namespace

TEST_CASE("the store in memory keeps the contract") {
  check_contract(*make_memory_meta_store());
}

TEST_CASE("LMDB keeps the contract and its rows") {
  const Scratch scratch;
  check_contract(*open_lmdb_meta_store(scratch.dir, 16 << 20).value());
  const auto again = open_lmdb_meta_store(scratch.dir, 16 << 20).value();
  CHECK(again->get(Table::kTree, "a").value() == "4");
  CHECK(again->bytes() > 100'000);
  CHECK(again->bytes() <= again->bytes_max());
}

TEST_CASE("a full map refuses the write whole, and removing makes room") {
  const Scratch scratch;
  constexpr uint64_t kLimit = 1 << 20;
  const auto store = open_lmdb_meta_store(scratch.dir, kLimit).value();
  const std::string value(3000, 'v');
  int rows = 0;
  Status last;
  while ((last = store->write(
              {{Table::kTree, number(rows), value}, {Table::kDirty, number(rows), "x"}})))
    ++rows;
  CHECK(last.error().code() == Errc::kNoSpace);
  CHECK(rows > 50);
  CHECK_FALSE(store->get(Table::kDirty, number(rows)).value());
  CHECK(store->get(Table::kTree, number(rows - 1)).value() == value);
  CHECK(store->bytes() <= kLimit);
  for (int i = 0; i < 20; ++i) REQUIRE(store->write({{Table::kTree, number(i), std::nullopt}}));
  CHECK(store->write({{Table::kTree, number(rows), value}}));
}

TEST_CASE("a store that is more than half free is compacted when it is opened") {
  const Scratch scratch;
  constexpr uint64_t kLimit = 64 << 20;
  const std::string value(3000, 'v');
  constexpr int kRows = 8000;
  {
    const auto store = open_lmdb_meta_store(scratch.dir, kLimit).value();
    std::vector<TableChange> changes;
    for (int i = 0; i < kRows; ++i) changes.push_back({Table::kTree, number(i), value});
    REQUIRE(store->write(changes));
    changes.clear();
    for (int i = 100; i < kRows; ++i) changes.push_back({Table::kTree, number(i), std::nullopt});
    REQUIRE(store->write(changes));
    CHECK(store->bytes() > 16 << 20);
  }
  const auto store = open_lmdb_meta_store(scratch.dir, kLimit).value();
  CHECK(store->bytes() < 2 << 20);
  int rows = 0;
  CHECK(store->scan(Table::kTree, "", [&](std::string_view key, std::string_view found) {
    CHECK(key == number(rows));
    CHECK(found == value);
    ++rows;
    return true;
  }));
  CHECK(rows == 100);
  CHECK(store->write({{Table::kTree, "after", "1"}}));
}

TEST_CASE("a flipped byte in a row is told") {
  const Scratch scratch;
  const std::string value = "a value that is easy to find in the file";
  {
    REQUIRE(
        open_lmdb_meta_store(scratch.dir, 1 << 20).value()->write({{Table::kState, "k", value}}));
  }
  const std::string path = scratch.dir + "/data.mdb";
  const auto bytes = read_file(posix_env(), path, 1 << 20).value();
  const auto store = open_lmdb_meta_store(scratch.dir, 1 << 20).value();
  const auto file = posix_env().open(path, OpenMode::kReadWrite).value();
  int places = 0;
  for (size_t at = as_chars(bytes).find(value); at != std::string_view::npos;
       at = as_chars(bytes).find(value, at + 1)) {
    REQUIRE(file->write_at(at, as_bytes("A")));
    ++places;
  }
  REQUIRE(places > 0);
  CHECK(store->get(Table::kState, "k").error().code() == Errc::kCorruption);
  CHECK(store->scan(Table::kState, "", [](std::string_view, std::string_view) { return true; })
            .error()
            .code() == Errc::kCorruption);
}

TEST_CASE("a file that is no LMDB is refused as damaged") {
  const Scratch scratch;
  Env& env = posix_env();
  REQUIRE(env.make_dirs(scratch.dir));
  {
    const auto file = env.open(scratch.dir + "/data.mdb", OpenMode::kCreateNew).value();
    REQUIRE(file->write_at(0, as_bytes(std::string(8192, 'x'))));
  }
  CHECK(open_lmdb_meta_store(scratch.dir, 1 << 20).error().code() == Errc::kCorruption);
}

TEST_CASE("readers see the state before or after a write, never between") {
  const Scratch scratch;
  const auto store = open_lmdb_meta_store(scratch.dir, 16 << 20).value();
  REQUIRE(store->write({{Table::kTree, "a", "0"}, {Table::kTree, "b", "0"}}));
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i)
    readers.emplace_back([&] {
      while (!stop) {
        std::vector<std::string> values;
        CHECK(store->scan(Table::kTree, "a", [&](std::string_view, std::string_view value) {
          values.emplace_back(value);
          return true;
        }));
        CHECK(values.size() == 2);
        CHECK(values.front() == values.back());
      }
    });
  for (int i = 1; i <= 30; ++i)
    CHECK(store->write({{Table::kTree, "a", number(i)}, {Table::kTree, "b", number(i)}}));
  stop = true;
  for (auto& reader : readers) reader.join();
}
