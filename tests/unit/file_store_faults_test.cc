#include <doctest/doctest.h>

#include <cerrno>
#include <map>
#include <optional>

#include "s3/file_store.h"
#include "tests/support/faulty_env.h"
#include "tests/support/manual_clock.h"
#include "tests/support/memory_env.h"
#include "tests/support/temp_dir.h"

using namespace cairn;
using namespace cairn::test;

namespace {

// A file store whose tasks run where the test says.
struct Life {
  ManualClock clock;
  ManualExecutor executor{clock};
  std::unique_ptr<Rng> rng;
  std::shared_ptr<FileStore> store;

  Life(Env& env, const std::string& root, uint64_t seed) : rng(make_seeded_rng(seed)) {
    auto opened =
        FileStore::open({env, executor, clock, *rng}, root, FileStore::Create::kIfMissing);
    REQUIRE_MESSAGE(opened, opened.error().message());
    store = *opened;
  }
  template <class T, class Start>
  Result<T> wait(const Start& start) {
    std::optional<Result<T>> answer;
    start([&](Result<T> result) { answer = std::move(result); });
    executor.run_all();
    REQUIRE(answer);
    return *answer;
  }
  Result<std::string> put(const std::string& key, const std::string& text, PutHow how) {
    return wait<std::string>([&](Callback<std::string> done) {
      store->put(key, Body(Buffer::copy(text)), std::move(how), {}, std::move(done));
    });
  }
  Result<std::string> get(const std::string& key) {
    const auto got = wait<GetResult>(
        [&](Callback<GetResult> done) { store->get(key, GetRange::all(), {}, std::move(done)); });
    if (!got) return tl::unexpected<Error>(got.error());
    return to_string(got->bytes);
  }
  Status remove(const std::string& key) {
    return wait<void>([&](Callback<void> done) { store->remove(key, {}, std::move(done)); });
  }
  Result<ListPage> list() {
    return wait<ListPage>(
        [&](Callback<ListPage> done) { store->list("", "", 1000, {}, std::move(done)); });
  }
};

// Runs one operation with its n-th call failing, for every n, and checks the store after each.
template <class Prepare, class Operate, class Check>
void fail_each_call(const FaultyEnv::Fault& fault, const Prepare& prepare, const Operate& operate,
                    const Check& check) {
  uint64_t n = 1;
  for (;; ++n) {
    REQUIRE(n < 200);
    CAPTURE(n);
    const TempDir dir;
    FaultyEnv env(posix_env());
    Life life(env, dir / "root", n);
    prepare(life);
    FaultyEnv::Fault each = fault;
    each.nth = n;
    env.arm(each);
    const auto result = operate(life);
    const bool hit = env.failed() > 0;
    env.disarm();
    check(life, result, hit);
    if (!hit) break;
  }
  CHECK(n > 3);  // there were calls to fail
}

}  // namespace

TEST_CASE("a put whose n-th call fails leaves the old object or the new one, and says which") {
  for (const int error : {EIO, ENOSPC, EACCES}) {
    for (const PutCondition condition : {PutCondition::kAlways, PutCondition::kIfAbsent}) {
      CAPTURE(error);
      const bool create = condition == PutCondition::kIfAbsent;
      fail_each_call(
          {.sys_errno = error},
          [&](Life& life) {
            if (!create) REQUIRE(life.put("a/b/k", "old", PutCondition::kAlways));
          },
          [&](Life& life) { return life.put("a/b/k", "new", condition); },
          [&](Life& life, const Result<std::string>& result, bool hit) {
            const auto now = life.get("a/b/k");
            if (result) {
              CHECK(now.value() == "new");
            } else {
              CHECK(hit);
              const Error& e = result.error();
              if (error == ENOSPC && !outcome_unknown(e)) CHECK(e.code() == Errc::kNoSpace);
              if (!outcome_unknown(e)) CHECK((now ? *now : "none") == (create ? "none" : "old"));
            }
            CHECK(life.put("a/b/k", "next", PutCondition::kAlways));
            CHECK(life.get("a/b/k").value() == "next");
            CHECK(life.list()->objects.size() == 1);
          });
    }
  }
}

TEST_CASE("a put over a version whose n-th call fails leaves that version or the new one") {
  for (const FaultyEnv::When when : {FaultyEnv::When::kBefore, FaultyEnv::When::kAfter}) {
    std::string etag;
    fail_each_call(
        {.sys_errno = EIO, .when = when},
        [&](Life& life) { etag = life.put("a/k", "old", PutCondition::kAlways).value(); },
        [&](Life& life) {
          PutHow how = PutHow::over(etag);
          how.headers = {"text/x", {{"mode", "1"}}};
          return life.put("a/k", "new", how);
        },
        [&](Life& life, const Result<std::string>& result, bool hit) {
          const std::string now = life.get("a/k").value();
          if (result) {
            CHECK(now == "new");
            CHECK(life.put("a/k", "next", PutHow::over(*result)));
          } else {
            CHECK(hit);
            if (!outcome_unknown(result.error())) CHECK(now == "old");
          }
          if (now == "old") CHECK(life.put("a/k", "next", PutHow::over(etag)));
        });
  }
}

