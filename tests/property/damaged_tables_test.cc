// Damage to LMDB's file: whatever byte is another one and wherever it ends, opening it names the
// file, or every row is what it was. It never takes the process down.
#include <doctest/doctest.h>

#include <array>
#include <map>

#include "cache/base/random.h"
#include "cache/meta_store.h"
#include "tests/support/temp_dir.h"

using namespace cairn;

namespace {

constexpr uint64_t kMapBytes = 64ULL << 20;
using Rows = std::array<std::map<std::string, std::string>, kTableCount>;

std::unique_ptr<MetaStore> open_good(const std::string& dir) {
  auto store = open_lmdb_meta_store(dir, kMapBytes);
  REQUIRE_MESSAGE(store, (store ? "" : store.error().message()));
  return *std::move(store);
}

std::string random_bytes(Rng& rng, size_t length) {
  std::string out(length, '\0');
  for (char& c : out) c = static_cast<char>(rng.below(256));
  return out;
}

// Transactions as a mount makes them: many small rows, some long ones, most rows removed again.
void fill(const std::string& dir, Rng& rng, Rows& rows, int transactions) {
  const auto store = open_good(dir);
  for (int i = 0; i < transactions; ++i) {
    std::vector<TableChange> changes;
    for (int j = 0; j < 200; ++j) {
      const size_t table = rng.below(kTableCount);
      const std::string key = "key " + std::to_string(rng.below(3000));
      if (rng.below(5) < 2) {
        changes.push_back({static_cast<Table>(table), key, std::nullopt});
        rows[table].erase(key);
      } else {
        const size_t length = rng.below(50) == 0 ? 1000 + rng.below(20'000) : rng.below(200);
        rows[table][key] = random_bytes(rng, length);
        changes.push_back({static_cast<Table>(table), key, rows[table][key]});
      }
    }
    REQUIRE(store->write(changes));
  }
}

bool same(MetaStore& store, const Rows& rows) {
  for (size_t i = 0; i < kTableCount; ++i) {
    auto it = rows[i].begin();
    bool equal = true;
    const Status scanned = store.scan(static_cast<Table>(i), "", [&](auto key, auto value) {
      equal = equal && it != rows[i].end() && it->first == key && it->second == value;
      if (it != rows[i].end()) ++it;
      return equal;
    });
    if (!scanned || !equal || it != rows[i].end()) return false;
  }
  return true;
}

ByteVec contents(const std::string& path) {
  auto bytes = read_file(posix_env(), path, 1ULL << 30);
  REQUIRE(bytes);
  return *std::move(bytes);
}

void put(const std::string& path, Bytes bytes) {
  auto file = posix_env().open(path, OpenMode::kCreate);
  REQUIRE(file);
  REQUIRE((*file)->truncate(0));
  REQUIRE((*file)->write_at(0, bytes));
}

}  // namespace

TEST_CASE("tables that nothing happened to are never called damaged") {
  const TempDir dir;
  const auto rng = make_seeded_rng(11);
  Rows rows;
  for (int life = 0; life < 25; ++life) {
    fill(dir.path(), *rng, rows, static_cast<int>(rng->below(12)));
    REQUIRE(same(*open_good(dir.path()), rows));
  }
}

TEST_CASE("a row that became shorter in one transaction keeps its pages, and is not damage") {
  const TempDir dir;
  const auto rng = make_seeded_rng(13);
  Rows rows;
  {
    const auto store = open_good(dir.path());
    rows[0]["row"] = random_bytes(*rng, 5000);
    REQUIRE(store->write({{static_cast<Table>(0), "row", random_bytes(*rng, 30'000)},
                          {static_cast<Table>(0), "row", rows[0]["row"]}}));
  }
  REQUIRE(same(*open_good(dir.path()), rows));
}

TEST_CASE("a long list of free pages is not damage, whatever it shrank by") {
  const TempDir dir;
  const auto rng = make_seeded_rng(14);
  Rows rows;
  for (int life = 0; life < 60; ++life) {
    {
      // Some 4,000 pages come and go.
      const auto store = open_good(dir.path());
      std::vector<TableChange> changes;
      for (uint64_t i = 0; i < 400; ++i) {
        const std::string key = "key " + std::to_string(i);
        rows[0].erase(key);
        if (rng->below(4) != 0) {
          changes.push_back({static_cast<Table>(0), key, std::nullopt});
        } else {
          rows[0][key] = random_bytes(*rng, 30'000 + rng->below(20'000));
          changes.push_back({static_cast<Table>(0), key, rows[0][key]});
        }
      }
      REQUIRE(store->write(changes));
    }
    REQUIRE(same(*open_good(dir.path()), rows));
  }
}

TEST_CASE("a flipped byte and a lost end of the tables are named, or change nothing") {
  const TempDir dir;
  const TempDir scratch;
  const auto rng = make_seeded_rng(12);
  Rows older, rows;
  fill(dir.path(), *rng, rows, 20);
  older = rows;
  fill(dir.path(), *rng, rows, 1);
  const ByteVec good = contents(dir.path() + "/data.mdb");
  const std::string path = scratch.path() + "/data.mdb";
  int named = 0;
  int as_it_was = 0;
  constexpr size_t kPage = 4096;
  for (int round = 0; round < 1500; ++round) {
    ByteVec bytes = good;
    // Heads of pages decide most, so they are hit most.
    const size_t page = round % 7 == 0 ? rng->below(3) : rng->below(bytes.size() / kPage);
    const size_t within = rng->below(2) == 0 ? rng->below(160) : rng->below(kPage);
    if (round % 10 == 9) {
      bytes.resize(rng->below(bytes.size()));
    } else {
      bytes[page * kPage + within] ^= std::byte{static_cast<uint8_t>(1 + rng->below(255))};
    }
    put(path, bytes);
    const auto store = open_lmdb_meta_store(scratch.path(), kMapBytes);
    if (!store) {
      ++named;
      CHECK(store.error().code() == Errc::kCorruption);
      CHECK(store.error().message().find("data.mdb") != std::string::npos);
      continue;
    }
    ++as_it_was;
    // The start of the newest transaction may be what was hit: then it did not happen.
    REQUIRE((same(**store, rows) || same(**store, older) || bytes.size() < kPage));
  }
  MESSAGE(named << " named, " << as_it_was << " without effect");
  CHECK(named > 200);
}
