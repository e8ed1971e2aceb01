// One mount from the moment its arguments are known to the moment it is over.
#pragma once

#include <string>

#include "cache/cache_dir.h"
#include "tools/compose.h"
#include "tools/control.h"
#include "tools/daemon.h"

namespace cairn {

struct MountSettings {
  RemoteUrl remote;
  std::string mountpoint;  // canonical
  std::string cache_base;  // one folder a remote below it
  StoreOptions store;
  MountOptions options;
  bool create = false;
  bool as_objects = false;  // where nothing lies yet, too
  bool allow_other = false;
  bool remote_durability = false;
  std::string kernel_options;
  std::string at_text;          // of options.at; of a time itself
  bool at_is_relative = false;  // it was given as so long ago: nobody asks for it again
  ObjectView objects;           // how a bucket's own objects look, when it holds no volume
  Duration gc_interval = std::chrono::hours(1);  // 0: only when asked
  Duration gc_grace = std::chrono::hours(24);
  Duration stale_uploads = std::chrono::hours(7 * 24);  // of a bucket's objects; 0: they stay
  Duration shutdown_timeout = std::chrono::seconds(80);
  std::string log_file;  // empty: in the cache directory when in the background
  bool foreground = false;
};

// Mounts, serves until unmounted or told to stop, flushes. The exit code.
int run_mount(MountSettings settings, Daemon& daemon);

}  // namespace cairn
