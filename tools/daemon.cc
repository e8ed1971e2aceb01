#include "tools/daemon.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <iostream>

namespace cairn {

namespace {

constexpr char kReady = 'r';
constexpr char kFailed = 'f';

// How the one that waits answers; set before there is a thread.
int failed_status = 1;
bool says_ready = true;

// Who is told when the one that waits is told to stop. Read by a signal handler.
volatile pid_t child_of_ours = 0;

void pass_signals_to(pid_t child) {
  child_of_ours = child;
  struct sigaction action{};
  action.sa_handler = [](int) { ::kill(child_of_ours, SIGTERM); };
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &action, nullptr);
}

// All but the standard ones.
std::vector<int> open_descriptors() {
  std::vector<int> open;
  DIR* const dir = ::opendir("/proc/self/fd");
  if (dir == nullptr) return open;
  while (const dirent* const entry = ::readdir(dir)) {
    const int fd = std::atoi(entry->d_name);
    if (fd > STDERR_FILENO && fd != ::dirfd(dir)) open.push_back(fd);
  }
  ::closedir(dir);
  return open;
}

[[noreturn]] void wait_for_child(int pipe_end) {
  std::string said;
  std::array<char, 1024> part{};
  ssize_t n = 0;
  while ((n = ::read(pipe_end, part.data(), part.size())) > 0)
    said.append(part.data(), static_cast<size_t>(n));
  if (!said.empty() && said.front() == kReady) {
    // A helper of mount(8) leaves the first line out.
    const size_t skipped = says_ready ? 0 : said.find('\n');
    if (skipped != std::string::npos) std::cout << said.substr(skipped + 1) << "\n";
    std::cout.flush();
    ::_exit(0);
  }
  std::cerr << "cairn: " << (said.size() > 1 ? said.substr(1) : "the daemon died while it started")
            << "\n";
  ::_exit(failed_status);
}

}  // namespace

void keep_memory_private() {
  // The limit alone would not do: a core_pattern that is a program gets the memory all the same.
  const rlimit none{0, 0};
  if (::setrlimit(RLIMIT_CORE, &none) != 0 || ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
    std::cerr << "cairn: core dumps cannot be turned off\n";
}

void answer_as_helper(int status, bool verbose) {
  failed_status = status;
  says_ready = verbose;
}

Daemon::Daemon(bool foreground) {
  if (foreground) return;
  inherited_ = open_descriptors();
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) std::abort();
  const pid_t child = ::fork();
  if (child < 0) {
    std::cerr << "cairn: cannot start a process\n";
    std::exit(1);
  }
  if (child > 0) {
    pass_signals_to(child);  // it says what came of it
    ::close(ends[1]);
    wait_for_child(ends[0]);
  }
  ::close(ends[0]);
  pipe_ = ends[1];
  ::setsid();
  const int null = ::open("/dev/null", O_RDWR);
  if (null >= 0) {
    ::dup2(null, STDIN_FILENO);
    ::dup2(null, STDOUT_FILENO);
    ::dup2(null, STDERR_FILENO);
    if (null > STDERR_FILENO) ::close(null);
  }
  if (::chdir("/") != 0) std::abort();
}

Daemon::~Daemon() {
  if (pipe_ >= 0) ::close(pipe_);
}

void Daemon::tell(char kind, const std::string& message) {
  const std::string line = kind + message;
  if (::write(pipe_, line.data(), line.size()) < 0) {
    // Nobody waits any more; the log has it.
  }
  ::close(pipe_);
  pipe_ = -1;
}

void Daemon::ready(const std::string& message) {
  if (pipe_ >= 0) {
    for (const int fd : inherited_) ::close(fd);
    return tell(kReady, message);
  }
  std::cout << message << "\n" << std::flush;
  std::cout.clear();  // a mount is one, whoever hears of it
}

void Daemon::failed(const std::string& message) {
  if (pipe_ >= 0) return tell(kFailed, message);
  std::cerr << "cairn: " << message << "\n" << std::flush;
}

}  // namespace cairn
