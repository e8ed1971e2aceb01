// Disk: the local disk of one simulated machine, and how one process sees it.
//
// What a Disk keeps survives its processes: a MemoryEnv (which forgets, tears or garbles at a power
// cut what was not synced) and the rows of a MetaStore. DiskView is the Env of one process: every
// call is a point where the process may die, takes time, may fail when the life says so, and fails
// for ever once the process is dead. A process that dies inside a write leaves a part of it.
// Lies (canaries): a disk that says "synced" without syncing proves that the simulation notices.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cache/meta_store.h"
#include "tests/sim/scheduler.h"
#include "tests/support/memory_env.h"

namespace cairn::sim {

enum class Lie : uint8_t {
  kNone,
  kJournalSync,    // the journal's fdatasync does nothing
  kSegmentSync,    // that of the data segments
  kMetaCommit,     // a MetaStore's transaction is lost at a power cut
  kDirSync,        // sync of a directory does nothing
  kSegmentRemove,  // a data segment that is removed stays
  kTornRecord,     // replay does not see that the last record of the journal is torn
};

struct DiskFaults {
  unsigned slow_sync_one_in = 0;  // a sync takes long
  uint64_t fail_sync_at = 0;      // the n-th sync of this process fails with EIO; 0: none
  uint64_t fail_write_at = 0;
};

class Disk {
 public:
  explicit Disk(Scheduler& scheduler) : scheduler_(scheduler) {}
  test::MemoryEnv& env() { return env_; }
  void power_cut();
  void kill() { env_.kill(); }
  void set_lie(Lie lie) { lie_ = lie; }
  std::unique_ptr<MetaStore> meta() { return make_memory_meta_store(rows_); }

 private:
  friend class DiskView;
  friend class DiskFile;
  friend class DiskMeta;
  Scheduler& scheduler_;
  test::MemoryEnv env_;
  const std::shared_ptr<MemoryRows> rows_ = make_memory_rows();
  const std::shared_ptr<MetaStore> meta_ = make_memory_meta_store(rows_);
  std::vector<TableChange> undo_;  // of the last transaction, for the lie
  Lie lie_ = Lie::kNone;
};

class DiskView final : public Env {
 public:
  DiskView(Disk& disk, DiskFaults faults) : disk_(disk), faults_(faults) {}
  void die() { dead_ = true; }
  bool failed() const { return failed_; }  // an injected failure was met
  // Does the process die at the next point? Then a write is left half done.
  void set_dying(std::function<bool()> dying) { dying_ = std::move(dying); }
  std::unique_ptr<MetaStore> meta();

  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override;
  Result<FileInfo> stat(const std::string& path) override;
  Result<std::vector<std::string>> list_dir(const std::string& path) override;
  Status make_dirs(const std::string& path) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status link(const std::string& from, const std::string& to) override;
  Status remove(const std::string& path) override;
  Status remove_dir(const std::string& path) override;
  Status sync_dir(const std::string& path) override;
  Result<std::unique_ptr<FileLock>> lock_file(const std::string& path) override;
  Result<DiskSpace> disk_space(const std::string& path) override;
  Status set_attribute(const std::string& path, const std::string& name,
                       const std::string& value) override;
  Result<FileAttributes> attributes(const std::string& path) override;

 private:
  friend class DiskFile;
  friend class DiskMeta;
  Status reach(const char* point);
  Status sync_takes_time(const std::string& path);

  Disk& disk_;
  const DiskFaults faults_;
  std::function<bool()> dying_;
  uint64_t syncs_ = 0;
  uint64_t writes_ = 0;
  bool dead_ = false;
  bool failed_ = false;
};

}  // namespace cairn::sim
