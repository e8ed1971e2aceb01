// snapshot: commits that keep their content and have a name.
#include <iostream>

#include "cache/base/log.h"
#include "tools/client.h"
#include "tools/commands.h"
#include "tools/history.h"

namespace cairn {

namespace {

struct SnapshotArguments {
  std::string action;
  std::string target;
  std::string name;
  bool as_json = false;
  StoreOptions store;
};

// 2026-11-26T13:05:30Z as a name.
std::string name_of_now() {
  std::string name = "at-" + utc_text(system_clock().wall_ns());
  for (char& c : name)
    if (c == ':') c = '-';
  return name;
}

Result<Json> snapshot_on_remote(const SnapshotArguments& arguments) {
  TRY_ASSIGN(const RemoteUrl url, parse_remote_url(arguments.target));
  Runtime runtime;
  TRY_ASSIGN(const StoreStack stack, open_store(url, arguments.store, false, runtime));
  TRY(stack.check_access({}));
  ObjectStore& store = *stack.store;
  CommitLog log(store, runtime.work, system_clock(), os_rng(), {});
  TRY_ASSIGN(const StoredCommit head, log.find_head(std::nullopt, Context()));
  if (arguments.action == "list") {
    TRY_ASSIGN(const auto snapshots, list_snapshots(store, Context()));
    Json answer{{"snapshots", snapshots_json(snapshots)}};
    return answer;
  }
  if (arguments.action == "create") {
    TRY(create_snapshot(store, log, arguments.name, head, Context()));
  } else {
    TRY(delete_snapshot(store, arguments.name, Context()));
  }
  Json nothing = Json::object();
  return nothing;
}

Result<Json> snapshot_on_mount(const SnapshotArguments& arguments, ControlClient& client) {
  const Json request{
      {"command", "snapshot"}, {"action", arguments.action}, {"name", arguments.name}};
  return ask(client, request, nullptr);
}

int run_snapshot(SnapshotArguments arguments) {
  set_log_level(LogLevel::kError);
  if (arguments.action != "create" && arguments.action != "list" && arguments.action != "delete")
    return complain(Error(Errc::kInvalid, "'" + arguments.action +
                                              "' is no action; they are create, list and delete")),
           kExitUsage;
  if (arguments.action == "create" && arguments.name.empty()) arguments.name = name_of_now();
  if (arguments.action != "list")
    if (const Status named = check_snapshot_name(arguments.name); !named)
      return complain(named.error()), kExitUsage;
  const auto client = connect_if_mounted(arguments.target);
  const auto answer =
      client ? snapshot_on_mount(arguments, *client) : snapshot_on_remote(arguments);
  if (!answer) return complain(answer.error());
  if (arguments.action == "list") {
    const Json& snapshots = answer->at("snapshots");
    std::cout << (arguments.as_json ? json_line(snapshots) + "\n" : snapshots_text(snapshots));
  } else if (arguments.action == "create") {
    std::cout << arguments.name << "\n";
  }
  return kExitOk;
}

}  // namespace

void add_snapshot_command(CommandLine& line) {
  auto arguments = std::make_shared<SnapshotArguments>();
  Command& command =
      line.add("snapshot", "Name a state of a volume, so that it is kept; see 'mount --at'");
  command.argument("ACTION", ValueKind::kText, arguments->action, "create, list or delete");
  command.argument("TARGET", ValueKind::kRemote, arguments->target, "a volume, or a mount point");
  command.argument("NAME", ValueKind::kText, arguments->name,
                   "letters, digits, '.', '_' and '-'; a new one gets the time when none is given",
                   /*required=*/false);
  command.flag("json", arguments->as_json, "list: for programs").only_typed();
  command.about(
      "'create' names the newest commit of a volume; through a mount that writes it first waits "
      "until everything written there is in the store. The name is printed. What the snapshot "
      "needs stays in the store until 'delete'. 'list' shows the snapshots that are there.");
  command.example("cairn snapshot create /mnt before-upgrade", "the state as it is now");
  command.example("cairn snapshot list s3://bucket/data", "what has a name");
  command.example("cairn mount --at before-upgrade s3://bucket/data /old", "look at it");
  add_store_options(command, arguments->store);
  command.run([arguments] { return run_snapshot(*arguments); });
}

}  // namespace cairn
