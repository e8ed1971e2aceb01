// The kernel's table of mounts, as /proc/self/mountinfo gives it. Reading it never waits for a file
// system, so it is safe to ask about a mount whose daemon is gone.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cache/base/result.h"

namespace cairn {

struct MountEntry {
  std::string mountpoint;
  std::string type;    // fuse.cairn
  std::string source;  // the remote's URL
  uid_t owner = 0;     // who mounted it, for FUSE
  std::string device;  // "0:57": the same wherever this file system is seen
  std::string root;    // what of it is seen here: "/" is all
};

inline constexpr std::string_view kMountType = "fuse.cairn";

std::vector<MountEntry> parse_mount_table(std::string_view text);
Result<std::vector<MountEntry>> read_mount_table();
// Where the file system of `device` is mounted, here and in the mount namespaces of other
// processes, as words: "at /n, and for process 12 (sleep) at /m". Empty when nobody is seen to have
// it.
std::string places_of(const std::string& device);
// Is the daemon of the mount there gone? Asks the kernel what it asks the daemon each time, so that
// a daemon that is stuck keeps this waiting.
bool is_dead(const std::string& mountpoint);
// A sentence for a mount whose daemon is gone.
std::string dead_mount_text(const std::string& mountpoint);
// What is seen at `mountpoint`: the last entry, as mounts may lie on each other.
std::optional<MountEntry> mount_at(const std::vector<MountEntry>& table,
                                   std::string_view mountpoint);

}  // namespace cairn
