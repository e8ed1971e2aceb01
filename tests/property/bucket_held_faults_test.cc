// Files that --filter-upload holds, when the process dies, the power goes, or the store refuses.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cache/wait.h"
#include "tests/support/at_point.h"
#include "tests/support/holder.h"

using namespace cairn;
using namespace cairn::test;

#ifdef CAIRN_CHECKED
TEST_CASE("whoever dies while files are held back has lost nothing of them") {
  const auto rng = make_seeded_rng(7);
  const std::string large = bytes_of(300'000, 1);
  const std::string some = bytes_of(9'000, 2);
  for (unsigned round = 0; round < 12; ++round) {
    const bool power = round % 2 == 1;
    const bool checkpoint = round % 4 > 1;
    CAPTURE(power);
    CAPTURE(checkpoint);
    Holder w(kNoTmp);
    w.write("large.tmp", large);
    w.write("some.tmp", some);
    w.write("small.tmp", "small");
    w.write("sent", "sent");
    REQUIRE(w.mount.volume().sync());
    // As the maintenance thread may do it at any time.
    const auto before = [&] {
      if (checkpoint) REQUIRE(w.mount.engine().checkpoint());
    };
    CHECK(dies_at(
        "publish.kept-back", [&] { (void)w.mount.engine().publish_once(false, Context()); },
        before));
    w.mount.kill();
    if (power) w.env.crash(*rng);
    w.open();
    const auto check_reads = [&] {
      CHECK(w.read("large.tmp") == large);
      CHECK(w.read("some.tmp") == some);
      CHECK(w.read("small.tmp") == "small");
      CHECK(w.read("sent") == "sent");
    };
    check_reads();
    w.flush();
    check_reads();
    CHECK(w.keys() == std::set<std::string>{"sent"});
    CHECK(w.held() == 3);
    w.mount_with({});
    w.settle();
    CHECK(w.object_bytes("large.tmp") == large);
    CHECK(w.object_bytes("some.tmp") == some);
    CHECK(w.object_bytes("small.tmp") == "small");
  }
}

TEST_CASE("what is written to a file while it is held back stays, and keeps nothing waiting") {
  for (const char* point :
       {"publish.folded", "publish.sent", "publish.kept-back", "publish.dropped"}) {
    CAPTURE(point);
    Holder w(kNoTmp);
    std::string log = bytes_of(20'000, 1);
    const auto write = [&](const std::string& bytes, uint64_t offset) {
      w.write("log.tmp", bytes, offset);
      log.resize(std::max<size_t>(log.size(), offset + bytes.size()));
      log.replace(offset, bytes.size(), bytes);
    };
    for (uint64_t at = 0; at < 20'000; at += 1000) w.write("log.tmp", log.substr(at, 1000), at);
    w.write("sent", "first");
    for (unsigned round = 0; round < 3; ++round) {
      const AtPoint here(point, [&] {
        write(std::string(700, 'm'), 1'500 + 4'000ULL * round);
        write(bytes_of(3'000, round), log.size());
      });
      REQUIRE(w.mount.engine().publish_once(false, Context()));
      CHECK(here.times() > 0);
      w.write("sent", "later");
      CHECK(w.read("log.tmp") == log);
    }
    w.flush();
    CHECK(w.object_bytes("sent") == "later");
    w.check_held("log.tmp", log);
  }
}

TEST_CASE("what was held back stays in the cache as long as rows or a checkpoint name it") {
  Holder w(kNoTmp);
  REQUIRE(w.mount.close());
  w.mount.options.cache_bytes_max = 64ULL << 20;
  constexpr unsigned kOthers = 4;
  const auto other = [](unsigned i) { return "other" + std::to_string(i); };
  for (unsigned i = 0; i < kOthers; ++i) w.put_by_other(other(i), std::string(30 << 20, 'x'));
  w.open();
  const std::string bytes = bytes_of(5 << 20, 3);
  w.write("held.tmp", bytes);
  w.flush();
  REQUIRE(w.held() == 1);
  w.rename("held.tmp", "sent");
  const AtPoint here("publish.kept", [&] {
    // It is in the bucket, and its rows are still there. A checkpoint that begins now names them.
    REQUIRE(w.mount.engine().checkpoint());
    REQUIRE(w.mount.engine().segments().seal());
    for (unsigned i = 0; i < kOthers; ++i) {
      const Ino ino = w.find(other(i));
      for (uint64_t at = 0; at < 30; ++at) REQUIRE(w.read_ino(ino, at << 20, 1 << 20));
    }
    CHECK(w.read_ino(w.find("sent"), 0, 5 << 20).value_or("") == bytes);
  });
  REQUIRE(w.mount.engine().publish_once(false, Context()));
  CHECK(here.times() == 1);
  CHECK(w.held() == 0);
  CHECK(w.object_bytes("sent") == bytes);
  CHECK(w.read_ino(w.find("sent"), 0, 5 << 20).value_or("") == bytes);
}

TEST_CASE("nothing goes to a bucket behind what the tables do not know of yet") {
  Holder w(kNoTmp);
  bool fails = false;
  REQUIRE(w.mount.close());
  w.mount.tables_faults.write = [&fails]() -> Status {
    return fails ? fail(Errc::kNoSpace, "the tables are full") : Status();
  };
  w.open();
  w.write("first", "1");
  {
    const AtPoint here("publish.dropped", [&] { fails = true; });
    CHECK_FALSE(w.mount.engine().publish_once(false, Context()));
  }
  CHECK(w.keys() == std::set<std::string>{"first"});
  fails = false;
  w.write("second", "2");
  fails = true;
  CHECK_FALSE(w.mount.engine().publish_once(false, Context()));
  CHECK(w.keys() == std::set<std::string>{"first"});
  fails = false;
  w.flush();
  CHECK(w.object_bytes("second") == "2");
}
#endif

TEST_CASE("what is written while content moves out of the journal stays what it is") {
  std::function<void()> act;
  unsigned times = 0;
  Holder w(kNoTmp);
  REQUIRE(w.mount.close());
  const auto publisher = std::this_thread::get_id();
  w.env.set_fault([&](FileCall call, const std::string& path) -> Status {
    if (call != FileCall::kSync || std::this_thread::get_id() != publisher || !act) return {};
    if (path.find("/segments/") == std::string::npos) return {};
    ++times;
    std::exchange(act, nullptr)();
    return {};
  });
  w.open();
  std::string log = bytes_of(3'000, 1);
  w.write("log.tmp", log);
  act = [&] {
    w.write("log.tmp", std::string(700, 'm'), 500);
    log.replace(500, 700, std::string(700, 'm'));
    w.truncate("log.tmp", 2'500);
    log.resize(2'500);
  };
  const auto published = w.mount.engine().publish_once(false, Context());
  REQUIRE(published);
  CHECK(times == 1);
  w.check_held("log.tmp", log);
}

TEST_CASE("tags that an upload rule asks for and nobody is told keep nothing waiting") {
  Holder w({"!/**[tag:hold=yes]"});
  w.put_by_other("f", "bytes");
  w.refuse(StoreOp::kTags);
  w.write("f", "BYTES");
  w.write("other", "other");
  w.flush();
  CHECK(w.object_bytes("f") == "BYTES");
  CHECK(w.object_bytes("other") == "other");
  CHECK(w.held() == 0);
}

TEST_CASE("while a rule has no answer nothing is published, and status and flush say why") {
  Holder w({"!/**[tag:hold=yes]"});
  w.put_by_other("f", "bytes");
  w.faults->add({.kind = FaultKind::kFail, .ops = StoreOp::kTags, .count = FaultyStore::kForever});
  w.write("f", "BYTES");
  CHECK_FALSE(w.mount.engine().publish_once(false, Context()));
  const RemoteHealth health = w.mount.engine().health();
  CHECK(health.failing);
  CHECK_FALSE(health.last_error.empty());
  Context soon;
  soon.deadline = Deadline::after(system_clock(), std::chrono::milliseconds(500));
  const Status flushed = w.mount.engine().flush(soon, nullptr);
  REQUIRE_FALSE(flushed);
  CHECK(flushed.error().message().find(health.last_error) != std::string::npos);
  // That of the mount's own publishing, whenever it comes to it.
  for (int i = 0; i < 2000 && w.mount.engine().health().publish_error.empty(); ++i)
    REQUIRE(pause(w.io, system_clock(), std::chrono::milliseconds(10), Context()));
  CHECK_FALSE(w.mount.engine().health().publish_error.empty());
  CHECK(w.object_bytes("f") == "bytes");
  w.faults->clear();
  w.flush();
  CHECK(w.object_bytes("f") == "BYTES");
  CHECK(w.mount.engine().health().last_error.empty());
}
