// Scheduler: the threads, the time and the chance of one simulated life.
//
// Its threads are fibers on one thread of the machine: exactly one runs, until it waits or a point
// is reached where the seed lets another go on. Time passes only when all wait (and a little with
// every switch), so hours are simulated in milliseconds and one seed is one history. When all wait
// and no timer is left, the life has failed: that is a hang. Every decision goes into `trace`.
// `give_up` ends the life where it stands: nothing is unwound.
// Owner: the life. Not thread-safe; several may run at once, one a thread of the machine.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cache/base/clock.h"
#include "cache/base/executor.h"
#include "cache/base/random.h"
#include "cache/base/turns.h"

namespace cairn::sim {

// The process that a fiber belongs to; its death is decided at the points its fibers reach.
class Process {
 public:
  virtual ~Process() = default;
  virtual void at_point(const char* name) = 0;
};

class Scheduler final : public Turns {
 public:
  explicit Scheduler(uint64_t seed);
  ~Scheduler() override;
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Runs `body` as the first fiber until it returns; false when the life was given up.
  bool run(std::function<void()> body);
  const std::string& failure() const { return failure_; }
  [[noreturn]] void give_up(std::string why);

  Clock& clock() { return clock_; }
  // One stream for each concern, so that a change in one leaves the others as they were.
  Rng& rng() { return *rng_; }
  MonotonicTime now() { return clock_.now(); }

  // ---- fibers
  void spawn(std::string name, Process* owner, std::function<void()> body);
  void sleep(Duration time);
  // A point at which the fiber's process may die and another fiber may go on.
  void point(const char* name);
  // One in how many points lets another fiber go on; 0: none.
  unsigned set_switch_rate(unsigned one_in) { return std::exchange(switch_one_in_, one_in); }
  Process* process() const;
  // The current fiber works for `process` from now on; returns for whom it did.
  Process* enter(Process* process);
  void after(Duration time, std::function<void()> task);  // on no fiber: it must not wait

  // ---- Turns
  bool wait(const void* place, std::chrono::nanoseconds at_most) override;
  void signal(const void* place, bool everyone) override;
  void reached(const char* failpoint) override { point(failpoint); }

  // ---- the record of the life
  void note(std::string_view what);  // into the trace, and to `verbose`
  void mix(uint64_t value);
  uint64_t trace() const { return trace_; }
  uint64_t steps() const { return steps_; }
  void set_verbose(bool on) { verbose_ = on; }
  bool verbose() const { return verbose_; }
  const std::map<std::string, uint64_t>& failpoints() const { return failpoints_; }

 private:
  struct Fiber;
  class SimClock final : public Clock {
   public:
    MonotonicTime now() override { return MonotonicTime(Duration(ns)); }
    int64_t wall_ns() override { return 1'700'000'000'000'000'000 + ns; }
    int64_t ns = 1'000'000'000;
  };
  static void enter_fiber(unsigned high, unsigned low);
  void loop();
  void pass_time();
  void leave();  // the current fiber gives the turn away
  void make_ready(Fiber& fiber);
  void advance(int64_t ns) { clock_.ns += ns; }

  SimClock clock_;
  std::unique_ptr<Rng> rng_;
  std::vector<std::unique_ptr<Fiber>> fibers_;  // all that live
  std::vector<std::unique_ptr<Fiber>> spare_;   // stacks to use again
  std::vector<Fiber*> ready_;
  std::multimap<MonotonicTime, std::function<void()>> timers_;
  Fiber* current_ = nullptr;
  struct Context;
  std::unique_ptr<Context> main_;
  uint64_t next_fiber_ = 1;
  uint64_t trace_ = 0xcbf29ce484222325;
  uint64_t steps_ = 0;
  unsigned switch_one_in_ = 8;
  bool main_done_ = false;
  bool verbose_ = false;
  std::string failure_;
  std::map<std::string, uint64_t> failpoints_;
};

// An executor whose threads are fibers. Tasks that are ready are started in an order that the seed
// chooses. Destroyed, it finishes what is due and drops the rest, as ThreadExecutor does.
class SimExecutor final : public Executor {
 public:
  SimExecutor(Scheduler& scheduler, std::string name, unsigned threads, Process* owner);
  ~SimExecutor() override;
  SimExecutor(const SimExecutor&) = delete;
  SimExecutor& operator=(const SimExecutor&) = delete;
  void submit(Task task) override;
  void submit_at(MonotonicTime at, Task task) override;

 private:
  struct State {
    Scheduler& scheduler;
    const std::string name;
    const unsigned threads;
    Process* const owner;
    std::deque<Task> tasks;
    unsigned busy = 0;
    bool gone = false;
  };
  static void add(const std::shared_ptr<State>& state, Task task);
  static void work(const std::shared_ptr<State>& state);
  std::shared_ptr<State> state_;
};

}  // namespace cairn::sim
