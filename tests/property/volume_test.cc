// A whole volume against a model: random operations, publications, checkpoints, clean remounts,
// remounts on an empty cache, the process killed, the power cut.
//
// CAIRN_VOLUME_SEEDS=FIRST:COUNT and CAIRN_VOLUME_STEPS=N make it longer: 1:1000 and 1000 are a
// million steps. A life that fails is made shorter, and what is left of it is named.
#include <doctest/doctest.h>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <future>
#include <numeric>
#include <stdexcept>
#include <thread>

#include "s3/memory_store.h"
#include "s3/metered_store.h"
#include "tests/support/faulty_store.h"
#include "tests/support/memory_env.h"
#include "tests/support/test_mount.h"
#include "tests/support/volume_driver.h"

using namespace cairn;
using namespace cairn::test;

namespace {

using Steps = std::vector<uint64_t>;

// What went wrong in the life of `seed` that has these steps only.
std::optional<std::string> live(uint64_t seed, const Steps& steps, size_t* done = nullptr) {
  VolumeDriver driver(seed);
  try {
    for (size_t i = 0; i < steps.size(); ++i) {
      if (done != nullptr) *done = i + 1;
      driver.step(steps[i]);
    }
    driver.finish();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return std::nullopt;
}

// Leaves out steps, in smaller and smaller groups, as long as it still fails.
Steps shortest(uint64_t seed, Steps steps) {
  for (size_t group = steps.size() / 2; group > 0; group /= 2) {
    for (size_t at = 0; at < steps.size();) {
      Steps fewer = steps;
      const auto from = fewer.begin() + static_cast<ptrdiff_t>(at);
      fewer.erase(from, from + static_cast<ptrdiff_t>(std::min(group, steps.size() - at)));
      if (live(seed, fewer)) {
        steps = std::move(fewer);
      } else {
        at += group;
      }
    }
  }
  return steps;
}

uint64_t number_from(const char* variable, uint64_t fallback) {
  const char* text = std::getenv(variable);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 10);
}

}  // namespace

TEST_CASE("a volume is its model, through publications, remounts, kills and power cuts") {
  const uint64_t steps = number_from("CAIRN_VOLUME_STEPS", 250);
  uint64_t first = 1;
  uint64_t count = 6;
  if (const char* seeds = std::getenv("CAIRN_VOLUME_SEEDS")) {
    char* end = nullptr;
    first = std::strtoull(seeds, &end, 10);
    count = *end == ':' ? std::strtoull(end + 1, nullptr, 10) : 1;
  }
  for (uint64_t seed = first; seed < first + count; ++seed) {
    Steps life(steps);
    std::iota(life.begin(), life.end(), 0);
    size_t done = life.size();
    if (!live(seed, life, &done)) continue;
    life.resize(done);
    life = shortest(seed, std::move(life));
    std::string left;
    for (const uint64_t step : life) left += " " + std::to_string(step);
    FAIL_CHECK("seed ", seed, ", steps", left, ": ", live(seed, life).value_or("does not repeat"));
  }
}

