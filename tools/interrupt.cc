#include "tools/interrupt.h"

#include <unistd.h>

#include <ctime>

#include "tools/commands.h"
#include "tools/output.h"

namespace cairn {
namespace {
// A hang-up, too, but where it was ignored (nohup): a blocked signal is taken all the same.
sigset_t stop_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM}) ::sigaddset(&set, signal);
  struct sigaction hang_up{};
  if (::sigaction(SIGHUP, nullptr, &hang_up) == 0 && hang_up.sa_handler != SIG_IGN)
    ::sigaddset(&set, SIGHUP);
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
    if (token_.cancelled()) {
      remove_unfinished_outputs();
      ::_exit(kExitFailed);
    }
    token_.cancel();
  }
}

}  // namespace cairn
