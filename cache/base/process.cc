#include "cache/base/process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

extern char** environ;

namespace cairn {

namespace {

constexpr size_t kMaxComplaint = 4096;
constexpr int kPollMs = 50;  // how soon a caller that gave up is noticed

class Pipe {
 public:
  Pipe() { ok_ = ::pipe2(ends_.data(), O_CLOEXEC) == 0; }
  ~Pipe() {
    close_end(0);
    close_end(1);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  bool ok() const { return ok_; }
  int end(size_t i) const { return ends_[i]; }
  void close_end(size_t i) {
    if (ends_[i] >= 0) ::close(ends_[i]);
    ends_[i] = -1;
  }

 private:
  std::array<int, 2> ends_{-1, -1};
  bool ok_ = false;
};

// Reads what is there; false at the end of the stream.
bool drain(int fd, std::array<char, 4096>& block, size_t& got) {
  const ssize_t n = ::read(fd, block.data(), block.size());
  got = n > 0 ? static_cast<size_t>(n) : 0;
  return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
}

class Child {
 public:
  Child(const std::vector<std::string>& command, const Context& context, Clock& clock,
        size_t max_output)
      : command_(command), context_(context), clock_(clock), max_output_(max_output) {}

  Result<ProcessResult> run() {
    if (!out_.ok() || !err_.ok()) return fail_errno(errno, "a pipe for '" + command_[0] + "'");
    TRY(spawn());
    out_.close_end(1);
    err_.close_end(1);
    const Status read = read_all();
    if (!read) ::kill(-pid_, SIGKILL);
    // Dead, or it has closed its output: one that then lingers is bounded like one that never ends.
    const Status ended = wait_for_end();
    if (!read) return tl::unexpected<Error>(read.error());
    if (!ended) return tl::unexpected<Error>(ended.error());
    return std::move(result_);
  }

 private:
  Status spawn() {
    std::vector<char*> argv;
    for (const std::string& word : command_) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions, out_.end(1), STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, err_.end(1), STDERR_FILENO);
    ::posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    // A group of its own, so that what it starts can be ended with it; signals as they are at
    // first.
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    ::posix_spawnattr_setpgroup(&attributes, 0);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &all);
    const int error = ::posix_spawnp(&pid_, argv[0], &actions, &attributes, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
    if (error != 0) return fail_errno(error, "cannot run '" + command_[0] + "'");
    return {};
  }

  Status over() const {
    if (context_.cancel.cancelled())
      return fail(Errc::kCancelled, "'" + command_[0] + "' was given up");
    if (context_.deadline.passed(clock_))
      return fail(Errc::kTimeout, "'" + command_[0] + "' did not end in the time allowed");
    return {};
  }

  Status read_all() {
    std::array<pollfd, 2> fds{pollfd{out_.end(0), POLLIN, 0}, pollfd{err_.end(0), POLLIN, 0}};
    std::array<char, 4096> block{};
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
      TRY(over());
      if (::poll(fds.data(), fds.size(), kPollMs) <= 0) continue;
      for (size_t i = 0; i < fds.size(); ++i) {
        if (fds[i].fd < 0 || fds[i].revents == 0) continue;
        size_t got = 0;
        if (!drain(fds[i].fd, block, got)) fds[i].fd = -1;
        const std::string_view text(block.data(), got);
        if (i == 0) {
          append(result_.output, as_bytes(text));
          if (result_.output.size() > max_output_)
            return fail(Errc::kIo, "'" + command_[0] + "' prints more than it should");
        } else if (result_.complaint.size() < kMaxComplaint) {
          result_.complaint += text.substr(0, kMaxComplaint - result_.complaint.size());
        }
      }
    }
    ::explicit_bzero(block.data(), block.size());
    return {};
  }

  Status wait_for_end() {
    Status in_time;
    int status = 0;
    while (true) {
      const pid_t ended = ::waitpid(pid_, &status, in_time ? WNOHANG : 0);
      if (ended == pid_) break;
      if (ended < 0 && errno != EINTR) break;
      if (ended != 0 || !in_time) continue;
      in_time = over();
      if (!in_time) {
        ::kill(-pid_, SIGKILL);
      } else {
        ::poll(nullptr, 0, 1);
      }
    }
    result_.exit_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return in_time;
  }

  const std::vector<std::string>& command_;
  const Context& context_;
  Clock& clock_;
  const size_t max_output_;
  Pipe out_;
  Pipe err_;
  pid_t pid_ = -1;
  ProcessResult result_;
};

}  // namespace

Result<ProcessResult> run_process(const std::vector<std::string>& command, const Context& context,
                                  Clock& clock, size_t max_output) {
  if (command.empty()) return fail(Errc::kInvalid, "there is no program to run");
  return Child(command, context, clock, max_output).run();
}

}  // namespace cairn
