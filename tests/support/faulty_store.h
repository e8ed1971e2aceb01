// FaultyStore: a store that fails by rules, scripted or by chance from a seed.
//
// A request takes the first rule that matches it and has hits left; without one it passes through.
// Thread-safe; with a ManualExecutor and a seeded Rng it repeats itself. What a rule delays or
// holds still ends when its context is over. Owner: the test. `executor`, `clock` and `rng` must
// outlive it and its requests.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/base/executor.h"
#include "cache/base/mutex.h"
#include "cache/base/random.h"
#include "cache/object_store.h"

namespace cairn::test {

enum class StoreOp : uint8_t {
  kGet = 1,
  kPut = 2,
  kList = 4,
  kRemove = 8,
  kHead = 16,
  kTags = 32,
  kAny = 63
};

enum class FaultKind : uint8_t {
  kDelay,         // passes after `delay`
  kFail,          // not carried out, answered after `delay` with `code` (what a caller cannot know)
  kThrottle,      // not carried out, kTransient with no_effect and retry_after = `delay`
  kLoseReply,     // carried out, answered with kTimeout
  kStale,         // a get or head answers kNotFound, a list nothing, as if not yet written
  kTruncate,      // a get's bytes are cut in half
  kFlipByte,      // one byte of a get's answer is another
  kRefuseCreate,  // kPrecondition without a reason, as for two creates in conflict
  kHold,          // waits until `release`
};

struct StoreFault {
  FaultKind kind = FaultKind::kFail;
  StoreOp ops = StoreOp::kAny;
  std::string prefix = {};  // of the key, or of a list's prefix
  uint32_t skip = 0;        // this many matching requests pass first
  uint32_t count = 1;       // then this many are hit
  uint32_t one_in = 1;      // each only with this chance
  Duration delay{0};
  Errc code = Errc::kTransient;
};

class FaultyStore final : public ObjectStore {
 public:
  struct Parts {
    Executor& executor;
    Clock& clock;
    Rng& rng;
  };
  static constexpr uint32_t kForever = UINT32_MAX;

  FaultyStore(std::shared_ptr<ObjectStore> base, const Parts& parts);

  void add(StoreFault fault);
  void clear();      // forgets the rules, not what is held
  size_t release();  // lets go what is held; returns how many
  size_t held() const;
  uint64_t hits() const;      // requests that met a fault
  uint64_t requests() const;  // all

  void get(std::string key, GetRange range, Context context, Callback<GetResult> done) override;
  void head(std::string key, Context context, Callback<ObjectHead> done) override;
  void put(std::string key, Body body, PutHow how, Context context,
           Callback<std::string> done) override;
  void remove(std::string key, Context context, Callback<void> done) override;
  void list(ListScope scope, std::string after, uint32_t limit, Context context,
            Callback<ListPage> done) override;
  void head_version(std::string key, std::string version, Context context,
                    Callback<ObjectHead> done) override;
  void get_tags(std::string key, std::string version, Context context,
                Callback<ObjectTags> done) override;
  void put_tags(std::string key, std::string version, ObjectTags tags, Context context,
                Callback<void> done) override;
  void list_versions(ListScope scope, std::string after, uint32_t limit, Context context,
                     Callback<VersionPage> done) override;
  void keeps_versions(Context context, Callback<bool> done) override;
  std::string description() const override { return "faulty " + base_->description(); }

 private:
  struct State {
    mutable RankedMutex<Rank::kStore> mutex;
    std::list<StoreFault> faults;
    std::vector<std::function<void()>> held;
    uint64_t hits = 0;
    uint64_t requests = 0;
  };
  template <class T>
  struct Request {
    StoreOp op;
    std::string key;
    Context context;
    Callback<T> done;
    std::function<void(Context, Callback<T>)> pass;  // to the store below
  };

  std::optional<StoreFault> take_fault(StoreOp op, const std::string& key);
  template <class T>
  void run(Request<T> request);
  template <class T>
  void wait(const StoreFault& fault, Request<T> request);
  template <class T>
  void answer(const Request<T>& request, Error error);

  const std::shared_ptr<ObjectStore> base_;
  const Parts parts_;
  const std::shared_ptr<State> state_;
};

}  // namespace cairn::test