TEST_CASE("a file three times the size of the cache is written, published in parts and read back") {
  MemoryEnv env;
  ThreadExecutor io("io", 2);
  MemoryStore store(io, system_clock());
  TestMount mount(store, env, io);
  mount.options.cache_bytes_max = Space::kSmallestCache;
  mount.options.engine.pending_bytes_max = Space::kSmallestCache / 2;
  mount.options.engine.publish_bytes = 8 << 20;
  mount.options.engine.fold.data_bytes_max = 16 << 20;
  REQUIRE(mount.format(256 * 1024, 174));
  REQUIRE(mount.open());
  const auto created =
      mount.run([](Volume& v, Need& n) { return v.create(kRootIno, "big", 0644, {}, n); });
  REQUIRE(created);
  constexpr uint64_t kPart = 1 << 20;
  constexpr uint64_t kParts = 3 * Space::kSmallestCache / kPart;
  const auto part = [](uint64_t index) {
    std::string bytes(kPart, '\0');
    const auto rng = make_seeded_rng(index);
    for (size_t at = 0; at < kPart; at += 8) {
      const uint64_t word = rng->next();
      std::memcpy(bytes.data() + at, &word, 8);
    }
    return bytes;
  };
  uint64_t used_max = 0;
  for (uint64_t i = 0; i < kParts; ++i) {
    const std::string bytes = part(i);
    const Status written = mount.run([&](Volume& v, Need& n) {
      return v.write(created->handle, i * kPart, as_bytes(bytes), n);
    });
    REQUIRE_MESSAGE(written, (written ? "" : written.error().message()));
    used_max = std::max(used_max, mount.engine().cache_bytes());
  }
  for (uint64_t i = 0; i < kParts; ++i) {
    const auto bytes =
        mount.run([&](Volume& v, Need& n) { return v.read(created->handle, i * kPart, kPart, n); });
    REQUIRE(bytes);
    REQUIRE(to_string(*bytes) == part(i));
    used_max = std::max(used_max, mount.engine().cache_bytes());
  }
  CHECK(used_max <= Space::kSmallestCache);
  mount.volume().release_file(created->handle);
  REQUIRE(mount.close());
}

namespace {

struct OpenVolume {
  MemoryEnv env;
  ThreadExecutor io{"io", 2};
  MemoryStore store{io, system_clock()};
  TestMount mount{store, env, io};
  OpenVolume() {
    REQUIRE(mount.format(256 * 1024, 174));
    REQUIRE(mount.open());
  }
  HandleId create(const std::string& name) {
    const auto created =
        mount.run([&](Volume& v, Need& n) { return v.create(kRootIno, name, 0644, {}, n); });
    REQUIRE(created);
    inos[created->handle] = created->attr.ino;
    return created->handle;
  }
  void write(HandleId handle, uint64_t offset, uint64_t length, char byte = 'x') {
    const std::string bytes(length, byte);
    REQUIRE(
        mount.run([&](Volume& v, Need& n) { return v.write(handle, offset, as_bytes(bytes), n); }));
  }
  void resize(HandleId handle, uint64_t size) {
    AttrChange change;
    change.size = size;
    REQUIRE(mount.run([&](Volume& v, Need& n) { return v.setattr(inos.at(handle), change, n); }));
  }
  void fallocate(HandleId handle, int mode, uint64_t offset, uint64_t length) {
    REQUIRE(mount.run(
        [&](Volume& v, Need& n) { return v.fallocate(handle, mode, offset, length, n); }));
  }
  uint64_t copy(HandleId from, HandleId to, uint64_t length) {
    const auto copied =
        mount.run([&](Volume& v, Need& n) { return v.copy_range(from, 0, to, 0, length, n); });
    REQUIRE(copied);
    return *copied;
  }
  uint64_t allocated(HandleId handle) {
    const auto attr = mount.run([&](Volume& v, Need& n) { return v.getattr(inos.at(handle), n); });
    REQUIRE(attr);
    return attr->allocated;
  }
  uint64_t seek(HandleId handle, uint64_t offset, int whence) {
    const auto found =
        mount.run([&](Volume& v, Need& n) { return v.seek(handle, offset, whence, n); });
    REQUIRE(found);
    return *found;
  }
  std::map<HandleId, Ino> inos;
};

constexpr uint64_t kBlock = 4096;
constexpr uint64_t kTiB = 1ULL << 40;

}  // namespace

