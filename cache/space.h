// Space: the ceiling of the cache directory. Segments and journal share what is left after the
// fixed shares of the meta store and of the metadata packs.
//
// The last 2 % are a reserve that only publishing, eviction and trimming may use, so that a full
// cache always drains. Thread-safe; numbers only, it removes nothing itself.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

namespace cairn {

class Space {
 public:
  static constexpr uint64_t kSmallestCache = 64ULL << 20;

  // `used` gives the bytes of journal and segments; `disk_left` what the disk has beyond its
  // reserve.
  Space(uint64_t cache_bytes_max, std::function<uint64_t()> used,
        std::function<uint64_t()> disk_left)
      : limit_(cache_bytes_max), used_(std::move(used)), disk_left_(std::move(disk_left)) {}

  static uint64_t meta_store_share(uint64_t limit) { return limit / 8; }
  static uint64_t metadata_pack_share(uint64_t limit) { return limit / 8; }
  static uint64_t segment_bytes(uint64_t limit) {
    return std::clamp<uint64_t>(limit / 64, 1ULL << 20, 16ULL << 20) & ~4095ULL;
  }

  uint64_t limit() const { return limit_; }
  uint64_t data_limit() const {
    return limit_ - meta_store_share(limit_) - metadata_pack_share(limit_);
  }
  // Bytes that must be freed before `bytes` more fit, leaving the reserve alone; 0: they fit.
  uint64_t shortage(uint64_t bytes) const {
    const uint64_t usable = data_limit() - data_limit() / 50;
    const uint64_t used = used_();
    const uint64_t over = used + bytes > usable ? used + bytes - usable : 0;
    const uint64_t disk = disk_left_();
    return std::max(over, bytes > disk ? bytes - disk : 0);
  }

 private:
  uint64_t limit_;
  std::function<uint64_t()> used_;
  std::function<uint64_t()> disk_left_;
};

}  // namespace cairn
