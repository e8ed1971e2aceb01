// ProtectedSegments: data segments that must not be evicted, because files that are kept back lie
// in them, and when that ends.
//
// A row of such a file names its segment. When the file is let go of, its rows go a little later,
// and what the last checkpoint names is needed until there is another one. So a segment is
// protected, then released (its rows are about to go), then orphaned from its rows, and free when a
// checkpoint that began after that is written. Counted: several files lie in one segment.
// Not thread-safe: the owner's lock protects it.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace cairn {

class ProtectedSegments {
 public:
  template <class Segments>
  void add(const Segments& segments) {
    for (const uint64_t segment : segments) ++counts_[segment];
  }
  bool contains(uint64_t segment) const { return counts_.contains(segment); }

  template <class Segments>
  void release(const Segments& segments) {
    released_.insert(released_.end(), segments.begin(), segments.end());
  }
  // No row names what was released any more.
  void rows_are_gone() { add_to(rowless_, std::exchange(released_, {})); }

  // Around a checkpoint: what it names no more is taken before it begins, and forgotten when it is
  // written, or given back when it is not.
  std::vector<uint64_t> take() { return std::exchange(rowless_, {}); }
  void forget(const std::vector<uint64_t>& taken) {
    for (const uint64_t segment : taken) {
      const auto it = counts_.find(segment);
      if (it != counts_.end() && --it->second == 0) counts_.erase(it);
    }
  }
  void give_back(std::vector<uint64_t> taken) { add_to(rowless_, std::move(taken)); }

 private:
  static void add_to(std::vector<uint64_t>& list, std::vector<uint64_t> more) {
    list.insert(list.end(), more.begin(), more.end());
  }

  std::map<uint64_t, uint64_t> counts_;  // by segment: how many files, or moves, need it
  std::vector<uint64_t> released_;
  std::vector<uint64_t> rowless_;
};

}  // namespace cairn
