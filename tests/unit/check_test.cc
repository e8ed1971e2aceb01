// The check is checked: whatever is damaged in a volume is found, and named.
#include "cache/check.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "cache/format/commit.h"
#include "cache/format/pack.h"
#include "cache/store_keys.h"
#include "cache/store_scan.h"
#include "s3/memory_store.h"
#include "tests/support/memory_env.h"
#include "tests/support/test_mount.h"

namespace cairn {
namespace {

constexpr uint64_t kChunk = 4096;

// A small volume with every kind of object: commits, metadata packs, data packs of which most are
// covered by an index segment and some are young, a file of many chunks, a snapshot-free history.
struct World {
  World() {
    test::TestMount mount(store, env, executor);
    REQUIRE(mount.format(kChunk, 3));
    REQUIRE(mount.open());
    // An index segment is made when 64 data packs are young.
    for (int i = 0; i < 66; ++i)
      add_file(mount, "file" + std::to_string(i), i == 65 ? 9 * kChunk : 700);
    REQUIRE(mount.close());
    REQUIRE(list_all(store, "", Context(), [&](const ObjectInfo& object) {
      auto got = get_sync(store, object.key, GetRange::all(), Context());
      REQUIRE(got);
      objects[object.key] = std::move(got->bytes);
    }));
  }

  void add_file(test::TestMount& mount, const std::string& name, uint64_t size) {
    const auto made =
        mount.run([&](Volume& v, Need& n) { return v.create(kRootIno, name, 0644, {}, n); });
    REQUIRE(made);
    std::string bytes(size, 'x');
    for (size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<char>(static_cast<size_t>(name.back()) + i / kChunk);
    bytes.replace(0, name.size() + 1, name + ".");
    REQUIRE(mount.run(
        [&](Volume& v, Need& n) { return v.write(made->handle, 0, as_bytes(bytes), n); }));
    mount.volume().release_file(made->handle);
    REQUIRE(mount.engine().publish_once(false, Context()));
  }

  CheckReport check() {
    CheckOptions options;
    options.data = true;
    auto report = check_volume(store, options);
    REQUIRE_MESSAGE(report, (report ? "" : report.error().message()));
    return *std::move(report);
  }

  // True when a problem names the object.
  bool finds(const std::string& key) {
    const CheckReport report = check();
    return std::any_of(report.problems.begin(), report.problems.end(),
                       [&](const CheckProblem& problem) { return problem.object == key; });
  }

  void put(const std::string& key, const Buffer& bytes) {
    REQUIRE(put_sync(store, key, Body(bytes), PutCondition::kAlways, Context()));
  }

  // The keys of one kind, at most `most` of them, spread over all.
  std::vector<std::string> some(const std::string& prefix, size_t most) const {
    std::vector<std::string> keys;
    for (const auto& [key, bytes] : objects)
      if (key.starts_with(prefix)) keys.push_back(key);
    while (keys.size() > most) keys.erase(keys.begin() + static_cast<ptrdiff_t>(keys.size() / 2));
    return keys;
  }

  test::MemoryEnv env;
  ThreadExecutor executor{"store", 2};
  MemoryStore store{executor, system_clock()};
  std::map<std::string, Buffer> objects;
};

// What a check of the head must read: packs and segments that it names, some commits.
std::vector<std::string> needed(World& world) {
  std::vector<std::string> keys = {std::string(kVolumeKey)};
  const auto commits = world.some(std::string(kCommitPrefix), 4);
  keys.insert(keys.end(), commits.begin(), commits.end());
  const auto head = CommitRecord::decode(world.objects.at(commits.back()));
  REQUIRE(head);
  REQUIRE(!head->metadata_packs.empty());
  REQUIRE(!head->index_segments.empty());
  REQUIRE(!head->young_packs.empty());
  for (const CommitPack& pack : head->metadata_packs) keys.push_back(pack_key(pack.digest));
  for (const CommitPack& pack : head->young_packs) keys.push_back(pack_key(pack.digest));
  for (const CommitSegment& segment : head->index_segments)
    keys.push_back(index_key(segment.digest));
  // Two data packs that the segment covers: the first ones that are named nowhere else.
  std::vector<std::string> covered;
  for (const auto& [key, bytes] : world.objects) {
    const auto digest = parse_pack_key(key);
    if (!digest || covered.size() == 2) continue;
    const auto tail = PackTail::parse(bytes, bytes.size(), *digest);
    if (tail && tail->kind() == PackKind::kData &&
        std::find(keys.begin(), keys.end(), key) == keys.end())
      covered.push_back(key);
  }
  REQUIRE(covered.size() == 2);
  keys.insert(keys.end(), covered.begin(), covered.end());
  return keys;
}

TEST_CASE("check: a good volume is clean, and everything was looked at") {
  World world;
  const CheckReport report = world.check();
  for (const CheckProblem& problem : report.problems) FAIL(problem.object, ": ", problem.what);
  CHECK(report.clean());
  CHECK(report.counts.commits == world.some("c/", 1000).size());
  CHECK(report.counts.files == 66);
  CHECK(report.counts.file_bytes == 65 * 700 + 9 * kChunk);
  CHECK(report.counts.leaves == 65 + 9);
  CHECK(report.counts.data_packs == 66);
  CHECK(report.counts.index_segments == 4);  // of 16 packs each
  CHECK(report.counts.index_entries >= 64);
  CHECK(report.counts.blocks_hashed > 66);
}

TEST_CASE("check: one byte flipped in any object is found, and the object named") {
  World world;
  const auto rng = make_seeded_rng(7);
  for (const std::string& key : needed(world)) {
    const Buffer& good = world.objects.at(key);
    std::vector<size_t> places = {0, good.size() - 1};
    for (int i = 0; i < 6; ++i) places.push_back(rng->below(good.size()));
    for (const size_t place : places) {
      ByteVec bad = to_vec(good);
      bad[place] ^= std::byte{0x01};
      world.put(key, Buffer(std::move(bad)));
      CHECK_MESSAGE(world.finds(key), key, " with byte ", place, " flipped");
    }
    world.put(key, good);
  }
  CHECK(world.check().clean());
}

TEST_CASE("check: an object that is cut short is found, and named") {
  World world;
  for (const std::string& key : needed(world)) {
    const Buffer& good = world.objects.at(key);
    for (const size_t size : {size_t{0}, good.size() / 2, good.size() - 1}) {
      world.put(key, good.slice(0, size));
      CHECK_MESSAGE(world.finds(key), key, " cut to ", size, " bytes");
    }
    world.put(key, good);
  }
  CHECK(world.check().clean());
}

TEST_CASE("check: an object that is gone is found, and named") {
  World world;
  for (const std::string& key : needed(world)) {
    REQUIRE(remove_sync(world.store, key, Context()));
    CHECK_MESSAGE(world.finds(key), key, " removed");
    world.put(key, world.objects.at(key));
  }
  CHECK(world.check().clean());
}

}  // namespace
}  // namespace cairn
