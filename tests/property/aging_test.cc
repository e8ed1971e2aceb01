// A volume that stays fast: after thousands of small commits it is read with few requests and the
// commit names few packs; the block index is never in memory as a whole.
#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "cache/await.h"
#include "cache/file_sink.h"
#include "cache/format/commit.h"
#include "cache/format/index.h"
#include "cache/pack_store.h"
#include "cache/store_keys.h"
#include "s3/file_store.h"
#include "s3/memory_store.h"
#include "s3/metered_store.h"
#include "tests/support/memory_env.h"
#include "tests/support/sanitizer.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_mount.h"

#ifdef CAIRN_ASAN
#include <sanitizer/allocator_interface.h>
#endif

namespace cairn {
namespace {

bool full_profile() {
  const char* profile = std::getenv("CAIRN_TEST_PROFILE");
  return profile != nullptr && std::string(profile) == "full";
}

constexpr int kFilesADirectory = 100;

struct Volumes {
  explicit Volumes(int file_count) : count(file_count) {}

  // The same files, with a commit after each or one at the end.
  void fill(bool commit_each) {
    test::TestMount mount(*metered, env, executor);
    mount.options.host = "node";
    REQUIRE(mount.format(256 << 10, 174));
    REQUIRE(mount.open("/writer"));
    Ino dir = kRootIno;
    for (int i = 0; i < count; ++i) {
      if (i % kFilesADirectory == 0) {
        const auto made = mount.run([&](Volume& v, Need& n) {
          return v.mkdir(kRootIno, "d" + std::to_string(i / kFilesADirectory), 0755, {}, n);
        });
        REQUIRE(made);
        dir = made->ino;
      }
      const std::string text = "the content of file " + std::to_string(i);
      const auto file = mount.run([&](Volume& v, Need& n) {
        return v.create(dir, "f" + std::to_string(i), 0644, {}, n);
      });
      REQUIRE(file);
      REQUIRE(mount.run(
          [&](Volume& v, Need& n) { return v.write(file->handle, 0, as_bytes(text), n); }));
      mount.volume().release_file(file->handle);
      if (commit_each) REQUIRE(mount.engine().publish_once(false, Context()));
    }
    REQUIRE(mount.engine().publish_once(false, Context()));
    record = dynamic_cast<TreeRemote&>(mount.engine().remote()).commit_record();
    // Commits are seconds apart, here they are not, and the hint where the head is comes once a
    // minute: who leaves writes it, too.
    REQUIRE(mount.close());
  }

  // Requests of a cold mount and `ls -lR`.
  uint64_t list_all_requests() {
    const RequestCounts before = metered->counts();
    test::TestMount mount(*metered, env, executor);
    mount.options.engine.read_only = true;
    mount.options.engine.poll_interval = std::chrono::hours(24);
    REQUIRE(mount.open("/reader"));
    int files = 0;
    list(mount, kRootIno, files);
    CHECK(files == count);
    const RequestCounts after = metered->counts();
    return after.total() - before.total();
  }

