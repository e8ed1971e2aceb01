// A mount that comes after another one: what a cache must remember, what it must forget, what is
// true after an operation was refused.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "cache/check.h"
#include "cache/journal.h"
#include "s3/memory_store.h"
#include "tests/support/memory_env.h"
#include "tests/support/test_mount.h"

using namespace cairn;
using namespace cairn::test;

namespace {

struct Machine {
  Machine() { REQUIRE(mount.format(4096, 8)); }

  Ino make(Ino parent, const std::string& name, bool directory = false) {
    const auto made = mount.run([&](Volume& v, Need& n) {
      return directory ? v.mkdir(parent, name, 0755, {}, n)
                       : v.mknod(parent, name, S_IFREG | 0644, 0, {}, n);
    });
    REQUIRE_MESSAGE(made, (made ? "" : made.error().message()));
    return made->ino;
  }
  HandleId open_file(Ino ino) {
    const auto handle = mount.run([&](Volume& v, Need& n) { return v.open_file(ino, n); });
    REQUIRE_MESSAGE(handle, (handle ? "" : handle.error().message()));
    return *handle;
  }
  Status write(HandleId handle, const std::string& bytes) {
    return mount.run([&](Volume& v, Need& n) { return v.write(handle, 0, as_bytes(bytes), n); });
  }
  std::string read(HandleId handle) {
    const auto bytes = mount.run([&](Volume& v, Need& n) { return v.read(handle, 0, 100, n); });
    REQUIRE_MESSAGE(bytes, (bytes ? "" : bytes.error().message()));
    return to_string(*bytes);
  }
  Result<Attr> lookup(const std::string& name) {
    return mount.run([&](Volume& v, Need& n) { return v.lookup(kRootIno, name, n); });
  }
  Status unlink(const std::string& name) {
    return mount.run([&](Volume& v, Need& n) { return v.unlink(kRootIno, name, n); });
  }
  void fill_journal() {
    env.set_fault([](FileCall call, const std::string& path) -> Status {
      const bool takes_room = call == FileCall::kWrite || call == FileCall::kAllocate;
      if (takes_room && path.find("/journal/") != std::string::npos)
        return fail_errno(ENOSPC, "the disk is full");
      return {};
    });
  }
  void require_open(const std::string& cache) {
    const Status opened = mount.open(cache);
    REQUIRE_MESSAGE(opened, (opened ? "" : opened.error().message()));
  }
  void publish() {
    const auto published = mount.engine().publish_once(false, Context());
    REQUIRE_MESSAGE(published, (published ? "" : published.error().message()));
  }

  MemoryEnv env;
  ThreadExecutor io{"io", 2};
  MemoryStore store{io, system_clock()};
  TestMount mount{store, env, io};
};

}  // namespace

TEST_CASE("a removal that the disk refused has removed nothing") {
  Machine m;
  m.require_open("/cache");
  const Ino ino = m.make(kRootIno, "file");
  const HandleId held = m.open_file(ino);
  REQUIRE(m.write(held, "before"));
  bool is_held = true;
  SUBCASE("open") {}
  SUBCASE("not open") {
    m.mount.volume().release_file(held);
    is_held = false;
  }
  m.fill_journal();
  const Status refused = m.unlink("file");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == Errc::kNoSpace);
  m.env.set_fault({});
  const auto attr = m.lookup("file");
  REQUIRE(attr);
  CHECK(attr->nlink == 1);
  if (is_held) m.mount.volume().release_file(held);
  const HandleId handle = m.open_file(ino);
  CHECK(m.read(handle) == "before");
  REQUIRE(m.write(handle, "after!"));
  CHECK(m.read(handle) == "after!");
  m.mount.volume().release_file(handle);
  REQUIRE(m.unlink("file"));
  CHECK_FALSE(m.lookup("file"));
}

TEST_CASE("a write to a removed file that the disk refused leaves its size") {
  Machine m;
  m.require_open("/cache");
  const Ino ino = m.make(kRootIno, "file");
  const HandleId held = m.open_file(ino);
  REQUIRE(m.write(held, "short"));
  REQUIRE(m.unlink("file"));
  m.fill_journal();
  CHECK_FALSE(m.write(held, "much longer than that"));
  m.env.set_fault({});
  CHECK(m.read(held) == "short");
  m.mount.volume().release_file(held);
}

TEST_CASE("an operation that was refused because the tables cannot be read is not replayed") {
  Machine m;
  m.require_open("/cache");
  const Ino ino = m.make(kRootIno, "file");
  const HandleId handle = m.open_file(ino);
  REQUIRE(m.write(handle, "before"));
  REQUIRE(m.mount.engine().checkpoint());
  m.mount.tables_faults.read = [](Table table) -> Status {
    if (table != Table::kDirty && table != Table::kFiles) return {};
    return fail(Errc::kIo, "a page of the tables cannot be read");
  };
  CHECK_FALSE(m.write(handle, "after!"));
  m.mount.tables_faults.read = {};
  CHECK(m.read(handle) == "before");
  m.mount.kill();
  m.env.kill();
  m.require_open("/cache");
  CHECK(m.read(m.open_file(ino)) == "before");
}

