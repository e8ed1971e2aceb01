#include "cache/journal.h"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "cache/base/log.h"
#include "cache/base/random.h"
#include "tests/support/memory_env.h"

using namespace cairn;
using cairn::test::FileCall;
using cairn::test::MemoryEnv;

namespace {

struct QuietLog {
  QuietLog() { set_log_level(LogLevel::kOff); }
  ~QuietLog() { set_log_level(LogLevel::kInfo); }
};

Journal::Options options_for(uint64_t file_bytes_max = 1 << 20) {
  return {.dir = "/j", .cache_id = {}, .file_bytes_max = file_bytes_max, .sync_data = {}};
}

std::unique_ptr<Journal> open_new(Env& env, Journal::Options options = options_for()) {
  return Journal::open(env, std::move(options), 0, 0, {}).value();
}

Result<Journal::Appended> append(Journal& journal, std::string_view payload) {
  const Bytes parts[] = {as_bytes(payload)};
  return journal.append(1, parts);
}

std::vector<Lsn> lsns_in(Journal& journal, Lsn after, Lsn upto) {
  std::vector<Lsn> seen;
  CHECK(journal.read(after, upto, [&](const JournalRecord& record) -> Status {
    CHECK(as_chars(record.payload) == std::string(100, static_cast<char>('0' + record.lsn % 10)));
    ByteVec again(record.payload.size());
    const auto file = journal.file(record.file).value();
    CHECK(file->read_at(record.payload_offset, again).value() == again.size());
    CHECK(equal(again, record.payload));
    seen.push_back(record.lsn);
    return {};
  }));
  return seen;
}

}  // namespace

TEST_CASE("records are read back by LSN, across files, until they are trimmed") {
  MemoryEnv env;
  auto journal = open_new(env, options_for(200 << 10));
  constexpr Lsn kCount = 5000;
  for (Lsn lsn = 1; lsn <= kCount; ++lsn)
    REQUIRE(append(*journal, std::string(100, static_cast<char>('0' + lsn % 10))));
  CHECK(lsns_in(*journal, 0, kCount).size() == kCount);
  CHECK(lsns_in(*journal, 3999, 4001) == std::vector<Lsn>{4000, 4001});
  CHECK(lsns_in(*journal, 7, 7).empty());
  CHECK(
      journal->read(0, kCount + 1, [](const JournalRecord&) { return Status(); }).error().code() ==
      Errc::kInvalid);

  const uint64_t before = journal->bytes();
  REQUIRE(journal->trim(kCount));
  CHECK(journal->trimmed() == 0);  // nothing is durable yet
  REQUIRE(journal->sync(3000));
  REQUIRE(journal->trim(3000));
  CHECK(journal->trimmed() > 1000);
  CHECK(journal->trimmed() <= 3000);
  CHECK(journal->bytes() < before);
  uint64_t bytes = 0;
  const auto names = env.list_dir("/j").value();
  constexpr uint64_t kBlock = 4096;  // disk is counted in blocks
  for (const std::string& name : names)
    bytes += (env.stat("/j/" + name).value().size + kBlock - 1) / kBlock * kBlock;
  CHECK(journal->bytes() == bytes);
  CHECK(lsns_in(*journal, 3000, kCount).size() == kCount - 3000);
  CHECK_FALSE(
      journal->read(journal->trimmed() - 1, kCount, [](const JournalRecord&) { return Status(); }));
  CHECK(journal->file(1).error().code() == Errc::kNotFound);
  REQUIRE(journal->trim(kCount));
  CHECK(journal->trimmed() < kCount);  // the file that is appended to stays
}

TEST_CASE("a damaged record is told, never given out, when it is read back") {
  MemoryEnv env;
  auto journal = open_new(env);
  REQUIRE(append(*journal, "first"));
  const auto second = append(*journal, "second").value();
  const auto file = env.open("/j/0000000000000001.log", OpenMode::kReadWrite).value();
  REQUIRE(file->write_at(second.payload_offset, as_bytes("S")));
  Lsn seen = 0;
  const Status read = journal->read(0, 2, [&](const JournalRecord& record) {
    seen = record.lsn;
    return Status();
  });
  CHECK(seen == 1);
  CHECK(read.error().code() == Errc::kCorruption);
}

