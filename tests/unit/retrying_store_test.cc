#include "s3/retrying_store.h"

#include <doctest/doctest.h>

#include <optional>

#include "cache/base/trouble.h"
#include "s3/limiting_store.h"
#include "s3/memory_store.h"
#include "s3/metered_store.h"
#include "tests/support/faulty_store.h"
#include "tests/support/manual_clock.h"
#include "tests/support/object_store_suite.h"

using namespace cairn;
using namespace cairn::test;
using namespace std::chrono_literals;

namespace {

// A retrying store over a faulty one over memory, in simulated time.
struct Fixture {
  ManualClock clock;
  ManualExecutor executor{clock};
  std::unique_ptr<Rng> rng = make_seeded_rng(7);
  std::shared_ptr<MemoryStore> memory = std::make_shared<MemoryStore>(executor, clock);
  std::shared_ptr<FaultyStore> faulty =
      std::make_shared<FaultyStore>(memory, FaultyStore::Parts{executor, clock, *rng});
  RetryingStore store{faulty, {executor, clock, *rng}, RetryPolicy{.tries_max = 5}};

  Context within(Duration limit) {
    Context context;
    context.deadline = Deadline::after(clock, limit);
    return context;
  }
  Result<std::string> put(PutHow how, const Context& context = {}) {
    std::optional<Result<std::string>> answer;
    store.put("k", Body(Buffer::copy("v")), std::move(how), context,
              [&](Result<std::string> etag) { answer = std::move(etag); });
    REQUIRE(run_until(executor, clock, [&] { return answer.has_value(); }));
    return *answer;
  }
  Result<GetResult> get(const Context& context = {}) {
    std::optional<Result<GetResult>> answer;
    store.get("k", GetRange::all(), context,
              [&](Result<GetResult> got) { answer = std::move(got); });
    REQUIRE(run_until(executor, clock, [&] { return answer.has_value(); }));
    return *answer;
  }
};

}  // namespace

TEST_CASE("the whole stack of decorators passes the conformance suite") {
  ThreadExecutor executor("store", 4);
  Clock& clock = system_clock();
  const auto memory = std::make_shared<MemoryStore>(executor, clock);
  const auto metered = std::make_shared<MeteredStore>(memory);
  const auto limiting = std::make_shared<LimitingStore>(
      metered, executor, clock, StoreLimits{.reads_max = 2, .writes_max = 3, .waiting_max = 1000});
  const auto store =
      std::make_shared<RetryingStore>(limiting, RetryingStore::Parts{executor, clock, os_rng()});
  object_store_suite({.store = store, .prefix = "volume/"});
  CHECK(memory->object_count() == 0);
  CHECK(metered->counts().in_flight == 0);
  CHECK(metered->counts().put > 100);
}

TEST_CASE("retries make a store that fails all the time pass the conformance suite") {
  // Before the executor, which finishes what its callers gave up: that still asks for random waits.
  const auto rng = make_seeded_rng(11);
  ThreadExecutor executor("store", 4);
  Clock& clock = system_clock();
  const auto faulty = std::make_shared<FaultyStore>(std::make_shared<MemoryStore>(executor, clock),
                                                    FaultyStore::Parts{executor, clock, *rng});
  const auto chance = [&](FaultKind kind, StoreOp ops) {
    faulty->add({.kind = kind, .ops = ops, .count = FaultyStore::kForever, .one_in = 4});
  };
  chance(FaultKind::kThrottle, StoreOp::kAny);
  chance(FaultKind::kFail, StoreOp::kGet);
  chance(FaultKind::kFail, StoreOp::kList);
  chance(FaultKind::kLoseReply, StoreOp::kRemove);
  const auto store = std::make_shared<RetryingStore>(
      faulty, RetryingStore::Parts{executor, clock, *rng},
      RetryPolicy{.tries_max = 50, .backoff_first = 1us, .backoff_max = 100us});
  object_store_suite({.store = store, .prefix = "", .large_bytes = 1 << 20});
  CHECK(faulty->hits() > 500);
}

