#include "cache/if_match_probe.h"

#include <doctest/doctest.h>

#include "s3/memory_store.h"
#include "tests/support/faulty_store.h"

using namespace cairn;
using namespace cairn::test;

namespace {

// What stores do that do not keep the promise.
class Careless final : public ObjectStore {
 public:
  enum class How : uint8_t { kIgnores, kChecksThenActs, kRefuses };
  Careless(std::shared_ptr<ObjectStore> base, How how) : base_(std::move(base)), how_(how) {}
  void get(std::string key, GetRange range, Context context, Callback<GetResult> done) override {
    base_->get(std::move(key), std::move(range), std::move(context), std::move(done));
  }
  void head(std::string key, Context context, Callback<ObjectHead> done) override {
    base_->head(std::move(key), std::move(context), std::move(done));
  }
  void put(std::string key, Body body, PutHow how, Context context,
           Callback<std::string> done) override {
    if (how.condition == PutCondition::kAlways || how_ == How::kIgnores) {
      base_->put(std::move(key), std::move(body), {}, std::move(context), std::move(done));
      return;
    }
    base_->head(key, context,
                [base = base_, refuses = how_ == How::kRefuses, key, body = std::move(body), how,
                 context, done = std::move(done)](const Result<ObjectHead>& there) mutable {
                  if (refuses) return done(fail(Errc::kUnsupported, "no conditions here"));
                  if (!there || there->info.etag != how.if_match)
                    return done(fail(Errc::kPrecondition, "another version"));
                  base->put(key, std::move(body), {}, context, std::move(done));
                });
  }
  void remove(std::string key, Context context, Callback<void> done) override {
    base_->remove(std::move(key), std::move(context), std::move(done));
  }
  void list(ListScope scope, std::string after, uint32_t limit, Context context,
            Callback<ListPage> done) override {
    base_->list(std::move(scope), std::move(after), limit, std::move(context), std::move(done));
  }
  void head_version(std::string key, std::string version, Context context,
                    Callback<ObjectHead> done) override {
    base_->head_version(std::move(key), std::move(version), std::move(context), std::move(done));
  }
  void get_tags(std::string key, std::string version, Context context,
                Callback<ObjectTags> done) override {
    base_->get_tags(std::move(key), std::move(version), std::move(context), std::move(done));
  }
  void put_tags(std::string key, std::string version, ObjectTags tags, Context context,
                Callback<void> done) override {
    base_->put_tags(std::move(key), std::move(version), std::move(tags), std::move(context),
                    std::move(done));
  }
  void list_versions(ListScope scope, std::string after, uint32_t limit, Context context,
                     Callback<VersionPage> done) override {
    base_->list_versions(std::move(scope), std::move(after), limit, std::move(context),
                         std::move(done));
  }
  void keeps_versions(Context context, Callback<bool> done) override {
    base_->keeps_versions(std::move(context), std::move(done));
  }
  std::string description() const override { return "careless"; }

 private:
  const std::shared_ptr<ObjectStore> base_;
  const How how_;
};

struct Fixture {
  ThreadExecutor executor{"store", 4};
  std::unique_ptr<Rng> rng = make_seeded_rng(5);
  std::shared_ptr<MemoryStore> memory = std::make_shared<MemoryStore>(executor, system_clock());
  std::shared_ptr<FaultyStore> faulty =
      std::make_shared<FaultyStore>(memory, FaultyStore::Parts{executor, system_clock(), *rng});
};

}  // namespace

TEST_CASE("a store that keeps versions apart passes the probe, which leaves nothing behind") {
  Fixture f;
  CHECK(probe_if_match(*f.memory, if_match_probe_key(*f.rng), {}).value());
  CHECK(f.memory->object_count() == 0);
}

TEST_CASE("stores that ignore, race or refuse a condition are found out, and cleaned") {
  using How = Careless::How;
  for (const How how : {How::kIgnores, How::kChecksThenActs, How::kRefuses}) {
    Fixture f;
    // All have looked before the first one acts.
    if (how == How::kChecksThenActs)
      f.faulty->add({.kind = FaultKind::kDelay,
                     .ops = StoreOp::kPut,
                     .skip = 1,
                     .count = FaultyStore::kForever,
                     .delay = std::chrono::milliseconds(50)});
    Careless store(f.faulty, how);
    const auto honoured = probe_if_match(store, if_match_probe_key(*f.rng), {});
    REQUIRE_MESSAGE(honoured, honoured.error().message());
    CHECK_FALSE(*honoured);
    f.faulty->clear();
    CHECK(f.memory->object_count() == 0);
  }
}

TEST_CASE("a probe without an answer is an error, and leaves nothing behind") {
  for (const uint32_t passing : {0U, 1U, 2U, 3U}) {
    for (const FaultKind kind : {FaultKind::kFail, FaultKind::kLoseReply}) {
      Fixture f;
      f.faulty->add({.kind = kind, .ops = StoreOp::kPut, .skip = passing, .count = 100});
      const auto honoured = probe_if_match(*f.faulty, if_match_probe_key(*f.rng), {});
      CHECK_FALSE(honoured);
      CHECK(f.memory->object_count() == 0);
    }
  }
}

TEST_CASE("a probe whose object may not be removed tells what it found all the same") {
  Fixture f;
  f.faulty->add({.kind = FaultKind::kFail, .ops = StoreOp::kRemove, .code = Errc::kPermission});
  const auto honoured = probe_if_match(*f.faulty, if_match_probe_key(*f.rng), {});
  REQUIRE_MESSAGE(honoured, honoured.error().message());
  CHECK(*honoured);
  CHECK(f.memory->object_count() == 1);
}

TEST_CASE("a probe that was refused says so, and removes nothing") {
  Fixture f;
  f.faulty->add({.kind = FaultKind::kFail, .ops = StoreOp::kPut, .code = Errc::kPermission});
  f.faulty->add({.kind = FaultKind::kFail, .ops = StoreOp::kRemove, .code = Errc::kIo});
  const auto refused = probe_if_match(*f.faulty, if_match_probe_key(*f.rng), {});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == Errc::kPermission);
  CHECK(f.faulty->hits() == 1);
}

TEST_CASE("a probe that was given up cleans up all the same") {
  Fixture f;
  f.faulty->add({.kind = FaultKind::kHold, .ops = StoreOp::kGet});
  Context context;
  context.deadline = Deadline::after(system_clock(), std::chrono::milliseconds(200));
  const auto honoured = probe_if_match(*f.faulty, if_match_probe_key(*f.rng), context);
  REQUIRE_FALSE(honoured);
  CHECK(honoured.error().code() == Errc::kTimeout);
  CHECK(f.memory->object_count() == 0);
}
