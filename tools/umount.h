// Unmounting as `cairn umount` and the helper of umount(8) do it.
#pragma once

#include <functional>
#include <string>

#include "tools/client.h"

namespace cairn {

// As long as the mount itself would flush when told to stop (--shutdown-timeout).
inline constexpr Duration kTimeoutOfMount = Duration(-1);

// While something is flushed: progress on a terminal, and once on standard error what the store
// refuses, for which it would be waited in vain.
std::function<void(const Json&)> flush_progress();
void end_flush_progress();

// What --filter-upload holds back is not in the store: says so on standard error. `answer` is one
// to flush or umount, or the last word of a daemon.
void print_held(const Json& answer);

// Flushes for at most `timeout` (0: as long as it takes), unmounts, and waits until the daemon has
// ended and the cache is free. An error says what is left and whether it stays mounted. A volume
// that another writer took over is unmounted all the same: waiting cannot help it. kNotFound: the
// daemon is gone, and nothing was unmounted. kExists: it is unmounted here, and the daemon serves
// it elsewhere.
Status umount_flushed(ControlClient& client, const std::string& mountpoint, Duration timeout);

// `status` of a mount: is all of it in the store?
bool is_all_stored(const Json& status);
// A sentence for a mount that is gone here while its daemon serves it in other `places`.
std::string mounted_elsewhere_text(const std::string& mountpoint, const Json& status,
                                   const std::string& places);

// Takes away the mount of a daemon that is gone, whoever still has files open in it.
Status detach_dead_mount(const std::string& mountpoint);

}  // namespace cairn
