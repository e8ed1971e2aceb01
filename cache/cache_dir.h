// CacheDir: the directory of one remote on this node, and how a mount begins on it.
//
//   lock               held while a mount (or a tool that changes the cache) runs
//   identity           uuid of this cache, the remote it belongs to; never changes
//   journal/  segments/  meta/ (LMDB)  packs/ (metadata packs)
//   damaged-N/         what a repair put aside, a cache of its own for `cairn recover`
//
// Opening, in order: lock; identity; live tables as of the last checkpoint; the remote (what is
// published of ours); segments; journal replay from there; then, for a writer, the commit that
// makes us the writer. Nothing is published or overwritten before all of it succeeded. What is
// damaged refuses the mount with a sentence that names the file and the way out (cache_repair.h).
// Errors are sentences for the person who typed `mount`.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cache/bucket_remote.h"
#include "cache/engine.h"
#include "cache/memory_plan.h"
#include "cache/tree_remote.h"

namespace cairn {

struct CacheIdentity {
  Uuid cache_id{};
  std::string remote;
};

class CacheDir {
 public:
  // Locks the directory (0700, made when missing; refused when others can write it) and reads or
  // makes its identity. kExists: another mount uses it. kInvalid: it belongs to another remote.
  // kCorruption: the identity is damaged, or gone while there is a journal. With `mend` it is made
  // up from the journal then (identity_damage says so), and the file stays as it is.
  static Result<std::unique_ptr<CacheDir>> open(Env& env, Rng& rng, const std::string& path,
                                                const std::string& remote, bool mend = false);
  const std::string& identity_damage() const { return identity_damage_; }  // empty: it is good
  // Writes an identity, in this folder or another.
  static Status put_identity(Env& env, const std::string& folder, const CacheIdentity& identity);
  // The remote that a cache folder belongs to.
  static Result<std::string> remote_of(Env& env, const std::string& path);
  const std::string& path() const { return path_; }
  const CacheIdentity& identity() const { return identity_; }
  std::string sub(const char* name) const { return path_ + "/" + name; }

 private:
  CacheDir(std::string path, std::unique_ptr<FileLock> lock) : path_(std::move(path)),
                                                               lock_(std::move(lock)) {}
  Status find_identity(Env& env, Rng& rng, const std::string& remote, bool mend);

  std::string path_;
  std::unique_ptr<FileLock> lock_;
  CacheIdentity identity_;
  std::string identity_damage_;
};

struct MountOptions {
  EngineSettings engine;
  uint64_t cache_bytes_max = 10ULL << 30;
  uint64_t disk_reserve_bytes = 1ULL << 30;
  uint64_t memory_bytes_max = MemoryPlan::kDefault;
  uint64_t journal_file_bytes = 8ULL << 20;  // a new file is begun behind this size
  std::string host;                          // for people, in the commits
  IndexLimits index;
  MetadataLimits metadata;
  uint64_t pack_bytes = 32ULL << 20;  // of a full data pack
  // So few tails of data packs are fetched with the head: with more, a mount that reads nothing
  // would pay for what it does not need.
  size_t tails_ahead = 16;
  uint64_t index_ahead_bytes = 2 << 20;  // so much of the newest index segments with them
  // What the head may be, asked for before this. May be null.
  std::shared_ptr<HeadLook> head_look;
  bool takeover = false;
  bool discard_local = false;  // throw unpublished work of this cache away
  // Show this point of the volume's history and never move. Needs engine.read_only.
  std::optional<HistoryPoint> at;
  // Show the cache's own last state, whoever wrote to the volume since, and change nothing: for
  // taking unpublished work out. Damage is told, not refused. Needs engine.read_only.
  bool recover = false;
  // An empty directory for tables that are made up from the journal when the cache's are damaged.
  std::string scratch_dir;
  // The store is out of reach: go on with what this cache has.
  bool offline = false;
  // Show the bucket's own objects instead of a volume.
  std::optional<ObjectView> objects;
};

struct MountEnvironment {
  ObjectStore& store;
  Env& env;
  Clock& clock;
  Rng& rng;
  Executor& executor;
  Executor& maintenance;
  Executor& publishing;
  // LMDB in production; tests and simulations bring their own.
  std::function<Result<std::unique_ptr<MetaStore>>(const std::string& dir, uint64_t bytes_max)>
      open_meta_store;
};

// The live tables of a cache as a mount begins with them, and a repair.
struct CacheTables {
  std::unique_ptr<LiveTables> tables;
  LiveState::CheckpointMarks marks;
  Buffer last_commit;  // empty: this cache has seen none
};
Result<CacheTables> open_cache_tables(const MountEnvironment& environment,
                                      const MountOptions& options, const std::string& where);
Journal::Options journal_options_of(const CacheDir& dir, const MountOptions& options);

struct OpenedMount {
  std::unique_ptr<Engine> engine;
  TreeRemote* remote = nullptr;  // owned by the engine; of a volume
  BucketRemote* bucket = nullptr;  // likewise; of objects
  TreeRemote::Slot slot;         // writers: what new inodes are numbered with
  Lsn replayed = 0;              // records that were only here, for a line in the log
  // With MountOptions::recover: what is damaged, and which unpublished bytes are gone with it.
  std::vector<std::string> damage;
  std::vector<LostData> lost;
};

Result<OpenedMount> open_mount(CacheDir& dir, const MountEnvironment& environment,
                               const MountOptions& options, Context context);

}  // namespace cairn
