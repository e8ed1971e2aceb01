// Going into the background: the parent waits until the mount is ready and says what happened. And
// what a process that holds keys does about its memory.
#pragma once

#include <string>
#include <vector>

#include "cache/base/result.h"

namespace cairn {

// From now on the memory of this process and of what it forks, keys among it, goes into no core
// dump, and no other process of the same user may read it.
void keep_memory_private();

// For a helper of mount(8), before a Daemon is made: the parent exits with `failed_status` when
// nothing was mounted, and unless `verbose` it says of a mount that is ready only what comes after
// the first line, because mount(8) says nothing of what went well.
void answer_as_helper(int failed_status, bool verbose);

// Forks; the parent never returns: it prints what the child reports and exits with its code. In
// the child, detached from the terminal, it returns; call `ready` or `failed` exactly once then.
// Nothing with threads may exist before. What who started us had open (a lock, a pipe that somebody
// reads to its end) is closed when it is ready: until then an option may name it (/dev/fd/63).
class Daemon {
 public:
  // With `foreground` nothing is forked and reports go to the terminal.
  explicit Daemon(bool foreground);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;
  void ready(const std::string& message);
  void failed(const std::string& message);

 private:
  void tell(char kind, const std::string& message);
  int pipe_ = -1;
  std::vector<int> inherited_;
};

}  // namespace cairn
