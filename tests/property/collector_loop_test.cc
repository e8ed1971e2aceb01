// A mount's collections: begun without a word, one at a time, over when the mount ends.
#include "cache/collector_loop.h"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "tests/support/collector_world.h"

namespace cairn {
namespace {

using World = test::CollectorWorld;

// Far behind the executor's clock, however far a test moves it on: nothing has to be waited for.
class PastClock final : public Clock {
 public:
  MonotonicTime now() override { return system_clock().now() - std::chrono::hours(1000) + ahead(); }
  int64_t wall_ns() override { return system_clock().wall_ns(); }
  void advance(Duration by) { ahead_ns_ += by.count(); }

 private:
  Duration ahead() const { return Duration(ahead_ns_.load()); }
  std::atomic<int64_t> ahead_ns_{0};
};

struct Looped {
  Looped() {
    options.interval = std::chrono::milliseconds(1);
    options.grace = test::kGrace;
    world.write("gone", World::bytes_of("gone", 1, 30 * test::kChunk));
    world.publish();
    world.remove("gone");
    world.publish();
  }
  std::unique_ptr<CollectorLoop> loop() {
    return std::make_unique<CollectorLoop>(world.writer.engine(), World::remote_of(world.writer),
                                           thread, clock, options);
  }
  // True when a collection has ended that was not there before.
  static bool collected(const CollectorLoop& loop, uint64_t head) {
    for (int i = 0; i < 1000; ++i) {
      if (const auto last = loop.last(); last && last->head > head) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

  World world;
  PastClock clock;
  ThreadExecutor thread{"collect", 1};
  CollectorLoop::Options options;
};

}  // namespace

TEST_CASE_FIXTURE(Looped, "collector loop: collects by itself, at least once a day") {
  const auto looping = loop();
  looping->start();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(!looping->last());  // so little garbage is not worth a request
  clock.advance(std::chrono::hours(25));
  REQUIRE(collected(*looping, 0));
  CHECK(looping->last()->condemned_packs == 1);
  // What was condemned is looked at again when its time has come.
  const uint64_t head = looping->last()->head;
  world.wait_for_grace();
  clock.advance(test::kGrace + std::chrono::minutes(1));
  REQUIRE(collected(*looping, head));
  CHECK(looping->last()->deleted_packs >= 1);
  looping->stop();
  world.check_clean();
}

TEST_CASE_FIXTURE(Looped, "collector loop: one at a time, and none after the end") {
  const auto looping = loop();
  CollectOptions how;
  how.grace = test::kGrace;
  bool tried = false;
  how.progress = [&](std::string_view, const CollectReport&) {
    if (std::exchange(tried, true)) return;
    CollectOptions second;
    second.grace = test::kGrace;
    const auto refused = looping->run(second, Context());
    REQUIRE(!refused);
    CHECK(refused.error().code() == Errc::kExists);
  };
  REQUIRE(looping->run(how, Context()));
  CHECK(tried);
  looping->stop();
  CHECK(looping->run({}, Context()).error().code() == Errc::kExists);
}

TEST_CASE_FIXTURE(Looped, "collector loop: the end of the mount ends what runs") {
  const auto looping = loop();
  world.store.add({.kind = test::FaultKind::kHold, .ops = test::StoreOp::kList, .prefix = "p/"});
  Result<CollectReport> report = fail(Errc::kInvalid, "has not run");
  std::thread running([&] {
    CollectOptions how;
    how.grace = test::kGrace;
    report = looping->run(how, Context());
  });
  while (world.store.held() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  looping->stop();
  running.join();
  REQUIRE(!report);
  CHECK(report.error().code() == Errc::kCancelled);
  world.store.release();
  world.check_clean();
}

}  // namespace cairn
