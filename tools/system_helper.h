// The program under the names that mount(8) and umount(8) call: mount.cairn and umount.fuse.
//
// mount.cairn REMOTE MOUNTPOINT [-sfnv] [-o LIST] mounts, as `cairn mount -o LIST` does, and says
// nothing when all is well, unless verbose (-v); with "remount" in the list `mount -i` tells the
// kernel, which is all there is to it.
// umount.fuse MOUNTPOINT [-flnrv] is called for every FUSE mount: one of cairn is flushed first and
// then unmounted; every other one, a lazy or forced unmount, and a mount whose daemon is gone are
// given to `umount -i`, which asks no helper. Statuses are those of mount(8): 1 usage, 32 failed.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace cairn {

inline constexpr int kHelperUsage = 1;
inline constexpr int kHelperFailed = 32;

enum class HelperRole : uint8_t { kNone, kMount, kUmount };
// By the last part of the path the program was called with.
HelperRole helper_role(const std::string& called_as);

// The words of the command line of cairn that mean the same, or nothing (a fake mount, -f), or
// those of mount(8) where only the kernel has something to change (-o remount).
struct MountCall {
  bool fake = false;
  bool remount = false;
  bool verbose = false;
  std::vector<std::string> words;
  std::string error;  // not empty: the call is wrong
};
MountCall translate_mount_call(const std::vector<std::string>& arguments);

struct UmountCall {
  std::string mountpoint;
  bool at_once = false;                // lazy, forced, in another namespace: not ours to delay
  std::vector<std::string> arguments;  // for umount -i
  std::string error;
};
UmountCall translate_umount_call(const std::vector<std::string>& arguments);

// Does what mount.cairn does, with `run` for the words of the command line; the exit status.
int run_mount_helper(const std::vector<std::string>& arguments,
                     const std::function<int(const std::vector<std::string>&)>& run);

// Does what umount.fuse does; the exit status.
int run_umount_helper(const std::vector<std::string>& arguments);

}  // namespace cairn