TEST_CASE("a call that was done but failed does not make a create lie") {
  for (const PutCondition condition : {PutCondition::kAlways, PutCondition::kIfAbsent}) {
    fail_each_call(
        {.sys_errno = EIO, .when = FaultyEnv::When::kAfter}, [](Life&) {},
        [&](Life& life) { return life.put("k", "new", condition); },
        [&](Life& life, const Result<std::string>& result, bool) {
          const auto now = life.get("k");
          if (result) CHECK(now.value() == "new");
          if (!result && !outcome_unknown(result.error()))
            CHECK(now.error().code() == Errc::kNotFound);
        });
  }
  // The link was made, its answer lost, the repeated request met itself: still the winner.
  fail_each_call(
      {.sys_errno = EEXIST, .when = FaultyEnv::When::kAfter}, [](Life&) {},
      [&](Life& life) { return life.put("k", "new", PutCondition::kIfAbsent); },
      [&](Life& life, const Result<std::string>& result, bool) {
        if (!result) CHECK(result.error().code() != Errc::kPrecondition);
        if (life.get("k") && !result) CHECK(outcome_unknown(result.error()));
      });
}

TEST_CASE("get, list and remove report a failing call and work again afterwards") {
  const auto prepare = [](Life& life) {
    REQUIRE(life.put("d/k", "v", PutCondition::kAlways));
    REQUIRE(life.put("e", "v", PutCondition::kAlways));
  };
  const auto still_there = [](Life& life) {
    CHECK(life.get("d/k").value() == "v");
    CHECK(life.list()->objects.size() == 2);
  };
  fail_each_call(
      {.sys_errno = EIO}, prepare, [](Life& life) { return life.get("d/k"); },
      [&](Life& life, const Result<std::string>& result, bool hit) {
        if (result) CHECK(*result == "v");
        if (!result) CHECK(result.error().code() == Errc::kIo);
        if (!hit) CHECK(result);
        still_there(life);
      });
  fail_each_call(
      {.sys_errno = EIO}, prepare, [](Life& life) { return life.list(); },
      [&](Life& life, const Result<ListPage>& page, bool hit) {
        CHECK(page.has_value() != hit);  // never a list with a hole
        still_there(life);
      });
  const TempDir dir;
  FaultyEnv env(posix_env());
  Life life(env, dir / "root", 1);
  prepare(life);
  env.arm({.nth = 1, .count = FaultyEnv::kForever, .sys_errno = EIO});
  CHECK(life.remove("e").error().code() == Errc::kIo);
  env.disarm();
  CHECK(life.get("e"));
  env.arm({.nth = 2, .sys_errno = EIO});  // the sync of the directory
  CHECK(outcome_unknown(life.remove("e").error()));
  env.disarm();
  CHECK(life.remove("e"));
  CHECK(life.get("e").error().code() == Errc::kNotFound);
}

// The process dies at the n-th call, then the machine loses power. What was acknowledged is there;
// of the one operation under way the whole effect or none.
TEST_CASE("acknowledged puts and removes survive power loss") {
  size_t cut_short = 0;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    CAPTURE(seed);
    const auto rng = make_seeded_rng(seed);
    MemoryEnv disk;
    REQUIRE(disk.make_dirs("/disk"));
    FaultyEnv env(disk);
    std::map<std::string, std::string> model;
    std::string key;
    std::optional<std::string> under_way;  // what `key` would hold
    bool died = false;
    {
      Life life(env, "/disk/root", seed);
      env.arm({.nth = 1 + rng->below(120), .count = FaultyEnv::kForever, .sys_errno = EIO});
      for (int step = 0; step < 30 && !died; ++step) {
        key = "d" + std::to_string(rng->below(2)) + "/k" + std::to_string(rng->below(4));
        under_way.reset();
        if (rng->below(4) == 0) {
          died = !life.remove(key);
          if (!died) model.erase(key);
          continue;
        }
        const std::string text(static_cast<size_t>(rng->below(9000)),
                               static_cast<char>('a' + step));
        const auto condition = rng->below(2) == 0 ? PutCondition::kAlways : PutCondition::kIfAbsent;
        under_way = text;
        const auto put = life.put(key, text, condition);
        if (put) {
          model[key] = text;
        } else if (put.error().code() != Errc::kPrecondition) {
          died = true;
        }
      }
    }
    cut_short += died ? 1 : 0;
    env.disarm();
    disk.crash(*rng);
    Life next(disk, "/disk/root", seed + 1);
    std::map<std::string, std::string> found;
    const auto page = next.list();
    REQUIRE(page);
    for (const ObjectInfo& object : page->objects)
      found[object.key] = next.get(object.key).value();
    if (died && found != model) {
      // Only the last operation may show, and only whole.
      if (under_way) {
        model[key] = *under_way;
      } else {
        model.erase(key);
      }
    }
    CHECK(found == model);
  }
  CHECK(cut_short > 100);
}
