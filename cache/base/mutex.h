// RankedMutex: a mutex that knows its place. A thread may only take a mutex of a higher rank than
// any it holds; with CAIRN_CHECKED a violation aborts with both ranks. cache/LOCKS.md says what
// each rank protects.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <shared_mutex>

#include "cache/base/turns.h"

namespace cairn {

enum class Rank : uint16_t {
  kControl = 5,       // control socket: its clients
  kStillness = 7,     // BucketTree: the way to keep operations out
  kNamespace = 10,    // Volume: the tree's live state
  kFileState = 30,    // one open file
  kHandleTable = 50,  // open handles
  kCommit = 55,       // Engine: journal order = order of the live tables
  kEngineState = 57,  // Engine: counters, waiters, what is staged
  kEviction = 58,     // Engine: choosing what leaves the cache
  kNames = 59,        // BucketTree: names of a bucket's objects
  kMetaStore = 60,    // live tables: memtables over LMDB
  kJournal = 65,      // journal tail
  kSegments = 70,     // data segments and their live counts
  kChunkCache = 75,   // resident chunks, single flight
  kRemote = 78,       // tree remote: published root, pack list
  kBlockCache = 80,   // metadata packs and decoded nodes
  kStore = 90,        // object stores and their decorators
  kPool = 95,         // executor and curl queues
  kLeaf = 100,        // metrics, log
  kMemory = 110,      // memory of buffers, which end under any lock
};

namespace rank_check {
void acquire(uint16_t rank);  // aborts when the thread holds an equal or higher rank
void release(uint16_t rank);
// What this thread holds, for a simulation that runs several threads on one.
struct Held {
  std::array<uint16_t, 16> ranks{};
  size_t count = 0;
};
Held exchange(const Held& next);
}  // namespace rank_check

// A mutex that a simulation can let its threads take turns at.
#ifdef CAIRN_CHECKED
template <class Base>
class TurnMutex : public Base {
 public:
  void lock() {
    if (this_thread_turns == nullptr) return Base::lock();
    while (!Base::try_lock()) this_thread_turns->wait(this, std::chrono::nanoseconds::max());
  }
  void unlock() {
    Base::unlock();
    signal();
  }

 protected:
  void signal() {
    if (this_thread_turns != nullptr) this_thread_turns->signal(this, true);
  }
};

class TurnSharedMutex : public TurnMutex<std::shared_mutex> {
 public:
  void lock_shared() {
    if (this_thread_turns == nullptr) return std::shared_mutex::lock_shared();
    while (!try_lock_shared()) this_thread_turns->wait(this, std::chrono::nanoseconds::max());
  }
  void unlock_shared() {
    std::shared_mutex::unlock_shared();
    signal();
  }
};
#else
template <class Base>
using TurnMutex = Base;
using TurnSharedMutex = std::shared_mutex;
#endif

// Without a rank: held across disk and network by design, so taken while no ranked mutex is held.
using LongMutex = TurnMutex<std::mutex>;

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
    note_release();
    Base::unlock();
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
using RankedMutex = BasicRankedMutex<R, TurnMutex<std::mutex>>;

template <Rank R>
class RankedSharedMutex : public BasicRankedMutex<R, TurnSharedMutex> {
  using Ranked = BasicRankedMutex<R, TurnSharedMutex>;

 public:
  void lock_shared() {
    Ranked::note_acquire();
    TurnSharedMutex::lock_shared();
  }
  void unlock_shared() {
    Ranked::note_release();
    TurnSharedMutex::unlock_shared();
  }
};

// Works with every mutex above: std::condition_variable only takes std::mutex.
#ifdef CAIRN_CHECKED
class ConditionVariable {
 public:
  void notify_one() noexcept { signal(false); }
  void notify_all() noexcept { signal(true); }
  template <class Lock>
  void wait(Lock& lock) {
    if (this_thread_turns == nullptr) return real_.wait(lock);
    turn(lock, std::chrono::nanoseconds::max());
  }
  template <class Lock, class Predicate>
  void wait(Lock& lock, Predicate done) {
    while (!done()) wait(lock);
  }
  template <class Lock>
  std::cv_status wait_for(Lock& lock, std::chrono::nanoseconds at_most) {
    if (this_thread_turns == nullptr) return real_.wait_for(lock, at_most);
    return turn(lock, at_most) ? std::cv_status::no_timeout : std::cv_status::timeout;
  }
  // Only for threads that take no turns: their clock is another.
  template <class Lock, class Time>
  std::cv_status wait_until(Lock& lock, const Time& until) {
    return real_.wait_until(lock, until);
  }

 private:
  void signal(bool everyone) noexcept {
    if (this_thread_turns != nullptr) this_thread_turns->signal(this, everyone);
    everyone ? real_.notify_all() : real_.notify_one();
  }
  template <class Lock>
  bool turn(Lock& lock, std::chrono::nanoseconds at_most) {
    lock.unlock();
    const bool signalled = this_thread_turns->wait(this, at_most);
    lock.lock();
    return signalled;
  }

  std::condition_variable_any real_;
};
#else
using ConditionVariable = std::condition_variable_any;
#endif

}  // namespace cairn
