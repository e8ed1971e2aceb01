// Where the tails of many metadata packs are kept: in files as far as there is room, each fetched
// once; where there is none look-ups read little of each.
#include "cache/tail_files.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "tests/support/memory_env.h"
#include "tests/support/pack_world.h"

namespace cairn::test {
namespace {
// Twelve packs of 4,000 nodes besides, and readers that locate these.
struct ManyNodes : PackWorld {
  MemoryEnv env;
  std::vector<std::vector<Digest>> nodes;

  ManyNodes() {
    for (int n = 0; n < 12; ++n) {
      TestPack pack(PackKind::kMeta);
      nodes.emplace_back();
      for (int i = 0; i < 4000; ++i)
        nodes.back().push_back(
            pack.add(Codec::kDagCbor, as_bytes(fmt::format("{} of {}", i, n))).digest());
      const PackPlan plan = pack.plan();
      tails.push_back(plan.tail());
      put(plan.tail(), Body(Buffer::copy(pack.object(plan))));
    }
  }

  void put(const PackTail& tail, const Body& body) {
    std::optional<Status> stored;
    writer->put_pack(tail, body, {}, [&](Status status) { stored = std::move(status); });
    REQUIRE(run_until(executor, clock, [&] { return stored.has_value(); }));
    REQUIRE(*stored);
  }

  const PackTail& tail_of(size_t n) const { return tails[3 + n]; }
  uint64_t tail_bytes() const { return tails.back().block().size(); }

  // Memory for one tail; of disk `file_bytes`, none with 0.
  void open(uint64_t file_bytes, std::vector<PackName> packs = {}) {
    PackStore::Options with;
    with.tail_bytes = 300'000;
    if (file_bytes > 0) {
      auto files = TailFiles::open(env, "/tails", file_bytes);
      REQUIRE(files);
      with.tail_files = *std::move(files);
    }
    reader = PackStore::make(store, executor, clock, with);
    reader->set_published(packs.empty() ? writer->packs() : std::move(packs), {});
  }

  bool read_tail(const PackName& pack) {
    std::optional<Result<PackTail>> tail;
    reader->read_tail(pack, {}, [&](Result<PackTail> got) { tail = std::move(got); });
    REQUIRE(run_until(executor, clock, [&] { return tail.has_value(); }));
    return tail->has_value();
  }

  Result<std::vector<BlockPlace>> locate(std::vector<Digest> wanted) {
    std::optional<Result<std::vector<BlockPlace>>> answer;
    reader->locate(std::move(wanted), PackKind::kMeta, {},
                   [&](Result<std::vector<BlockPlace>> got) { answer = std::move(got); });
    REQUIRE(run_until(executor, clock, [&] { return answer.has_value(); }));
    return *std::move(answer);
  }

  // The bytes read for it.
  uint64_t locate_node(size_t n, size_t i) {
    const uint64_t before = metered->counts().bytes_read;
    const auto places = locate({nodes[n][i]});
    REQUIRE(places);
    CHECK((*places)[0].pack == tail_of(n).name());
    CHECK((*places)[0].offset == tail_of(n).find(nodes[n][i])->offset);
    return metered->counts().bytes_read - before;
  }

