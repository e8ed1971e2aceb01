// MetaFiles: the directory behind MetaBlocks: which packs and windows are here, and where in them
// each block lies.
//
// A file is a run of CAR sections: a whole pack (`<hex>.car`) or the sections of a large pack that
// begin in one of its 1 MiB windows (`<hex>.<n>.win`), or the last ones before its tail
// (`<hex>.end`). Files are written under another name and renamed; they are not synced: what power
// loss leaves of them is noticed when it is read.
// Thread-safe; file operations run without the lock. Blocks that somebody waits for are kept in
// memory, too, so that they can be used even when the disk is full or the bound is too small for
// all that one operation needs.
// Errors: kIo and kNoSpace from the directory.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "cache/base/env.h"
#include "cache/base/mutex.h"
#include "cache/pack_store.h"
#include "cache/prefix_index.h"

namespace cairn {

// What is fetched at once: a pack, a window of it, or what came with its tail.
struct MetaUnit {
  static constexpr uint32_t kWhole = UINT32_MAX;
  static constexpr uint32_t kEnd = UINT32_MAX - 1;
  static constexpr uint64_t kWindowBytes = 1ULL << 20;
  Digest pack;
  uint32_t window = kWhole;
  auto operator<=>(const MetaUnit&) const = default;
};

class MetaFiles {
 public:
  // Of a file that is being written; `open` removes what an earlier life left of these.
  static constexpr std::string_view kPartSuffix = ".part";

  struct Limits {
    uint64_t disk_bytes = 0;          // of the files and of the index of the blocks in them
    uint64_t memory_bytes = 0;        // of remembered blocks
    uint64_t index_memory_bytes = 0;  // of the part of the index that is in memory
  };

  MetaFiles(Env& env, std::string dir, const Limits& limits)
      : env_(env),
        dir_(std::move(dir)),
        files_bytes_max_(limits.disk_bytes - limits.disk_bytes / 4),
        blocks_max_(limits.disk_bytes / 16 / sizeof(PrefixIndex::Entry)),
        memory_bytes_max_(limits.memory_bytes),
        index_(env, dir_ + "/index" + std::string(kPartSuffix), limits.index_memory_bytes) {}

  // What the file of that name holds; nullopt: it is none of ours.
  static std::optional<MetaUnit> parse_name(std::string_view name);
  // Takes over the files that are there, oldest use first; removes what is none of ours.
  Status open();
  // The block, verified; nullopt when it is not here. A file that turns out damaged is removed.
  std::optional<Buffer> get(const Digest& digest);
  bool has(const MetaUnit& unit) const;
  bool has_window_of(const Digest& pack) const;
  // Keeps `bytes`, in which the blocks lie at their offsets.
  Status store(const MetaUnit& unit, Bytes bytes, const std::vector<PackEntry>& blocks);
  // Keeps a verified block in memory for a while.
  void remember(const Digest& digest, Buffer block);
  uint64_t disk_bytes() const;

 private:
  struct LocalFile {
    uint32_t number = 0;
    MetaUnit unit;
    uint64_t bytes = 0;
    uint64_t blocks = 0;
    std::shared_ptr<File> file;  // opened when first read
  };
  using Lru = std::list<LocalFile>;
  struct Place {
    uint32_t number = 0;
    MetaUnit unit;
    std::shared_ptr<File> file;
    uint64_t offset = 0;
    uint32_t length = 0;
  };

  std::string path(const MetaUnit& unit) const;
  using Entries = std::vector<PrefixIndex::Entry>;
  Status adopt(const MetaUnit& unit, uint64_t bytes, Entries& entries);
  std::vector<Place> places(const Digest& digest);
  Result<Buffer> read(const Place& place, const Digest& digest);
  void drop(uint32_t number);
  // The windows and the end of a pack that is here whole.
  void drop_parts(const Digest& pack);
  // Its blocks go to `entries`, which belong into the index.
  void add(const MetaUnit& unit, uint64_t bytes, const std::vector<PackEntry>& blocks,
           Entries& entries);
  void add_to_index(Entries entries);
  void sweep();
  // Until what is here and what is being written fit.
  void evict();
  Status write(const MetaUnit& unit, Bytes bytes);
  void close_some_locked();
  std::set<uint32_t> numbers() const;

  Env& env_;
  const std::string dir_;
  const uint64_t files_bytes_max_;
  // An entry of the index for each, half as many for those of files that went; two and a half times
  // that while runs are merged.
  const uint64_t blocks_max_;
  const uint64_t memory_bytes_max_;

  mutable RankedMutex<Rank::kBlockCache> mutex_;
  Lru files_;  // the most recently used first
  std::map<uint32_t, Lru::iterator> by_number_;
  std::map<MetaUnit, uint32_t> by_unit_;
  uint32_t next_number_ = 1;
  uint64_t disk_bytes_ = 0;
  uint64_t incoming_bytes_ = 0;  // being written
  size_t open_files_ = 0;
  uint64_t blocks_ = 0;   // in files that are here
  uint64_t dropped_ = 0;  // blocks of files that are not, since the last sweep
  PrefixIndex index_;
  std::list<std::pair<Digest, Buffer>> remembered_;  // the most recent first
  std::unordered_map<Digest, std::list<std::pair<Digest, Buffer>>::iterator> by_digest_;
  uint64_t remembered_bytes_ = 0;
};

}  // namespace cairn
