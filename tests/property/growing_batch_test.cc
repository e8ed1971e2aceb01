// A batch that becomes longer while it is published.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <set>
#include <string>
#include <utility>

#include "tests/support/tree_world.h"

namespace cairn {
namespace {

using test::change;
using test::kChunk;
using test::same;
using test::VolumeModel;
using World = test::TreeWorld;

TEST_CASE("a batch that grows while it is staged is published with all it has") {
  const bool ok = rc::check([] {
    World world;
    VolumeModel model(world.new_log(), kChunk);
    auto remote = world.open_writer(world.options("writer"), model);
    const auto rounds = *rc::gen::inRange(1, 5);
    for (int round = 0; round < rounds; ++round) {
      change(model);
      PublishBatch batch = model.batch();
      int more = *rc::gen::inRange(0, 4);
      model.grow = [&] {
        if (more-- <= 0) return false;
        change(model);
        batch = model.batch();
        return true;
      };
      if (*rc::gen::inRange(0, 3) == 0)
        world.faults.fail_call(*rc::gen::inRange(1, 12), *rc::gen::arbitrary<bool>());
      auto state = remote->publish(batch, model, Context());
      world.faults.heal();
      if (!state) {
        batch = model.batch();
        state = remote->publish(batch, model, Context());
      }
      model.grow = {};
      RC_ASSERT(state.has_value());
      RC_ASSERT(state->lsn == batch.lsn);
      uint64_t bytes = 0;
      for (const auto& [ino, content] : model.files()) bytes += test::allocated_by(content.size());
      RC_ASSERT(state->live_bytes == bytes);
      RC_ASSERT(state->inodes == model.files().size() + 1);
      model.published();
      RC_ASSERT(same(test::read_all(*remote), model.files(), remote->params()));
    }
    RC_ASSERT(same(world.shown(), model.files(), remote->params()));
  });
  CHECK(ok);
}

TEST_CASE("of a batch that grew only what changed is staged again") {
  World world;
  VolumeModel model(world.new_log(), kChunk);
  auto remote = world.open_writer(world.options("writer"), model);
  const Ino file = make_ino(1, 1, 1);
  const Ino other = make_ino(1, 1, 2);
  model.create(file);
  for (uint64_t i = 0; i < 10; ++i)
    model.write(file, i * kChunk, std::string(kChunk, static_cast<char>('a' + i)));
  model.write(file, 10 * kChunk, "end");
  PublishBatch batch = model.batch();
  int times = 0;
  model.grow = [&] {
    if (times++ == 1) {
      const std::set<std::pair<uint64_t, uint64_t>> expected{{file, 3}, {file, 10}, {other, 0}};
      std::set<std::pair<uint64_t, uint64_t>> again;
      for (const auto& [place, leaf] : model.staged) again.insert(place);
      CHECK(again == expected);
    }
    if (times > 1) return false;
    CHECK(model.staged.size() == 11);
    model.write(file, 3 * kChunk + 5, "new");
    model.create(other);
    model.write(other, 0, "other");
    model.truncate(file, 10 * kChunk + 2);
    model.truncate(file, 11 * kChunk);  // "en" and zeroes
    batch = model.batch();
    return true;
  };
  REQUIRE(remote->publish(batch, model, Context()).has_value());
  CHECK(times == 2);
  model.published();
  CHECK(same(world.shown(), model.files(), remote->params()));
}

}  // namespace
}  // namespace cairn
