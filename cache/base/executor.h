// Executor: where work that is nobody's caller runs (completions, hashing, background steps).
//
// Tasks of one executor may run in any order and at the same time. A task must not wait for
// another task of the same executor. `submit` never blocks and never runs the task on the
// submitting stack. `submit_at` runs a task once at a time of the injected clock.
// ThreadExecutor runs on its own threads and, when destroyed, finishes every task that is due and
// drops the ones that are not. ManualExecutor runs tasks only when told to (tests, simulation).
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cache/base/clock.h"
#include "cache/base/mutex.h"

namespace cairn {

using Task = std::function<void()>;

class Executor {
 public:
  virtual ~Executor() = default;
  virtual void submit(Task task) = 0;
  virtual void submit_at(MonotonicTime at, Task task) = 0;
};

class ThreadExecutor final : public Executor {
 public:
  // `name` shows in ps and debuggers (at most 12 characters).
  ThreadExecutor(const std::string& name, unsigned threads);
  ~ThreadExecutor() override;
  // Runs what is due, joins the threads, and drops what is left and what comes later. Idempotent;
  // not from a task. For an owner whose objects may still be used by tasks: it stops the threads,
  // lets the objects go, and only then the executor.
  void stop();
  void submit(Task task) override;
  void submit_at(MonotonicTime at, Task task) override;

 private:
  void work();

  RankedMutex<Rank::kPool> mutex_;
  ConditionVariable wake_;
  std::deque<Task> ready_;
  std::multimap<MonotonicTime, Task> timed_;
  bool stopping_ = false;  // the threads end when nothing is due
  bool stopped_ = false;   // they have
  std::vector<std::thread> threads_;
};

class ManualExecutor final : public Executor {
 public:
  explicit ManualExecutor(Clock& clock) : clock_(clock) {}
  void submit(Task task) override { ready_.push_back(std::move(task)); }
  void submit_at(MonotonicTime at, Task task) override { timed_.emplace(at, std::move(task)); }
  // Runs one due task; false when there is none.
  bool run_one();
  void run_all() {
    while (run_one()) {
    }
  }
  // When the next timed task is due; MonotonicTime::max() when there is none.
  MonotonicTime next_due() const {
    return timed_.empty() ? MonotonicTime::max() : timed_.begin()->first;
  }

 private:
  Clock& clock_;
  std::deque<Task> ready_;
  std::multimap<MonotonicTime, Task> timed_;
};

// Runs fn(0) ... fn(count - 1) on the executor and the calling thread together, and returns when
// all have finished. The caller must not be a task of `executor`.
void parallel_for(Executor& executor, unsigned width, size_t count,
                  const std::function<void(size_t)>& fn);

}  // namespace cairn