TEST_CASE("what was published unheard is no unpublished work when another node took over") {
  Machine m;
  m.require_open("/a");
  m.make(kRootIno, "published");
  m.mount.tables_faults.write = [] { return Status(fail(Errc::kIo, "the process dies")); };
  // The commit is sent; that it is there is written down nowhere.
  CHECK_FALSE(m.mount.engine().publish_once(false, Context()));
  m.mount.kill();
  m.mount.tables_faults.write = {};
  m.env.kill();

  m.mount.options.takeover = true;
  m.require_open("/b");
  m.make(kRootIno, "of the other");
  m.publish();
  m.mount.kill();
  m.env.kill();

  m.require_open("/a");
  CHECK(m.lookup("published"));
  CHECK(m.lookup("of the other"));
}

TEST_CASE("what another node changed since does not come back when a takeover is interrupted") {
  Machine m;
  m.require_open("/a");
  m.make(kRootIno, "published");
  m.mount.tables_faults.write = [] { return Status(fail(Errc::kIo, "the process dies")); };
  CHECK_FALSE(m.mount.engine().publish_once(false, Context()));
  m.mount.kill();
  m.mount.tables_faults.write = {};
  m.env.kill();

  m.mount.options.takeover = true;
  m.require_open("/b");
  REQUIRE(m.unlink("published"));
  m.publish();
  m.mount.kill();
  m.env.kill();

  m.mount.tables_faults.write = [] { return Status(fail(Errc::kIo, "the process dies")); };
  CHECK_FALSE(m.mount.open("/a"));
  m.mount.tables_faults.write = {};
  m.env.kill();
  m.require_open("/a");
  CHECK_FALSE(m.lookup("published"));
}

TEST_CASE("unpublished work behind a published commit is refused, and counted without it") {
  Machine m;
  m.require_open("/a");
  m.make(kRootIno, "published");
  m.mount.tables_faults.write = [] { return Status(fail(Errc::kIo, "the process dies")); };
  CHECK_FALSE(m.mount.engine().publish_once(false, Context()));
  m.make(kRootIno, "unpublished");
  m.mount.kill();
  m.mount.tables_faults.write = {};
  m.env.kill();

  m.mount.options.takeover = true;
  m.require_open("/b");
  m.mount.kill();
  m.env.kill();

  const Status refused = m.mount.open("/a");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == Errc::kFenced);
  CHECK(refused.error().message().find("holds 1 changes") != std::string::npos);
}

TEST_CASE("an inode number is not handed out again when a commit was the last that was heard of") {
  Machine m;
  m.require_open("/cache");
  const Ino dir = m.make(kRootIno, "dir", true);
  const Ino first = m.make(dir, "first");
  REQUIRE(m.mount.engine().checkpoint());
  const Ino second = m.make(dir, "second");
  m.mount.tables_faults.write = [] { return Status(fail(Errc::kIo, "the process dies")); };
  CHECK_FALSE(m.mount.engine().publish_once(false, Context()));
  m.mount.kill();
  m.mount.tables_faults.write = {};
  m.env.kill();

  m.require_open("/cache");
  const Ino third = m.make(dir, "third");
  CHECK(third != first);
  CHECK(third != second);
}

TEST_CASE("what was given up with --discard-local numbers no new file") {
  Machine m;
  m.require_open("/a");
  const Ino dir = m.make(kRootIno, "dir", true);
  m.publish();
  // A group of inode numbers that the store never hears of.
  m.make(kRootIno, "given up");
  m.make(dir, "given up");
  m.mount.kill();
  m.env.kill();

  m.mount.options.takeover = true;
  m.require_open("/b");
  m.mount.kill();
  m.env.kill();

  m.mount.options.discard_local = true;
  m.require_open("/a");
  CHECK_FALSE(m.lookup("given up"));
  m.make(kRootIno, "new");
  m.make(dir, "new");
  m.publish();
  const auto report = check_volume(m.store, CheckOptions());
  REQUIRE(report);
  for (const auto& problem : report->problems) FAIL_CHECK(problem.object, ": ", problem.what);
}