TEST_CASE("the journal of another cache is refused") {
  MemoryEnv env;
  open_new(env).reset();
  auto other = options_for();
  other.cache_id = {std::byte{1}};
  CHECK(Journal::open(env, other, 0, 0, {}).error().code() == Errc::kInvalid);
}

TEST_CASE("a record that is too large is refused and takes no LSN") {
  MemoryEnv env;
  auto options = options_for(1000);
  options.record_bytes_max = 5000;
  auto journal = open_new(env, options);
  CHECK(append(*journal, std::string(5001, 'x')).error().code() == Errc::kInvalid);
  CHECK(append(*journal, std::string(5000, 'x')).value().lsn == 1);
  CHECK(append(*journal, "").value().lsn == 2);
  journal.reset();
  Lsn last = 0;
  journal = Journal::open(env, options, 0, 2, [&](const JournalRecord& record) {
              last = record.lsn;
              return Result<bool>(true);
            }).value();
  CHECK(last == 2);
}

TEST_CASE("concurrent syncs share rounds, each after its data") {
  MemoryEnv env;
  auto options = options_for(20000);
  std::atomic<int> rounds{0};
  options.sync_data = [&] {
    ++rounds;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return Status();
  };
  auto journal = open_new(env, options);
  constexpr int kThreads = 8;
  constexpr int kEach = 40;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&] {
      for (int n = 0; n < kEach; ++n) {
        const auto done = append(*journal, std::string(100, 'x'));
        CHECK(done);
        CHECK(journal->sync(done->lsn));
        CHECK(journal->durable() >= done->lsn);
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(journal->appended() == kThreads * kEach);
  CHECK(rounds < kThreads * kEach);
  CHECK(rounds > 0);
}

TEST_CASE("after a failed write or sync nothing more is acknowledged") {
  const QuietLog quiet;
  for (const FileCall broken : {FileCall::kWrite, FileCall::kSync}) {
    MemoryEnv env;
    auto journal = open_new(env);
    REQUIRE(append(*journal, "safe"));
    REQUIRE(journal->sync(1));
    env.set_fault([&](FileCall call, const std::string&) -> Status {
      if (call == broken) return fail(Errc::kIo, "the disk says no");
      return {};
    });
    const auto second = append(*journal, "lost");
    CHECK(second.has_value() == (broken == FileCall::kSync));
    if (second) CHECK(journal->sync(2).error().code() == Errc::kIo);
    env.set_fault({});
    CHECK(append(*journal, "later").error().code() == Errc::kIo);
    CHECK(journal->sync(1).error().code() == Errc::kIo);
    CHECK(journal->durable() == 1);
  }
  MemoryEnv env;
  auto options = options_for();
  options.sync_data = [] { return Status(fail(Errc::kNoSpace, "data")); };
  auto journal = open_new(env, options);
  REQUIRE(append(*journal, "x"));
  CHECK(journal->sync(1).error().code() == Errc::kIo);
  CHECK(append(*journal, "y").error().code() == Errc::kIo);
}

TEST_CASE("a full disk fails appends until there is room again, and loses nothing") {
  const QuietLog quiet;
  MemoryEnv env;
  Lsn good = 0;
  {
    auto journal = open_new(env, options_for(10000));
    env.set_capacity(20000);
    while (append(*journal, std::string(100, 'x'))) ++good;
    CHECK(good > 50);
    while (append(*journal, "x")) ++good;  // what is left of the last block
    CHECK(append(*journal, "x").error().code() == Errc::kNoSpace);
    CHECK(journal->sync(good));
    env.set_capacity(1 << 30);
    CHECK(append(*journal, "x").value().lsn == good + 1);
    // A disk that finds out only at the write, as one that copies on write may.
    int failures = 0;
    env.set_fault([&](FileCall call, const std::string&) -> Status {
      if (call == FileCall::kWrite && failures++ == 0) return fail(Errc::kNoSpace, "late");
      return {};
    });
    CHECK(append(*journal, "y").error().code() == Errc::kNoSpace);
    CHECK(append(*journal, "y").value().lsn == good + 2);
    env.set_fault({});
  }
  Lsn last = 0;
  CHECK(Journal::open(env, options_for(), 0, good, [&](const JournalRecord& record) {
    last = record.lsn;
    return Result<bool>(true);
  }));
  CHECK(last == good + 2);
}

TEST_CASE("the header of a file that a dead process left is durable before records follow it") {
  const QuietLog quiet;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    MemoryEnv env;
    env.set_fault([&](FileCall call, const std::string& path) -> Status {
      const bool file_stays_unsynced = call == FileCall::kSync || call == FileCall::kRemove;
      if (file_stays_unsynced && path.ends_with(".log")) return fail(Errc::kIo, "not now");
      return {};
    });
    CHECK(!Journal::open(env, options_for(), 0, 0, {}));
    env.kill();
    env.set_fault({});
    REQUIRE(env.list_dir("/j").value().size() == 1);
    auto journal = open_new(env);
    for (int i = 0; i < 100; ++i) REQUIRE(append(*journal, std::string(100, 'x')));
    const auto rng = make_seeded_rng(seed);
    env.crash(*rng);
    journal.reset();
    const auto again =
        Journal::open(env, options_for(), 0, 0, [](const JournalRecord&) { return true; });
    CHECK_MESSAGE(again, (again ? "" : again.error().message()));
  }
}

