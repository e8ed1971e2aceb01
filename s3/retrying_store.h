// RetryingStore: tries again what may work the next time.
//
// Waits a random time below a bound that doubles (full jitter), or longer when the store asked for
// it, and never past the request's deadline. Cancellation and the deadline end a wait at once.
// A request with a deadline is tried until it passes, one without at most tries_max times.
// What is repeated:
//   get, head, list, remove, put kAlways   after kTransient and kTimeout: repeating is harmless
//   put kIfAbsent, kIfMatch                after kTransient only when the error says no_effect().
// The first such put whose outcome is unknown goes back to the caller as it is: repeated, it could
// meet its own success and report a lost race. The caller reads the key back to decide it. Objects
// that are named by their content are put with kAlways and so are repeated here.
// A put kAlways that was repeated may still be carried out twice, the second time late: keys that
// are overwritten may only hold hints.
// What is tried again is told to the request's Trouble.
// Errors: the last one, with the number of tries. Thread-safe.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cache/base/executor.h"
#include "cache/base/random.h"
#include "cache/object_store.h"

namespace cairn {

struct RetryPolicy {
  unsigned tries_max = 8;  // of a request without a deadline
  Duration backoff_first = std::chrono::milliseconds(100);
  Duration backoff_max = std::chrono::seconds(20);
  // A store that asks for more is not believed.
  Duration retry_after_max = std::chrono::minutes(1);
};

class RetryingStore final : public ObjectStore {
 public:
  struct Parts {
    Executor& executor;
    Clock& clock;
    Rng& rng;
    // Told of each try that failed and is not the last: the first one began `tried` ago, and there
    // is an end in `left`, or none. May be null; called by any thread.
    void (*told)(const Error& error, Duration tried, std::optional<Duration> left) = nullptr;
  };
  RetryingStore(std::shared_ptr<ObjectStore> base, const Parts& parts, RetryPolicy policy = {});

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
  std::string description() const override { return base_->description(); }

 private:
  const std::shared_ptr<ObjectStore> base_;
  const Parts parts_;
  const RetryPolicy policy_;
};

}  // namespace cairn