TEST_CASE("storage of a file is that of the blocks that hold data") {
  OpenVolume volume;
  const HandleId file = volume.create("sparse");
  volume.resize(file, 16 * kTiB);
  CHECK(volume.allocated(file) == 0);
  volume.write(file, 8 * kTiB + 10, 100);
  CHECK(volume.allocated(file) == kBlock);
  volume.write(file, 8 * kTiB + kBlock - 1, 2);  // this block and the next
  CHECK(volume.allocated(file) == 2 * kBlock);
  REQUIRE(volume.mount.engine().publish_once(false, Context()));
  // What was written before counts once, also when it is part of a chunk in the store.
  volume.write(file, 8 * kTiB, 3 * kBlock);
  CHECK(volume.allocated(file) == 3 * kBlock);
  volume.write(file, 8 * kTiB + kBlock, 10);
  CHECK(volume.allocated(file) == 3 * kBlock);
  volume.fallocate(file, 3, 8 * kTiB + 1, 2 * kBlock);  // one whole block of it
  CHECK(volume.allocated(file) == 2 * kBlock);
  volume.write(file, 1 * kTiB, kBlock);
  volume.resize(file, 2 * kTiB);
  CHECK(volume.allocated(file) == kBlock);
  volume.resize(file, 0);
  CHECK(volume.allocated(file) == 0);
  volume.write(file, 0, 10 * kBlock + 1);
  CHECK(volume.allocated(file) == 11 * kBlock);
  volume.resize(file, kBlock + 1);
  CHECK(volume.allocated(file) == 2 * kBlock);
}

TEST_CASE("data and holes are found across 16 TiB without looking at each chunk") {
  OpenVolume volume;
  const HandleId file = volume.create("sparse");
  volume.resize(file, 16 * kTiB);
  for (int published = 0; published < 2; ++published) {
    volume.write(file, 9 * kTiB, 256 * 1024);
    CHECK(volume.seek(file, 5, SEEK_DATA) == 9 * kTiB);
    CHECK(volume.seek(file, 9 * kTiB, SEEK_HOLE) == 9 * kTiB + 256 * 1024);
    CHECK(volume.seek(file, 9 * kTiB + 256 * 1024, SEEK_HOLE) == 9 * kTiB + 256 * 1024);
    REQUIRE(volume.mount.engine().publish_once(false, Context()));
  }
  volume.fallocate(file, 3, 0, 15 * kTiB);
  const auto none =
      volume.mount.run([&](Volume& v, Need& n) { return v.seek(file, 0, SEEK_DATA, n); });
  REQUIRE_FALSE(none);
  CHECK(none.error().sys_errno() == ENXIO);
}

