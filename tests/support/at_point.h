// AtPoint, dies_at: something happens on this thread where the product reaches a named point
// (cache/base/failpoint.h); the process dies there, as far as a test can see.
//
// Only in builds with CAIRN_CHECKED. Owner: the test, on its stack.
#pragma once

#ifdef CAIRN_CHECKED
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "cache/base/turns.h"

namespace cairn::test {

class AtPoint final : public Turns {
 public:
  AtPoint(std::string name, std::function<void()> act)
      : name_(std::move(name)), act_(std::move(act)) {
    this_thread_turns = this;
  }
  ~AtPoint() override { this_thread_turns = nullptr; }
  AtPoint(const AtPoint&) = delete;
  AtPoint& operator=(const AtPoint&) = delete;
  bool wait(const void*, std::chrono::nanoseconds) override {
    std::this_thread::yield();
    return true;
  }
  void signal(const void*, bool) override {}
  void reached(const char* failpoint) override {
    if (name_ != failpoint) return;
    times_ += 1;
    act_();
  }
  unsigned times() const { return times_; }

 private:
  const std::string name_;
  const std::function<void()> act_;
  unsigned times_ = 0;
};

struct Died {};

// Does the work die at the point?
template <class Work>
bool dies_at(const std::string& name, const Work& work,
             const std::function<void()>& before = nullptr) {
  const AtPoint here(name, [&before] {
    if (before) before();
    throw Died();
  });
  try {
    work();
  } catch (const Died&) {
    return true;
  }
  return false;
}

}  // namespace cairn::test
#endif
