// cairn: mounts a bucket as a directory. Under other names it is a helper of mount(8) and
// umount(8).
#include <fcntl.h>
#include <pwd.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>

#include "tools/command_line.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/system_helper.h"

namespace {

using namespace cairn;

// A descriptor that is closed would be the next file that is opened, and be read or written as
// standard input or output: it is one that can do neither.
void keep_standard_descriptors() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(fd, F_GETFD) < 0 &&
        ::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
      std::abort();
}

int run_words(const std::vector<std::string>& words) {
  const CommandLine line = cairn_command_line();
  const CommandLine::Surroundings surroundings{
      posix_env(), [](const std::string& name) -> std::optional<std::string> {
        const char* value = std::getenv(name.c_str());
        if (value == nullptr) return std::nullopt;
        return std::string(value);
      }};
  const auto outcome = line.parse(words, surroundings);
  std::cerr << outcome.err;
  std::cout << outcome.out;
  const int code = outcome.command == nullptr ? outcome.exit_code : outcome.command->run();
  // What was not heard was not done.
  const Status said = flush_standard_output();
  if (said || (code != kExitOk && code != kExitNotStored)) return code;
  return complain(said.error());
}

}  // namespace

int main(int argc, char** argv) {
  keep_standard_descriptors();
  // A file that a limit (ulimit -f) keeps from growing is an error like a full disk, not the end.
  ::signal(SIGXFSZ, SIG_IGN);
  // Early in the boot, and in a service of the system, nobody has set it; credentials are looked
  // for there.
  if (std::getenv("HOME") == nullptr) {
    const passwd* user = ::getpwuid(::geteuid());
    if (user != nullptr && user->pw_dir != nullptr) ::setenv("HOME", user->pw_dir, 0);
  }
  const std::vector<std::string> words{argv + 1, argv + argc};
  switch (helper_role(argv[0])) {
    case HelperRole::kMount:
      return run_mount_helper(words, run_words);
    case HelperRole::kUmount:
      return run_umount_helper(words);
    case HelperRole::kNone:
      break;
  }
  return run_words(words);
}
