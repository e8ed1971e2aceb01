// CollectorLoop: a mount's collections, in the background and on request, one at a time.
//
// In the background it looks every `interval` whether a collection is worth its requests: when the
// store holds clearly more than the files, when condemned packs have waited long enough, and at
// least once a day for what crashed writers left.
// Owner: the composition root; stop it before the engine is closed. Thread-safe.
// Errors: kExists (a collection runs already), and those of a collection.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "cache/base/executor.h"
#include "cache/base/mutex.h"
#include "cache/engine.h"
#include "cache/tree_remote.h"

namespace cairn {

class CollectorLoop {
 public:
  struct Options {
    Duration interval = std::chrono::hours(1);  // 0: only on request
    Duration grace = std::chrono::hours(24);
    // Contents that nothing in the tree names and that can still be read here.
    std::function<std::vector<UnixfsRoot>()> pinned;
  };
  // `thread` is blocked while a collection runs. All references must outlive it.
  CollectorLoop(Engine& engine, TreeRemote& remote, Executor& thread, Clock& clock,
                Options options);
  ~CollectorLoop();

  void start();
  // Ends what runs; nothing begins afterwards. Waits.
  void stop();
  // Blocks until the collection is over. `how.pinned` is filled in.
  Result<CollectReport> run(CollectOptions how, const Context& context);
  std::optional<CollectReport> last() const;

 private:
  void schedule();
  void tick();
  bool worth_it() const;

  Engine& engine_;
  TreeRemote& remote_;
  Executor& thread_;
  Clock& clock_;
  const Options options_;
  const MonotonicTime started_;
  CancelToken stop_token_;
  mutable RankedMutex<Rank::kControl> mutex_;
  ConditionVariable idle_;
  bool stopping_ = false;
  bool running_ = false;
  unsigned scheduled_ = 0;
  std::optional<CollectReport> last_;
  uint64_t file_bytes_at_last_ = 0;
  MonotonicTime last_at_;
};

}  // namespace cairn
