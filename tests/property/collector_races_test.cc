// Garbage collection while others write, when it dies, and when the store answers wrongly.
#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <map>
#include <set>
#include <string>
#include <thread>

#include "cache/collector.h"
#include "cache/store_keys.h"
#include "tests/support/at_point.h"
#include "tests/support/collector_world.h"

namespace cairn {
namespace {

using World = test::CollectorWorld;
using test::age;
using test::Files;
using test::kChunk;

TEST_CASE("collector: killed at every step, the next one finishes the work") {
  size_t steps = 0;
  for (size_t kill_at = 1; kill_at == 1 || kill_at <= steps; ++kill_at) {
    World world;
    age(world);
    REQUIRE(world.snapshot("kept"));
    const Files then = world.files;
    world.remove("f0");
    world.publish();
    // Two collections, the second of which deletes; killed in one of them.
    size_t seen = 0;
    CancelToken token;
    CollectOptions how;
    how.round_bytes = 4 * kChunk;  // many commits
    how.progress = [&](std::string_view, const CollectReport&) {
      if (++seen == kill_at) token.cancel();
    };
    Context context;
    context.cancel = token;
    bool killed = false;
    for (int i = 0; i < 2 && !killed; ++i) {
      killed = !world.try_collect(how, context).has_value();
      world.wait_for_grace();
    }
    if (kill_at == 1) steps = std::max<size_t>(steps, 20);
    if (!killed) break;  // there are no more steps
    world.writer.kill();
    world.check_clean();
    CHECK(world.shown() == world.files);
    CHECK(world.shown(HistoryPoint(std::string("kept"))) == then);
    steps = std::max(steps, kill_at + 1);
    REQUIRE(world.writer.open("/writer"));
    for (int i = 0; i < 3; ++i) {
      world.collect();
      world.wait_for_grace();
    }
    world.check_clean();
    CHECK(world.shown() == world.files);
    CHECK(world.shown(HistoryPoint(std::string("kept"))) == then);
    uint64_t live = 0;
    for (const auto& [name, bytes] : then) live += bytes.size();
    CHECK(world.bytes_under("p/") <= live * 12 / 10 + (16 << 10));
  }
}

TEST_CASE("collector: who stops it does not wait for a publish that waits for the store") {
  World world;
  age(world);
  world.write("more", World::bytes_of("more", 1, kChunk));
  test::StoreFault hold;
  hold.kind = test::FaultKind::kHold;
  hold.ops = test::StoreOp::kPut;
  hold.prefix = "c/";
  hold.count = test::FaultyStore::kForever;
  world.store.add(hold);
  Context publish;
  std::thread publisher([&] { (void)world.writer.engine().publish_once(false, publish); });
  while (world.store.held() == 0) std::this_thread::yield();
  Context context;
  CollectOptions how;
  how.progress = [&](std::string_view step, const CollectReport&) {
    if (step == "condemning") context.cancel.cancel();
  };
  auto collection = std::async(std::launch::async, [&] { return world.try_collect(how, context); });
  CHECK(collection.wait_for(std::chrono::seconds(20)) == std::future_status::ready);
  publish.cancel.cancel();
  world.store.clear();
  world.store.release();
  publisher.join();
  const auto report = collection.get();
  REQUIRE(!report);
  CHECK(report.error().code() == Errc::kCancelled);
  world.publish();
  world.check_clean();
  CHECK(world.shown() == world.files);
}

TEST_CASE("collector: a snapshot that is made late of an older commit keeps what it needs") {
  World world;
  age(world);
  const Files then = world.files;
  const StoredCommit old = world.head().value();
  world.remove("f0");
  world.publish();
  CHECK(world.collect().condemned_packs > 0);
  CommitLog log(world.store, world.executor, system_clock(), os_rng(), {});
  REQUIRE(create_snapshot(world.store, log, "late", old, Context()));
  const HistoryPoint late = std::string("late");
  for (int i = 0; i < 3; ++i) {
    world.check_clean();
    CHECK(world.shown(late) == then);
    world.wait_for_grace();
    CHECK(world.collect().lost_blocks == 0);
  }
}

TEST_CASE("collector: a writer that was taken over deletes nothing") {
  World world;
  age(world);
  world.collect();
  world.wait_for_grace();
  test::TestMount second(world.store, world.env, world.executor);
  second.options.takeover = true;
  REQUIRE(second.open("/second"));
  const size_t before = world.objects_under("p/");
  const auto report = world.try_collect();
  REQUIRE(!report);
  CHECK(report.error().code() == Errc::kFenced);
  CHECK(world.objects_under("p/") == before);
  REQUIRE(second.close());
  world.check_clean();
  CHECK(world.shown() == world.files);
}

TEST_CASE("collector: taken over at any step, nothing that the new writer has is deleted") {
  for (size_t take_at = 1;; ++take_at) {
    CAPTURE(take_at);
    World world;
    age(world);
    world.collect();
    world.wait_for_grace();
    world.write("more", World::bytes_of("more", 1, 9 * kChunk));
    world.remove("f0");
    world.publish();
    test::TestMount second(world.store, world.env, world.executor);
    second.options.takeover = true;
    size_t seen = 0;
    CollectOptions how;
    how.progress = [&](std::string_view, const CollectReport&) {
      if (++seen != take_at) return;
      REQUIRE(second.open("/second"));
      const auto made = second.run(
          [](Volume& v, Need& n) { return v.create(kRootIno, "taken", 0644, {}, n); });
      REQUIRE(made);
      // Bytes that were in the volume before, so that the new writer may refer to what is there.
      const std::string bytes = World::bytes_of("f1", 1, 20 * kChunk + 100);
      REQUIRE(second.run([&](Volume& v, Need& n) {
        return v.write(made->handle, 0, as_bytes(bytes), n);
      }));
      second.volume().release_file(made->handle);
      world.files["taken"] = bytes;
      REQUIRE(second.engine().publish_once(false, Context()));
    };
    const auto report = world.try_collect(how);
    if (!second.is_open()) {
      REQUIRE(report);
      CHECK(take_at > 10);
      break;
    }
    world.check_clean();
    CHECK(world.shown() == world.files);
    world.writer.kill();
    REQUIRE(second.close());
    world.check_clean();
    CHECK(world.shown() == world.files);
  }
}

TEST_CASE("collector: another process under the name of the same cache fences it, too") {
  World world;
  age(world);
  world.collect();
  world.wait_for_grace();
  const auto newest = world.head();
  REQUIRE(newest);
  CommitRecord other = *newest->record;
  other.seq += 1;
  other.epoch += 1;
  other.nonce[0] ^= std::byte{1};
  other.previous = CommitRecord::Previous{newest->record->seq, newest->digest};
  REQUIRE(put_sync(world.store, commit_key(other.seq), Body(Buffer(other.encode().value())),
                   PutCondition::kIfAbsent, Context()));
  const size_t before = world.objects_under("p/");
  const auto report = world.try_collect();
  REQUIRE(!report);
  CHECK(report.error().code() == Errc::kFenced);
  CHECK(world.objects_under("p/") == before);
}

TEST_CASE("collector: a mount that publishes between any two steps loses nothing") {
  World world;
  age(world);
  std::map<std::string, Files> snapshots;
  int turn = 0;
  CollectOptions how;
  how.round_bytes = 16 * kChunk;
  how.progress = [&](std::string_view, const CollectReport&) {
    ++turn;
    // Bytes that are in packs on their way out, new ones, and removals.
    const std::string name = "f" + std::to_string(turn % 40);
    world.write("again" + std::to_string(turn % 5), World::bytes_of(name, 1, 20 * kChunk + 100));
    if (world.files.contains(name) && turn % 3 == 0) world.remove(name);
    if (turn % 2 == 0) world.publish();
    if (turn % 7 == 0) {
      world.publish();
      REQUIRE(world.snapshot("s" + std::to_string(turn)));
      snapshots["s" + std::to_string(turn)] = world.files;
    }
  };
  for (int i = 0; i < 5; ++i) {
    const auto report = world.try_collect(how);
    REQUIRE_MESSAGE(report, (report ? "" : report.error().message()));
    world.publish();
    world.check_clean();
    CHECK(world.shown() == world.files);
    for (const auto& [name, files] : snapshots) CHECK(world.shown(HistoryPoint(name)) == files);
    // Every commit that is kept can be read.
    const auto newest = world.head();
    REQUIRE(newest);
    for (uint64_t seq = report->kept_from; seq <= newest->record->seq; seq += 3)
      world.shown(HistoryPoint(seq));
    world.wait_for_grace();
  }
  CHECK(snapshots.size() >= 5);
}

// How a commit comes to an unknown end: it gets there, and nothing says so.
void publish_into_the_dark(World& world) {
  world.store.add({.kind = test::FaultKind::kLoseReply, .ops = test::StoreOp::kPut,
                   .prefix = "c/"});
  world.store.add({.kind = test::FaultKind::kFail, .ops = test::StoreOp::kGet, .prefix = "c/",
                   .count = test::FaultyStore::kForever});
  Context context;
  context.deadline = Deadline::after(system_clock(), std::chrono::milliseconds(300));
  REQUIRE(!world.writer.engine().publish_once(false, context));
  world.store.clear();
}

TEST_CASE("collector: a publish whose outcome is unknown is settled before the mark") {
  World world;
  age(world);
  const Files then = world.files;
  for (const auto& [name, bytes] : then) world.remove(name);
  world.publish();
  // This tree needs blocks of packs in which the newest known one needs nothing.
  world.write("back", then.begin()->second);
  publish_into_the_dark(world);
  const CollectReport report = world.collect();
  CHECK(report.moved_bytes >= world.file_bytes());
  const auto newest = world.head();
  REQUIRE(newest);
  for (uint64_t seq = newest->record->seq - 1; seq <= newest->record->seq; ++seq)
    CHECK(world.shown(HistoryPoint(seq)) == world.files);
  world.publish();
  for (int i = 0; i < 2; ++i) {
    world.wait_for_grace();
    world.collect();
    world.check_clean();
    CHECK(world.shown() == world.files);
  }
}

TEST_CASE("collector: a collection's commit of unknown outcome is settled, not made twice") {
  World world;
  age(world);
  world.store.add({.kind = test::FaultKind::kLoseReply, .ops = test::StoreOp::kPut,
                   .prefix = "c/"});
  world.store.add({.kind = test::FaultKind::kFail, .ops = test::StoreOp::kGet, .prefix = "c/",
                   .skip = 40, .count = test::FaultyStore::kForever});
  Context context;
  context.deadline = Deadline::after(system_clock(), std::chrono::milliseconds(500));
  const auto first = world.try_collect({}, context);
  world.store.clear();
  for (int i = 0; i < 3; ++i) {
    world.write("new" + std::to_string(i), World::bytes_of("new", i, 3 * kChunk));
    world.publish();
    world.collect();
    world.wait_for_grace();
    world.check_clean();
    CHECK(world.shown() == world.files);
  }
  const auto newest = world.head();
  REQUIRE(newest);
  std::set<Digest> condemned;
  for (const CondemnedPack& pack : newest->record->condemned_packs)
    CHECK(condemned.insert(pack.digest).second);
}

TEST_CASE("collector: a pack that a failed publish left is not taken from the next one") {
  World world;
  age(world);
  world.collect();
  world.write("new", World::bytes_of("new", 1, 30 * kChunk));
  // The pack gets there and nobody is told; long after that the publish is repeated, while the
  // collector is about to delete what nobody names.
  world.store.add({.kind = test::FaultKind::kLoseReply, .ops = test::StoreOp::kPut,
                   .prefix = "p/", .count = test::FaultyStore::kForever});
  REQUIRE(!world.writer.engine().publish_once(false, Context()));
  world.store.clear();
  world.wait_for_grace();
  CollectOptions how;
  bool deleting = false;
  how.progress = [&](std::string_view step, const CollectReport&) {
    if (step != "deleting packs") return;
    deleting = true;
    world.publish();
  };
  REQUIRE(world.try_collect(how));
  CHECK(deleting);
  world.publish();
  world.check_clean();
  CHECK(world.shown() == world.files);
}

TEST_CASE("collector: dies in the middle of deleting") {
  for (const uint32_t after : {0U, 1U, 3U, 6U}) {
    CAPTURE(after);
    World world;
    age(world);
    REQUIRE(world.snapshot("kept"));
    const Files then = world.files;
    world.remove("f0");
    world.publish();
    world.collect();
    world.wait_for_grace();
    world.store.add({.kind = test::FaultKind::kFail, .ops = test::StoreOp::kRemove, .skip = after,
                     .count = test::FaultyStore::kForever});
    CHECK(!world.try_collect());
    world.writer.kill();
    world.store.clear();
    world.check_clean();
    REQUIRE(world.writer.open("/writer"));
    world.wait_for_grace();
    world.collect();
    world.check_clean();
    CHECK(world.shown() == world.files);
    CHECK(world.shown(HistoryPoint(std::string("kept"))) == then);
    const auto newest = world.head();
    REQUIRE(newest);
    for (const CondemnedPack& pack : newest->record->condemned_packs) CHECK(pack.size == 0);
  }
}

// What a store that answers with an old state, or wrongly, must not be believed at once.
TEST_CASE("collector: one stale list of snapshots does not cost them anything") {
  for (uint32_t which = 0; which < 3; ++which) {
    CAPTURE(which);
    World world;
    age(world);
    REQUIRE(world.snapshot("kept"));
    const Files then = world.files;
    for (const auto& [name, bytes] : then) world.remove(name);
    world.publish();
    for (int i = 0; i < 4; ++i) {
      world.store.add({.kind = test::FaultKind::kStale, .ops = test::StoreOp::kList,
                       .prefix = "r/", .skip = which});
      world.collect();
      world.store.clear();
      world.wait_for_grace();
      world.check_clean();
      CHECK(world.shown(HistoryPoint(std::string("kept"))) == then);
    }
  }
}

TEST_CASE("collector: a stale list of packs does not make it forget what lives in one") {
  World world;
  age(world);
  const auto old = world.head();
  REQUIRE(old);
  const Files then = world.files;
  for (const auto& [name, bytes] : then) world.remove(name);
  world.publish();
  world.collect();
  CommitLog log(world.store, world.executor, system_clock(), os_rng(), {});
  REQUIRE(create_snapshot(world.store, log, "late", *old, Context()));
  for (int i = 0; i < 3; ++i) {
    world.wait_for_grace();
    world.store.add({.kind = test::FaultKind::kStale, .ops = test::StoreOp::kList,
                     .prefix = "p/"});
    world.collect();
    world.store.clear();
  }
  world.collect();
  world.check_clean();
  CHECK(world.shown(HistoryPoint(std::string("late"))) == then);
}

TEST_CASE("collector: a condemned pack that one answer does not show is not taken for lost") {
  for (const auto kind : {test::FaultKind::kTruncate, test::FaultKind::kStale}) {
    CAPTURE(static_cast<int>(kind));
    World world;
    age(world);
    const StoredCommit old = world.head().value();
    const Files then = world.files;
    for (const auto& [name, bytes] : then) world.remove(name);
    world.publish();
    REQUIRE(world.collect().condemned_packs > 0);
    CommitLog log(world.store, world.executor, system_clock(), os_rng(), {});
    REQUIRE(create_snapshot(world.store, log, "late", old, Context()));
    // What the snapshot shows is in condemned packs only, and none of them is due.
    const auto newest = world.head();
    REQUIRE(newest);
    for (const CondemnedPack& pack : newest->record->condemned_packs)
      world.store.add({.kind = kind, .ops = test::StoreOp::kGet, .prefix = pack_key(pack.digest)});
    CHECK(world.collect().lost_blocks == 0);
    CHECK(world.store.hits() >= newest->record->condemned_packs.size());
    world.store.clear();
    world.check_clean();
    CHECK(world.shown(HistoryPoint(std::string("late"))) == then);
  }
}

#ifdef CAIRN_CHECKED
TEST_CASE("collector: one that ends while a segment is written takes no pack from the index") {
  World world;
  world.writer.options.index.young_packs_max = 5;
  REQUIRE(world.writer.close());
  REQUIRE(world.writer.open("/another-cache"));
  age(world);
  REQUIRE(world.head()->record->young_packs.size() == 4);

  Context context;
  std::atomic<bool> moving{false};
  std::atomic<bool> go_on{false};
  CollectOptions how;
  how.progress = [&](std::string_view step, const CollectReport&) {
    if (step != "marking again") return;
    moving = true;
    while (!go_on) std::this_thread::yield();
  };
  std::thread collection([&] { CHECK_FALSE(world.try_collect(how, context)); });
  while (!moving) std::this_thread::yield();
  {
    const test::AtPoint planned("index.planned", [&] {
      context.cancel.cancel();
      go_on = true;
      collection.join();
    });
    for (int i = 0; i < 5; ++i) {
      world.write("later" + std::to_string(i), World::bytes_of("later", i, 2 * kChunk));
      world.publish();
    }
    CHECK(planned.times() == 1);
  }
  if (collection.joinable()) {
    go_on = true;
    collection.join();
  }
  CHECK(world.head()->record->index_segments.size() == 1);
  world.check_clean();
  CHECK(world.shown() == world.files);
}
#endif

TEST_CASE("collector: without the store's clock, or with an unclear boundary, nothing is done") {
  World world;
  age(world);
  world.collect();
  world.wait_for_grace();
  world.collect();
  const auto boundary = [&] {
    const auto got =
        get_sync(world.store, std::string(kBoundaryKey), GetRange::all(), Context());
    REQUIRE(got);
    return *parse_number_text(as_chars(got->bytes));
  };
  const uint64_t before = boundary();
  CHECK(before > 1);
  world.remove("f0");
  world.publish();
  world.collect();
  world.wait_for_grace();
  const size_t packs = world.objects_under("p/");
  const auto refused = [&](Errc code) {
    const auto report = world.try_collect();
    world.store.clear();
    REQUIRE(!report);
    CHECK(report.error().code() == code);
    CHECK(world.objects_under("p/") == packs);
    CHECK(boundary() >= before);
  };
  world.store.add({.kind = test::FaultKind::kStale, .ops = test::StoreOp::kList,
                   .prefix = std::string(kClockKey)});
  refused(Errc::kTransient);
  for (uint32_t which = 0; which < 2; ++which) {
    world.store.add({.kind = test::FaultKind::kStale, .ops = test::StoreOp::kGet,
                     .prefix = std::string(kBoundaryKey), .skip = which});
    refused(Errc::kTransient);
  }
  // Old in every answer: what this process wrote or saw before counts.
  world.store.add({.kind = test::FaultKind::kStale, .ops = test::StoreOp::kGet,
                   .prefix = std::string(kBoundaryKey), .count = test::FaultyStore::kForever});
  REQUIRE(world.try_collect());
  world.store.clear();
  CHECK(boundary() >= before);
  // A number that no commit has.
  REQUIRE(put_sync(world.store, std::string(kBoundaryKey), Body(Buffer::copy("99999\n")),
                   PutCondition::kAlways, Context()));
  const size_t commits = world.objects_under("c/");
  const auto damaged = world.try_collect();
  REQUIRE(!damaged);
  CHECK(damaged.error().code() == Errc::kCorruption);
  CHECK(world.objects_under("c/") == commits);
}

TEST_CASE("collector: a boundary that came early lets nothing be deleted before its time") {
  World world;
  age(world);
  world.collect();
  const auto newest = world.head();
  REQUIRE(newest);
  // As another grace period, or damage, may leave it.
  REQUIRE(put_sync(world.store, std::string(kBoundaryKey),
                   Body(Buffer::copy(number_text(newest->record->seq))), PutCondition::kAlways,
                   Context()));
  CHECK(world.collect().deleted_packs == 0);
  world.check_clean();
  world.wait_for_grace();
  CHECK(world.collect().deleted_packs >= 4);
  world.check_clean();
}

}  // namespace
}  // namespace cairn
