// The index of local metadata: what was added is found, of files that went nothing, and memory and
// disk stay bounded.
#include "cache/prefix_index.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <map>

#include "tests/support/memory_env.h"

namespace cairn::test {
namespace {
struct World {
  MemoryEnv env;
  PrefixIndex index;
  std::set<uint32_t> alive;
  std::map<uint32_t, std::vector<Digest>> blocks;

  explicit World(uint64_t memory_bytes) : index(made(env), "/dir/index.part", memory_bytes) {}
  static Env& made(Env& env) {
    REQUIRE(env.make_dirs("/dir"));
    return env;
  }

  PrefixIndex::Alive alive_now() {
    return [this] { return alive; };
  }
  void add(uint32_t file, size_t count) {
    std::vector<PrefixIndex::Entry> entries;
    for (uint32_t i = 0; i < count; ++i) {
      const Digest digest = sha256(as_bytes(fmt::format("{} of {}", i, file)));
      blocks[file].push_back(digest);
      entries.push_back({PrefixIndex::prefix_of(digest), i, i + 1, file});
    }
    alive.insert(file);
    index.add(std::move(entries), alive_now());
  }
  // Every block of the files that are there is found where it is, and nothing else.
  bool right() const {
    for (const auto& [file, digests] : blocks) {
      const uint32_t number = file;
      for (uint32_t i = 0; i < digests.size(); ++i) {
        size_t found = 0;
        index.find(digests[i], [&](const PrefixIndex::Entry& entry) {
          if (entry.file == number && entry.offset == i && entry.length == i + 1) ++found;
          return false;
        });
        if (found != (alive.contains(number) ? 1 : 0)) return false;
      }
    }
    return true;
  }
};
constexpr uint64_t kEntry = sizeof(PrefixIndex::Entry);
}  // namespace

TEST_CASE("prefix index: large runs are in files without a name, small ones in memory") {
  World world(64 << 10);
  uint32_t file = 0;
  for (const size_t count : {1U, 10U, 3000U, 5U, 5U, 400U, 20'000U, 1U, 700U})
    world.add(++file, count);
  CHECK(world.right());
  CHECK(world.index.size() == 24'122);
  CHECK(world.index.size() * kEntry - world.index.disk_bytes() <= 32 << 10);
  CHECK(world.env.list_dir("/dir").value().empty());
}

TEST_CASE("prefix index: blocks of files that went are forgotten") {
  World world(64 << 10);
  for (uint32_t file = 1; file <= 20; ++file) world.add(file, 500);
  for (uint32_t file = 1; file <= 20; file += 2) world.alive.erase(file);
  world.index.sweep(world.alive_now());
  CHECK(world.index.size() == 5000);
  CHECK(world.right());
  world.alive.clear();
  world.index.sweep(world.alive_now());
  CHECK(world.index.size() == 0);
  CHECK(world.index.disk_bytes() == 0);
}

TEST_CASE("prefix index: two blocks with one prefix are both visited, the newer one first") {
  World world(1 << 20);
  const Digest digest = sha256(as_bytes("x"));
  const uint64_t prefix = PrefixIndex::prefix_of(digest);
  world.alive = {1, 2};
  world.index.add({{prefix, 10, 1, 1},
                   {prefix - 1, 1, 1, 1},
                   {prefix + 1, 2, 1, 1},
                   {0, 3, 1, 1},
                   {UINT64_MAX, 4, 1, 1}},
                  world.alive_now());
  world.index.add({{prefix, 20, 1, 2}}, world.alive_now());
  std::vector<uint32_t> offsets;
  world.index.find(digest, [&](const PrefixIndex::Entry& entry) {
    offsets.push_back(entry.offset);
    return false;
  });
  CHECK(offsets == std::vector<uint32_t>{20, 10});
  offsets.clear();
  world.index.find(digest, [&](const PrefixIndex::Entry& entry) {
    offsets.push_back(entry.offset);
    return true;
  });
  CHECK(offsets == std::vector<uint32_t>{20});
}

TEST_CASE("prefix index: digests that were chosen are found, too") {
  World world(16 << 10);
  world.alive = {1};
  std::vector<PrefixIndex::Entry> entries;
  for (uint32_t i = 0; i < 5000; ++i) entries.push_back({i, i, 1, 1});  // all at one end
  world.index.add(std::move(entries), world.alive_now());
  for (const uint32_t i : {0U, 1U, 2500U, 4998U, 4999U}) {
    Digest digest;
    for (size_t byte = 0; byte < 8; ++byte)
      digest.bytes[byte] = static_cast<std::byte>(uint64_t{i} >> (56 - 8 * byte));
    size_t found = 0;
    world.index.find(digest, [&](const PrefixIndex::Entry& entry) {
      found += entry.offset == i ? 1 : 0;
      return false;
    });
    CHECK(found == 1);
  }
}

TEST_CASE("prefix index: what the disk refuses stays in memory as far as that has room") {
  constexpr uint64_t kMemory = 64 << 10;
  World world(kMemory);
  world.env.set_fault([](FileCall call, const std::string&) -> Status {
    if (call == FileCall::kWrite) return fail(Errc::kNoSpace, "the disk is full");
    return {};
  });
  world.add(1, 600);
  world.add(2, 600);
  CHECK(world.right());
  for (uint32_t file = 3; file <= 30; ++file) world.add(file, 600);
  CHECK(world.index.disk_bytes() == 0);
  CHECK(world.index.size() * kEntry <= kMemory);
  CHECK(world.index.size() >= 1800);
  world.blocks = {{30, world.blocks[30]}};
  CHECK(world.right());  // the newest
  world.env.set_fault({});
  world.add(31, 600);
  world.add(32, 2400);
  CHECK(world.right());
  CHECK(world.index.disk_bytes() > 0);
  CHECK(world.env.list_dir("/dir").value().empty());
}

}  // namespace cairn::test
