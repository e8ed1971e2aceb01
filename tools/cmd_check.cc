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

void add_check_command(CLI::App& app, Chosen& chosen) {
  auto arguments = std::make_shared<CheckArguments>();
  CLI::App* command = app.add_subcommand("check", "Verify a volume end to end");
  command->add_option("REMOTE", arguments->remote, "the volume")->required();
  command->add_flag("--data", arguments->data, "read and hash every block of every file too");
  add_store_options(*command, arguments->store);
  command->callback(
      [arguments, &chosen] { chosen = [arguments] { return run_check(*arguments); }; });
}

}  // namespace cairn
