// Where the cache of a mount lies: one folder a remote below a base.
#pragma once

#include <string>

#include "tools/remote_url.h"

namespace cairn {

inline constexpr const char* kAtObjects = "/objects";  // no point of a history has such a name
// Readable, and unique by a digest. A mount of a point of its history (`at`) has a folder of its
// own, and so have the objects of a bucket.
std::string cache_folder(const std::string& base, const RemoteUrl& remote,
                         const std::string& at = "");

// A folder that is removed when this goes: nothing is in it that is not in the store, and nobody
// will look for it again. Goes after what uses the folder.
class PassingFolder {
 public:
  PassingFolder() = default;
  ~PassingFolder();
  PassingFolder(const PassingFolder&) = delete;
  PassingFolder& operator=(const PassingFolder&) = delete;
  void set(std::string path) { path_ = std::move(path); }

 private:
  std::string path_;  // empty: there is none
};

}  // namespace cairn
