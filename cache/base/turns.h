// Turns: in a simulation, who decides which of its threads goes on.
//
// A thread that takes turns runs alone: wherever it would block (a mutex, a condition variable) it
// hands over, and a seed decides who is next. The primitives of mutex.h and the failpoints ask
// `this_thread_turns`, which is null for every thread of the product. Builds without CAIRN_CHECKED
// have none of this. Owner: the simulation; it outlives the threads it was set on.
#pragma once

#include <chrono>

namespace cairn {

class Turns {
 public:
  virtual ~Turns() = default;
  // Lets others go on until somebody signals `place`, or for that long by the simulation's clock.
  // False when the time was over first. May return early, as a condition variable may.
  virtual bool wait(const void* place, std::chrono::nanoseconds at_most) = 0;
  virtual void signal(const void* place, bool everyone) = 0;
  // The product reached a named point (failpoint.h).
  virtual void reached(const char* failpoint) = 0;
};

#ifdef CAIRN_CHECKED
inline thread_local Turns* this_thread_turns = nullptr;
#endif

}  // namespace cairn