TEST_CASE("a read is tried again until it works, with growing pauses") {
  Fixture f;
  REQUIRE(f.put(PutCondition::kAlways));
  f.faulty->add({.kind = FaultKind::kFail, .ops = StoreOp::kGet, .count = 4});
  const MonotonicTime start = f.clock.now();
  const auto got = f.get();
  REQUIRE(got);
  CHECK(as_chars(got->bytes) == "v");
  CHECK(f.faulty->requests() == 1 + 5);
  CHECK(f.clock.now() > start);
  CHECK(f.clock.now() - start < 100ms + 200ms + 400ms + 800ms);
}

TEST_CASE("a retry stops after the last try and says how many there were") {
  Fixture f;
  f.faulty->add({.kind = FaultKind::kFail, .count = FaultyStore::kForever});
  const auto got = f.get();
  REQUIRE_FALSE(got);
  CHECK(got.error().code() == Errc::kTransient);
  CHECK(got.error().message().find("5 tries") != std::string::npos);
  CHECK(f.faulty->requests() == 5);
}

TEST_CASE("a request with a deadline is tried until then") {
  Fixture f;
  REQUIRE(f.put(PutCondition::kAlways));
  f.faulty->add({.kind = FaultKind::kFail, .ops = StoreOp::kGet, .count = 40});
  const MonotonicTime start = f.clock.now();
  CHECK(f.get(f.within(300s)));
  CHECK(f.faulty->requests() == 1 + 41);
  // It fails when there is no time left, not long before.
  Fixture g;
  g.faulty->add({.kind = FaultKind::kFail, .count = FaultyStore::kForever});
  const MonotonicTime begun = g.clock.now();
  REQUIRE_FALSE(g.get(g.within(20s)));
  CHECK(g.clock.now() - begun > 15s);
  CHECK(g.clock.now() - begun <= 20s);
  CHECK(f.clock.now() - start < 300s);
}

TEST_CASE("what cannot get better is not tried again") {
  for (const Errc code : {Errc::kNotFound, Errc::kPermission, Errc::kPrecondition, Errc::kInvalid,
                          Errc::kNoSpace, Errc::kCorruption, Errc::kIo}) {
    Fixture f;
    f.faulty->add({.kind = FaultKind::kFail, .code = code});
    const auto got = f.get();
    REQUIRE_FALSE(got);
    CHECK(got.error().code() == code);
    CHECK(f.faulty->requests() == 1);
  }
}

TEST_CASE("a put by content is repeated after a lost answer, a create is not") {
  Fixture f;
  f.faulty->add({.kind = FaultKind::kLoseReply, .ops = StoreOp::kPut});
  CHECK(f.put(PutCondition::kAlways));
  CHECK(f.faulty->requests() == 2);

  Fixture g;
  g.faulty->add({.kind = FaultKind::kLoseReply, .ops = StoreOp::kPut});
  const auto lost = g.put(PutCondition::kIfAbsent);
  REQUIRE_FALSE(lost);
  CHECK(lost.error().code() == Errc::kTimeout);
  CHECK(outcome_unknown(lost.error()));
  CHECK(g.faulty->requests() == 1);
  CHECK(g.memory->object_count() == 1);  // repeated, it would have met itself

  Fixture h;
  h.faulty->add({.kind = FaultKind::kFail, .ops = StoreOp::kPut});
  const auto unclear = h.put(PutCondition::kIfAbsent);
  REQUIRE_FALSE(unclear);
  CHECK(unclear.error().code() == Errc::kTransient);
  CHECK(h.faulty->requests() == 1);
}

TEST_CASE("a create that was refused before it had an effect is repeated") {
  Fixture f;
  f.faulty->add({.kind = FaultKind::kThrottle, .ops = StoreOp::kPut, .count = 3});
  CHECK(f.put(PutCondition::kIfAbsent));
  CHECK(f.faulty->requests() == 4);
  // Throttled first, then lost: the loss goes to the caller.
  Fixture g;
  g.faulty->add({.kind = FaultKind::kThrottle, .ops = StoreOp::kPut, .count = 2});
  g.faulty->add({.kind = FaultKind::kLoseReply, .ops = StoreOp::kPut});
  const auto lost = g.put(PutCondition::kIfAbsent);
  REQUIRE_FALSE(lost);
  CHECK(lost.error().code() == Errc::kTimeout);
  CHECK(g.faulty->requests() == 3);
}

