#include "tools/client.h"

#include <sys/stat.h>
#include <unistd.h>

namespace cairn {

namespace {

// Is a mount there whose daemon does not answer, or none at all?
tl::unexpected<Error> not_mounted(const std::string& path, const std::vector<MountEntry>& table,
                                  std::string at) {
  while (true) {
    if (const auto entry = mount_at(table, at); entry && entry->type == kMountType)
      return fail(Errc::kTransient, entry->owner == ::geteuid() || ::geteuid() == 0
                                        ? dead_mount_text(at)
                                        : "the daemon of the mount " + at +
                                              " belongs to another user, and does not answer");
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
