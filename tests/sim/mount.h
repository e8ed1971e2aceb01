// Mount: one process of a simulated life: a volume over a machine's disk and the bucket, composed
// as the product composes it (limits, retries, faults, the wire), until it is closed or dies.
//
// When it dies is planned when it starts: at the n-th point that one of its threads reaches, or at
// the n-th time a named failpoint is reached; by a kill or by a power cut of its machine. A dead
// process goes on running in the simulation, but everything it touches fails and nothing it does
// has an effect; `bury` waits until its threads have ended.
// Owner: the life, which keeps the shells of dead processes to its end.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cache/await.h"
#include "cache/cache_dir.h"
#include "cache/tree_remote.h"
#include "fs/volume.h"
#include "s3/limiting_store.h"
#include "s3/retrying_store.h"
#include "tests/sim/bucket.h"
#include "tests/sim/disk.h"
#include "tests/sim/model.h"
#include "tests/support/faulty_store.h"

namespace cairn::sim {

struct Death {
  uint64_t at_point = 0;     // 0: not by count
  std::string at_failpoint;  // or at this name, the n-th time
  uint64_t nth = 1;
  bool power_cut = false;
};

class Mount final : public Process {
 public:
  struct Plan {
    MountOptions options;
    Death death;
    DiskFaults disk;
    std::vector<test::StoreFault> store;
  };
  Mount(Scheduler& scheduler, Disk& disk, Bucket& bucket, Plan plan);
  // On a store of its own that never fails: to look at what was published.
  Mount(Scheduler& scheduler, Disk& disk, Bucket& bucket, std::shared_ptr<ObjectStore> store,
        Plan plan);
  ~Mount() override;

  Status open();
  Status close(Duration patience);
  // A garbage collection begins on a thread of its own; `done` hears of it while the process lives.
  // One at a time: false when one runs. The end of the process ends it.
  bool collect(CollectOptions how, std::function<void(const Result<CollectReport>&)> done);
  void bury();  // of a process that died, or that is killed by this
  void die(bool power_cut);
  // The store does as it should from now on (the weather is the bucket's).
  void end_store_faults();

  bool alive() const { return !dead_; }
  bool is_open() const { return volume_ != nullptr; }
  bool was_open() const { return was_open_; }
  bool power_was_cut() const { return power_cut_; }
  MonotonicTime died_at() const { return died_at_; }
  const Death& planned_death() const { return plan_.death; }
  // The point at which the planned death came; empty: it did not.
  const std::string& died_where() const { return died_where_; }
  bool disk_failed() const { return view_.failed(); }
  Volume& volume() { return *volume_; }
  Engine& engine() { return *mount_.engine; }
  const OpenedMount& opened() const { return mount_; }
  const Uuid& cache_id() const { return cache_id_; }
  Executor& executor() { return work_; }

  // Runs an operation until it has an answer, as the FUSE session does it.
  template <class Op>
  auto run(const Op& op) -> decltype(op(std::declval<Volume&>(), std::declval<Need&>())) {
    while (true) {
      Need need;
      auto result = op(*volume_, need);
      if (result || result.error().code() != Errc::kNotLocal) return result;
      if (!need.any()) scheduler_.give_up("an operation misses something and does not say what");
      Context context;
      context.deadline = Deadline::after(scheduler_.clock(), plan_.options.engine.io_timeout);
      context.cancel = hung_up_;
      const bool space = need.space;
      if (space) context.deadline = Deadline::never();  // ends by the stall timeout
      const Status satisfied = await<void>([&](Callback<void> done) {
        engine().satisfy(std::move(need), context, std::move(done));
      });
      if (!satisfied) return tl::unexpected<Error>(satisfied.error());
    }
  }
  Result<Listing> list();

  void at_point(const char* name) override;

 private:
  void stop_collecting();
  Status list_node(Ino ino, const std::string& path, Listing& out);
  Status read_node(Ino ino, Shown& shown);

  Scheduler& scheduler_;
  Disk& disk_;
  const Plan plan_;
  DiskView view_;
  SimExecutor io_;
  SimExecutor work_;
  SimExecutor maintenance_;
  SimExecutor publishing_;
  std::unique_ptr<Rng> rng_;
  std::shared_ptr<Wire> wire_;
  std::shared_ptr<test::FaultyStore> faulty_;
  std::shared_ptr<ObjectStore> store_;
  std::unique_ptr<CacheDir> cache_;
  OpenedMount mount_;
  std::unique_ptr<Volume> volume_;
  Uuid cache_id_{};
  CancelToken hung_up_;
  CancelToken no_collection_;
  bool collecting_ = false;
  uint64_t points_ = 0;
  uint64_t named_ = 0;
  std::string died_where_;
  MonotonicTime died_at_ = MonotonicTime::max();
  bool was_open_ = false;
  bool dead_ = false;
  bool power_cut_ = false;
};

}  // namespace cairn::sim
