#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <optional>

#include "cache/base/log.h"
#include "cache/check.h"
#include "cache/store_keys.h"
#include "tools/commands.h"
#include "tools/hand_writer.h"
#include "tools/interrupt.h"
#include "tools/units.h"

namespace cairn {

namespace {

struct CheckArguments {
  std::string remote;
  bool data = false;
  bool repair = false;
  StoreOptions store;
};

void print_counts(const CheckCounts& c, bool data) {
  std::cout << c.commits << " commits, " << c.snapshots << " snapshots, " << c.metadata_packs
            << " metadata packs, " << c.data_packs << " data packs, " << c.index_segments
            << " index segments, " << c.nodes
            << " tree nodes, " << c.keys << " keys, " << c.files << " files of "
            << format_size(c.file_bytes) << ", " << c.leaves << " chunks";
  if (data) std::cout << ", " << c.blocks_hashed << " blocks hashed";
  std::cout << "\n";
}

Result<CheckReport> check(ObjectStore& store, bool data, const Context& until_told) {
  CheckOptions options;
  options.data = data;
  options.context = until_told;
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  options.progress = [terminal](std::string_view step, const CheckCounts& counts) {
    if (!terminal) return;
    std::cerr << "\r" << step << ": " << counts.keys << " keys, " << counts.blocks_hashed
              << " blocks          " << std::flush;
  };
  auto report = check_volume(store, options);
  if (terminal) std::cerr << "\r                                                            \r";
  return report;
}

void print_problems(const CheckReport& report) {
  for (const CheckProblem& problem : report.problems)
    std::cout << problem.object << ": " << problem.what << "\n";
  if (report.problem_count > report.problems.size())
    std::cout << "and " << report.problem_count - report.problems.size() << " more\n";
}

bool names(const CheckReport& report, std::string_view prefix) {
  return std::any_of(report.problems.begin(), report.problems.end(),
                     [&](const CheckProblem& one) { return one.object.starts_with(prefix); });
}

// What can be made from the rest of the volume: the block index from the packs, the hint where the
// head is from the commits.
Status repair(const CheckReport& report, ObjectStore& store, Runtime& runtime,
              const Context& until_told) {
  if (names(report, kHeadKey)) {
    TRY(put_sync(store, std::string(kHeadKey), Body(Buffer::copy(number_text(report.head))),
                 PutCondition::kAlways, until_told));
    std::cout << "repaired: HEAD says " << report.head << "\n";
  }
  if (!names(report, kIndexPrefix)) return {};
  TRY_ASSIGN(const auto writer, HandWriter::open(store, runtime, false, until_told));
  const auto unreadable = writer->remote().rebuild_index(writer->host(), until_told);
  const Status closed = writer->close();
  if (!unreadable) return tl::unexpected<Error>(unreadable.error());
  TRY(closed);
  std::cout << "repaired: the block index was made anew from the packs\n";
  for (const std::string& pack : *unreadable)
    std::cout << "left out of the index: " << pack << "\n";
  return {};
}

int run_check(const CheckArguments& arguments) {
  set_log_level(LogLevel::kError);
  const auto url = parse_remote_url(arguments.remote);
  if (!url) return complain(url.error()), kExitUsage;
  std::optional<Interrupt> interrupt;
  Context until_told;
  if (arguments.repair) until_told.cancel = interrupt.emplace().token();
  Runtime runtime;
  const auto stack = open_store(*url, arguments.store, false, runtime);
  if (!stack) return complain(stack.error());
  if (const Status access = stack->check_access(until_told); !access)
    return complain(access.error());
  auto report = check(*stack->store, arguments.data, until_told);
  if (!report) return complain(report.error());
  if (!report->clean() && arguments.repair) {
    print_problems(*report);
    if (const Status repaired = repair(*report, *stack->store, runtime, until_told); !repaired)
      return complain(repaired.error());
    report = check(*stack->store, arguments.data, until_told);
    if (!report) return complain(report.error());
    std::cout << (report->clean() ? "nothing is left to repair\n" : "cannot be repaired:\n");
  }
  print_problems(*report);
  print_counts(report->counts, arguments.data);
  const RequestCounts requests = stack->store->counts();
  std::cout << "read " << format_size(requests.bytes_read) << " in " << requests.total()
            << " requests\n";
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
  command
      .flag("repair", arguments->repair,
            "make anew what the rest allows: the block index and HEAD; say what cannot be")
      .only_typed();
  command.about(
      "Reads every commit, every metadata pack and every index of a volume and compares what they "
      "say; with --data every block of every file too. Each problem is named on a line of its own. "
      "The exit status is 0 when nothing is wrong and 1 when something is. Nothing is changed "
      "without --repair, which makes the block index anew from the packs, and the hint where the "
      "newest commit is.");
  command.example("cairn check s3://bucket/data --data", "down to every block");
  add_store_options(command, arguments->store);
  command.run([arguments] { return run_check(*arguments); });
}

}  // namespace cairn
