// Names of commits: what may be one, what is meant by a point in time, who wins a race.
#include "cache/snapshots.h"

#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "cache/format/commit.h"
#include "cache/store_keys.h"
#include "s3/memory_store.h"
#include "tests/support/faulty_store.h"

namespace cairn {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

struct Fixture {
  std::unique_ptr<Rng> rng = make_seeded_rng(1);
  ThreadExecutor executor{"store", 2};
  std::shared_ptr<MemoryStore> memory = std::make_shared<MemoryStore>(executor, system_clock());
  test::FaultyStore store{memory, {executor, system_clock(), *rng}};
  CommitLog log{store, executor, system_clock(), *rng, {}};

  // Commit n was made n seconds after 1970.
  Fixture() {
    Digest previous;
    for (uint64_t seq = 1; seq <= 20; ++seq) {
      CommitRecord record;
      record.seq = seq;
      record.epoch = 1;
      record.writer.host = "maker";
      if (seq > 1) record.previous = CommitRecord::Previous{seq - 1, previous};
      record.root = Cid::from_digest(Codec::kDagCbor, sha256(as_bytes(std::to_string(seq))));
      record.time_ns = static_cast<int64_t>(seq) * kSecond;
      const Buffer bytes(record.encode().value());
      previous = sha256(bytes);
      put(commit_key(seq), bytes);
    }
  }
  void put(const std::string& key, Buffer bytes) {
    REQUIRE(put_sync(*memory, key, Body(std::move(bytes)), PutCondition::kAlways, {}));
  }
  void collect_below(uint64_t boundary) {
    put(std::string(kBoundaryKey), Buffer::copy(number_text(boundary)));
    for (uint64_t seq = 1; seq < boundary; ++seq)
      REQUIRE(remove_sync(*memory, commit_key(seq), {}));
  }
  StoredCommit commit(uint64_t seq) { return log.read(seq, {}).value(); }
  bool there(const std::string& name) {
    return get_sync(*memory, ref_key(name), GetRange::all(), {}).has_value();
  }
  uint64_t found(const std::string& point) {
    const auto at = parse_history_point(point);
    REQUIRE(at);
    const auto commit = find_commit(store, log, *at, this->commit(20), {});
    return commit ? commit->record->seq : 0;
  }
};

}  // namespace

TEST_CASE("a snapshot's name is never taken for a number or a time") {
  for (const char* good : {"a", "_", "before-upgrade", "v1.2", "at-2026-11-26T13-05-30Z"}) {
    CHECK(check_snapshot_name(good));
    CHECK(std::holds_alternative<std::string>(parse_history_point(good).value()));
  }
  for (const std::string& bad : {std::string(), std::string("../x"), std::string("a/b"),
                                 std::string("1st"), std::string(".hidden"), std::string("-x"),
                                 std::string("a b"), std::string("caf\xc3\xa9"),
                                 std::string(129, 'a'), std::string("a\0b", 3)})
    CHECK_FALSE(check_snapshot_name(bad));
}

TEST_CASE("points of the history as people write them") {
  CHECK(std::get<uint64_t>(parse_history_point("17").value()) == 17);
  const auto time = [](const char* text) {
    return std::get<HistoryTime>(parse_history_point(text).value()).wall_ns / kSecond;
  };
  CHECK(time("1970-01-02") == 86400);
  CHECK(time("1970-01-01T00:01") == 60);
  CHECK(time("1970-01-01 00:01:05") == 65);
  CHECK(time("2026-11-26T13:05:30Z") == 1795698330);
  CHECK(utc_text(1795698330 * kSecond) == "2026-11-26T13:05:30Z");
  for (const char* bad : {"", "0", "-1", "1.5", "2026-13-01", "2026-02-31", "2026-11-26T25:00",
                          "2026-11-26T13", "2026-11-26Zz", "18446744073709551616", "17x"})
    CHECK(parse_history_point(bad).error().code() == Errc::kInvalid);
}

TEST_CASE_FIXTURE(Fixture, "a commit is found by name, by number and by time") {
  REQUIRE(create_snapshot(store, log, "seven", commit(7), {}));
  CHECK(found("seven") == 7);
  CHECK(found("nobody") == 0);
  CHECK(found("20") == 20);
  CHECK(found("3") == 3);
  CHECK(found("21") == 0);
  CHECK(found("1970-01-01T00:00:05") == 5);
  CHECK(found("1970-01-01T00:00:00") == 0);  // before the first
  CHECK(found("2026-01-01") == 20);
  collect_below(6);
  CHECK(found("5") == 0);
  CHECK(found("6") == 6);
  CHECK(found("1970-01-01T00:00:05") == 0);
  CHECK(found("1970-01-01T00:00:09") == 9);
  CHECK(found("seven") == 7);
}

TEST_CASE_FIXTURE(Fixture, "a snapshot is made once, listed and deleted") {
  REQUIRE(create_snapshot(store, log, "b", commit(7), {}));
  REQUIRE(create_snapshot(store, log, "a", commit(9), {}));
  CHECK(create_snapshot(store, log, "b", commit(8), {}).error().code() == Errc::kExists);
  CHECK(create_snapshot(store, log, "b", commit(7), {}).error().code() == Errc::kExists);
  const auto list = list_snapshots(store, {}).value();
  REQUIRE(list.size() == 2);
  CHECK(list[0].name == "a");
  CHECK(list[1].commit.record->seq == 7);
  CHECK(list[1].commit.digest == commit(7).digest);
  REQUIRE(delete_snapshot(store, "b", {}));
  CHECK(delete_snapshot(store, "b", {}).error().code() == Errc::kNotFound);
  CHECK(list_snapshots(store, {}).value().size() == 1);
  // A damaged one is not passed over: the collector would take it for deleted.
  put(ref_key("a"), Buffer::copy("damaged"));
  CHECK(list_snapshots(store, {}).error().code() == Errc::kCorruption);
}

TEST_CASE_FIXTURE(Fixture, "a create whose reply is lost is ours when it is there") {
  store.add({.kind = test::FaultKind::kLoseReply, .ops = test::StoreOp::kPut, .prefix = "r/"});
  CHECK(create_snapshot(store, log, "lost", commit(7), {}));
  CHECK(there("lost"));
}

TEST_CASE_FIXTURE(Fixture, "a commit that was removed gets no name, whatever the boundary says") {
  const StoredCommit old = commit(5);
  collect_below(10);
  CHECK(create_snapshot(store, log, "late", old, {}).error().code() == Errc::kNotFound);
  CHECK_FALSE(there("late"));
  // An old answer for the boundary, by which it would still be kept.
  CommitLog other(store, executor, system_clock(), *rng, {});
  store.add({.kind = test::FaultKind::kStale, .ops = test::StoreOp::kGet,
             .prefix = std::string(kBoundaryKey), .count = test::FaultyStore::kForever});
  CHECK(create_snapshot(store, other, "late", old, {}).error().code() == Errc::kNotFound);
  CHECK_FALSE(there("late"));
  store.clear();
  CHECK(create_snapshot(store, log, "in-time", commit(10), {}));
}

}  // namespace cairn
