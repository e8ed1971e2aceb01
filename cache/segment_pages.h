// SegmentPages: pages of index segments that are here, in an LRU of bounded bytes, and those that
// are on their way, each once however many wait for it.
//
// Shared by the look-ups of one SegmentIndex. Thread-safe; waiters are called without a lock.
#pragma once

#include <list>
#include <map>
#include <optional>
#include <utility>

#include "cache/base/bytes.h"
#include "cache/base/digest.h"
#include "cache/base/mutex.h"
#include "cache/waiters.h"

namespace cairn {

class SegmentPages {
 public:
  struct Id {
    Digest segment;
    uint64_t page = 0;
    auto operator<=>(const Id&) const = default;
  };

  explicit SegmentPages(uint64_t bytes_max) : bytes_max_(bytes_max) {}

  std::optional<Buffer> find(const Id& id);
  void insert(const Id& id, const Buffer& page);

  // Of those that are on their way.
  Waiters<Id, void> waiters;

 private:
  using Entries = std::list<std::pair<Id, Buffer>>;
  const uint64_t bytes_max_;
  RankedMutex<Rank::kBlockCache> mutex_;
  Entries entries_;  // the most recently used first
  std::map<Id, Entries::iterator> by_id_;
  uint64_t bytes_ = 0;
};

}  // namespace cairn
