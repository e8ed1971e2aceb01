// MetaStore: ordered tables of byte strings with one durable write transaction at a time.
//
// A port: LmdbMetaStore on disk, MemoryMetaStore for tests and simulation. Thread-safe; reads see
// the state before or after a `write`, never between. Keys are 1 to 480 bytes (below LMDB's 511).
// Durability: when `write` returned, the transaction survives power loss; when it failed or the
// process died in it, none of it happened.
// Errors: kNoSpace when the map's size limit is reached (nothing changed), kCorruption, kIo.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/base/bytes.h"
#include "cache/base/env.h"
#include "cache/base/result.h"

namespace cairn {

enum class Table : uint8_t {
  kState,      // singletons: LSNs, published commit, identity of this cache
  kTree,       // tree key -> change since the published commit (value or tombstone, LSN)
  kBlocks,     // digest -> bytes of a small block (long symlink, xattr) not yet published
  kFiles,      // inode -> state of a file with unpublished content
  kDirty,      // inode, chunk -> extents over the published content
  kResident,   // inode, chunk -> clean content in a segment
  kInSegment,  // segment, offset, inode, chunk -> inode, chunk of a resident row (for eviction)
};
inline constexpr size_t kTableCount = 7;
inline constexpr size_t kMetaKeyBytesMax = 480;

struct TableChange {
  Table table;
  std::string key;
  std::optional<std::string> value;  // nullopt removes
};

class MetaStore {
 public:
  virtual ~MetaStore() = default;
  virtual Result<std::optional<std::string>> get(Table table, std::string_view key) = 0;
  // Visits rows with key >= `from` in order until `visit` returns false.
  virtual Status scan(
      Table table, std::string_view from,
      const std::function<bool(std::string_view key, std::string_view value)>& visit) = 0;
  virtual Status write(const std::vector<TableChange>& changes) = 0;
  virtual uint64_t bytes() const = 0;       // of disk
  virtual uint64_t used_bytes() const = 0;  // of those, what rows need; as of the last write
  virtual uint64_t bytes_max() const = 0;   // the limit
};

// LMDB in `dir`, at most `bytes_max` large. One per directory and process; never across a fork.
Result<std::unique_ptr<MetaStore>> open_lmdb_meta_store(const std::string& dir, uint64_t bytes_max);

// A MetaStore in memory, for tests and simulation. Its rows outlive it when the caller keeps them,
// as a disk outlives a process. `write_fate`, when set, decides each write.
struct MemoryRows;
enum class WriteFate : uint8_t {
  kDone,
  kRefused,  // kNoSpace, nothing changed
  kLost,     // kIo, nothing changed: the machine stopped before the commit
  kUnheard,  // kIo, but written: it stopped before the answer
};
std::shared_ptr<MemoryRows> make_memory_rows();
std::unique_ptr<MetaStore> make_memory_meta_store(
    std::shared_ptr<MemoryRows> rows = make_memory_rows(),
    std::function<WriteFate()> write_fate = {});

}  // namespace cairn