TEST_CASE("a put over a version is repeated only when nothing happened") {
  Fixture f;
  const auto first = f.put(PutCondition::kAlways);
  REQUIRE(first);
  f.faulty->add({.kind = FaultKind::kThrottle, .ops = StoreOp::kPut, .count = 3});
  const auto second = f.put(PutHow::over(*first));
  REQUIRE(second);
  f.faulty->add({.kind = FaultKind::kLoseReply, .ops = StoreOp::kPut});
  const uint64_t before = f.faulty->requests();
  const auto lost = f.put(PutHow::over(*second));
  REQUIRE_FALSE(lost);
  CHECK(outcome_unknown(lost.error()));  // repeated, it would have met itself
  CHECK(f.faulty->requests() == before + 1);
}

TEST_CASE("a store that asks for a pause gets it, but not any pause") {
  Fixture f;
  REQUIRE(f.put(PutCondition::kAlways));
  f.faulty->add({.kind = FaultKind::kThrottle, .ops = StoreOp::kGet, .delay = 7s});
  MonotonicTime start = f.clock.now();
  REQUIRE(f.get());
  CHECK(f.clock.now() - start >= 7s);
  CHECK(f.clock.now() - start < 8s);
  f.faulty->add({.kind = FaultKind::kThrottle, .ops = StoreOp::kGet, .delay = 24h});
  start = f.clock.now();
  REQUIRE(f.get());
  CHECK(f.clock.now() - start < 2min);
}

TEST_CASE("a retry never waits past its deadline") {
  Fixture f;
  f.faulty->add({.kind = FaultKind::kThrottle, .count = FaultyStore::kForever, .delay = 10s});
  const MonotonicTime start = f.clock.now();
  const auto got = f.get(f.within(25s));
  REQUIRE_FALSE(got);
  CHECK(got.error().code() == Errc::kTransient);  // why, not only that it was late
  CHECK(f.clock.now() - start <= 25s);
  CHECK(f.faulty->requests() == 3);

  // Also while a repeated request hangs in the store.
  Fixture g;
  g.faulty->add({.kind = FaultKind::kFail, .ops = StoreOp::kPut});
  g.faulty->add({.kind = FaultKind::kHold, .ops = StoreOp::kPut});
  const auto put = g.put(PutCondition::kAlways, g.within(3s));
  REQUIRE_FALSE(put);
  CHECK(put.error().code() == Errc::kTimeout);
  CHECK(outcome_unknown(put.error()));
}

TEST_CASE("what is tried again for long is told before it is given up") {
  Fixture f;
  const auto trouble = std::make_shared<Trouble>(10s);
  Context context = f.within(300s);
  context.trouble = trouble;
  f.faulty->add({.kind = FaultKind::kThrottle, .ops = StoreOp::kPut, .count = 3, .delay = 2s});
  REQUIRE(f.put(PutCondition::kAlways, context));
  CHECK_FALSE(trouble->take());  // that is nothing to tell anybody

  f.faulty->add({.kind = FaultKind::kThrottle, .ops = StoreOp::kPut, .count = 6, .delay = 4s});
  std::optional<Result<std::string>> answer;
  f.store.put("k", Body(Buffer::copy("v")), PutCondition::kAlways, context,
              [&](Result<std::string> etag) { answer = std::move(etag); });
  std::optional<Error> met;
  REQUIRE(run_until(f.executor, f.clock, [&] { return (met = trouble->take()).has_value(); }));
  CHECK_FALSE(answer);
  CHECK(met->code() == Errc::kTransient);
  REQUIRE(run_until(f.executor, f.clock, [&] { return answer.has_value(); }));
  CHECK(*answer);
}

TEST_CASE("cancelling ends a pause at once") {
  Fixture f;
  f.faulty->add({.kind = FaultKind::kThrottle, .count = FaultyStore::kForever, .delay = 30s});
  Context context;
  std::optional<Result<GetResult>> answer;
  f.store.get("k", GetRange::all(), context,
              [&](Result<GetResult> got) { answer = std::move(got); });
  f.executor.run_all();
  CHECK_FALSE(answer);  // it waits for the next try
  const MonotonicTime start = f.clock.now();
  context.cancel.cancel();
  CHECK_FALSE(answer);  // not on this stack
  f.executor.run_all();
  REQUIRE(answer);
  CHECK(answer->error().code() == Errc::kCancelled);
  CHECK(f.clock.now() == start);
  run_until(f.executor, f.clock, [] { return false; });
  CHECK(f.faulty->requests() == 1);
}
