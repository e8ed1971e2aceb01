// RecoveryStore: reads what a recovery wants of a store that may be gone. Everything fails at once
// from the first answer on that says that there is no store, or no right to it: a recovery must not
// wait for each part of a file. Where one object could be read, what is refused for another is of
// that one, and only three late answers in a row are of the store. All but reading is refused.
// Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "cache/base/executor.h"
#include "cache/base/mutex.h"
#include "cache/object_store.h"

namespace cairn {

class RecoveryStore final : public ObjectStore {
 public:
  // Without a `store` it is gone, because of `why`.
  RecoveryStore(std::shared_ptr<ObjectStore> store, Status why, std::string description,
                Executor& executor);
  // Why it could not be asked; good: it could, or nothing was asked for.
  Status away() const;

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
  std::string description() const override { return description_; }

 private:
  struct State {
    mutable RankedMutex<Rank::kStore> mutex;
    Status away;  // protected by mutex, as are these
    bool gives = false;
    unsigned late = 0;  // answers in a row
  };
  static void note(State& state, const Result<GetResult>& got);

  const std::shared_ptr<ObjectStore> store_;
  const std::string description_;
  Executor& executor_;
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace cairn
