#include "tools/client.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "cache/base/env.h"

namespace cairn {

namespace {

std::string silent_mount_text(const MountEntry& entry) {
  if (entry.owner != ::geteuid() && ::geteuid() != 0)
    return "the daemon of the mount " + entry.mountpoint +
           " belongs to another user, and does not answer";
  if (is_dead(entry.mountpoint)) return dead_mount_text(entry.mountpoint);
  return "the daemon of the mount " + entry.mountpoint +
         " lives, but its control socket is not in the run directory that is seen here: ask where "
         "it was mounted (another container or mount namespace)";
}

// Is a mount there whose daemon does not answer, or none at all?
tl::unexpected<Error> not_mounted(const std::string& path, const std::vector<MountEntry>& table,
                                  std::string at) {
  while (true) {
    if (const auto entry = mount_at(table, at); entry && entry->type == kMountType)
      return fail(Errc::kTransient, silent_mount_text(*entry));
    if (at == "/") return fail(Errc::kNotFound, path + " is not in a mount of cairn");
    const size_t slash = at.rfind('/');
    at = slash == 0 ? "/" : at.substr(0, slash);
  }
}

}  // namespace

Result<std::unique_ptr<ControlClient>> connect_at(const std::string& mountpoint,
                                                  const std::vector<MountEntry>& table) {
  TRY_ASSIGN(const std::string socket, control_path(mountpoint));
  if (auto client = ControlClient::connect(socket)) return client;
  const auto entry = mount_at(table, mountpoint);
  if (::geteuid() == 0 && entry && entry->type == kMountType && entry->owner != 0)
    for (const std::string& dir : run_directories_of(entry->owner))
      if (auto client = ControlClient::connect(control_path_in(dir, mountpoint))) return client;
  return fail(Errc::kNotFound, "no cairn daemon answers for " + mountpoint);
}

Result<Json> quick_status(ControlClient& client) {
  constexpr Duration kPatience = std::chrono::seconds(5);
  TRY(client.send(Json{{"command", "status"}}));
  TRY_ASSIGN(const Json answer, client.receive(kPatience));
  Json status = answer.value("status", Json::object());
  return status;
}

Result<std::unique_ptr<ControlClient>> connect_by_device(const MountEntry& entry) {
  TRY_ASSIGN(const std::string own, run_directory());
  std::vector<std::string> directories{own};
  if (::geteuid() == 0 && entry.owner != 0)
    for (std::string& dir : run_directories_of(entry.owner)) directories.push_back(std::move(dir));
  for (const std::string& dir : directories) {
    const auto names = posix_env().list_dir(dir);
    if (!names) continue;
    for (const std::string& name : *names) {
      const std::string socket = dir + "/" + name;
      const auto asked = ControlClient::connect(socket);
      if (!asked) continue;
      const auto status = quick_status(**asked);
      if (status && status->value("device", "") == entry.device)
        return ControlClient::connect(socket);
    }
  }
  return fail(Errc::kNotFound, "no cairn daemon serves what is mounted at " + entry.mountpoint);
}

Result<std::unique_ptr<ControlClient>> connect_to(const std::string& path,
                                                  std::string& mountpoint) {
  TRY_ASSIGN(const std::string canonical, canonical_mountpoint(path));
  TRY_ASSIGN(const auto table, read_mount_table());
  std::string at = canonical;
  while (true) {
    if (auto client = connect_at(at, table)) {
      mountpoint = at;
      return client;
    }
    if (const auto entry = mount_at(table, at); entry && entry->type == kMountType)
      if (auto client = connect_by_device(*entry)) {
        // Of a part of it, that directory is asked about, and not the mount.
        mountpoint = entry->root == "/" ? at : entry->root + " of " + entry->source;
        return client;
      }
    if (at == "/") return not_mounted(path, table, canonical);
    const size_t slash = at.rfind('/');
    at = slash == 0 ? "/" : at.substr(0, slash);
  }
}

std::unique_ptr<ControlClient> connect_if_mounted(const std::string& target) {
  struct stat st{};
  if (target.find("://") != std::string::npos || ::lstat(target.c_str(), &st) != 0) return nullptr;
  std::string mountpoint;
  auto client = connect_to(target, mountpoint);
  return client ? std::move(*client) : nullptr;
}

Result<Json> ask(ControlClient& client, const Json& request,
                 const std::function<void(const Json&)>& progress) {
  TRY(client.send(request));
  while (true) {
    TRY_ASSIGN(Json answer, client.receive());
    if (answer.contains("progress")) {
      if (progress) progress(answer["progress"]);
      continue;
    }
    if (answer.value("ok", false)) return answer;
    const bool fenced = answer.value("fenced", false);
    return fail(fenced ? Errc::kFenced : Errc::kIo, answer.value("error", "the daemon refused"));
  }
}

}  // namespace cairn
