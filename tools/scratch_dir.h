// A directory that is gone when this is.
#pragma once

#include <string>

namespace cairn {

class ScratchDir {
 public:
  explicit ScratchDir(const std::string& name);
  ~ScratchDir();
  ScratchDir(const ScratchDir&) = delete;
  ScratchDir& operator=(const ScratchDir&) = delete;
  const std::string& path() const { return path_; }  // empty: it could not be made, see errno

 private:
  std::string path_;
};

}  // namespace cairn
