// PackWindows: what came with small blocks because it lay around them in their pack (read-around).
//
// Files that were written together lie together, and whoever reads one small file mostly reads its
// neighbours next; so a small block is asked for with a window around it, and the neighbours find
// theirs here instead of costing a request each. The window of the next miss in a pack is twice as
// long (files read in another order than they lie), fourfold after two finds. Who goes through a
// pack in order has the next window asked for before it is missed. None is larger than what pays:
// each time that windows have brought a quarter of the memory for them, less than a third of it
// wanted halves that size, and two thirds double it.
//
// Windows are raw bytes of packs: whoever takes a block out verifies it. Owner: PackStore, shared
// with the reads under way. Thread-safe; no lock is held across a callback. Memory: windows in one
// LRU of `bytes_max`; what is on its way is bounded by the GETs.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <unordered_map>
#include <vector>

#include "cache/base/bytes.h"
#include "cache/base/mutex.h"
#include "cache/object_store.h"
#include "cache/pack_store.h"

namespace cairn {

class PackWindows {
 public:
  // Ranges that are at least so long are asked for as they are.
  static constexpr uint64_t kSmallBytes = 64ULL << 10;
  static constexpr uint64_t kLeastBytes = 32ULL << 10;
  static constexpr uint64_t kFirstBytes = 128ULL << 10;
  static constexpr uint64_t kMostBytes = 4ULL << 20;
  static constexpr uint64_t kMostAtFirstBytes = 2ULL << 20;

  // Gets false when the window did not come: then the block is asked for alone.
  using Waiter = std::function<void(bool came)>;

  // With less than two least windows of memory there are none at all.
  explicit PackWindows(uint64_t bytes_max) : bytes_max_(bytes_max) {}

  enum class Look : uint8_t { kHere, kComing, kMiss };
  // kHere: the block's bytes are in `bytes`. kComing: they are on their way, `waiter` is called.
  Look look(const BlockPlace& place, Buffer& bytes, Waiter waiter);

  // After a find: the window behind that one, to be asked for before somebody misses it, once a
  // reader that goes on in the order of the pack has come to the second half; else none. `arrived`
  // must be called with what became of it.
  std::optional<ByteRange> ahead(const BlockPlace& found);

  // What to ask for instead of a small `range`: a window, or the range itself. `arrived` must be
  // called with what became of a window.
  ByteRange widen(const Digest& pack, ByteRange range);
  // `bytes` may be less than the range (the end of the pack); none when it failed.
  void arrived(const Digest& pack, ByteRange range, const std::optional<Buffer>& bytes);

  // Forgets what is here of a pack: something in it was wrong.
  void erase(const Digest& pack);

 private:
  struct Window {
    Digest pack;
    uint64_t start;
    Buffer bytes;
    uint64_t last = 0;         // place of the newest find
    unsigned rising = 0;       // finds in a row of which none lies before the one before it
    bool is_followed = false;  // the next one was asked for, or there is none
    ByteRange range() const { return {start, bytes.size()}; }
  };
  struct Coming {
    Digest pack;
    ByteRange range;
    std::vector<Waiter> waiters;
  };
  struct Habit {  // of the reads in one pack
    uint64_t window_bytes = kFirstBytes;
    uint64_t finds = 0;  // since the last window was asked for
  };
  // The window that has this byte, used last from now on; none when it is in none.
  std::list<Window>::iterator window_at(const Digest& pack, uint64_t offset);
  std::optional<Buffer> take(const BlockPlace& place);
  uint64_t next_window_bytes(const Digest& pack);
  void note_came(uint64_t bytes);

  const uint64_t bytes_max_;
  RankedMutex<Rank::kBlockCache> mutex_;
  std::list<Window> windows_;  // the last used first
  uint64_t bytes_ = 0;
  uint64_t paying_bytes_ = kMostAtFirstBytes;  // no larger window now
  // Since that was last judged.
  uint64_t came_bytes_ = 0;
  uint64_t wanted_bytes_ = 0;
  std::list<Coming> coming_;
  std::unordered_map<Digest, Habit> habits_;
};

}  // namespace cairn
