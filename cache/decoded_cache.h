// DecodedCache: decoded blocks (tree nodes, links of files), bounded in bytes, least recently used
// goes first. A T says with memory() what it takes.
//
// Thread-safe; shared by all operations of a mount. What it gives is immutable and stays valid when
// it is evicted.
#pragma once

#include <list>
#include <memory>
#include <unordered_map>

#include "cache/base/digest.h"
#include "cache/base/mutex.h"

namespace cairn {

template <class T>
class DecodedCache {
 public:
  using Pointer = std::shared_ptr<const T>;

  explicit DecodedCache(uint64_t bytes_max) : bytes_max_(bytes_max) {}

  // Null when it is not here.
  Pointer find(const Digest& digest) {
    const std::lock_guard lock(mutex_);
    const auto it = by_digest_.find(digest);
    if (it == by_digest_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, it->second);
    return it->second->decoded;
  }

  void insert(const Digest& digest, Pointer decoded) {
    constexpr uint64_t kOverheadBytes = 160;  // list node, map node, shared_ptr's counts
    const uint64_t bytes = decoded->memory() + kOverheadBytes;
    std::list<Entry> evicted;  // destroyed without the lock
    const std::lock_guard lock(mutex_);
    if (bytes > bytes_max_ || by_digest_.contains(digest)) return;
    entries_.push_front({digest, std::move(decoded), bytes});
    by_digest_.emplace(digest, entries_.begin());
    bytes_ += bytes;
    while (bytes_ > bytes_max_) {
      const auto last = std::prev(entries_.end());
      bytes_ -= last->bytes;
      by_digest_.erase(last->digest);
      evicted.splice(evicted.begin(), entries_, last);
    }
  }

  uint64_t bytes() const {
    const std::lock_guard lock(mutex_);
    return bytes_;
  }

 private:
  struct Entry {
    Digest digest;
    Pointer decoded;
    uint64_t bytes;
  };
  const uint64_t bytes_max_;
  mutable RankedMutex<Rank::kBlockCache> mutex_;
  std::list<Entry> entries_;  // the most recent first
  std::unordered_map<Digest, typename std::list<Entry>::iterator> by_digest_;
  uint64_t bytes_ = 0;
};

}  // namespace cairn
