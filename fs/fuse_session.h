// FuseSession: a Volume behind a mount point, through libfuse's low-level interface.
//
// The node id is the inode number, so nothing is kept for what is merely looked up. A request
// that needs the store is parked and answered by the completion: no worker waits for the network.
// INTERRUPT ends a parked request at once. Replies are sent without any lock held.
// Owner: the mount command. `mount`, then `run` until the kernel unmounts or `stop` is called,
// then destroy; the volume must outlive it.
// Errors: mount gives sentences about the mount point and the fuse device.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "fs/volume.h"

namespace cairn {

class FuseSession {
 public:
  struct Options {
    std::string mountpoint;
    std::string source;  // what df and mount show: the remote's URL
    bool read_only = false;
    bool allow_other = false;
    bool fixed_content = false;  // an inode's content never changes: the kernel may keep it
    std::string extra;  // further options for the kernel, comma-separated
    // How long the kernel may keep names and attributes: long where nothing changes behind it.
    double cache_seconds = 3600;
    // Everything that changes comes through this mount: the kernel may also keep which names are
    // missing, and what symbolic links say.
    bool changed_here_only = false;
    Duration io_timeout = std::chrono::seconds(60);
    bool remote_durability = false;  // fsync waits for the store, not only for the local disk
  };

  static Result<std::unique_ptr<FuseSession>> mount(Volume& volume, Options options);
  ~FuseSession();
  // Serves requests on up to `threads` threads; returns when unmounted or stopped, after every
  // parked request was answered.
  Status run(unsigned threads);
  // Makes `run` return. From any thread that serves no request; may take until it did.
  void stop();
  // Forgets what the kernel cached of changed keys. Not from a thread that serves a request.
  void invalidate(const Changes& changes);

 private:
  class Impl;
  explicit FuseSession(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cairn
