// Data segments: what was synced survives a power cut, whatever the disk made of the rest.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <set>
#include <thread>

#include "cache/base/log.h"
#include "cache/segments.h"
#include "tests/support/memory_env.h"

using namespace cairn;
using cairn::test::FileCall;
using cairn::test::MemoryEnv;

namespace {

constexpr uint64_t kSegmentBytes = 32768;

ByteVec pattern(size_t size, uint64_t seed) {
  ByteVec out(size);
  const auto rng = make_seeded_rng(seed);
  for (std::byte& byte : out) byte = static_cast<std::byte>(rng->next());
  return out;
}

std::unique_ptr<Segments> reopen(Env& env, uint64_t numbers_end = 0) {
  return Segments::open(env, {.dir = "/cache/data", .segment_bytes = kSegmentBytes}, numbers_end)
      .value();
}

bool holds(Segments& segments, const DataRef& ref, const ByteVec& data) {
  const auto file = segments.file(ref.file);
  if (!file) return false;
  ByteVec got(data.size());
  const auto n = (*file)->read_at(ref.offset, got);
  return n && *n == data.size() && got == data;
}

struct Written {
  DataRef ref;
  ByteVec data;
  SegmentClass kind;
  bool synced = false;
};

uint64_t sum_allocated(const Segments& segments) {
  uint64_t sum = 0;
  for (const SegmentInfo& info : segments.list()) sum += info.allocated_bytes;
  return sum;
}

struct QuietLog {
  QuietLog() { set_log_level(LogLevel::kOff); }
  ~QuietLog() { set_log_level(LogLevel::kInfo); }
};

// One random step of a life.
void step(Segments& segments, std::vector<Written>& written, std::set<uint64_t>& removed) {
  switch (*rc::gen::inRange(0, 12)) {
    case 0:
      RC_ASSERT(segments.sync().has_value());
      for (Written& each : written) each.synced = true;
      break;
    case 1:
      RC_ASSERT(segments.sync_written().has_value());
      for (Written& each : written)
        if (each.kind == SegmentClass::kWritten) each.synced = true;
      break;
    case 2:
      RC_ASSERT(segments.seal().has_value());
      for (const SegmentInfo& info : segments.list()) RC_ASSERT_FALSE(info.open);
      break;
    case 3: {
      const auto all = segments.list();
      if (all.empty()) break;
      const SegmentInfo info = *rc::gen::elementOf(all);
      const Status status = segments.remove(info.number);
      RC_ASSERT(status.has_value() == !info.open);
      if (info.open) break;
      removed.insert(info.number);
      std::erase_if(written, [&](const Written& each) { return each.ref.file == info.number; });
      RC_ASSERT(segments.file(info.number).error().code() == Errc::kNotFound);
      break;
    }
    default: {
      const auto kind = *rc::gen::element(SegmentClass::kWritten, SegmentClass::kClean);
      const auto size = *rc::gen::element<size_t>(1, 100, 4096, 5000, 12288, 32768, 50000);
      const ByteVec data = pattern(size, written.size() + removed.size() * 1000);
      const auto ref = segments.append(kind, data);
      RC_ASSERT(ref.has_value());
      RC_ASSERT(ref->offset % 4096 == 0U);
      RC_ASSERT(removed.count(ref->file) == 0U);
      for (const Written& other : written)
        RC_ASSERT(other.ref.file != ref->file ||
                  other.ref.offset + other.data.size() <= ref->offset ||
                  ref->offset + size <= other.ref.offset);
      written.push_back({*ref, data, kind});
    }
  }
}

}  // namespace

TEST_CASE("segments keep what was synced through any power cut") {
  const QuietLog quiet;
  CHECK(rc::check("lives", [] {
    MemoryEnv env;
    std::vector<Written> written;
    std::set<uint64_t> removed;
    uint64_t numbers_end = 0;
    const auto rng = make_seeded_rng(*rc::gen::arbitrary<uint64_t>());
    for (int life = *rc::gen::inRange(1, 4); life > 0; --life) {
      auto segments = reopen(env, numbers_end);
      RC_ASSERT(segments->numbers_end() >= numbers_end);
      RC_ASSERT(segments->allocated_bytes() == sum_allocated(*segments));
      for (const Written& each : written) RC_ASSERT(holds(*segments, each.ref, each.data));
      for (int i = *rc::gen::inRange(0, 25); i > 0; --i) {
        step(*segments, written, removed);
        RC_ASSERT(segments->allocated_bytes() == sum_allocated(*segments));
      }
      for (const Written& each : written) RC_ASSERT(holds(*segments, each.ref, each.data));
      numbers_end = segments->numbers_end();
      if (*rc::gen::arbitrary<bool>()) {
        env.crash(*rng);
        std::erase_if(written, [](const Written& each) { return !each.synced; });
      } else {
        env.kill();
        for (Written& each : written) each.synced = false;  // until note_lsn and sync say so
        auto heir = reopen(env, numbers_end);
        for (Written& each : written) {
          if (each.kind != SegmentClass::kWritten) continue;
          heir->note_lsn(each.ref.file, 1);
          each.synced = true;
        }
        RC_ASSERT(heir->sync().has_value());
        env.crash(*rng);
        std::erase_if(written, [](const Written& each) { return !each.synced; });
      }
    }
  }));
}

