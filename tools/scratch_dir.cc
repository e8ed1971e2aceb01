#include "tools/scratch_dir.h"

#include <cstdlib>
#include <filesystem>

namespace cairn {

ScratchDir::ScratchDir(const std::string& name) {
  std::string path = std::filesystem::temp_directory_path() / (name + "-XXXXXX");
  if (::mkdtemp(path.data()) != nullptr) path_ = path;
}

ScratchDir::~ScratchDir() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

}  // namespace cairn
