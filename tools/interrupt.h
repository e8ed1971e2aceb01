// Interrupt: Ctrl-C, SIGTERM and a hang-up end the work of a subcommand that writes, not the
// process: so it can still close the volume, or remove what is half a file. Told twice, the process
// ends at once, though no half file is left.
//
// Made before any other thread is: these must not take the signals. Owner: the subcommand.
#pragma once

#include <csignal>

#include <atomic>
#include <memory>

#include "cache/base/clock.h"
#include "cache/base/executor.h"

namespace cairn {

class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // Cancelled by the first signal.
  CancelToken token() const { return token_; }

 private:
  void watch();

  sigset_t before_{};
  CancelToken token_;
  std::atomic<bool> over_{false};
  std::unique_ptr<ThreadExecutor> thread_;  // its end waits for watch()
};

}  // namespace cairn
