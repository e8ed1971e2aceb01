// Metadata on the local disk where there is room for little of it.
#include "cache/meta_blocks.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <optional>

#include "s3/memory_store.h"
#include "s3/metered_store.h"
#include "tests/support/manual_clock.h"
#include "tests/support/memory_env.h"
#include "tests/support/test_pack.h"

namespace cairn::test {
namespace {

constexpr uint64_t kMiB = 1 << 20;

// A pack of 6 MiB in the store, and room for 4 MiB or as much as is said.
struct World {
  uint64_t room = 4 * kMiB;
  ManualClock clock;
  ManualExecutor executor{clock};
  MemoryEnv env;
  MeteredStore store{std::make_shared<MemoryStore>(executor, clock)};
  std::unique_ptr<PackStore> packs = PackStore::make(store, executor, clock, {});
  std::unique_ptr<MetaBlocks> blocks = open();
  std::vector<Digest> digests;  // in their order in the pack
  PackName name;
  Body body;

  explicit World(uint64_t room_bytes = 4 * kMiB) : room(room_bytes) {
    TestPack pack(PackKind::kMeta);
    for (int i = 0; i < 6 * 16; ++i) {
      ByteVec bytes(64 << 10, static_cast<std::byte>(i));
      digests.push_back(pack.add(Codec::kDagCbor, bytes).digest());
    }
    const PackPlan plan = pack.plan();
    name = name_of(plan.tail());
    body = Body(Buffer(pack.object(plan)));
    std::optional<Status> stored;
    packs->put_pack(plan.tail(), body, {}, [&](Status status) { stored = std::move(status); });
    REQUIRE(run_until(executor, clock, [&] { return stored.has_value(); }));
    REQUIRE(*stored);
    packs->set_published({name}, {});
  }
  std::unique_ptr<MetaBlocks> open() {
    MetaBlocks::Options options;
    options.dir = "/cache/packs";
    options.disk_bytes_max = room * 4 / 3 + 4;  // a quarter is for the index
    return std::move(*MetaBlocks::open(env, executor, *packs, options));
  }
  bool is_here(size_t i) {
    Missing missing;
    const auto block = blocks->get(digests[i], missing);
    return block && sha256(*block) == digests[i];
  }
  Status fetch(size_t i) {
    std::optional<Status> done;
    blocks->fetch({digests[i]}, {}, [&](Status status) { done = std::move(status); });
    REQUIRE(run_until(executor, clock, [&] { return done.has_value(); }));
    return *std::move(done);
  }
};
}  // namespace

TEST_CASE("of a pack that is larger than the room for metadata windows are read and kept") {
  World world;
  const uint64_t before = world.store.counts().bytes_read;
  REQUIRE(world.fetch(20));
  const uint64_t read = world.store.counts().bytes_read - before;
  CHECK(read >= kMiB / 2);
  CHECK(read < 2 * kMiB);
  for (const size_t i : {20U, 22U, 25U}) CHECK(world.is_here(i));
  for (size_t i = 0; i < world.digests.size(); i += 5) REQUIRE(world.fetch(i));
  CHECK(world.blocks->disk_bytes() <= 4 * kMiB);
  CHECK(world.blocks->disk_bytes() > 2 * kMiB);
  world.blocks = world.open();  // what an earlier life left
  CHECK(world.is_here(world.digests.size() - 2));
}

TEST_CASE("of a pack that was written here the last windows that there is room for are kept") {
  World world;
  REQUIRE(world.blocks->add_local(world.name, world.body));
  CHECK(world.blocks->disk_bytes() <= 4 * kMiB);
  const uint64_t before = world.store.counts().get;
  for (size_t i = 96 - 3 * 16; i < 96; ++i) CHECK(world.is_here(i));
  CHECK_FALSE(world.is_here(0));
  REQUIRE(world.fetch(0));
  CHECK(world.is_here(0));
  CHECK(world.store.counts().get - before <= 2);  // its window, and the tail
}

TEST_CASE("the first look into a pack brings a window of it, one in another place the rest") {
  World world(100 * kMiB);
  REQUIRE(world.fetch(20));
  CHECK(world.store.counts().bytes_read < 2 * kMiB);
  CHECK(world.is_here(22));
  CHECK_FALSE(world.is_here(90));
  REQUIRE(world.fetch(90));
  CHECK(world.blocks->has_all_of(world.name.digest));
  for (size_t i = 0; i < world.digests.size(); i += 5) CHECK(world.is_here(i));
  const uint64_t whole = world.name.size;
  CHECK(world.blocks->disk_bytes() < whole + kMiB / 2);  // the window went
  CHECK(world.store.counts().bytes_read < whole + 2 * kMiB);
  world.blocks = world.open();
  CHECK(world.is_here(0));
}

}  // namespace cairn::test
