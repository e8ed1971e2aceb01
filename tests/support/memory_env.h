// MemoryEnv: an Env in memory that can lose power.
//
// It keeps for every file what was synced and what was only written, and for every directory which
// changes of names were synced. `crash` throws the dice for everything that was not: a 4 KiB sector
// is kept, dropped, torn at 512 bytes or (when it was new) garbage; a size is old or new; of the
// unsynced changes of a directory's names a prefix survives. After `crash` and `kill` the handles
// of the life before fail with kIo, as those of a dead process.
// Thread-safe. Owner: the test; it must outlive the files it opened.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "cache/base/env.h"
#include "cache/base/random.h"

namespace cairn::test {

enum class FileCall : uint8_t { kOpen, kWrite, kSync, kAllocate, kTruncate, kSyncDir, kRemove };

class MemoryEnv final : public Env {
 public:
  MemoryEnv();
  ~MemoryEnv() override;

  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override;
  Result<FileInfo> stat(const std::string& path) override;
  Result<std::vector<std::string>> list_dir(const std::string& path) override;
  Status make_dirs(const std::string& path) override;  // durable at once
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

  void crash(Rng& rng);  // power loss
  void kill();           // only the process dies: what was written stays
  void set_capacity(uint64_t bytes);
  // Asked before each of these calls, without a lock; what it returns is what the call says, and
  // nothing happens when that is an error. Set it while no other thread uses the Env.
  using Fault = std::function<Status(FileCall, const std::string& path)>;
  void set_fault(Fault fault) { fault_ = std::move(fault); }
  uint64_t allocated_bytes() const;
  uint64_t syncs() const;  // sync_data calls so far

 private:
  struct Inode;
  struct NameChange;
  class MemoryFile;
  class MemoryLock;
  using Names = std::map<std::string, std::shared_ptr<Inode>>;

  static void put_name(Names& names, const NameChange& change);
  void change_name(const std::string& path, std::shared_ptr<Inode> to, uint64_t group);
  Status check_parent(const std::string& path) const;
  Status reserve(uint64_t pages);
  void end_life();
  Status ask(FileCall call, const std::string& path) const {
    return fault_ ? fault_(call, path) : Status();
  }

  Fault fault_;
  mutable std::mutex mutex_;
  Names names_;          // as the process sees them
  Names durable_names_;  // as of the last sync of each directory
  std::vector<NameChange> changes_;
  std::set<std::string> dirs_;
  std::set<std::string> locked_;
  std::shared_ptr<uint64_t> pages_ = std::make_shared<uint64_t>(0);
  uint64_t capacity_pages_ = 1ULL << 40;
  uint64_t life_ = 0;
  uint64_t next_number_ = 1;
  uint64_t next_group_ = 1;
  uint64_t syncs_ = 0;
};

}  // namespace cairn::test
