// FileCache: the open files of a directory of numbered files, at most `kOpenMax` of them unused.
//
// Not thread-safe: its owner's lock protects it. A file that somebody still holds may leave the
// cache; it is closed when the last holder lets go.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <utility>

#include "cache/base/env.h"

namespace cairn {

class FileCache {
 public:
  std::shared_ptr<File> find(uint64_t number) {
    const auto it = files_.find(number);
    if (it == files_.end()) return nullptr;
    order_.splice(order_.begin(), order_, it->second.second);
    return it->second.first;
  }
  // Keeps the one that is there already, if any; returns the one kept.
  std::shared_ptr<File> put(uint64_t number, std::shared_ptr<File> file) {
    if (auto present = find(number)) return present;
    if (files_.size() == kOpenMax) erase(order_.back());
    order_.push_front(number);
    files_[number] = {file, order_.begin()};
    return file;
  }
  void erase(uint64_t number) {
    const auto it = files_.find(number);
    if (it == files_.end()) return;
    order_.erase(it->second.second);
    files_.erase(it);
  }

 private:
  static constexpr size_t kOpenMax = 128;
  std::list<uint64_t> order_;  // the one used last is first
  std::map<uint64_t, std::pair<std::shared_ptr<File>, std::list<uint64_t>::iterator>> files_;
};

}  // namespace cairn