  size_t files() { return env.list_dir("/tails").value().size(); }
  bool files_become(size_t count) {
    return run_until(executor, clock, [&] { return files() == count; });
  }
};
}  // namespace

TEST_CASE("a look-up reads little where there is no room for the tails of all packs") {
  ManyNodes world;
  world.open(0);
  for (const size_t n : {0U, 5U, 11U, 3U}) {
    CHECK(world.locate_node(n, 17) < world.tail_bytes());  // of 12
    CHECK(world.locate_node(n, 3999) < world.tail_bytes());
  }
  const auto nowhere = world.locate({sha256(as_bytes("nowhere"))});
  REQUIRE_FALSE(nowhere);
  CHECK(nowhere.error().code() == Errc::kNotFound);

  // Beside the pack that was read last.
  REQUIRE(world.read_tail(name_of(world.tail_of(6))));
  const uint64_t before = world.store.requests();
  REQUIRE(world.locate({world.nodes[7][0]}));
  CHECK(world.store.requests() - before <= 4);
}

TEST_CASE(
    "where files have room for the tails of metadata packs each is read once in a cache's life") {
  ManyNodes world;
  const uint64_t room = 13 * world.tail_bytes();
  world.open(room);
  const uint64_t before = world.store.requests();
  for (const size_t n : {0U, 5U, 11U, 3U}) world.locate_node(n, 17);
  CHECK(world.store.requests() - before == 12 + 1);  // a small one is in memory
  CHECK(world.files() == 12);

  world.open(room);                                           // of a later mount
  CHECK(world.locate_node(0, 18) < world.tail_bytes() / 10);  // the small one
  for (const size_t n : {5U, 11U, 3U}) CHECK(world.locate_node(n, 18) == 0);

  // One that rotted is noticed when it is loaded, and asked for again.
  const std::string rotten = "/tails/" + world.tail_of(5).name().hex() + ".tail";
  const std::byte other{0xff};
  REQUIRE((*world.env.open(rotten, OpenMode::kReadWrite))->write_at(5000, Bytes(&other, 1)));
  world.open(room);
  const uint64_t again = world.locate_node(5, 19);
  CHECK(again >= world.tail_bytes());
  CHECK(again < 2 * world.tail_bytes());
  CHECK(world.files() == 12);

  // What no commit names any more goes, now and when a mount begins, and does not come back.
  std::vector<PackName> packs = world.writer->packs();
  const auto remove = [&](size_t n) {
    std::erase_if(packs,
                  [&](const PackName& pack) { return pack.digest == world.tail_of(n).name(); });
  };
  remove(2);
  world.reader->set_published(packs, {});
  CHECK(world.files_become(11));
  REQUIRE_FALSE(world.locate({world.nodes[2][0]}));
  CHECK(world.read_tail({.digest = world.tail_of(2).name()}));
  CHECK(world.files() == 11);
  remove(4);
  world.open(room, packs);
  CHECK(world.files_become(10));
}

TEST_CASE("a pack that is gone is asked for no more once its tail is known to be worth nothing") {
  ManyNodes world;
  world.open(13 * world.tail_bytes());
  // Of a block in two packs the younger one's tail answers first.
  TestPack pack(PackKind::kMeta);
  for (int i = 0; i < 4000; ++i) pack.add(Codec::kDagCbor, as_bytes(fmt::format("{} of 3", i)));
  pack.add(Codec::kDagCbor, as_bytes("and another one"));
  const PackPlan plan = pack.plan();
  world.put(plan.tail(), Body(Buffer::copy(pack.object(plan))));
  world.open(14 * world.tail_bytes());
  const auto first = world.locate({world.nodes[3][7]});
  REQUIRE(first);
  const Digest gone = (*first)[0].pack;
  world.reader->lost(gone);
  CHECK(world.files_become(12));
  const Digest other = gone == plan.name() ? world.tail_of(3).name() : plan.name();
  std::vector<PackName> packs = world.writer->packs();
  std::erase_if(packs, [&](const PackName& name) { return name.digest == gone; });
  world.reader->set_published(packs, {});
  const auto second = world.locate({world.nodes[3][7]});
  REQUIRE(second);
  CHECK((*second)[0].pack == other);
}

TEST_CASE("who waits for a tail that somebody else gave up fetches it") {
  ManyNodes world;
  world.open(13 * world.tail_bytes());
  world.store.add({.kind = FaultKind::kHold, .ops = StoreOp::kGet, .prefix = "p/"});
  Context hasty;
  std::optional<Result<PackTail>> first;
  std::optional<Result<PackTail>> second;
  world.reader->read_tail(name_of(world.tail_of(1)), hasty, [&](auto got) { first = got; });
  REQUIRE(run_until(world.executor, world.clock, [&] { return world.store.held() == 1; }));
  world.reader->read_tail(name_of(world.tail_of(1)), {}, [&](auto got) { second = got; });
  hasty.cancel.cancel();
  REQUIRE(run_until(world.executor, world.clock,
                    [&] { return first.has_value() && second.has_value(); }));
  CHECK_FALSE(first->has_value());
  CHECK(second->has_value());
}

TEST_CASE("where files have room for some tails, those stay of which as much was read") {
  const auto read_all = [](ManyNodes& world) {
    uint64_t read = 0;
    for (size_t i = 1; i < 100; ++i) read += world.locate_node(11, i);  // it is asked first
    return read;
  };
  ManyNodes world;
  world.open(3 * world.tail_bytes());
  CHECK(world.locate_node(11, 0) < world.tail_bytes() / 2);  // no tail is read for one look-up
  CHECK(world.files() == 0);
  const uint64_t read = read_all(world);
  CHECK(world.files() == 3);
  CHECK(world.locate_node(11, 300) == 0);
  ManyNodes without;
  without.open(0);
  CHECK(read < read_all(without) / 2);
}

TEST_CASE("tails are found though the disk refuses their files") {
  ManyNodes world;
  world.env.set_fault([](FileCall call, const std::string&) -> Status {
    if (call == FileCall::kWrite) return fail(Errc::kNoSpace, "the disk is full");
    return {};
  });
  world.open(13 * world.tail_bytes());
  for (const size_t n : {0U, 5U, 11U}) world.locate_node(n, 17);
  CHECK(world.files() == 0);
  // Once it is known, look-ups read little again.
  for (const size_t n : {0U, 5U, 11U}) CHECK(world.locate_node(n, 18) < world.tail_bytes());
}

}  // namespace cairn::test
