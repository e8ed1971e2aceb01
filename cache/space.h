// Space: the ceiling of the cache directory. Segments and journal share what is left after the
// fixed shares of the meta store, of the metadata packs, and of what is small (log, identity).
//
// Every allocation of disk is taken here first and given back when it is gone, so the sum is never
// above the ceiling, however many threads allocate. The last 2 % are a reserve that only publishing
// and eviction may use, so that a full cache always drains. Thread-safe; numbers only, it removes
// nothing itself.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>

namespace cairn {

class Space {
 public:
  static constexpr uint64_t kSmallestCache = 64ULL << 20;
  static constexpr uint64_t kSmallFiles = 2ULL << 20;  // log, lock, identity, directories
  static constexpr uint64_t kLogBytes = kSmallFiles * 3 / 4;
  enum class Use : uint8_t { kOrdinary, kPublish };

  // `disk_left` says what the disk has beyond its reserve.
  Space(uint64_t cache_bytes_max, std::function<uint64_t()> disk_left)
      : limit_(cache_bytes_max), disk_left_(std::move(disk_left)) {}

  static uint64_t meta_store_share(uint64_t limit) { return limit / 8; }
  static uint64_t metadata_pack_share(uint64_t limit) { return limit / 8; }
  static uint64_t segment_bytes(uint64_t limit) {
    return std::clamp<uint64_t>(limit / 64, 1ULL << 20, 16ULL << 20) & ~4095ULL;
  }

  uint64_t limit() const { return limit_; }
  uint64_t used() const { return used_; }
  uint64_t data_limit() const {
    return limit_ - meta_store_share(limit_) - metadata_pack_share(limit_) - kSmallFiles;
  }

  // Takes `bytes` for an allocation that is about to be made; false when they do not fit.
  bool take(uint64_t bytes, Use use = Use::kOrdinary) {
    const uint64_t usable = use == Use::kPublish ? data_limit() : ordinary_limit();
    uint64_t used = used_;
    do {
      if (used + bytes > usable) return false;
    } while (!used_.compare_exchange_weak(used, used + bytes));
    return true;
  }
  // What an earlier life left is there, whatever the ceiling is now.
  void take_existing(uint64_t bytes) { used_ += bytes; }
  void give(uint64_t bytes) { used_ -= bytes; }

  // Bytes that must be freed before `bytes` more fit, leaving the reserve alone; 0: they fit.
  uint64_t shortage(uint64_t bytes) const {
    const uint64_t usable = ordinary_limit();
    const uint64_t used = used_;
    const uint64_t over = used + bytes > usable ? used + bytes - usable : 0;
    const uint64_t disk = disk_left_();
    return std::max(over, bytes > disk ? bytes - disk : 0);
  }
  // The disk, not the ceiling, is what does not leave room for `bytes`.
  bool disk_is_short(uint64_t bytes) const { return disk_left_() < bytes; }

 private:
  uint64_t ordinary_limit() const {
    return data_limit() - std::max<uint64_t>(data_limit() / 50, 1ULL << 20);
  }

  const uint64_t limit_;
  const std::function<uint64_t()> disk_left_;
  std::atomic<uint64_t> used_{0};
};

}  // namespace cairn