// The rows of an inode's content are found by its number as a prefix: one byte, then the next.
TEST_CASE("what is cut from a file is gone, whatever its inode number ends in") {
  OpenVolume volume;
  for (int i = 0; i < 300; ++i) {
    const HandleId file = volume.create("file" + std::to_string(i));
    volume.write(file, 600'000, 100);
    REQUIRE(volume.seek(file, 599'000, SEEK_DATA) <= 600'000);
    volume.resize(file, 10);
    volume.resize(file, 700'000);
    const auto bytes =
        volume.mount.run([&](Volume& v, Need& n) { return v.read(file, 600'000, 100, n); });
    REQUIRE(bytes);
    REQUIRE(std::ranges::equal(Bytes(*bytes), ByteVec(100)));
    volume.mount.volume().release_file(file);
  }
}

TEST_CASE("a copy of a stored file moves nothing and stores nothing") {
  OpenVolume volume;
  const HandleId file = volume.create("original");
  constexpr uint64_t kSize = 5 * 256 * 1024 + 100;
  for (uint64_t at = 0; at < kSize; at += kSize / 5) {
    volume.write(file, at, kSize / 5, static_cast<char>('a' + at % 7));
  }
  const HandleId early = volume.create("early copy");  // while the data waits in segments
  CHECK(volume.copy(file, early, 1 << 30) == kSize);
  const uint64_t before = volume.mount.engine().pending().bytes;
  CHECK(before < kSize + (64 << 10));
  REQUIRE(volume.mount.engine().publish_once(false, Context()));
  const uint64_t uploaded = volume.mount.engine().uploaded_bytes();
  CHECK(uploaded < kSize + (64 << 10));
  const HandleId late = volume.create("late copy");
  CHECK(volume.copy(file, late, 1 << 30) == kSize);
  CHECK(volume.mount.engine().pending().bytes < (16 << 10));
  CHECK(volume.allocated(late) == volume.allocated(file));
  REQUIRE(volume.mount.engine().publish_once(false, Context()));
  CHECK(volume.mount.engine().uploaded_bytes() - uploaded < (16 << 10));
  const auto bytes_of = [&](HandleId handle) {
    const auto bytes =
        volume.mount.run([&](Volume& v, Need& n) { return v.read(handle, 0, kSize * 2, n); });
    REQUIRE(bytes);
    return to_string(*bytes);
  };
  CHECK(bytes_of(file).size() == kSize);
  CHECK(bytes_of(file) == bytes_of(early));
  CHECK(bytes_of(file) == bytes_of(late));
}

TEST_CASE("a chunk that came between looking and asking is not fetched again") {
  MemoryEnv env;
  ThreadExecutor io("io", 2);
  MeteredStore store(std::make_shared<MemoryStore>(io, system_clock()));
  TestMount mount(store, env, io);
  REQUIRE(mount.format(128 << 10, 174));
  REQUIRE(mount.open());
  const std::string bytes(128 << 10, 'x');
  const auto created =
      mount.run([](Volume& v, Need& n) { return v.create(kRootIno, "file", 0644, {}, n); });
  REQUIRE(created);
  REQUIRE(mount.run(
      [&](Volume& v, Need& n) { return v.write(created->handle, 0, as_bytes(bytes), n); }));
  mount.volume().release_file(created->handle);
  REQUIRE(mount.close());

  REQUIRE(mount.open("/another"));
  const auto found = mount.run([](Volume& v, Need& n) { return v.lookup(kRootIno, "file", n); });
  REQUIRE(found);
  Need seen;
  const auto all = mount.run([&](Volume&, Need& n) {
    auto read = mount.engine().read(found->ino, {}, bytes.size(), 0, bytes.size(), n);
    if (!n.chunks.empty()) seen = n;
    return read;
  });
  REQUIRE(all);
  REQUIRE_FALSE(seen.chunks.empty());
  const uint64_t before = store.counts().get;
  std::promise<Status> done;
  mount.engine().satisfy(seen, Context(),
                         [&](Status status) { done.set_value(std::move(status)); });
  CHECK(done.get_future().get());
  CHECK(store.counts().get == before);
  REQUIRE(mount.close());
}

TEST_CASE("the end of a mount answers what still waits, and read-ahead comes back before it") {
  MemoryEnv env;
  const auto rng = make_seeded_rng(1);
  ThreadExecutor io("io", 2);
  FaultyStore store(std::make_shared<MemoryStore>(io, system_clock()),
                    FaultyStore::Parts{io, system_clock(), *rng});
  TestMount mount(store, env, io);
  REQUIRE(mount.format(4096, 174));
  REQUIRE(mount.open());
  const std::string bytes(10 * 4096, 'x');
  const auto created =
      mount.run([](Volume& v, Need& n) { return v.create(kRootIno, "file", 0644, {}, n); });
  REQUIRE(created);
  REQUIRE(mount.run(
      [&](Volume& v, Need& n) { return v.write(created->handle, 0, as_bytes(bytes), n); }));
  mount.volume().release_file(created->handle);
  REQUIRE(mount.close());

  REQUIRE(mount.open("/another"));
  const auto found = mount.run([](Volume& v, Need& n) { return v.lookup(kRootIno, "file", n); });
  REQUIRE(found);
  const uint64_t inode = found->ino;
  // What is known of the file is here, its content is not.
  Need content;
  while (content.chunks.empty()) {
    REQUIRE(mount.run([&](Volume&, Need& n) -> Status {
      content = {};
      const auto read = mount.engine().read(inode, {}, bytes.size(), 0, bytes.size(), content);
      if (read || content.blocks.empty()) return {};
      n = content;
      return tl::unexpected<Error>(read.error());
    }));
  }
  StoreFault hold;
  hold.kind = FaultKind::kHold;
  hold.ops = StoreOp::kGet;
  hold.count = FaultyStore::kForever;
  store.add(hold);
  mount.engine().prefetch(inode, {}, 0, bytes.size());
  std::atomic<int> answered{0};
  std::atomic<int> cancelled{0};
  const auto done = [&](const Status& status) {
    ++answered;
    if (!status && status.error().code() == Errc::kCancelled) ++cancelled;
  };
  mount.engine().satisfy(content, Context(), done);
  while (store.held() == 0) std::this_thread::yield();
  CHECK(answered == 0);
  mount.engine().abandon();
  CHECK(answered == 1);
  CHECK(cancelled == 1);

  // Whoever comes later is told at once.
  mount.engine().satisfy(content, Context(), done);
  Need room;
  room.space = true;
  mount.engine().satisfy(room, Context(), done);
  mount.kill();
  CHECK(answered == 3);
  CHECK(cancelled == 3);
  // A look-up that nobody waits for any more asks the store a few times yet, at most 1.6 s apart.
  for (uint64_t asked = UINT64_MAX; asked != store.requests();) {
    asked = store.requests();
    std::this_thread::sleep_for(std::chrono::seconds(2));
  }
  io.stop();
}

TEST_CASE("the time that changes waited for their commit is no silence of the store") {
  MemoryEnv env;
  ThreadExecutor io("io", 2);
  const auto rng = make_seeded_rng(1);
  FaultyStore store(std::make_shared<MemoryStore>(io, system_clock()),
                    FaultyStore::Parts{io, system_clock(), *rng});
  TestMount mount(store, env, io);
  constexpr Duration kStall = std::chrono::milliseconds(600);
  mount.options.engine.stall_timeout = kStall;
  REQUIRE(mount.format(4096, 174));
  REQUIRE(mount.open());
  REQUIRE(mount.run([](Volume& v, Need& n) { return v.mkdir(kRootIno, "dir", 0755, {}, n); }));
  std::this_thread::sleep_for(kStall + std::chrono::milliseconds(100));
  StoreFault slow;
  slow.kind = FaultKind::kDelay;
  slow.ops = StoreOp::kPut;
  slow.delay = kStall * 2 / 3;
  store.add(slow);
  const Lsn lsn = mount.engine().appended();
  const Status stored = mount.run([&](Volume&, Need& n) { return mount.engine().stored(lsn, n); });
  CHECK_MESSAGE(stored, (stored ? "" : stored.error().message()));
  CHECK(mount.close());
}

TEST_CASE("suid and sgid go when the kernel says so, sgid without group execute stays") {
  OpenVolume volume;
  const HandleId file = volume.create("program");
  const Ino ino = volume.inos.at(file);
  const auto set = [&](const AttrChange& change, Ino of) {
    const auto attr =
        volume.mount.run([&](Volume& v, Need& n) { return v.setattr(of, change, n); });
    REQUIRE(attr);
    return attr->mode & 07777;
  };
  const auto chmod = [&](uint32_t mode, Ino of) {
    AttrChange change;
    change.mode = mode;
    return set(change, of);
  };
  const auto write = [&](bool kills) {
    REQUIRE(volume.mount.run(
        [&](Volume& v, Need& n) { return v.write(file, 0, as_bytes("x"), n, kills); }));
    const auto attr = volume.mount.run([&](Volume& v, Need& n) { return v.getattr(ino, n); });
    REQUIRE(attr);
    return attr->mode & 07777;
  };
  AttrChange kill;
  kill.kills_bits = true;
  for (const auto& [before, after] : {std::pair(06777U, 0777U), std::pair(06767U, 02767U),
                                      std::pair(05755U, 01755U), std::pair(0644U, 0644U)}) {
    CHECK(chmod(before, ino) == before);
    CHECK(write(false) == before);
    CHECK(write(true) == after);
    chmod(before, ino);
    CHECK(set(kill, ino) == after);
  }
  const auto dir =
      volume.mount.run([&](Volume& v, Need& n) { return v.mkdir(kRootIno, "d", 02755, {}, n); });
  REQUIRE(dir);
  CHECK(set(kill, dir->ino) == 02755);
}
