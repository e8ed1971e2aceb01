// gc: gives back what a volume's store holds and nothing needs any more.
#include <unistd.h>

#include <iostream>

#include "cache/base/log.h"
#include "tools/client.h"
#include "tools/commands.h"
#include "tools/hand_writer.h"
#include "tools/history.h"
#include "tools/interrupt.h"
#include "tools/units.h"

namespace cairn {

namespace {

struct GcArguments {
  std::string target;
  bool dry_run = false;
  bool as_json = false;
  std::optional<Duration> grace;
  StoreOptions store;
};

void show_step(const Json& progress) {
  if (::isatty(STDERR_FILENO) == 0) {
    std::cerr << progress.value("step", "") << "\n";
    return;
  }
  std::cerr << "\r" << progress.value("step", "") << ": "
            << format_size(progress.value("moved_bytes", uint64_t{0})) << " moved, "
            << format_size(progress.value("deleted_bytes", uint64_t{0}))
            << " deleted                    " << std::flush;
}

Result<Json> collect_on_remote(const GcArguments& arguments, CollectOptions how) {
  TRY_ASSIGN(const RemoteUrl url, parse_remote_url(arguments.target));
  const Interrupt interrupt;
  Context until_told;
  until_told.cancel = interrupt.token();
  Runtime runtime;
  TRY_ASSIGN(const StoreStack stack, open_store(url, arguments.store, false, runtime));
  TRY(stack.check_access(until_told));
  how.progress = [](std::string_view step, const CollectReport& report) {
    Json json = collect_json(report);
    json["step"] = step;
    show_step(json);
  };
  TRY_ASSIGN(const auto writer, HandWriter::open(*stack.store, runtime, how.dry_run, until_told));
  const auto report = writer->remote().collect(how, writer->host(), until_told);
  // Whatever came of it: the next mount must not have to take over.
  const Status closed = writer->close();
  if (!report) return tl::unexpected<Error>(report.error());
  TRY(closed);
  return Result<Json>(collect_json(*report));
}

Result<Json> collect_on_mount(const GcArguments& arguments, ControlClient& client) {
  Json request{{"command", "gc"}, {"dry_run", arguments.dry_run}};
  if (arguments.grace) request["grace_ns"] = arguments.grace->count();
  TRY_ASSIGN(const Json answer, ask(client, request, show_step));
  Json report = answer.at("report");
  return report;
}

int run_gc(const GcArguments& arguments) {
  set_log_level(LogLevel::kError);
  CollectOptions how;
  how.dry_run = arguments.dry_run;
  if (arguments.grace) how.grace = *arguments.grace;
  if (const Status fine = check_grace(how.grace); !fine) return complain(fine.error()), kExitUsage;
  const auto client = connect_if_mounted(arguments.target);
  const auto report =
      client ? collect_on_mount(arguments, *client) : collect_on_remote(arguments, how);
  if (::isatty(STDERR_FILENO) != 0) std::cerr << "\r" << std::string(70, ' ') << "\r";
  if (!report) return complain(report.error());
  std::cout << (arguments.as_json ? json_line(*report) + "\n"
                                  : collect_text(*report, arguments.dry_run));
  return kExitOk;
}

}  // namespace

void add_gc_command(CommandLine& line) {
  auto arguments = std::make_shared<GcArguments>();
  Command& command =
      line.add("gc", "Give back what a volume's store holds and nothing needs any more");
  command.argument("TARGET", ValueKind::kRemote, arguments->target,
                   "a mount point, or a volume that no node has open for writing");
  command.flag("dry-run", arguments->dry_run, "say what would go, change nothing").only_typed();
  command.duration("grace", arguments->grace, "how long what nothing needs any more stays")
      .fallback("24h, or what the mount was told");
  command.flag("json", arguments->as_json, "the report for programs").only_typed();
  command.about(
      "Finds what neither the newest state of a volume, nor a snapshot, nor a commit of the grace "
      "period needs. Packs of which most is dead are condemned, and what lives in them is written "
      "anew; they are deleted when they were condemned for the grace period, together with what "
      "crashed writers left. A mount that writes does this by itself now and then.");
  command.example("cairn gc --dry-run /mnt", "how much is garbage");
  command.example("cairn gc s3://bucket/data", "a volume that is not mounted");
  add_store_options(command, arguments->store);
  command.run([arguments] { return run_gc(*arguments); });
}

}  // namespace cairn
