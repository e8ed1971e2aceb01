#include <unistd.h>

#include <iostream>

#include "cache/base/log.h"
#include "cache/check.h"
#include "tools/commands.h"
#include "tools/units.h"

namespace cairn {

namespace {

struct CheckArguments {
  std::string remote;
  bool data = false;
  StoreOptions store;
};

void print_counts(const CheckCounts& c, bool data) {
  std::cout << c.commits << " commits, " << c.metadata_packs << " metadata packs, " << c.data_packs
            << " data packs, " << c.index_segments << " index segments, " << c.nodes
            << " tree nodes, " << c.keys << " keys, " << c.files << " files of "
            << format_size(c.file_bytes) << ", " << c.leaves << " chunks";
  if (data) std::cout << ", " << c.blocks_hashed << " blocks hashed";
  std::cout << "\n";
}

int run_check(const CheckArguments& arguments) {
  set_log_level(LogLevel::kError);
  const auto url = parse_remote_url(arguments.remote);
  if (!url) return complain(url.error()), kExitUsage;
  Runtime runtime;
  const auto stack = open_store(*url, arguments.store, false, runtime);
  if (!stack) return complain(stack.error());
  if (const Status access = stack->check_access({}); !access) return complain(access.error());
  CheckOptions options;
  options.data = arguments.data;
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  options.progress = [terminal](std::string_view step, const CheckCounts& counts) {
    if (!terminal) return;
    std::cerr << "\r" << step << ": " << counts.keys << " keys, " << counts.blocks_hashed
              << " blocks          " << std::flush;
  };
  const auto report = check_volume(*stack->store, options);
  if (terminal) std::cerr << "\r                                                            \r";
  if (!report) return complain(report.error());
  for (const CheckProblem& problem : report->problems)
    std::cout << problem.object << ": " << problem.what << "\n";
  if (report->problem_count > report->problems.size())
    std::cout << "and " << report->problem_count - report->problems.size() << " more\n";
  print_counts(report->counts, arguments.data);
  if (!report->clean()) {
    std::cout << url->text() << " at commit " << report->head << ": " << report->problem_count
              << " problems\n";
    return kExitFailed;
  }
  std::cout << url->text() << " at commit " << report->head << ": clean"
            << (arguments.data ? "" : " (file content was not read; --data does)") << "\n";
  return kExitOk;
}

}  // namespace

void add_check_command(CommandLine& line) {
  auto arguments = std::make_shared<CheckArguments>();
  Command& command = line.add("check", "Verify a volume end to end");
  command.argument("REMOTE", ValueKind::kRemote, arguments->remote, kRemoteHelp);
  command.flag("data", arguments->data, "read and hash every block of every file too");
  command.about(
      "Reads every commit, every metadata pack and every index of a volume and compares what they "
      "say; with --data every block of every file too. Each problem is named on a line of its own. "
      "The exit status is 0 when nothing is wrong and 1 when something is. Nothing is changed.");
  command.example("cairn check s3://bucket/data --data", "down to every block");
  add_store_options(command, arguments->store);
  command.run([arguments] { return run_check(*arguments); });
}

}  // namespace cairn
