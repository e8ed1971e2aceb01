#include "tests/sim/scheduler.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "cache/base/mutex.h"
#include "tests/support/sanitizer.h"

#ifdef CAIRN_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

namespace cairn::sim {

namespace {
constexpr size_t kStackBytes = 1 << 20;  // committed as it is touched
constexpr uint64_t kStepsMax = 2'000'000;
constexpr int64_t kStepNs = 1'000;

struct Stack {
  Stack() {
    bytes = ::mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bytes == MAP_FAILED) std::abort();
    ::mprotect(bytes, 4096, PROT_NONE);  // an overflow is a fault, not a riddle
  }
  ~Stack() { ::munmap(bytes, kStackBytes); }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  void* bytes = nullptr;
};
}  // namespace

struct Scheduler::Context {
  ucontext_t machine{};
  void* asan_stack = nullptr;
  const void* stack_bottom = nullptr;
  size_t stack_size = 0;
};

struct Scheduler::Fiber {
  uint64_t id = 0;
  std::string name;
  Process* owner = nullptr;
  std::function<void()> body;
  Stack stack;
  Context context;
  rank_check::Held held;
  const void* place = nullptr;  // what it waits for
  MonotonicTime until = MonotonicTime::max();
  bool waiting = false;
  bool signalled = false;
  bool done = false;
};

namespace {
#ifdef CAIRN_ASAN
void start_switch(void** save, const void* bottom, size_t size) {
  __sanitizer_start_switch_fiber(save, bottom, size);
}
void finish_switch(void* saved, const void** bottom, size_t* size) {
  __sanitizer_finish_switch_fiber(saved, bottom, size);
}
#else
void start_switch(void**, const void*, size_t) {}
void finish_switch(void*, const void**, size_t*) {}
#endif
}  // namespace

Scheduler::Scheduler(uint64_t seed)
    : rng_(make_seeded_rng(seed)), main_(std::make_unique<Context>()) {}

Scheduler::~Scheduler() = default;

void Scheduler::enter_fiber(unsigned high, unsigned low) {
  auto* self = reinterpret_cast<Scheduler*>(uint64_t{high} << 32 | low);
  finish_switch(nullptr, &self->main_->stack_bottom, &self->main_->stack_size);
  Fiber& fiber = *self->current_;
  fiber.body();
  fiber.body = nullptr;
  fiber.done = true;
  start_switch(nullptr, self->main_->stack_bottom, self->main_->stack_size);
  ::swapcontext(&fiber.context.machine, &self->main_->machine);
}

void Scheduler::spawn(std::string name, Process* owner, std::function<void()> body) {
  std::unique_ptr<Fiber> fiber;
  if (spare_.empty()) {
    fiber = std::make_unique<Fiber>();
  } else {
    fiber = std::move(spare_.back());
    spare_.pop_back();
  }
  fiber->id = next_fiber_++;
  fiber->name = std::move(name);
  fiber->owner = owner;
  fiber->body = std::move(body);
  fiber->held = {};
  fiber->done = false;
  ::getcontext(&fiber->context.machine);
  fiber->context.machine.uc_stack.ss_sp = fiber->stack.bytes;
  fiber->context.machine.uc_stack.ss_size = kStackBytes;
  fiber->context.machine.uc_link = nullptr;
  const auto address = reinterpret_cast<uint64_t>(this);
  ::makecontext(&fiber->context.machine, reinterpret_cast<void (*)()>(&Scheduler::enter_fiber), 2,
                static_cast<unsigned>(address >> 32), static_cast<unsigned>(address));
  make_ready(*fiber);
  fibers_.push_back(std::move(fiber));
}

void Scheduler::make_ready(Fiber& fiber) {
  fiber.waiting = false;
  ready_.push_back(&fiber);
}

bool Scheduler::run(std::function<void()> body) {
  this_thread_turns = this;
  spawn("life", nullptr, [this, body = std::move(body)] {
    body();
    main_done_ = true;
  });
  loop();
  this_thread_turns = nullptr;
  return failure_.empty();
}

void Scheduler::loop() {
  while (failure_.empty() && !main_done_) {
    if (++steps_ > kStepsMax) failure_ = "the life does not end: something goes round in circles";
    if (ready_.empty()) {
      pass_time();
      continue;
    }
    const size_t chosen = ready_.size() == 1 ? 0 : rng_->below(ready_.size());
    Fiber& next = *ready_[chosen];
    ready_.erase(ready_.begin() + static_cast<ptrdiff_t>(chosen));
    mix(next.id);
    advance(kStepNs);
    current_ = &next;
    const rank_check::Held held = rank_check::exchange(next.held);
    start_switch(&main_->asan_stack, next.stack.bytes, kStackBytes);
    ::swapcontext(&main_->machine, &next.context.machine);
    finish_switch(main_->asan_stack, nullptr, nullptr);
    next.held = rank_check::exchange(held);
    current_ = nullptr;
    if (!next.done) continue;
    const auto it = std::find_if(fibers_.begin(), fibers_.end(),
                                 [&next](const auto& fiber) { return fiber.get() == &next; });
    spare_.push_back(std::move(*it));
    fibers_.erase(it);
  }
}

