#include "tools/scratch_dir.h"

#include <cerrno>
#include <cstdlib>
#include <filesystem>

namespace cairn {

ScratchDir::ScratchDir(const std::string& name) {
  std::error_code error;
  const auto base = std::filesystem::temp_directory_path(error);
  if (error) {
    errno = error.value();
    return;
  }
  std::string path = base / (name + "-XXXXXX");
  if (::mkdtemp(path.data()) != nullptr) path_ = path;
}

ScratchDir::~ScratchDir() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

}  // namespace cairn
