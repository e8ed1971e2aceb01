// Progress: how far a transfer is, on a terminal and nowhere else.
//
// One line of stderr, written over and over, a few times a second, and taken away in the end.
// Thread-safe. Owner: the command.
#pragma once

#include <cstdint>
#include <string>

#include "cache/base/clock.h"
#include "cache/base/mutex.h"

namespace cairn {

class Progress {
 public:
  // `total` 0: nobody knows how much it will be.
  Progress(std::string what, uint64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void set_total(uint64_t total);
  void add(uint64_t bytes);
  // Not less than before.
  void reach(uint64_t bytes);

 private:
  void show();  // with mutex_ held

  const bool on_terminal_;
  const std::string what_;
  const MonotonicTime begun_;
  RankedMutex<Rank::kLeaf> mutex_;
  uint64_t total_;  // protected by mutex_, as are all below
  uint64_t bytes_ = 0;
  MonotonicTime shown_ = MonotonicTime::min();
};

// For a terminal: control characters would do something there.
std::string printable_name(const std::string& name);

}  // namespace cairn
