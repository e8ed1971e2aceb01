// BytePool: memory of large answers, used again for the next ones. Memory from the system costs a
// page fault and clearing for every 4 KiB, which is as much as a third of hashing what comes.
//
// Shared by an HTTP client and the buffers it gave out, which may outlive it. Thread-safe. Keeps at
// most `bytes_max` that nobody uses, and nothing that was not taken again from one `trim` to the
// next but one.
#pragma once

#include <memory>
#include <vector>

#include "cache/base/bytes.h"
#include "cache/base/mutex.h"

namespace cairn {

class BytePool : public std::enable_shared_from_this<BytePool> {
 public:
  // Smaller ones are the allocator's.
  static constexpr size_t kBytesMin = 512 << 10;

  explicit BytePool(uint64_t bytes_max) : bytes_max_(bytes_max) {}

  // Empty, with room for `bytes`.
  ByteVec take(size_t bytes);
  // What it holds comes back here with the last copy of the buffer.
  Buffer share(ByteVec bytes);
  // Lets go of what came back before the last call. Call it again within a second or two, unless it
  // `rests`: then it keeps nothing, and nothing that comes back, until somebody takes again.
  // `busy`: somebody is about to.
  void trim(bool busy);
  bool rests() const;
  uint64_t kept_bytes() const;

 private:
  struct Kept {
    ByteVec bytes;
    uint64_t age;  // trims before it
  };
  void give_back(ByteVec bytes);

  const uint64_t bytes_max_;
  mutable RankedMutex<Rank::kMemory> mutex_;
  std::vector<Kept> kept_;  // the oldest first
  uint64_t kept_bytes_ = 0;
  uint64_t trims_ = 0;
  bool rests_ = true;
};

}  // namespace cairn
