// What the commands that talk to a running mount share. Errors are sentences for people.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "tools/control.h"
#include "tools/mount_table.h"

namespace cairn {

// The mount that `path` lies in: the path itself or one of its parents. kNotFound when there is
// none, kTransient when its daemon does not answer.
Result<std::unique_ptr<ControlClient>> connect_to(const std::string& path, std::string& mountpoint);
// The daemon of exactly this mount point (canonical); root also reaches those of other users.
Result<std::unique_ptr<ControlClient>> connect_at(const std::string& mountpoint,
                                                  const std::vector<MountEntry>& table);
// The daemon that serves this file system, wherever it was mounted first: for a bind mount of it.
Result<std::unique_ptr<ControlClient>> connect_by_device(const MountEntry& entry);
// What the daemon says of itself (`cairn status --json`), when it says so soon. A client asks once.
Result<Json> quick_status(ControlClient& client);
// A command that takes REMOTE or MOUNTPOINT: the mount when `target` is a path inside of one that
// runs; nullptr when it must be a remote.
std::unique_ptr<ControlClient> connect_if_mounted(const std::string& target);
// Sends a request and waits for its answer; `progress` may be null. kFenced when the volume was
// taken over, kIo for everything else that the daemon refuses.
Result<Json> ask(ControlClient& client, const Json& request,
                 const std::function<void(const Json&)>& progress = nullptr);

}  // namespace cairn
