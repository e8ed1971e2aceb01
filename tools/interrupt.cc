#include "tools/interrupt.h"

#include <unistd.h>

#include <ctime>

#include "tools/commands.h"

namespace cairn {
namespace {
sigset_t stop_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM}) ::sigaddset(&set, signal);
  return set;
}
}  // namespace

Interrupt::Interrupt() {
  const sigset_t set = stop_signals();
  ::pthread_sigmask(SIG_BLOCK, &set, &before_);
  thread_ = std::make_unique<ThreadExecutor>("signals", 1);
  thread_->submit([this] { watch(); });
}

Interrupt::~Interrupt() {
  over_ = true;
  thread_.reset();
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void Interrupt::watch() {
  const sigset_t set = stop_signals();
  while (!over_) {
    const timespec patience{0, 100'000'000};
    if (::sigtimedwait(&set, nullptr, &patience) <= 0) continue;
    if (token_.cancelled()) ::_exit(kExitFailed);
    token_.cancel();
  }
}

}  // namespace cairn
