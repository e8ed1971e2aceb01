// What goes on at the same time: the local disk, the line to the store, and what is asked ahead.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "cache/format/commit.h"
#include "tests/support/faulty_mount.h"

using namespace cairn;
using namespace cairn::test;

namespace {

constexpr uint64_t kChunk = 256 << 10;

struct World : FaultyMount {
  World() {
    mount.options.engine.publish_bytes = 1ULL << 30;
    REQUIRE(mount.format(kChunk, 174));
  }

  uint64_t write(const std::string& name, uint64_t size) {
    const auto made =
        mount.run([&](Volume& v, Need& n) { return v.create(kRootIno, name, 0644, {}, n); });
    REQUIRE(made);
    ByteVec bytes(1 << 20);
    for (uint64_t at = 0; at < size; at += bytes.size()) {
      // No two chunks are equal.
      for (size_t i = 0; i < bytes.size(); i += kChunk)
        std::memcpy(&bytes[i], &++chunks_, sizeof chunks_);
      REQUIRE(mount.run([&](Volume& v, Need& n) { return v.write(made->handle, at, bytes, n); }));
    }
    mount.volume().release_file(made->handle);
    return made->attr.ino;
  }

  uint64_t next() { return ++chunks_; }

  size_t count(const std::string& prefix) {
    const auto page = list_sync(store, prefix, "", 1000, Context());
    REQUIRE(page);
    return page->objects.size();
  }

  ByteVec newest_commit() {
    const auto page = list_sync(store, "c/", "", 1000, Context());
    REQUIRE(page);
    const auto got = get_sync(store, page->objects.back().key, GetRange::all(), Context());
    REQUIRE(got);
    return ByteVec(got->bytes.view().begin(), got->bytes.view().end());
  }

  void hold(StoreOp op, uint32_t skip, const std::string& prefix = "p/") {
    StoreFault fault;
    fault.kind = FaultKind::kHold;
    fault.ops = op;
    fault.prefix = prefix;
    fault.skip = skip;
    fault.count = FaultyStore::kForever;
    store.add(fault);
  }

 private:
  uint64_t chunks_ = 0;
};

// A publication of 8 MiB that waits for the line with its first packs, and what is written then.
class HeldPublication {
 public:
  explicit HeldPublication(World& world) : world_(world) {
    world.mount.options.pack_bytes = 1 << 20;
    REQUIRE(world.mount.open());
    first = world.write("first", 8 << 20);
    commits_ = world.count("c/");
    world.hold(StoreOp::kPut, 0);
    publisher_ = std::thread([&] { (void)world_.mount.engine().publish_once(false, Context()); });
    CHECK(comes_true([&] { return world_.store.held() == 3; }));
    second = world.write("second", 1 << 20);
  }
  FileStatus::State state(uint64_t inode) {
    return world_.mount.engine().file_status(inode)->state;
  }
  size_t new_commits() { return world_.count("c/") - commits_; }
  // Begins to wait for both.
  void flush() {
    flusher_ = std::thread([&] {
      CHECK(world_.mount.engine().flush(Context(), [&](PendingStatus) { flushes_ = true; }));
    });
    CHECK(comes_true([&] { return flushes_.load(); }));
  }
  // Nothing is held any more, until all is in the store.
  void end() {
    world_.store.clear();
    CHECK(comes_true([&] {
      world_.store.release();
      const LsnStatus lsn = world_.mount.engine().lsn_status();
      return lsn.published == lsn.appended;
    }));
    publisher_.join();
    flusher_.join();
  }

  uint64_t first = 0, second = 0;  // inodes

 private:
  World& world_;
  size_t commits_ = 0;
  std::atomic<bool> flushes_{false};
  std::thread publisher_, flusher_;
};

}  // namespace