TEST_CASE("who waits for room in a cache whose disk failed hears of it") {
  Machine m;
  m.mount.options.engine.memtable_bytes = 1000;
  m.require_open("/cache");
  const HandleId handle = m.open_file(m.make(kRootIno, "file"));
  m.env.set_fault([](FileCall call, const std::string& path) -> Status {
    if (call == FileCall::kWrite && path.find("/segments/") != std::string::npos)
      return fail_errno(EIO, "the disk is broken");
    return {};
  });
  CHECK_FALSE(m.write(handle, std::string(100'000, 'x')));
  Status last;
  for (int i = 0; last && i < 200; ++i) {
    const auto made = m.mount.run([&](Volume& v, Need& n) {
      return v.mknod(kRootIno, std::to_string(i), S_IFREG | 0644, 0, {}, n);
    });
    if (!made) last = tl::unexpected<Error>(made.error());
  }
  REQUIRE_FALSE(last);
  CHECK(last.error().code() == Errc::kIo);
}

TEST_CASE("a cache whose maker died keeps its identity through a power cut") {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    MemoryEnv env;
    const auto rng = make_seeded_rng(seed);
    env.set_fault([](FileCall call, const std::string&) -> Status {
      if (call == FileCall::kSyncDir) return fail(Errc::kIo, "the process is dead");
      return {};
    });
    CHECK_FALSE(CacheDir::open(env, *rng, "/cache", "store"));
    env.set_fault({});
    env.kill();
    Uuid id{};
    {
      const auto dir = CacheDir::open(env, *rng, "/cache", "store");
      REQUIRE(dir);
      id = (*dir)->identity().cache_id;
    }
    env.crash(*rng);
    const auto again = CacheDir::open(env, *rng, "/cache", "store");
    REQUIRE(again);
    CHECK((*again)->identity().cache_id == id);
  }
}

TEST_CASE("a journal whose maker died keeps its records through a power cut") {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    MemoryEnv env;
    const auto rng = make_seeded_rng(seed);
    Journal::Options options;
    options.dir = "/journal";
    const auto any = [](const JournalRecord&) -> Result<bool> { return true; };
    env.set_fault([](FileCall call, const std::string&) -> Status {
      if (call == FileCall::kSyncDir) return fail(Errc::kIo, "the process is dead");
      return {};
    });
    CHECK_FALSE(Journal::open(env, options, 0, 0, any));
    env.set_fault({});
    env.kill();
    {
      const auto journal = Journal::open(env, options, 0, 0, any);
      REQUIRE(journal);
      const ByteVec payload(10);
      const Bytes parts[] = {payload};
      REQUIRE((*journal)->append(kRecordChange, parts));
      REQUIRE((*journal)->sync(1));
    }
    env.crash(*rng);
    const auto journal = Journal::open(env, options, 0, 1, any);
    REQUIRE_MESSAGE(journal, (journal ? "" : journal.error().message()));
    CHECK((*journal)->appended() == 1);
  }
}

TEST_CASE("what a follower has open stays readable when its writer removes or replaces it") {
  Machine m;
  m.require_open("/cache");
  const Ino removed = m.make(kRootIno, "removed");
  const Ino replaced = m.make(kRootIno, "replaced");
  REQUIRE(m.write(m.open_file(removed), "what was removed"));
  REQUIRE(m.write(m.open_file(replaced), "what was replaced"));
  m.publish();

  TestMount follower{m.store, m.env, m.io};
  follower.options.engine.read_only = true;
  follower.options.engine.poll_interval = std::chrono::milliseconds(1);
  REQUIRE(follower.open("/follower"));
  const auto held = [&](Ino ino) {
    return follower.run([&](Volume& v, Need& n) { return v.open_file(ino, n); }).value();
  };
  const HandleId of_removed = held(removed);
  const HandleId of_replaced = held(replaced);

  REQUIRE(m.unlink("removed"));
  const Ino other = m.make(kRootIno, "other");
  REQUIRE(m.write(m.open_file(other), "something else"));
  REQUIRE(m.mount.run(
      [&](Volume& v, Need& n) { return v.rename(kRootIno, "other", kRootIno, "replaced", 0, n); }));
  m.publish();
  const auto look_up = [&](const std::string& name) {
    return follower.run([&](Volume& v, Need& n) { return v.lookup(kRootIno, name, n); });
  };
  for (int tries = 0; tries < 10'000 && look_up("removed"); ++tries)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const auto gone = look_up("removed");
  REQUIRE_FALSE(gone);
  CHECK(gone.error().sys_errno() == ENOENT);
  REQUIRE(look_up("replaced"));
  CHECK(look_up("replaced")->ino == other);

  const auto bytes = [&](HandleId handle) {
    const auto read = follower.run([&](Volume& v, Need& n) { return v.read(handle, 0, 100, n); });
    REQUIRE_MESSAGE(read, (read ? "" : read.error().message()));
    return to_string(*read);
  };
  CHECK(bytes(of_removed) == "what was removed");
  CHECK(bytes(of_replaced) == "what was replaced");
  const auto attr = [&](Ino ino) {
    return follower.run([&](Volume& v, Need& n) { return v.getattr(ino, n); });
  };
  REQUIRE(attr(removed));
  CHECK(attr(removed)->nlink == 0);
  CHECK(attr(removed)->size == 16);
  follower.volume().release_file(of_removed);
  REQUIRE_FALSE(attr(removed));
  CHECK(attr(removed).error().sys_errno() == ENOENT);
  follower.volume().release_file(of_replaced);
}