// Nobody can go on: time passes until somebody can.
void Scheduler::pass_time() {
  MonotonicTime next = timers_.empty() ? MonotonicTime::max() : timers_.begin()->first;
  for (const auto& fiber : fibers_)
    if (fiber->waiting) next = std::min(next, fiber->until);
  if (next == MonotonicTime::max()) {
    failure_ = "everything waits and nothing will wake it:";
    for (const auto& fiber : fibers_) failure_ += " " + fiber->name;
    return;
  }
  if (next > now()) advance((next - now()).count());
  while (!timers_.empty() && timers_.begin()->first <= now()) {
    auto task = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    task();
  }
  for (const auto& fiber : fibers_)
    if (fiber->waiting && fiber->until <= now()) make_ready(*fiber);
}

void Scheduler::leave() {
  Fiber& fiber = *current_;
  start_switch(&fiber.context.asan_stack, main_->stack_bottom, main_->stack_size);
  ::swapcontext(&fiber.context.machine, &main_->machine);
  finish_switch(fiber.context.asan_stack, &main_->stack_bottom, &main_->stack_size);
}

void Scheduler::give_up(std::string why) {
  failure_ = std::move(why);
  if (failure_.empty()) failure_ = "?";
  leave();
  std::abort();  // nobody goes on after that
}

bool Scheduler::wait(const void* place, std::chrono::nanoseconds at_most) {
  Fiber& fiber = *current_;
  fiber.place = place;
  fiber.until = at_most == std::chrono::nanoseconds::max() ? MonotonicTime::max() : now() + at_most;
  fiber.waiting = true;
  fiber.signalled = false;
  leave();
  fiber.place = nullptr;
  return fiber.signalled;
}

void Scheduler::signal(const void* place, bool everyone) {
  std::vector<Fiber*> woken;
  for (const auto& fiber : fibers_)
    if (fiber->waiting && fiber->place == place) woken.push_back(fiber.get());
  if (woken.empty()) return;
  if (!everyone && woken.size() > 1) woken = {woken[rng_->below(woken.size())]};
  for (Fiber* fiber : woken) {
    fiber->signalled = true;
    make_ready(*fiber);
  }
}

void Scheduler::sleep(Duration time) {
  static const char nowhere = 0;
  wait(&nowhere, time);
}

void Scheduler::point(const char* name) {
  if (current_ == nullptr) return;
  if (const char* dot = name; *dot != '\0') ++failpoints_[name];
  if (current_->owner != nullptr) current_->owner->at_point(name);
  if (switch_one_in_ == 0 || rng_->below(switch_one_in_) != 0) return;
  make_ready(*current_);
  leave();
}

Process* Scheduler::process() const {
  return current_ != nullptr ? current_->owner : nullptr;
}

Process* Scheduler::enter(Process* process) {
  return std::exchange(current_->owner, process);
}

void Scheduler::after(Duration time, std::function<void()> task) {
  timers_.emplace(now() + time, std::move(task));
}

void Scheduler::mix(uint64_t value) {
  trace_ = (trace_ ^ value) * 0x100000001b3;
  trace_ ^= trace_ >> 29;
}

void Scheduler::note(std::string_view what) {
  for (const char c : what) mix(static_cast<unsigned char>(c));
  mix(static_cast<uint64_t>(clock_.ns));
  if (!verbose_) return;
  std::fputs(fmt::format("{:12.6f} {}\n", static_cast<double>(clock_.ns) / 1e9, what).c_str(),
             stdout);
}

// ---- executors

SimExecutor::SimExecutor(Scheduler& scheduler, std::string name, unsigned threads, Process* owner)
    : state_(std::make_shared<State>(State{scheduler, std::move(name), threads, owner, {}})) {}

SimExecutor::~SimExecutor() {
  while (state_->busy > 0) state_->scheduler.wait(state_.get(), std::chrono::nanoseconds::max());
  state_->gone = true;
}

void SimExecutor::submit(Task task) {
  add(state_, std::move(task));
}

void SimExecutor::submit_at(MonotonicTime at, Task task) {
  const Duration left = std::max(at - state_->scheduler.now(), Duration(0));
  state_->scheduler.after(left, [state = state_, task = std::move(task)]() mutable {
    if (!state->gone) add(state, std::move(task));
  });
}

void SimExecutor::add(const std::shared_ptr<State>& state, Task task) {
  state->tasks.push_back(std::move(task));
  if (state->busy == state->threads) return;
  ++state->busy;
  state->scheduler.spawn(state->name, state->owner, [state] { work(state); });
}

void SimExecutor::work(const std::shared_ptr<State>& state) {
  Scheduler& scheduler = state->scheduler;
  while (!state->tasks.empty()) {
    // Several threads take tasks in order, but it is open which of them comes to run first.
    const size_t reach = std::min<size_t>(state->tasks.size(), state->threads);
    const auto at = state->tasks.begin() + static_cast<ptrdiff_t>(scheduler.rng().below(reach));
    Task task = std::move(*at);
    state->tasks.erase(at);
    task();
    task = nullptr;  // what it captured may be the last reference
    scheduler.point("");
  }
  --state->busy;
  scheduler.signal(state.get(), true);
}

}  // namespace cairn::sim
