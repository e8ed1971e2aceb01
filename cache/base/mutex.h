// RankedMutex: a mutex that knows its place. A thread may only take a mutex of a higher rank than
// any it holds; with CAIRN_CHECKED a violation aborts with both ranks. cache/LOCKS.md says what
// each rank protects.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <shared_mutex>

namespace cairn {

enum class Rank : uint16_t {
  kControl = 5,        // control socket: its clients
  kNamespace = 10,     // Volume: the tree's live state
  kFileState = 30,     // one open file
  kHandleTable = 50,   // open handles
  kCommit = 55,        // Engine: journal order = order of the live tables
  kEngineState = 57,   // Engine: counters, waiters, what is staged
  kEviction = 58,      // Engine: choosing what leaves the cache
  kMetaStore = 60,     // live tables: memtables over LMDB
  kJournal = 65,       // journal tail
  kSegments = 70,      // data segments and their live counts
  kChunkCache = 75,    // resident chunks, single flight
  kRemote = 78,        // tree remote: published root, pack list
  kBlockCache = 80,    // metadata packs and decoded nodes
  kStore = 90,         // object stores and their decorators
  kPool = 95,          // executor and curl queues
  kLeaf = 100,         // metrics, log
};

namespace rank_check {
void acquire(uint16_t rank);  // aborts when the thread holds an equal or higher rank
void release(uint16_t rank);
}  // namespace rank_check

template <Rank R, class Base>
class BasicRankedMutex : public Base {
 public:
  void lock() {
    note_acquire();
    Base::lock();
  }
  bool try_lock() {
    if (!Base::try_lock()) return false;
    note_acquire();
    return true;
  }
  void unlock() {
    Base::unlock();
    note_release();
  }

 protected:
#ifdef CAIRN_CHECKED
  static void note_acquire() { rank_check::acquire(static_cast<uint16_t>(R)); }
  static void note_release() { rank_check::release(static_cast<uint16_t>(R)); }
#else
  static void note_acquire() {}
  static void note_release() {}
#endif
};

template <Rank R>
using RankedMutex = BasicRankedMutex<R, std::mutex>;

template <Rank R>
class RankedSharedMutex : public BasicRankedMutex<R, std::shared_mutex> {
  using Ranked = BasicRankedMutex<R, std::shared_mutex>;

 public:
  void lock_shared() {
    Ranked::note_acquire();
    std::shared_mutex::lock_shared();
  }
  void unlock_shared() {
    std::shared_mutex::unlock_shared();
    Ranked::note_release();
  }
};

// Works with every ranked mutex: std::condition_variable only takes std::mutex.
using ConditionVariable = std::condition_variable_any;

}  // namespace cairn
