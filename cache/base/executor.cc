#include "cache/base/executor.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>

namespace cairn {

ThreadExecutor::ThreadExecutor(const std::string& name, unsigned threads) {
  for (unsigned i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { work(); });
    const std::string label = (name + "-" + std::to_string(i)).substr(0, 15);
    ::pthread_setname_np(threads_.back().native_handle(), label.c_str());
  }
}

ThreadExecutor::~ThreadExecutor() {
  stop();
}

void ThreadExecutor::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  std::deque<Task> ready;  // let go without the lock
  std::multimap<MonotonicTime, Task> timed;
  const std::lock_guard lock(mutex_);
  threads_.clear();
  stopped_ = true;
  ready.swap(ready_);
  timed.swap(timed_);
}

void ThreadExecutor::submit(Task task) {
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return;
    ready_.push_back(std::move(task));
  }
  wake_.notify_one();
}

void ThreadExecutor::submit_at(MonotonicTime at, Task task) {
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return;
    timed_.emplace(at, std::move(task));
  }
  wake_.notify_one();
}

void ThreadExecutor::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    while (!timed_.empty() && timed_.begin()->first <= system_clock().now()) {
      ready_.push_back(std::move(timed_.begin()->second));
      timed_.erase(timed_.begin());
    }
    if (!ready_.empty()) {
      Task task = std::move(ready_.front());
      ready_.pop_front();
      lock.unlock();
      task();
      task = nullptr;  // what it captured may be the last reference: let go without the lock
      lock.lock();
      continue;
    }
    if (stopping_) return;
    if (timed_.empty()) {
      wake_.wait(lock);
    } else {
      // A copy: while this thread waits, another one may run the timer and free its entry.
      const MonotonicTime next = timed_.begin()->first;
      wake_.wait_until(lock, next);
    }
  }
}

bool ManualExecutor::run_one() {
  while (!timed_.empty() && timed_.begin()->first <= clock_.now()) {
    ready_.push_back(std::move(timed_.begin()->second));
    timed_.erase(timed_.begin());
  }
  if (ready_.empty()) return false;
  Task task = std::move(ready_.front());
  ready_.pop_front();
  task();
  return true;
}

void parallel_for(Executor& executor, unsigned width, size_t count,
                  const std::function<void(size_t)>& fn) {
  struct Shared {
    std::atomic<size_t> next{0};
    std::atomic<size_t> done{0};
    RankedMutex<Rank::kLeaf> mutex;
    ConditionVariable finished;
  };
  auto shared = std::make_shared<Shared>();
  // `fn` outlives every call of it: the caller returns only when `done` has reached `count`.
  const auto drain = [shared, count, &fn] {
    for (size_t i = shared->next++; i < count; i = shared->next++) {
      fn(i);
      if (++shared->done == count) {
        const std::lock_guard lock(shared->mutex);
        shared->finished.notify_all();
      }
    }
  };
  const size_t helpers = std::min<size_t>(width > 0 ? width - 1 : 0, count > 0 ? count - 1 : 0);
  for (size_t i = 0; i < helpers; ++i) executor.submit(drain);
  drain();
  std::unique_lock lock(shared->mutex);
  shared->finished.wait(lock, [&] { return shared->done == count; });
}

}  // namespace cairn
