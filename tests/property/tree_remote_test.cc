// Publishing into a volume and reading it back through another cache, against a model that holds
// the bytes of every file.
#include "cache/tree_remote.h"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "cache/format/commit.h"
#include "cache/store_keys.h"
#include "cache/volume_format.h"
#include "tests/support/faulty_store.h"
#include "tests/support/tree_world.h"

namespace cairn {
namespace {

using test::FaultKind;
using test::FaultyStore;
using test::StoreOp;
using test::VolumeModel;
using World = test::TreeWorld;
using test::change;
using test::kChunk;
using test::same;

TEST_CASE("tree remote: what was published is what another cache reads, byte for byte") {
  const bool ok = rc::check([] {
    World world;
    VolumeModel model(world.new_log(), kChunk);
    const auto options = world.options("writer");
    auto remote = world.open_writer(options, model);
    const auto rounds = *rc::gen::inRange(1, 9);
    for (int round = 0; round < rounds; ++round) {
      change(model);
      const PublishBatch batch = model.batch();
      const auto state = remote->publish(batch, model, Context());
      RC_ASSERT(state.has_value());
      RC_ASSERT(state->lsn == batch.lsn);
      RC_ASSERT(remote->published().root == state->root);
      uint64_t bytes = 0;
      for (const auto& [ino, content] : model.files()) bytes += test::allocated_by(content.size());
      RC_ASSERT(state->live_bytes == bytes);
      RC_ASSERT(state->inodes == model.files().size() + 1);
      model.published();
      if (*rc::gen::inRange(0, 4) == 0)
        RC_ASSERT(same(test::read_all(*remote), model.files(), remote->params()));
    }
    RC_ASSERT(same(world.shown(), model.files(), remote->params()));
  });
  CHECK(ok);
}

TEST_CASE("tree remote: a request that fails loses nothing and publishes nothing twice") {
  const bool ok = rc::check([] {
    World world;
    VolumeModel model(world.new_log(), kChunk);
    auto remote = world.open_writer(world.options("writer"), model);
    change(model);
    RC_ASSERT(remote->publish(model.batch(), model, Context()).has_value());
    model.published();
    std::map<Ino, std::string> before = model.files();
    for (int round = 0; round < 2; ++round) {
      change(model);
      world.faults.fail_call(*rc::gen::inRange(1, 8), *rc::gen::arbitrary<bool>());
      // The commit log itself tries again; what fails is a pack or a read.
      auto state = remote->publish(model.batch(), model, Context());
      const bool hit = world.faults.failed();
      world.faults.heal();
      if (!state) {
        RC_ASSERT(hit);
        // Half of a batch is never seen.
        RC_ASSERT(same(world.shown(), before, remote->params()));
        if (*rc::gen::arbitrary<bool>()) change(model);
        state = remote->publish(model.batch(), model, Context());
        RC_ASSERT(state.has_value());
      }
      model.published();
      before = model.files();
    }
    RC_ASSERT(same(world.shown(), before, remote->params()));
  });
  CHECK(ok);
}

TEST_CASE("tree remote: many small files are few requests") {
  World world;
  VolumeModel model(world.new_log(), kChunk);
  auto with = world.options("writer");
  with.pack_bytes = 32 << 20;
  with.metadata.pack_bytes = 8 << 20;
  with.publish_memory_bytes = 48 << 20;
  auto remote = world.open_writer(with, model);
  for (uint16_t i = 1; i <= 2000; ++i) {
    const Ino ino = make_ino(1, 1, i);
    model.create(ino);
    model.write(ino, 0, "file " + std::to_string(i));
  }
  const auto before = world.metered->counts();
  REQUIRE(remote->publish(model.batch(), model, Context()).has_value());
  const auto after = world.metered->counts();
  CHECK(after.put - before.put <= 4);  // data, metadata, commit, and perhaps the hint
  CHECK(after.get - before.get <= 2);
  CHECK(after.list == before.list);
  CHECK(same(world.shown(), model.files(), remote->params()));
}

TEST_CASE("tree remote: an empty batch publishes nothing, closing says so") {
  World world;
  VolumeModel model(world.new_log(), kChunk);
  auto remote = world.open_writer(world.options("writer"), model);
  const uint64_t seq = remote->published().seq;
  PublishBatch batch = model.batch();
  batch.lsn = 7;
  REQUIRE(remote->publish(batch, model, Context()).has_value());
  CHECK(remote->published().seq == seq);
  CHECK(remote->state().head.open);
  batch.close = true;
  REQUIRE(remote->publish(batch, model, Context()).has_value());
  CHECK(remote->published().seq == seq + 1);
  CHECK(remote->published().lsn == 7);
  CHECK(!remote->state().head.open);
  CHECK(!remote->state().writing);
}

TEST_CASE("tree remote: a second writer is refused, and fences the first when told to") {
  World world;
  VolumeModel model(world.new_log(), kChunk);
  auto first = world.open_writer(world.options("first"), model);
  const Ino ino = make_ino(1, 1, 1);
  model.create(ino);
  model.write(ino, 0, "one");
  REQUIRE(first->publish(model.batch(), model, Context()).has_value());
  model.published();
  const auto kept = model.files();

  auto with = world.options("second");
  auto second = world.open(with);
  VolumeModel other(world.new_log(), kChunk);
  const auto refused = second->begin_writing(other, Context());
  REQUIRE(!refused.has_value());
  CHECK(refused.error().code() == Errc::kPrecondition);
  with.takeover = true;
  second = world.open_writer(with, other);
  CHECK(second->published().lsn == 0);

  model.write(ino, 0, "two");
  const auto late = first->publish(model.batch(), model, Context());
  REQUIRE(!late.has_value());
  CHECK(late.error().code() == Errc::kFenced);
  CHECK(first->state().fenced);
  const auto later = first->publish(model.batch(), model, Context());
  CHECK(later.error().code() == Errc::kFenced);
  CHECK(same(world.shown(), kept, first->params()));
}

TEST_CASE("tree remote: a commit whose answer was lost is not made twice") {
  World world;
  VolumeModel model(world.new_log(), kChunk);
  auto remote = world.open_writer(world.options("writer"), model);
  const Ino ino = make_ino(1, 1, 1);
  model.create(ino);
  model.write(ino, 0, "one");
  const uint64_t seq = remote->published().seq;
  // The commit is sent and happens, and then nobody can be asked.
  Context context;
  context.deadline = Deadline::after(system_clock(), std::chrono::milliseconds(300));
  world.faults.fail_call(5, true, true);  // two packs, two looks back, commit
  const auto first = remote->publish(model.batch(), model, context);
  world.faults.heal();
  REQUIRE(!first.has_value());
  CHECK(remote->published().seq == seq);
  CHECK(same(world.shown(), model.files(), remote->params()));  // it did happen
  model.write(ino, 1, "wo");
  const auto second = remote->publish(model.batch(), model, Context());
  REQUIRE_MESSAGE(second.has_value(), (second ? "" : second.error().message()));
  CHECK(second->seq == seq + 2);
  CHECK(same(world.shown(), model.files(), remote->params()));
}

TEST_CASE(
    "tree remote: a commit whose answer was lost and that is read back broken is still ours") {
  World world;
  VolumeModel model(world.new_log(), kChunk);
  const std::shared_ptr<ObjectStore> memory(std::shared_ptr<void>(), &world.memory);
  FaultyStore broken(memory, {world.executor, system_clock(), *world.rng});
  const auto with = world.options("writer");
  REQUIRE(world.env.make_dirs(with.metadata_dir).has_value());
  auto opened = TreeRemote::open({broken, world.env, system_clock(), *world.rng, world.executor},
                                 with, Context());
  REQUIRE(opened.has_value());
  const auto remote = *std::move(opened);
  REQUIRE(remote->begin_writing(model, Context()).has_value());
  const Ino ino = make_ino(1, 1, 1);
  model.create(ino);
  model.write(ino, 0, "one");
  broken.add({.kind = FaultKind::kLoseReply, .ops = StoreOp::kPut, .prefix = "c/"});
  broken.add({.kind = FaultKind::kTruncate,
              .ops = StoreOp::kGet,
              .prefix = "c/",
              .count = FaultyStore::kForever});
  const auto first = remote->publish(model.batch(), model, Context());
  REQUIRE(!first.has_value());
  CHECK(first.error().code() == Errc::kCorruption);
  broken.clear();
  model.write(ino, 1, "wo");
  const auto second = remote->publish(model.batch(), model, Context());
  REQUIRE_MESSAGE(second.has_value(), (second ? "" : second.error().message()));
  CHECK(same(world.shown(), model.files(), remote->params()));
}

TEST_CASE(
    "tree remote: opens with what it has when the store is away, and goes on when it is back") {
  World world;
  VolumeModel model(world.new_log(), kChunk);
  auto with = world.options("writer");
  auto remote = world.open_writer(with, model);
  const Ino ino = make_ino(1, 1, 1);
  model.create(ino);
  model.write(ino, 0, "here");
  REQUIRE(remote->publish(model.batch(), model, Context()).has_value());
  model.published();
  with.last_commit_record = remote->commit_record();
  const auto shown = remote->published();
  remote.reset();

  world.faults.fail_call(1, false, true);
  remote = world.open(with);
  CHECK(remote->state().offline);
  CHECK(remote->published().root == shown.root);
  CHECK(remote->published().lsn == shown.lsn);
  Missing missing;
  CHECK(remote->find(inode_key(ino), missing)->has_value());
  world.faults.heal();
  REQUIRE(remote->begin_writing(model, Context()).has_value());
  CHECK(!remote->state().offline);
  CHECK(remote->published().lsn == shown.lsn);
  model.write(ino, 0, "gone on");
  REQUIRE(remote->publish(model.batch(), model, Context()).has_value());
  CHECK(same(world.shown(), model.files(), remote->params()));
}

TEST_CASE("tree remote: a follower moves to what was published and says what changed") {
  World world;
  VolumeModel model(world.new_log(), kChunk);
  auto remote = world.open_writer(world.options("writer"), model);
  const auto follower = world.open(world.options("follower", false));
  const Ino ino = make_ino(1, 1, 1);
  model.create(ino);
  model.write(ino, 0, "new");
  CHECK(!follower->follow(Context())->moved);
  REQUIRE(remote->publish(model.batch(), model, Context()).has_value());
  model.published();
  const auto changes = follower->follow(Context());
  REQUIRE(changes.has_value());
  CHECK(changes->moved);
  CHECK(!changes->everything);
  REQUIRE(changes->keys.size() == 2);
  CHECK(changes->keys[1] == inode_key(ino));
  CHECK(same(test::read_all(*follower), model.files(), remote->params()));
  CHECK(!follower->follow(Context())->moved);
}

namespace {

// A volume of `files` commits, and what new caches ask to read all of it.
struct ReadCold {
  World world;
  VolumeModel model{world.new_log(), kChunk};