TEST_CASE("a sealed segment gives its unused end back, and a clean end leaves none open") {
  MemoryEnv env;
  {
    auto segments = reopen(env);
    const auto ref = segments->append(SegmentClass::kWritten, pattern(5000, 1)).value();
    CHECK(segments->allocated_bytes() == kSegmentBytes);
    CHECK(env.allocated_bytes() == kSegmentBytes);
    segments->note_lsn(ref.file, 7);
    segments->note_lsn(ref.file, 5);
    REQUIRE(segments->seal());
    const SegmentInfo info = segments->list().at(0);
    CHECK(info.allocated_bytes == 8192);
    CHECK(info.used_bytes == 8192);
    CHECK(info.last_lsn == 7);
    CHECK(env.allocated_bytes() == 8192);
    REQUIRE(segments->append(SegmentClass::kClean, pattern(100, 2)));
  }
  CHECK(env.allocated_bytes() == 8192 + 4096);
  auto segments = reopen(env);
  CHECK(segments->allocated_bytes() == 8192 + 4096);
  const auto held = segments->file(1).value();
  REQUIRE(segments->remove(1));
  REQUIRE(segments->remove(2));
  CHECK(segments->allocated_bytes() == 0);
  ByteVec still(5000);
  CHECK(held->read_at(0, still).value() == 5000);
  CHECK(still == pattern(5000, 1));
  CHECK(segments->append(SegmentClass::kWritten, pattern(1, 3)).value().file == 3);
}

TEST_CASE("a full disk fails the append that met it and nothing else") {
  MemoryEnv env;
  auto segments = reopen(env);
  REQUIRE(segments->append(SegmentClass::kWritten, pattern(100, 1)));
  env.set_capacity(kSegmentBytes + 8192);
  CHECK(segments->append(SegmentClass::kClean, pattern(100, 2)).error().code() == Errc::kNoSpace);
  CHECK(segments->append(SegmentClass::kWritten, pattern(60000, 2)).error().code() ==
        Errc::kNoSpace);
  CHECK(env.allocated_bytes() == kSegmentBytes);  // the half-made files are gone
  CHECK(segments->append(SegmentClass::kWritten, pattern(100, 3)));
  CHECK(segments->sync());
  env.set_capacity(1 << 30);
  CHECK(segments->append(SegmentClass::kClean, pattern(100, 4)));
}

TEST_CASE("after a failed write or sync nothing more is accepted") {
  const QuietLog quiet;
  for (const FileCall broken : {FileCall::kWrite, FileCall::kSync, FileCall::kSyncDir}) {
    MemoryEnv env;
    auto segments = reopen(env);
    REQUIRE(segments->append(SegmentClass::kClean, pattern(10, 1)));
    env.set_fault([&](FileCall call, const std::string&) -> Status {
      if (call == broken) return fail(Errc::kIo, "the disk says no");
      return {};
    });
    if (broken == FileCall::kWrite) {
      CHECK(segments->append(SegmentClass::kWritten, pattern(10, 2)).error().code() == Errc::kIo);
    } else {
      CHECK(segments->sync().error().code() == Errc::kIo);
    }
    env.set_fault({});
    CHECK(segments->append(SegmentClass::kWritten, pattern(10, 3)).error().code() == Errc::kIo);
    CHECK(segments->sync().error().code() == Errc::kIo);
    CHECK(segments->sync_written().error().code() == Errc::kIo);
  }
}

TEST_CASE("an fsync of written data does not wait for clean content") {
  MemoryEnv env;
  auto segments = reopen(env);
  REQUIRE(segments->append(SegmentClass::kClean, pattern(10, 1)));
  REQUIRE(segments->append(SegmentClass::kWritten, pattern(10, 1)));
  const uint64_t before = env.syncs();
  CHECK(segments->sync_written());
  CHECK(env.syncs() == before + 1);
  CHECK(segments->sync_written());
  CHECK(env.syncs() == before + 1);  // nothing new
  CHECK(segments->sync());
  CHECK(env.syncs() == before + 2);
}

TEST_CASE("many threads append, sync and seal at once, on a real disk") {
  const std::string dir = "segments_test.tmp";
  Env& env = posix_env();
  {
    auto segments = Segments::open(env, {.dir = dir, .segment_bytes = 1 << 20}, 0).value();
    std::vector<std::thread> threads;
    for (int id = 0; id < 4; ++id)
      threads.emplace_back([&segments, id] {
        const auto kind = id % 2 == 0 ? SegmentClass::kWritten : SegmentClass::kClean;
        std::vector<Written> mine;
        for (size_t i = 0; i < 100; ++i) {
          const ByteVec data = pattern(1 + i * 300, static_cast<uint64_t>(id));
          const auto ref = segments->append(kind, data);
          CHECK(ref);
          mine.push_back({*ref, data, kind});
          if (i % 40 == 0) CHECK(segments->sync());
          if (i % 50 == 0) CHECK(segments->seal());
        }
        for (const Written& each : mine) CHECK(holds(*segments, each.ref, each.data));
      });
    for (auto& thread : threads) thread.join();
    REQUIRE(segments->seal());
    CHECK(segments->allocated_bytes() == sum_allocated(*segments));
    for (const SegmentInfo& info : segments->list()) {
      CHECK(segments->file(info.number).value()->allocated_bytes().value() <= info.allocated_bytes);
      CHECK(segments->remove(info.number));
    }
    CHECK(segments->allocated_bytes() == 0);
  }
  CHECK(env.remove_dir(dir));
}

TEST_CASE("a segment stays while a record that will refer to it is not there yet") {
  MemoryEnv env;
  auto segments = reopen(env);
  const DataRef ref = segments->append_held(pattern(5000, 1)).value();
  REQUIRE(segments->seal());
  REQUIRE(segments->list().size() == 1);
  CHECK(segments->list()[0].held);
  CHECK(segments->remove(ref.file).error().code() == Errc::kInvalid);
  segments->note_lsn(ref.file, 7);
  segments->release(ref.file);
  CHECK_FALSE(segments->list()[0].held);
  CHECK(segments->list()[0].last_lsn == 7);
  CHECK(segments->remove(ref.file));
}