  void list(test::TestMount& mount, Ino dir, int& files) {
    const auto handle = mount.run([&](Volume& v, Need& n) { return v.open_dir(dir, n); });
    REQUIRE(handle);
    const auto entries =
        mount.run([&](Volume& v, Need& n) { return v.readdir(*handle, 0, 100'000, true, n); });
    REQUIRE(entries);
    mount.volume().release_dir(*handle);
    for (const DirEntry& entry : *entries) {
      if (!entry.attr) continue;
      REQUIRE(mount.run([&](Volume& v, Need& n) { return v.getattr(entry.ino, n); }));
      if (entry.type == FileType::kDirectory)
        list(mount, entry.ino, files);
      else
        ++files;
    }
  }

  const int count;
  test::MemoryEnv env;
  ThreadExecutor executor{"store", 2};
  MemoryStore memory{executor, system_clock()};
  std::shared_ptr<MeteredStore> metered =
      std::make_shared<MeteredStore>(std::shared_ptr<ObjectStore>(&memory, [](ObjectStore*) {}));
  Buffer record;
};

TEST_CASE("aging: after thousands of one-file commits ls -lR on a cold mount is as cheap") {
  const int files = full_profile() ? 10'000 : 400;
  Volumes at_once(files);
  at_once.fill(false);
  Volumes aged(files);
  aged.fill(true);
  const uint64_t few = at_once.list_all_requests();
  const uint64_t many = aged.list_all_requests();
  const auto record = CommitRecord::decode(aged.record);
  REQUIRE(record);
  uint64_t bytes = 0;
  for (const CommitPack& pack : record->metadata_packs) bytes += pack.size;
  MESSAGE(files, " files: written at once ", few, " requests, in as many commits ", many, "; ",
          record->metadata_packs.size(), " metadata packs of ", bytes, " bytes, ",
          record->young_packs.size(), " young packs, ", record->index_segments.size(),
          " index segments, record of ", aged.record.size(), " bytes");
  CHECK(many <= 2 * few);
  CHECK(record->metadata_packs.size() <= 8);
  CHECK(record->young_packs.size() < 16);
  CHECK(record->index_segments.size() <= 24);
}

// ---- the index

// Resident memory; with the address sanitizer what is allocated, because it keeps what was freed.
uint64_t memory_bytes() {
#ifdef CAIRN_ASAN
  return __sanitizer_get_current_allocated_bytes();
#else
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    if (word != "VmRSS:") continue;
    uint64_t kib = 0;
    status >> kib;
    return kib << 10;
  }
  return 0;
#endif
}

// The i-th of `count` digests in ascending order.
Digest digest_at(uint64_t i, uint64_t count) {
  Digest digest = sha256(as_bytes(std::to_string(i)));
  put_be64(digest.bytes.data(), UINT64_MAX / count * i);
  return digest;
}

TEST_CASE("aging: looking blocks up among ten million takes little memory") {
  const uint64_t count = full_profile() ? 10'000'000 : 200'000;
  const TempDir dir;
  ThreadExecutor executor("store", 2);
  const auto rng = make_seeded_rng(3);
  auto store = FileStore::open({posix_env(), executor, system_clock(), *rng}, dir.path() + "/store",
                               FileStore::Create::kIfMissing);
  REQUIRE(store);
  const Digest pack = sha256(as_bytes("pack"));
  SegmentName name;
  {
    std::shared_ptr<File> file = *posix_env().open(dir.path() + "/segment", OpenMode::kCreateNew);
    FileSink sink(*file);
    IndexSegmentBuilder builder(count, sink);
    for (uint64_t i = 0; i < count; ++i)
      REQUIRE(builder.add({digest_at(i, count), 0, static_cast<uint32_t>(i), 4096, Codec::kRaw}));
    REQUIRE(builder.add_pack(pack));
    const auto info = builder.finish();
    REQUIRE(info);
    name = {info->name, info->size, info->entries};
    Body body;
    body.add(file, {0, info->size});
    REQUIRE(put_sync(**store, index_key(name.digest), std::move(body), PutCondition::kAlways,
                     Context()));
  }
  const uint64_t before = memory_bytes();
  const auto packs = PackStore::make(**store, executor, system_clock(), {});
  packs->set_published({}, {name});
  constexpr size_t kAtOnce = 100;
  for (int round = 0; round < 100; ++round) {
    std::vector<Digest> wanted;
    std::vector<uint64_t> numbers;
    for (size_t i = 0; i < kAtOnce; ++i) {
      numbers.push_back(rng->below(count));
      wanted.push_back(digest_at(numbers.back(), count));
    }
    const auto places =
        await<std::vector<BlockPlace>>([&](Callback<std::vector<BlockPlace>> done) {
          packs->locate(wanted, PackKind::kData, Context(), std::move(done));
        });
    REQUIRE(places);
    for (size_t i = 0; i < kAtOnce; ++i) {
      CHECK((*places)[i].pack == pack);
      CHECK((*places)[i].offset == numbers[i]);
    }
  }
  const uint64_t after = memory_bytes();
  const uint64_t grown = after > before ? after - before : 0;
  MESSAGE(count, " entries in ", name.size, " bytes; memory before ", before >> 20,
          " MiB, after 10,000 look-ups ", after >> 20, " MiB");
  CHECK(grown < (64 << 20));
}

}  // namespace
}  // namespace cairn
