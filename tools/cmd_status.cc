// status, flush, umount: clients of the control socket.
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <iostream>
#include <vector>

#include "cache/base/env.h"
#include "cache/base/log.h"
#include "tools/client.h"
#include "tools/commands.h"
#include "tools/remote_status.h"
#include "tools/umount.h"
#include "tools/units.h"

namespace cairn {

namespace {

// ---- status

uint64_t held_files(const Json& status) {
  return status.contains("held") ? status["held"].value("files", uint64_t{0}) : 0;
}

void print_volume(const Json& s) {
  std::cout << "  store: " << format_size(s["store"].value("stored_bytes", uint64_t{0})) << " for "
            << format_size(s["store"].value("file_bytes", uint64_t{0})) << " of files";
  if (const uint64_t waiting = s["store"].value("condemned_bytes", uint64_t{0}); waiting > 0)
    std::cout << ", " << format_size(waiting) << " wait to be deleted";
  std::cout << "\n"
            << "  last commit: " << s["commit"].value("seq", uint64_t{0}) << "\n";
}

void print_objects(const Json& s) {
  const Json& objects = s["objects"];
  if (const uint64_t conflicts = objects.value("conflicts", uint64_t{0}); conflicts > 0)
    std::cout << "  conflicts: " << conflicts
              << " files were changed by somebody else, too; ours are beside theirs, as "
                 "*.conflict-*\n";
  if (objects.contains("conditional_puts") && objects["conditional_puts"] == false)
    std::cout << "  the store ignores conditions: changes of others may be missed\n";
  if (objects.contains("conditional_puts") && objects["conditional_puts"].is_null() &&
      s["requests"].value("put", uint64_t{0}) > 0)
    std::cout << "  whether the store honours conditions is not known yet: changes of others may "
                 "be missed\n";
}

void print_status(const Json& s) {
  const Json& pending = s["pending"];
  const Json& cache = s["cache"];
  const bool objects = s.value("view", "") == "objects";
  std::cout << s.value("remote", "") << " on " << s.value("mountpoint", "") << " ("
            << (objects ? "objects, " : "") << s.value("mode", "") << ", process "
            << s.value("pid", 0) << ")\n";
  const uint64_t bytes = pending.value("bytes", uint64_t{0});
  if (is_all_stored(s)) {
    std::cout << "  everything is in the store" << (held_files(s) > 0 ? " but what is held" : "")
              << "\n";
  } else {
    std::cout << "  to be stored: " << format_size(bytes) << " in "
              << pending.value("files", uint64_t{0}) << " files, oldest "
              << format_duration(pending.value("oldest_age_ms", int64_t{0})) << "\n";
  }
  if (held_files(s) > 0)
    std::cout << "  held by --filter-upload: " << format_size(s["held"].value("bytes", uint64_t{0}))
              << " in " << held_files(s) << " files, only here\n";
  std::cout << "  cache: " << format_size(cache.value("bytes", uint64_t{0})) << " of "
            << format_size(cache.value("limit", uint64_t{0})) << "\n"
            << "  memory: " << format_size(s["memory"].value("anonymous", uint64_t{0})) << " of "
            << format_size(s["memory"].value("limit", uint64_t{0})) << "\n";
  if (!objects) print_volume(s);
  if (s.contains("objects") && s["objects"].is_object()) print_objects(s);
  if (s.value("fenced", false))
    std::cout << "  FENCED: another writer took this volume over; only reads work here\n";
  if (const std::string error = s.value("local_error", ""); !error.empty())
    std::cout << "  THE LOCAL DISK FAILED: nothing is accepted until the next mount: " << error
              << "\n";
  if (s.value("offline", false))
    std::cout << "  OFFLINE: mounted without the store; changes are sent when it is back\n";
  const std::string store_error = s.value("store_error", "");
  if (!store_error.empty())
    std::cout << "  the store cannot be used at the moment: " << store_error << "\n";
  const std::string error = s.value("publish_error", "");
  if (store_error.empty() && !error.empty())
    std::cout << "  what is written stays here at the moment: " << error << "\n";
}

std::string cid_of(const std::string& path) {
  std::array<char, 256> cid{};
  const ssize_t length = ::lgetxattr(path.c_str(), "user.cairn.cid", cid.data(), cid.size());
  return length > 0 ? std::string(cid.data(), static_cast<size_t>(length)) : "";
}

// One file or directory of a mount.
int path_status(ControlClient& client, const std::string& path, bool as_json) {
  struct stat st{};
  if (::lstat(path.c_str(), &st) != 0)
    return complain(Error(Errc::kNotFound, path + ": " + std::strerror(errno)));
  auto answer = ask(client, Json{{"command", "file-status"}, {"inode", st.st_ino}});
  if (!answer) return complain(answer.error());
  Json status = (*answer)["status"];
  status["path"] = path;
  const std::string state = status.value("state", "");
  const bool stored = state == "stored";
  if (const std::string cid = stored ? cid_of(path) : ""; !cid.empty()) status["cid"] = cid;
  if (as_json) {
    std::cout << json_line(status) << "\n";
    return stored ? kExitOk : kExitNotStored;
  }
  std::cout << path << ": ";
  const uint64_t commit = status.value("commit", uint64_t{0});  // 0: of an object
  if (stored) {
    std::cout << "in the store" << (commit > 0 ? " at commit " + std::to_string(commit) : "");
  } else if (state == "uploading") {
    std::cout << "uploading, " << status.value("percent", 0) << " %";
  } else if (state == "held") {
    std::cout << "held: on the local disk, and kept from the store by --filter-upload";
  } else if (state == "queued") {
    std::cout << "queued: on the local disk, not in the store yet";
  } else {
    std::cout << "local: written, not yet synced to the local disk";
  }
  std::cout << "; " << format_size(status.value("cached_bytes", uint64_t{0})) << " cached"
            << (status.value("pinned", false) ? ", pinned" : "") << "\n";
  return stored ? kExitOk : kExitNotStored;
}

struct StatusArguments {
  std::string path;
  bool as_json = false;
  StoreOptions store;
  std::vector<std::string> typed;  // names of options
};

int run_remote_status(const StatusArguments& arguments) {
  set_log_level(LogLevel::kError);
  const auto target = find_target(arguments.path);
  if (!target) return refuse(target.error());
  if (const Status fine = check_store_options(arguments.typed, *target, StoreUse::kRead); !fine)
    return refuse(fine.error());
  const auto status = remote_status(*target, arguments.store);
  if (!status) return complain(status.error());
  if (arguments.as_json)
    std::cout << json_line(*status) << "\n";
  else
    std::cout << remote_status_text(*status);
  return kExitOk;
}

// No path: of all mounts.
Status check_mount_status(const StatusArguments& arguments) {
  for (const std::string& name : arguments.typed)
    if (name != "json" && name != "config")
      return fail(Errc::kInvalid,
                  "--" + name + " does nothing here: it is for the status of a URL");
  return {};
}

// Every daemon of this user. The sockets of those that died are taken away, but for young ones:
// their daemon may be about to listen.
Result<std::vector<std::unique_ptr<ControlClient>>> connect_to_all() {
  constexpr int64_t kYoung = 60;
  TRY_ASSIGN(const std::string dir, run_directory());
  TRY_ASSIGN(const auto names, posix_env().list_dir(dir));
  std::vector<std::unique_ptr<ControlClient>> clients;
  for (const std::string& name : names) {
    const std::string path = dir + "/" + name;
    struct stat st{};
    if (auto client = ControlClient::connect(path)) {
      clients.push_back(std::move(*client));
    } else if (::lstat(path.c_str(), &st) == 0 && S_ISSOCK(st.st_mode) &&
               st.st_mtime + kYoung < std::time(nullptr)) {
      ::unlink(path.c_str());
    }
  }
  return clients;
}

// Mounts of ours that no daemon serves any more.
std::vector<MountEntry> dead_mounts() {
  std::vector<MountEntry> dead;
  const auto table = read_mount_table();
  if (!table) return dead;
  for (const MountEntry& entry : *table) {
    const bool ours = entry.owner == ::geteuid() || ::geteuid() == 0;
    if (ours && entry.type == kMountType && !connect_at(entry.mountpoint, *table) &&
        is_dead(entry.mountpoint))
      dead.push_back(entry);
  }
  return dead;
}

void print_dead(const MountEntry& entry, bool as_json) {
  if (as_json)
    std::cout << json_line(Json{{"remote", entry.source},
                                {"mountpoint", entry.mountpoint},
                                {"mode", "dead"},
                                {"device", entry.device}})
              << "\n";
  else
    std::cout << entry.source << " on " << entry.mountpoint << " (dead)\n  "
              << dead_mount_text(entry.mountpoint) << "\n";
}

int run_status(const StatusArguments& arguments) {
  const std::string& path = arguments.path;
  const bool as_json = arguments.as_json;
  if (path.find("://") != std::string::npos) return run_remote_status(arguments);
  if (const Status fine = check_mount_status(arguments); !fine) return refuse(fine.error());
  std::vector<std::unique_ptr<ControlClient>> clients;
  std::vector<MountEntry> dead;
  if (!path.empty()) {
    std::string mountpoint;
    auto client = connect_to(path, mountpoint);
    if (!client) return complain(client.error());
    const auto wanted = canonical_mountpoint(path);
    if (!wanted || *wanted != mountpoint) return path_status(**client, path, as_json);
    clients.push_back(std::move(*client));
  } else {
    auto all = connect_to_all();
    if (!all) return complain(all.error());
    clients = *std::move(all);
    dead = dead_mounts();
    if (clients.empty() && dead.empty() && !as_json) std::cout << "nothing is mounted\n";
  }
  bool all_stored = dead.empty();
  for (const auto& client : clients) {
    const auto answer = ask(*client, Json{{"command", "status"}}, nullptr);
    if (!answer) return complain(answer.error());
    const Json& status = (*answer)["status"];
    if (as_json) {
      std::cout << json_line(status) << "\n";
    } else {
      print_status(status);
    }
    all_stored = all_stored && is_all_stored(status) && held_files(status) == 0;
  }
  for (const MountEntry& entry : dead) print_dead(entry, as_json);
  return all_stored ? kExitOk : kExitNotStored;
}

// ---- flush

int run_flush(const std::string& path, int64_t timeout_ns) {
  std::string mountpoint;
  const auto client = connect_to(path.empty() ? "." : path, mountpoint);
  if (!client) return complain(client.error());
  const auto answer =
      ask(**client, Json{{"command", "flush"}, {"timeout_ns", timeout_ns}}, flush_progress());
  end_flush_progress();
  if (!answer) return complain(answer.error());
  print_held(*answer);
  return kExitOk;
}

// ---- umount

int run_umount(const std::string& path, int64_t timeout_ns) {
  std::string mountpoint;
  const auto client = connect_to(path, mountpoint);
  if (!client) return complain(client.error());
  const auto wanted = canonical_mountpoint(path);
  if (!wanted || *wanted != mountpoint)
    return refuse(
        Error(Errc::kInvalid, path + " is not a mount point; the mount is " + mountpoint));
  // A bind mount is taken away by who made it, and the mount stays.
  const auto asked = connect_to(path, mountpoint);
  if (const auto status = asked ? quick_status(**asked) : Result<Json>(Json());
      status && status->is_object()) {
    const std::string first = status->value("mountpoint", "");
    if (first != Json::parse(json_line(Json(mountpoint))).get<std::string>())
      return refuse(Error(Errc::kInvalid, mountpoint + " shows the mount " + first +
                                              " a second time: 'umount " + mountpoint +
                                              "' takes that away, 'cairn umount " + first +
                                              "' the mount"));
  }
  const Status done = umount_flushed(**client, mountpoint, Duration(timeout_ns));
  return done ? kExitOk : complain(done.error());
}

}  // namespace

void add_status_command(CommandLine& line) {
  Command& command = line.add("status", "Show what is mounted and what is on its way");
  auto arguments = std::make_shared<StatusArguments>();
  command.argument("PATH", ValueKind::kRemote, arguments->path,
                   "a mount point, a file or directory in one, or a URL: s3://..., file://...",
                   false);
  command.flag("json", arguments->as_json, "one JSON object a mount or path, for programs")
      .only_typed();
  command.about(
      "Without PATH every mount of this user is shown, those whose daemon died, too. The exit "
      "status is 3 when something that is "
      "asked about is not in the store yet, or held back from it by --filter-upload: 0 means that "
      "the disk may be lost. Of a URL it says what is there: a volume and its newest commit, a "
      "file in one, or an object and what it says beside its bytes.");
  add_store_options(command, arguments->store);
  command.note_typed(arguments->typed);
  command.run([arguments] { return run_status(*arguments); });
}

void add_flush_command(CommandLine& line) {
  Command& command = line.add("flush", "Wait until everything written is in the store");
  auto path = std::make_shared<std::string>();
  auto timeout = std::make_shared<Duration>(0);
  command.argument("MOUNTPOINT", ValueKind::kDirectory, *path, "the mount (default: where we are)",
                   false);
  command.duration("timeout", *timeout, "give up after this long").fallback("never");
  command.about(
      "What --filter-upload holds back is not waited for: how much it is stands on standard "
      "error.");
  command.run([=] { return run_flush(*path, timeout->count()); });
}

void add_umount_command(CommandLine& line) {
  Command& command = line.add("umount", "Flush, then unmount");
  auto path = std::make_shared<std::string>();
  auto timeout = std::make_shared<Duration>(0);
  command.argument("MOUNTPOINT", ValueKind::kDirectory, *path, "the mount point");
  command.duration("timeout", *timeout, "give up flushing after this long").fallback("never");
  command.about(
      "What --filter-upload holds back stays in the cache: how much it is stands on standard "
      "error.");
  command.run([=] { return run_umount(*path, timeout->count()); });
}

}  // namespace cairn