  ReadCold(uint16_t files, size_t young_packs_max) {
    auto options = world.options("writer");
    options.index.young_packs_max = young_packs_max;
    auto remote = world.open_writer(options, model);
    for (uint16_t i = 1; i <= files; ++i) {
      const Ino ino = make_ino(1, 1, i);
      model.create(ino);
      model.write(ino, 0, std::string(kChunk + 1, static_cast<char>('a' + i)));
      REQUIRE(remote->publish(model.batch(), model, Context()).has_value());
      model.published();
    }
    const auto record = CommitRecord::decode(remote->commit_record());
    REQUIRE(record.has_value());
    segments = record->index_segments.size();
  }

  size_t segments = 0;

  uint64_t gets() const { return world.metered->counts().get; }

  // Of the opening, which goes on behind `at_least`; of it and of reading all.
  std::pair<uint64_t, uint64_t> cost(const std::string& name, size_t tails_ahead,
                                     uint64_t index_ahead_bytes, uint64_t at_least) {
    auto with = world.options(name, false);
    with.tails_ahead = tails_ahead;
    with.index_ahead_bytes = index_ahead_bytes;
    const uint64_t before = gets();
    const auto reader = world.open(with);
    for (int tries = 0; tries < 5000 && gets() < before + at_least; ++tries)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const uint64_t opened = gets() - before;
    CHECK(same(test::read_all(*reader), model.files(), reader->params()));
    return {opened, gets() - before};
  }
};

}  // namespace

TEST_CASE("tree remote: few tails of data packs come with the head, many when they are needed") {
  constexpr uint16_t kPacks = 3;
  ReadCold reads(kPacks, 64);
  const auto none = reads.cost("none", 0, 0, 0);
  CHECK(reads.cost("few", kPacks - 1, 0, 0) == none);
  const auto ahead = reads.cost("ahead", kPacks, 0, none.first + kPacks);
  CHECK(ahead.first == none.first + kPacks);
  CHECK(ahead.second == none.second);
}

TEST_CASE("tree remote: index segments come with the head as far as there is room for them") {
  ReadCold reads(6, 2);
  REQUIRE(reads.segments >= 2);
  const auto none = reads.cost("none", 0, 0, 0);
  CHECK(reads.cost("no room", 0, 100, 0) == none);
  const auto ahead = reads.cost("ahead", 0, 1 << 20, none.first + reads.segments);
  CHECK(ahead.first == none.first + reads.segments);
  CHECK(ahead.second == none.second);
}

TEST_CASE("tree remote: after hundreds of small commits a new cache needs few requests") {
  World world;
  VolumeModel model(world.new_log(), kChunk);
  auto remote = world.open_writer(world.options("writer"), model);
  for (uint16_t i = 1; i <= 300; ++i) {
    const Ino ino = make_ino(1, 1 + i / 50, i);
    model.create(ino);
    model.write(ino, 0, "file " + std::to_string(i));
    if (i > 10) model.write(make_ino(1, 1 + (i - 10) / 50, i - 10), 3, std::to_string(i));
    REQUIRE(remote->publish(model.batch(), model, Context()).has_value());
    model.published();
  }
  const auto before = world.metered->counts();
  const auto reader = world.open(world.options("reader", false));
  Missing missing;
  const auto entries = reader->scan(ino_prefix(1), "", 10'000, missing);
  REQUIRE(entries.has_value());  // everything came when it was opened
  CHECK(entries->size() >= 600);
  const auto after = world.metered->counts();
  CHECK(after.get - before.get <= 40);
  CHECK(same(test::read_all(*reader), model.files(), remote->params()));
}

TEST_CASE("tree remote: a store that was emptied behind the mount's back takes no commit") {
  World world;
  VolumeModel model(world.new_log(), kChunk);
  auto remote = world.open_writer(world.options("writer"), model);
  const auto write = [&](uint16_t n) {
    const Ino ino = make_ino(1, 1, n);
    model.create(ino);
    model.write(ino, 0, "file " + std::to_string(n));
    return remote->publish(model.batch(), model, Context());
  };
  REQUIRE(write(1));
  model.published();
  const std::string newest = commit_key(remote->published().seq);
  const auto kept = get_sync(world.memory, newest, GetRange::all(), {});
  REQUIRE(kept);
  std::set<std::string> there_before;
  const auto all = list_sync(world.memory, ListScope("p/"), "", 1000, {});
  REQUIRE(all);
  for (const ObjectInfo& pack : all->objects) there_before.insert(pack.key);
  REQUIRE(remove_sync(world.memory, newest, {}));

  model.create(make_ino(1, 1, 2));
  for (int tries = 0; tries < 2; ++tries) {
    const auto refused = remote->publish(model.batch(), model, Context());
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == Errc::kCorruption);
    CHECK(refused.error().message().find("emptied") != std::string::npos);
  }
  const auto again = write(3);
  REQUIRE_FALSE(again);
  CHECK(again.error().code() == Errc::kCorruption);
  CHECK_FALSE(get_sync(world.memory, commit_key(remote->published().seq + 1), GetRange::all(), {}));

  // What was sent meanwhile went into the other store: it is sent again.
  const auto packs = list_sync(world.memory, ListScope("p/"), "", 1000, {});
  REQUIRE(packs);
  size_t sent = 0;
  for (const ObjectInfo& pack : packs->objects) {
    if (there_before.contains(pack.key)) continue;
    REQUIRE(remove_sync(world.memory, pack.key, {}));
    ++sent;
  }
  CHECK(sent > 0);
  REQUIRE(put_sync(world.memory, newest, Body(kept->bytes), PutCondition::kAlways, {}));
  REQUIRE(remote->publish(model.batch(), model, Context()));
  model.published();
  CHECK(same(world.shown(), model.files(), remote->params()));
}

TEST_CASE("tree remote: a commit that went into another store does not vouch for it") {
  World world;
  VolumeModel model(world.new_log(), kChunk);
  auto remote = world.open_writer(world.options("writer"), model);
  model.create(make_ino(1, 1, 1));
  model.at_intent = [&] {
    const auto commits = list_sync(world.memory, ListScope("c/"), "", 1000, {});
    REQUIRE(commits);
    for (const ObjectInfo& commit : commits->objects)
      REQUIRE(remove_sync(world.memory, commit.key, {}));
  };
  REQUIRE(remote->publish(model.batch(), model, Context()));
  model.published();
  PublishBatch leaving = model.batch();
  leaving.close = true;
  const auto refused = remote->publish(leaving, model, Context());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == Errc::kCorruption);
}

TEST_CASE("tree remote: an undecided commit of what went into another store is made anew") {
  World world;
  VolumeModel model(world.new_log(), kChunk);
  auto remote = world.open_writer(world.options("writer"), model);
  const auto keys = [&](const std::string& prefix) {
    std::set<std::string> found;
    const auto page = list_sync(world.memory, ListScope(prefix), "", 1000, {});
    REQUIRE(page);
    for (const ObjectInfo& object : page->objects) found.insert(object.key);
    return found;
  };
  const std::set<std::string> packs = keys("p/");
  const std::string newest = commit_key(remote->published().seq);
  const auto kept = get_sync(world.memory, newest, GetRange::all(), {});
  REQUIRE(kept);

  const Ino ino = make_ino(1, 1, 1);
  model.create(ino);
  model.write(ino, 0, "one");
  Context context;
  context.deadline = Deadline::after(system_clock(), std::chrono::milliseconds(300));
  world.faults.fail_call(5, false, true);  // two packs, two looks back, commit
  REQUIRE_FALSE(remote->publish(model.batch(), model, context));
  world.faults.heal();
  for (const std::string& pack : keys("p/"))
    if (!packs.contains(pack)) REQUIRE(remove_sync(world.memory, pack, {}));
  REQUIRE(remove_sync(world.memory, newest, {}));
  REQUIRE_FALSE(remote->publish(model.batch(), model, Context()));

  REQUIRE(put_sync(world.memory, newest, Body(kept->bytes), PutCondition::kAlways, {}));
  REQUIRE(remote->publish(model.batch(), model, Context()));
  model.published();
  CHECK(same(world.shown(), model.files(), remote->params()));
}

}  // namespace
}  // namespace cairn