TEST_CASE("packs go to the store while the local disk is not done; their commit waits for it") {
  World world;
  std::atomic<bool> is_stuck{false};
  std::atomic<bool> was_asked{false};
  world.env.set_fault([&](FileCall call, const std::string&) -> Status {
    while (call == FileCall::kSync && is_stuck) {
      was_asked = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return {};
  });
  REQUIRE(world.mount.open());
  world.write("file", 4 << 20);
  const size_t packs = world.count("p/");
  const size_t commits = world.count("c/");
  is_stuck = true;
  std::atomic<bool> is_over{false};
  Result<bool> published = false;
  std::thread publisher([&] {
    published = world.mount.engine().publish_once(false, Context());
    is_over = true;
  });
  CHECK(comes_true([&] { return world.count("p/") >= packs + 2; }));  // its data, its metadata
  CHECK(comes_true([&] { return was_asked.load(); }));
  CHECK_FALSE(is_over);
  CHECK(world.count("c/") == commits);
  const LsnStatus lsn = world.mount.engine().lsn_status();
  CHECK(lsn.published < lsn.appended);
  is_stuck = false;
  publisher.join();
  REQUIRE(published);
  CHECK(*published);
  CHECK(world.count("c/") == commits + 1);
  const LsnStatus after = world.mount.engine().lsn_status();
  CHECK(after.published <= after.durable);
}

TEST_CASE("a line that takes packs quickly gets more of them at once") {
  World world;
  world.mount.options.pack_bytes = 4 << 20;
  world.mount.options.memory_bytes_max = MemoryPlan::kSmallest;
  const uint32_t most = MemoryPlan::of(MemoryPlan::kSmallest).packs_in_flight_max;
  REQUIRE(most == 7);
  REQUIRE(world.mount.open());
  world.write("file", 64 << 20);
  world.hold(StoreOp::kPut, 3);
  std::atomic<bool> is_over{false};
  std::thread publisher([&] {
    (void)world.mount.engine().publish_once(false, Context());
    is_over = true;
  });
  // Three at first. That they came through quickly lets more go, on a machine that is not too busy.
  CHECK(comes_true([&] { return world.store.held() > 3; }));
  CHECK_FALSE(is_over);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // in which more would go
  CHECK(world.store.held() <= most);
  world.store.clear();
  CHECK(comes_true([&] {
    world.store.release();
    return is_over.load();
  }));
  publisher.join();
  const LsnStatus lsn = world.mount.engine().lsn_status();
  CHECK(lsn.published == lsn.appended);
}

TEST_CASE("what is written while packs wait for the line goes with their commit") {
  World world;
  HeldPublication held(world);
  CHECK(held.state(held.first) == FileStatus::State::kUploading);
  CHECK(held.state(held.second) != FileStatus::State::kUploading);
  held.flush();
  CHECK(comes_true([&] {
    world.store.release();
    return held.state(held.second) == FileStatus::State::kUploading;
  }));
  CHECK(held.new_commits() == 0);
  held.end();
  CHECK(held.new_commits() == 1);
}

TEST_CASE("a batch that is full takes in no more") {
  World world;
  world.mount.options.engine.fold.data_bytes_max = 8 << 20;
  HeldPublication held(world);
  held.flush();
  held.end();
  CHECK(held.new_commits() == 2);
}

TEST_CASE("a batch takes in no more while somebody waits for the room that its commit gives") {
  World world;
  world.mount.options.engine.pending_bytes_max = 10 << 20;
  HeldPublication held(world);
  Engine& engine = world.mount.engine();
  Need need;
  REQUIRE_FALSE(engine.admit(4 << 20, need));
  std::atomic<bool> has_room{false};
  engine.satisfy(need, Context(), [&](Status status) { has_room = status.has_value(); });
  held.flush();
  held.end();
  CHECK(comes_true([&] { return has_room.load(); }));
  CHECK(held.new_commits() == 2);
}

TEST_CASE("the index is made while the last packs are on their way, and named by the commit") {
  World world;
  world.mount.options.pack_bytes = 1 << 20;
  world.mount.options.index.young_packs_max = 2;
  REQUIRE(world.mount.open());
  const uint64_t inode = world.write("file", 2 << 20);
  const size_t commits = world.count("c/");
  world.hold(StoreOp::kPut, 0);
  Engine& engine = world.mount.engine();
  std::thread publisher([&] { CHECK(engine.publish_once(false, Context())); });
  CHECK(comes_true([&] { return world.store.held() == 3; }));  // data, and the metadata
  CHECK(comes_true([&] { return world.count("x/") == 1; }));
  CHECK(world.store.held() == 3);
  CHECK(world.count("c/") == commits);
  world.store.clear();
  world.store.release();
  publisher.join();
  CHECK(world.count("c/") == commits + 1);
  const LsnStatus lsn = engine.lsn_status();
  CHECK(lsn.published == lsn.appended);
  const auto commit = CommitRecord::decode(world.newest_commit());
  REQUIRE(commit);
  CHECK(commit->young_packs.empty());
  REQUIRE(commit->index_segments.size() == 1);
  CHECK(commit->index_segments[0].entries == 8);
  REQUIRE(world.mount.close());
  REQUIRE(world.mount.open("/another"));
  const auto read = world.mount.run([&](Volume&, Need& n) {
    return world.mount.engine().read(inode, {}, 2 << 20, kChunk, kChunk, n);
  });
  REQUIRE(read);
  CHECK(read->size() == kChunk);
}

TEST_CASE("what is asked ahead comes in parts, of which each makes room for others") {
  World world;
  REQUIRE(world.mount.open());
  const uint64_t size = 32 * kChunk;
  const uint64_t inode = world.write("file", size);
  REQUIRE(world.mount.close());
  world.mount.options.engine.read_ahead_bytes = 16 * kChunk;
  world.mount.options.engine.idle_ahead_bytes = 0;
  REQUIRE(world.mount.open("/another"));
  Engine& engine = world.mount.engine();
  // What is known of the file is here, its content is not.
  REQUIRE(world.mount.run([&](Volume&, Need& n) { return engine.read(inode, {}, size, 0, 1, n); }));
  world.hold(StoreOp::kGet, 3);
  // An eighth of what may be under way: two chunks.
  CHECK(engine.prefetch(inode, {}, kChunk, size - kChunk) == 17 * kChunk);
  CHECK(comes_true([&] { return world.store.held() == 5; }));
  CHECK(comes_true([&] { return engine.read_ahead_bytes() == 10 * kChunk; }));
  CHECK(engine.prefetch(inode, {}, 17 * kChunk, size - 17 * kChunk) == 23 * kChunk);
  CHECK(comes_true([&] { return world.store.held() == 8; }));
}

TEST_CASE("a local disk that failed sends nothing, and is not what the store is said to have") {
  World world;
  std::atomic<bool> fails{false};
  world.env.set_fault([&](FileCall call, const std::string&) -> Status {
    if (call == FileCall::kSync && fails) return fail(Errc::kIo, "the disk is broken");
    return {};
  });
  REQUIRE(world.mount.open());
  world.write("file", 1 << 20);
  Engine& engine = world.mount.engine();
  const size_t packs = world.count("p/");
  const size_t commits = world.count("c/");
  fails = true;
  // The first one finds out: with its packs on their way, or before.
  for (int tries = 0; tries < 3; ++tries) {
    const auto published = engine.publish_once(false, Context());
    REQUIRE_FALSE(published);
    CHECK(published.error().message().find("the disk is broken") != std::string::npos);
    CHECK_FALSE(engine.health().failing);
  }
  CHECK(world.count("c/") == commits);
  CHECK(world.count("p/") <= packs + 2);
  CHECK_FALSE(engine.local_health());
}

TEST_CASE("a commit for which the local disk has no room is not what the store is said to have") {
  World world;
  std::atomic<bool> is_full{false};
  world.env.set_fault([&](FileCall call, const std::string& path) -> Status {
    if (call == FileCall::kWrite && is_full && path.find("/journal/") != std::string::npos)
      return fail(Errc::kNoSpace, "the disk is full");
    return {};
  });
  REQUIRE(world.mount.open());
  world.write("file", 1 << 20);
  Engine& engine = world.mount.engine();
  const size_t packs = world.count("p/");
  is_full = true;
  const auto published = engine.publish_once(false, Context());
  REQUIRE_FALSE(published);
  CHECK(published.error().code() == Errc::kNoSpace);
  CHECK(world.count("p/") > packs);
  CHECK_FALSE(engine.health().failing);
  is_full = false;
  CHECK(engine.publish_once(false, Context()));
  CHECK(engine.lsn_status().published == engine.lsn_status().appended);
}

TEST_CASE("while more waits to be sent, the tables are written beside it; what fails is told") {
  World world;
  world.mount.options.engine.publish_bytes = 1 << 20;
  world.mount.options.engine.fold.data_bytes_max = 1 << 20;
  std::atomic<bool> is_stuck{false};
  std::atomic<bool> fails{false};
  std::atomic<unsigned> writes{0};
  world.mount.tables_faults.write = [&]() -> Status {
    writes += is_stuck ? 1 : 0;
    while (is_stuck) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (fails) return fail(Errc::kIo, "the tables are broken");
    return {};
  };
  REQUIRE(world.mount.open());
  const size_t commits = world.count("c/");
  world.hold(StoreOp::kPut, 0, "c/");  // until there is much to do
  world.write("file", 8 << 20);
  CHECK(comes_true([&] { return world.store.held() == 1; }));
  is_stuck = true;
  world.store.clear();
  world.store.release();
  // Nothing of the first batch is settled, and the next ones are in the store.
  CHECK(comes_true([&] { return world.count("c/") >= commits + 4; }));
  CHECK(comes_true([&] { return writes > 0; }));
  fails = true;
  is_stuck = false;
  Engine& engine = world.mount.engine();
  CHECK(comes_true([&] {
    world.write("more" + std::to_string(world.next()), 3 << 20);
    return engine.health().publish_error.find("the tables are broken") != std::string::npos;
  }));
  fails = false;
  REQUIRE(engine.flush(Context(), nullptr));
  const LsnStatus lsn = engine.lsn_status();
  CHECK(lsn.published == lsn.appended);
  CHECK(comes_true([&] { return engine.health().publish_error.empty(); }));
}
