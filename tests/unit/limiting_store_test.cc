#include "s3/limiting_store.h"

#include <doctest/doctest.h>

#include <map>
#include <string>

#include "s3/memory_store.h"
#include "tests/support/faulty_store.h"
#include "tests/support/manual_clock.h"

using namespace cairn;
using namespace cairn::test;
using namespace std::chrono_literals;

namespace {

struct Fixture {
  ManualClock clock;
  ManualExecutor executor{clock};
  std::unique_ptr<Rng> rng = make_seeded_rng(3);
  std::shared_ptr<MemoryStore> memory = std::make_shared<MemoryStore>(executor, clock);
  std::shared_ptr<FaultyStore> faulty =
      std::make_shared<FaultyStore>(memory, FaultyStore::Parts{executor, clock, *rng});
  LimitingStore store{faulty, executor, clock,
                      StoreLimits{.reads_max = 2, .writes_max = 2, .waiting_max = 3}};
  std::vector<std::string> finished;  // in this order
  std::map<std::string, Error> failed;

  // A store answers every request: what a test left held would own the store that holds it.
  ~Fixture() {
    faulty->clear();
    while (faulty->held() > 0) release();
  }

  void put(const std::string& key, const Context& context = {}) {
    store.put(key, Body(Buffer::copy("v")), PutCondition::kAlways, context,
              [this, key](const Result<std::string>& etag) { note(key, etag); });
    executor.run_all();
  }
  void get(const std::string& key) {
    store.get(key, GetRange::all(), {},
              [this, key](const Result<GetResult>& got) { note(key, got); });
    executor.run_all();
  }
  template <class T>
  void note(const std::string& key, const Result<T>& result) {
    finished.push_back(key);
    if (!result) failed.emplace(key, result.error());
  }
  void hold_puts(uint32_t count) {
    faulty->add({.kind = FaultKind::kHold, .ops = StoreOp::kPut, .count = count});
  }
  void release() {
    faulty->release();
    executor.run_all();
  }
};

}  // namespace

TEST_CASE("no more than the limit reaches the store, the rest waits in order") {
  Fixture f;
  f.hold_puts(4);
  for (const char* key : {"a", "b", "c", "d"}) f.put(key);
  CHECK(f.faulty->requests() == 2);
  CHECK(f.faulty->held() == 2);
  f.release();
  CHECK(f.finished == std::vector<std::string>{"a", "b"});
  CHECK(f.faulty->held() == 2);  // c and d took the slots
  f.release();
  CHECK(f.finished == std::vector<std::string>{"a", "b", "c", "d"});
  CHECK(f.failed.empty());
  CHECK(f.memory->object_count() == 4);
}

TEST_CASE("a reader does not wait behind uploads") {
  Fixture f;
  f.put("r");
  f.hold_puts(FaultyStore::kForever);
  for (const char* key : {"a", "b", "c", "d"}) f.put(key);
  f.get("r");
  CHECK(f.finished == std::vector<std::string>{"r", "r"});
  CHECK(f.failed.empty());
}

TEST_CASE("a full queue refuses without an effect, and takes more when some gave up") {
  Fixture f;
  f.hold_puts(2);
  Context given_up;
  for (const char* key : {"a", "b", "c"}) f.put(key);
  f.put("d", given_up);
  f.put("e");
  f.put("f");
  REQUIRE(f.failed.contains("f"));
  CHECK(f.failed.at("f").code() == Errc::kTransient);
  CHECK(f.failed.at("f").no_effect());
  given_up.cancel.cancel();
  f.put("g");
  CHECK(f.failed.at("d").code() == Errc::kCancelled);
  CHECK_FALSE(f.failed.contains("g"));
  f.release();
  CHECK(f.memory->object_count() == 5);  // a b c e g
  CHECK(f.failed.size() == 2);
}

TEST_CASE("a request that waits ends with its deadline and never reaches the store") {
  Fixture f;
  f.hold_puts(2);
  f.put("a");
  f.put("b");
  Context context;
  context.deadline = Deadline::after(f.clock, 5s);
  f.put("late", context);
  CHECK(f.finished.empty());
  f.clock.advance(5s);
  f.executor.run_all();
  REQUIRE(f.failed.contains("late"));
  CHECK(f.failed.at("late").code() == Errc::kTimeout);
  CHECK(f.failed.at("late").no_effect());
  f.release();
  f.put("c");
  CHECK(f.faulty->requests() == 3);
  CHECK(f.memory->object_count() == 3);
}

TEST_CASE("a slot is given back after a failure, also from a chain of them") {
  Fixture f;
  f.faulty->add({.kind = FaultKind::kFail, .ops = StoreOp::kPut, .count = 20});
  for (int i = 0; i < 20; ++i) f.put("k" + std::to_string(i));
  CHECK(f.failed.size() == 20);
  f.put("ok");
  CHECK(f.memory->object_count() == 1);
}
