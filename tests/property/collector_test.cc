// Garbage collection on whole volumes: what is dead goes, nothing that anybody can still see does.
#include "cache/collector.h"

#include <doctest/doctest.h>

#include <map>
#include <string>

#include "cache/store_keys.h"
#include "cache/store_scan.h"
#include "tests/support/collector_world.h"

namespace cairn {
namespace {

using std::chrono::minutes;
using World = test::CollectorWorld;
using test::age;
using test::Files;
using test::kChunk;

TEST_CASE("collector: what is dead is given back after the grace period, what lives is moved") {
  World world;
  age(world);
  const uint64_t before = world.bytes_under("p/");
  const CollectReport first = world.collect();
  CHECK(first.condemned_packs >= 4);
  CHECK(first.moved_bytes >= world.file_bytes());
  CHECK(first.deleted_packs == 0);
  CHECK(first.lost_blocks == 0);
  CHECK(first.live_bytes == world.file_bytes());
  CHECK(world.bytes_under("p/") > before);  // nothing goes before its time
  CHECK(world.shown() == world.files);
  world.check_clean();
  CHECK(world.collect().deleted_packs == 0);

  world.wait_for_grace();
  const CollectReport second = world.collect();
  CHECK(second.deleted_packs >= 4);
  CHECK(second.condemned_packs == 0);
  world.check_clean();
  CHECK(world.shown() == world.files);
  // Within 20 % of what lives, metadata included.
  CHECK(world.bytes_under("p/") <= world.file_bytes() * 12 / 10);
  // And that was all.
  world.wait_for_grace();
  const CollectReport third = world.collect();
  CHECK(third.condemned_packs == 0);
  CHECK(third.waiting_packs == 0);
  const auto newest = world.head();
  REQUIRE(newest);
  CHECK(newest->record->condemned_packs.empty());
  CHECK(newest->record->totals.stored_bytes <= world.bytes_under("p/"));
  REQUIRE(world.writer.close());
  CHECK(world.shown() == world.files);
}

TEST_CASE("collector: a dry run says the same and changes nothing") {
  World world;
  age(world);
  std::map<std::string, uint64_t> before;
  const auto list = [&](auto& into) {
    REQUIRE(list_all(world.store, "", Context(),
                     [&](const ObjectInfo& info) { into[info.key] = info.size; }));
  };
  list(before);
  CollectOptions how;
  how.dry_run = true;
  const auto dry = world.try_collect(how);
  REQUIRE(dry);
  CHECK(dry->condemned_packs >= 4);
  std::map<std::string, uint64_t> after;
  list(after);
  CHECK(before == after);
  const CollectReport real = world.collect();
  CHECK(real.condemned_packs == dry->condemned_packs);
  CHECK(real.condemned_bytes == dry->condemned_bytes);
}

TEST_CASE("collector: metadata packs, index segments and commits that are long past go, too") {
  World world;
  // Enough commits for tiers to be merged and for an index segment.
  for (int i = 0; i < 70; ++i) {
    world.write("f" + std::to_string(i), World::bytes_of("f", i, 600));
    world.publish();
  }
  world.wait_for_grace();
  for (int i = 0; i < 66; ++i) {
    world.write("g" + std::to_string(i % 5), World::bytes_of("g", i, 600));
    world.publish();
  }
  const size_t commits = world.objects_under("c/");
  const size_t packs = world.objects_under("p/");
  CHECK(world.objects_under("x/") >= 2);
  const CollectReport report = world.collect();
  CHECK(report.deleted_commits >= 60);
  CHECK(report.deleted_packs >= 60);  // metadata of commits that can no longer be read
  CHECK(world.objects_under("c/") < commits);
  CHECK(world.objects_under("p/") < packs);
  world.check_clean();
  CHECK(world.shown() == world.files);
  // Every commit that is kept can be read.
  const auto newest = world.head();
  REQUIRE(newest);
  for (uint64_t seq = report.kept_from; seq <= newest->record->seq; seq += 9)
    CHECK(!world.shown(HistoryPoint(seq)).empty());
  world.wait_for_grace();
  world.collect();
  world.wait_for_grace();
  world.collect();
  world.check_clean();
  CHECK(world.objects_under("c/") <= 3);
  CHECK(world.objects_under("x/") <= 2);
  CHECK(world.shown() == world.files);
}

TEST_CASE("collector: the index is written anew when it lists many packs that are gone") {
  World world;
  for (int i = 0; i < 140; ++i) {
    world.write("f" + std::to_string(i), World::bytes_of("f", i, 600));
    world.publish();
  }
  for (int i = 0; i < 130; ++i) world.remove("f" + std::to_string(i));
  world.publish();
  world.collect();
  world.wait_for_grace();
  const CollectReport report = world.collect();
  CHECK(report.deleted_packs >= 120);
  world.check_clean();
  world.collect();  // forgets what no segment lists
  const auto newest = world.head();
  REQUIRE(newest);
  CHECK(newest->record->condemned_packs.size() < 10);
  CHECK(world.shown() == world.files);
}

TEST_CASE("collector: what was moved is not moved again when a segment covers it") {
  World world;
  age(world);
  CHECK(world.collect().moved_bytes >= world.file_bytes());
  for (int i = 0; i < 70; ++i) {
    const std::string name = "later" + std::to_string(i);
    world.write(name, World::bytes_of(name, 1, 600));
    world.publish();
  }
  const auto newest = world.head();
  REQUIRE(newest);
  REQUIRE(newest->record->index_segments.size() == 4);  // of 16 packs each
  world.wait_for_grace();
  const CollectReport report = world.collect();
  CHECK(report.deleted_packs >= 4);
  CHECK(report.moved_bytes == 0);
  world.check_clean();
  CHECK(world.shown() == world.files);
}

TEST_CASE("collector: a snapshot keeps its files until it is deleted") {
  World world;
  age(world);
  REQUIRE(world.snapshot("kept"));
  const Files then = world.files;
  for (const auto& [name, bytes] : then) {
    if (name == "f0") continue;
    world.remove(name);
  }
  world.write("f0", World::bytes_of("f0", 2, 30 * kChunk));
  world.publish();
  for (int i = 0; i < 3; ++i) {
    world.collect();
    world.wait_for_grace();
    world.check_clean();
    CHECK(world.shown(HistoryPoint(std::string("kept"))) == then);
    CHECK(world.shown() == world.files);
  }
  REQUIRE(delete_snapshot(world.store, "kept", Context()));
  for (int i = 0; i < 3; ++i) {
    world.collect();
    world.wait_for_grace();
  }
  world.check_clean();
  CHECK(world.shown() == world.files);
  // Less than a MiB of dead metadata is not worth a rewrite.
  CHECK(world.bytes_under("p/") <= world.file_bytes() * 12 / 10 + (96 << 10));
}

TEST_CASE("collector: a mount that never saw a snapshot's tree reads it from the store") {
  World world;
  age(world);
  REQUIRE(world.snapshot("kept"));
  const Files then = world.files;
  for (const auto& [name, bytes] : then) world.remove(name);
  world.write("new", World::bytes_of("new", 1, 3 * kChunk));
  world.publish();
  REQUIRE(world.writer.close());
  REQUIRE(world.writer.open("/other"));
  for (int i = 0; i < 3; ++i) {
    world.collect();
    world.wait_for_grace();
  }
  world.check_clean();
  CHECK(world.shown(HistoryPoint(std::string("kept"))) == then);
  CHECK(world.shown() == world.files);
}

TEST_CASE("collector: a snapshot made while packs were condemned already keeps them") {
  World world;
  age(world);
  const auto old = world.head();
  REQUIRE(old);
  const Files then = world.files;
  for (const auto& [name, bytes] : then) world.remove(name);
  world.publish();
  world.collect();  // condemns all of it
  CommitLog log(world.store, world.executor, system_clock(), os_rng(), {});
  REQUIRE(create_snapshot(world.store, log, "late", *old, Context()));
  for (int i = 0; i < 3; ++i) {
    world.wait_for_grace();
    world.collect();
    CHECK(world.shown(HistoryPoint(std::string("late"))) == then);
  }
  world.check_clean();
  // What was removed from the history can get no name any more.
  const Status gone = create_snapshot(world.store, log, "too-late", *old, Context());
  REQUIRE(!gone);
  CHECK(gone.error().code() == Errc::kNotFound);
  CHECK(world.objects_under("r/") == 1);
}

TEST_CASE("collector: nothing is deduplicated against a condemned pack") {
  World world;
  age(world);
  world.collect();
  // The same bytes as what was removed.
  for (int i = 0; i < 40; ++i) {
    const std::string name = "f" + std::to_string(i);
    if (i % 4 != 0) world.write("again" + name, World::bytes_of(name, 1, 20 * kChunk + 100));
  }
  world.publish();
  world.wait_for_grace();
  CHECK(world.collect().deleted_packs >= 4);
  world.check_clean();
  CHECK(world.shown() == world.files);
}

TEST_CASE("collector: the same bytes written in two sessions are kept once") {
  World world;
  const std::string bytes = World::bytes_of("twice", 1, 40 * kChunk);
  world.write("one", bytes);
  REQUIRE(world.writer.close());
  world.writer.options.tails_ahead = 0;  // nothing tells the second what is there
  REQUIRE(world.writer.open("/another-cache"));
  world.write("two", bytes);
  world.publish();
  CHECK(world.bytes_under("p/") > 2 * bytes.size());
  for (int i = 0; i < 4; ++i) {
    const CollectReport report = world.collect();
    CHECK(report.moved_bytes == 0);  // one of the copies is enough, and stays where it is
    world.wait_for_grace();
  }
  world.check_clean();
  CHECK(world.shown() == world.files);
  CHECK(world.bytes_under("p/") <= bytes.size() * 12 / 10);
}

TEST_CASE("collector: an index made between two of its rounds leads to what stays") {
  size_t segments_a_tier = 8;
  SUBCASE("a segment of its own") {}
  SUBCASE("merged with an older one") {
    segments_a_tier = 2;
  }
  World world;
  // A segment lists: a pack that stays, one of which nearly all is dead, and others.
  const std::string twice = World::bytes_of("twice", 1, 8 * kChunk);
  world.write("one", twice);
  world.write("beside", World::bytes_of("beside", 1, 200 * kChunk));
  world.publish();
  world.write("little", World::bytes_of("little", 1, kChunk));
  world.write("dead", World::bytes_of("dead", 1, 100 * kChunk));
  world.publish();
  for (int i = 2; i < 16; ++i) {
    world.write("f" + std::to_string(i), World::bytes_of("f", i, 600));
    world.publish();
  }
  REQUIRE(world.head()->record->index_segments.size() == 1);
  // A cache that does not know of it writes the same bytes into a pack of which most is dead, too.
  REQUIRE(world.writer.close());
  world.writer.options.tails_ahead = 0;
  world.writer.options.index.young_packs_max = 3;
  world.writer.options.index.segments_a_tier = segments_a_tier;
  REQUIRE(world.writer.open("/another-cache"));
  world.write("two", twice);
  world.write("some", World::bytes_of("some", 1, 3 * kChunk));
  world.write("dead too", World::bytes_of("dead", 2, 60 * kChunk));
  world.publish();
  world.write("last", World::bytes_of("last", 1, 600));
  world.publish();
  world.remove("dead");
  world.remove("dead too");
  world.publish();
  REQUIRE(world.head()->record->young_packs.size() == 2);

  CollectOptions how;
  how.round_bytes = 1;
  const uint64_t before = world.head()->record->seq;
  const auto report = world.try_collect(how);
  REQUIRE(report);
  CHECK(report->moved_bytes == 4 * kChunk);
  CHECK(world.head()->record->seq - before >= 2);
  world.check_clean();
  const auto segments = world.head()->record->index_segments;
  // The next one leaves out what leaves.
  for (int i = 16; i < 19; ++i) {
    world.write("f" + std::to_string(i), World::bytes_of("f", i, 600));
    world.publish();
  }
  CHECK(world.head()->record->index_segments != segments);
  world.check_clean();
  world.wait_for_grace();
  CHECK(world.collect().moved_bytes == 0);
  world.check_clean();
  CHECK(world.shown() == world.files);
}

TEST_CASE("collector: a reader with an old commit finds what was moved") {
  World world;
  age(world);
  const Files then = world.files;
  const auto follower = world.reader();
  const auto newest = world.head();
  REQUIRE(newest);
  const auto pinned = world.reader(HistoryPoint(newest->record->seq));
  // The packs that these know are condemned and deleted; what their trees need was moved.
  world.write("new", World::bytes_of("new", 1, 3 * kChunk));
  world.publish();
  world.collect();
  world.wait_for_grace();
  CHECK(world.collect().deleted_packs >= 4);
  CHECK(World::read_all(*follower) == then);
  CHECK(World::read_all(*pinned) == then);
  REQUIRE(World::remote_of(*follower).follow(Context()));
  CHECK(World::read_all(*follower) == world.files);
}

TEST_CASE("collector: packs of writers that died are deleted, but not at once") {
  World world;
  age(world);
  // As a publish leaves them that never got to its commit.
  OpenPack pack(PackKind::kData, 99);
  const std::string bytes = World::bytes_of("orphan", 1, kChunk);
  REQUIRE(pack.add(Cid::make(Codec::kRaw, as_bytes(bytes)), Buffer::copy(bytes)));
  const auto sealed = pack.seal();
  REQUIRE(sealed);
  const std::string key = pack_key(sealed->tail.name());
  REQUIRE(put_sync(world.store, key, sealed->body, PutCondition::kAlways, Context()));
  world.collect();
  CHECK(get_sync(world.store, key, GetRange::all(), Context()));
  world.wait_for_grace();
  world.collect();
  CHECK(!get_sync(world.store, key, GetRange::all(), Context()));
  world.check_clean();
}

TEST_CASE("collector: a file that was removed while it is open stays readable") {
  World world;
  const std::string bytes = World::bytes_of("open", 1, 30 * kChunk);
  world.write("open", bytes);
  REQUIRE(world.writer.close());
  REQUIRE(world.writer.open("/cold-cache"));
  const auto attr =
      world.writer.run([](Volume& v, Need& n) { return v.lookup(kRootIno, "open", n); });
  REQUIRE(attr);
  const auto handle =
      world.writer.run([&](Volume& v, Need& n) { return v.open_file(attr->ino, n); });
  REQUIRE(handle);
  world.remove("open");
  world.publish();
  CollectOptions how;
  for (int i = 0; i < 3; ++i) {
    how.pinned = [&world] { return world.writer.volume().open_removed(); };
    CHECK(how.pinned().size() == 1);
    REQUIRE(world.try_collect(how));
    world.wait_for_grace();
  }
  const auto read = world.writer.run(
      [&](Volume& v, Need& n) { return v.read(*handle, 0, bytes.size(), n); });
  REQUIRE_MESSAGE(read, (read ? "" : read.error().message()));
  CHECK(as_chars(*read) == bytes);
  world.writer.volume().release_file(*handle);
  CHECK(world.writer.volume().open_removed().empty());
}

TEST_CASE("collector: a mark in many ranges of digests counts the same") {
  World world;
  age(world);
  CollectOptions how;
  how.dry_run = true;
  const auto one = world.try_collect(how);
  how.digests_at_once = 16;
  const auto many = world.try_collect(how);
  REQUIRE(one);
  REQUIRE(many);
  CHECK(one->live_bytes == many->live_bytes);
  CHECK(one->live_blocks == many->live_blocks);
  CHECK(one->condemned_packs == many->condemned_packs);
}

TEST_CASE("collector: writing, removing, snapshots, readers and collections in any order") {
  const auto rng = make_seeded_rng(20261126);
  World world;
  std::map<std::string, Files> snapshots;
  auto follower = world.reader();
  const auto below = [&](uint64_t bound) { return rng->below(bound); };
  for (int i = 0; i < 160; ++i) {
    switch (below(10)) {
      case 0:
      case 1:
      case 2:
      case 3: {
        const std::string name = "n" + std::to_string(below(12));
        if (world.files.contains(name)) world.remove(name);
        // Often bytes that were there before.
        world.write(name, World::bytes_of("v", static_cast<int>(below(9)), 1 + below(12 * kChunk)));
        break;
      }
      case 4:
        if (!world.files.empty()) world.remove(world.files.begin()->first);
        break;
      case 5:
      case 6:
        world.publish();
        REQUIRE(World::remote_of(*follower).follow(Context()));
        break;
      case 7: {
        world.publish();
        const std::string name = "s" + std::to_string(i);
        REQUIRE(world.snapshot(name));
        snapshots[name] = world.files;
        if (snapshots.size() > 2) {
          REQUIRE(delete_snapshot(world.store, snapshots.begin()->first, Context()));
          snapshots.erase(snapshots.begin());
        }
        break;
      }
      case 8:
        world.collect();
        break;
      default:
        world.clock.advance(minutes(static_cast<int64_t>(below(50))));
        // The follower polls in time.
        REQUIRE(World::remote_of(*follower).follow(Context()));
    }
  }
  world.publish();
  for (int i = 0; i < 3; ++i) {
    world.collect();
    world.wait_for_grace();
    REQUIRE(World::remote_of(*follower).follow(Context()));
    CHECK(World::read_all(*follower) == world.files);
  }
  world.check_clean();
  CHECK(world.shown() == world.files);
  for (const auto& [name, files] : snapshots)
    CHECK(world.shown(HistoryPoint(name)) == files);
}

}  // namespace
}  // namespace cairn