TEST_CASE("space is written ahead of the records where syncs come often, and only there") {
  constexpr Lsn kCount = 1000;
  const std::string payload(1000, 'x');
  const auto writes_for = [&](Lsn records_each_sync) {
    MemoryEnv env;
    uint64_t writes = 0;
    {
      auto journal = open_new(env, options_for(8 << 20));
      env.set_fault([&](FileCall call, const std::string&) -> Status {
        if (call == FileCall::kWrite) ++writes;
        return {};
      });
      for (Lsn lsn = 1; lsn <= kCount; ++lsn) {
        REQUIRE(append(*journal, payload));
        if (lsn % records_each_sync == 0) REQUIRE(journal->sync(lsn));
      }
      env.set_fault({});
    }
    Lsn found = 0;
    REQUIRE(Journal::open(env, options_for(8 << 20), 0, 0, [&](const JournalRecord& record) {
      CHECK(record.payload.size() == payload.size());
      ++found;
      return Result<bool>(true);
    }));
    CHECK(found == kCount);
    return writes;
  };
  CHECK(writes_for(kCount) == kCount);
  CHECK(writes_for(200) == kCount);
  const uint64_t often = writes_for(5);
  CHECK(often > kCount);
  CHECK(often < kCount + kCount / 10);
}

TEST_CASE("a disk too full to write ahead refuses no record; another failure there is the end") {
  const QuietLog quiet;
  constexpr Lsn kCount = 600;
  // What the appends end with when write number `failing` fails, and which write came first in an
  // append of several: that was ahead of its record.
  uint64_t ahead = 0;
  const auto append_all = [&](uint64_t failing, Errc how) -> Status {
    MemoryEnv env;
    auto journal = open_new(env, options_for(8 << 20));
    uint64_t writes = 0;
    env.set_fault([&](FileCall call, const std::string&) -> Status {
      if (call == FileCall::kWrite && ++writes == failing) return fail(how, "ahead");
      return {};
    });
    for (Lsn lsn = 1; lsn <= kCount; ++lsn) {
      const uint64_t before = writes;
      TRY(append(*journal, std::string(1000, 'x')));
      if (ahead == 0 && writes > before + 1) ahead = before + 1;
      TRY(journal->sync(lsn));
    }
    return journal->health();
  };
  CHECK(append_all(0, Errc::kIo));
  REQUIRE(ahead > 0);
  CHECK(append_all(ahead, Errc::kNoSpace));
  CHECK(append_all(ahead, Errc::kIo).error().code() == Errc::kIo);
}
