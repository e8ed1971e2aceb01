#include "tests/support/faulty_store.h"

#include <doctest/doctest.h>

#include <mutex>
#include <utility>

#include "s3/conditional_probe.h"
#include "s3/memory_store.h"

using namespace cairn;
using namespace cairn::test;

namespace {

struct Fixture {
  ThreadExecutor executor{"store", 2};
  std::unique_ptr<Rng> rng = make_seeded_rng(5);
  std::shared_ptr<MemoryStore> memory = std::make_shared<MemoryStore>(executor, system_clock());
  FaultyStore store{memory, {executor, system_clock(), *rng}};

  Result<std::string> put(const std::string& key, const std::string& text) {
    return put_sync(store, key, Body(Buffer::copy(text)), PutCondition::kAlways, {});
  }
  Result<GetResult> get(const std::string& key) {
    return get_sync(store, key, GetRange::all(), {});
  }
};

// Creates that look whether the key is there and then write it: what a careless store does.
class CheckThenAct final : public ObjectStore {
 public:
  explicit CheckThenAct(std::shared_ptr<ObjectStore> base) : base_(std::move(base)) {}
  void get(std::string key, GetRange range, Context context, Callback<GetResult> done) override {
    base_->get(std::move(key), range, std::move(context), std::move(done));
  }
  void head(std::string key, Context context, Callback<ObjectHead> done) override {
    base_->head(std::move(key), std::move(context), std::move(done));
  }
  void put(std::string key, Body body, PutHow how, Context context,
           Callback<std::string> done) override {
    if (how.condition == PutCondition::kAlways) {
      base_->put(std::move(key), std::move(body), std::move(how), std::move(context),
                 std::move(done));
      return;
    }
    base_->get(key, GetRange::all(), context,
               [this, key, body = std::move(body), context,
                done = std::move(done)](const Result<GetResult>& there) mutable {
                 if (there) return done(fail(Errc::kPrecondition, "it exists already"));
                 act([base = base_, key, body = std::move(body), context, done = std::move(done)] {
                   base->put(key, body, PutCondition::kAlways, context, done);
                 });
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
  // The first who found nothing waits for the second: whoever races here wins with company.
  void act(Task put) {
    Task first;
    {
      const std::lock_guard lock(mutex_);
      if (!second_came_ && !first_) {
        first_ = std::move(put);
        return;
      }
      second_came_ = true;
      first = std::exchange(first_, nullptr);
    }
    if (first) first();
    put();
  }

  const std::shared_ptr<ObjectStore> base_;
  std::mutex mutex_;
  Task first_;                // protected by mutex_
  bool second_came_ = false;  // protected by mutex_
};

}  // namespace

TEST_CASE("faults hit what their rule says and nothing else") {
  Fixture f;
  REQUIRE(f.put("p/x", "12345678"));
  f.store.add({.kind = FaultKind::kFail, .ops = StoreOp::kGet, .prefix = "p/", .skip = 1});
  CHECK(f.get("p/x"));
  CHECK(f.get("q").error().code() == Errc::kNotFound);
  CHECK(f.get("p/x").error().code() == Errc::kTransient);
  CHECK(f.get("p/x"));
  f.store.add({.kind = FaultKind::kTruncate, .ops = StoreOp::kGet});
  CHECK(as_chars(f.get("p/x")->bytes) == "1234");
  f.store.add({.kind = FaultKind::kFlipByte, .ops = StoreOp::kGet});
  CHECK(as_chars(f.get("p/x")->bytes) != "12345678");
  f.store.add({.kind = FaultKind::kStale, .ops = StoreOp::kGet});
  CHECK(f.get("p/x").error().code() == Errc::kNotFound);
  f.store.add({.kind = FaultKind::kStale, .ops = StoreOp::kList});
  CHECK(list_sync(f.store, "", "", 10, {})->objects.empty());
  CHECK(list_sync(f.store, "", "", 10, {})->objects.size() == 1);
  f.store.add({.kind = FaultKind::kLoseReply, .ops = StoreOp::kPut});
  CHECK(f.put("lost", "v").error().code() == Errc::kTimeout);
  CHECK(f.get("lost"));
  f.store.add({.kind = FaultKind::kRefuseCreate, .ops = StoreOp::kPut});
  CHECK(f.put("refused", "v").error().code() == Errc::kPrecondition);
  CHECK(f.get("refused").error().code() == Errc::kNotFound);
  CHECK(f.store.hits() == 7);
}

TEST_CASE("the probe finds a store that checks and then acts, and cleans up") {
  Fixture f;
  CheckThenAct careless(f.memory);
  const auto report = probe_conditional_create(careless, "probe/", *f.rng, {});
  REQUIRE(report);
  CHECK_FALSE(report->passed());
  CHECK(report->winners_max > 1);
  CHECK_FALSE(report->first_violation.empty());
  CHECK(f.memory->object_count() == 0);
}

TEST_CASE("the probe finds a store that ignores the condition or refuses every create") {
  Fixture f;
  f.store.add(
      {.kind = FaultKind::kRefuseCreate, .ops = StoreOp::kPut, .count = FaultyStore::kForever});
  const auto report = probe_conditional_create(f.store, "probe/", *f.rng, {}, {2, 4});
  REQUIRE(report);
  CHECK(report->violations == 2);
  CHECK(report->winners_max == 0);
}

TEST_CASE("the probe reads back when the winner's answer was lost, and says when it cannot tell") {
  Fixture f;
  for (int i = 0; i < 8; ++i)
    f.store.add({.kind = FaultKind::kLoseReply, .ops = StoreOp::kPut, .count = 1});
  // Every racer of the round loses its answer: the key itself decides.
  const auto report = probe_conditional_create(f.store, "probe/", *f.rng, {}, {1, 8});
  REQUIRE(report);
  CHECK(report->passed());
  f.store.add(
      {.kind = FaultKind::kFail, .ops = StoreOp::kPut, .count = 8, .code = Errc::kPermission});
  const auto refused = probe_conditional_create(f.store, "probe/", *f.rng, {}, {1, 8});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == Errc::kPermission);
  CHECK(f.memory->object_count() == 0);
}
