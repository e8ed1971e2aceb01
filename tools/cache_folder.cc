#include "tools/cache_folder.h"

#include <filesystem>

#include "cache/base/digest.h"
#include "cache/base/log.h"

namespace cairn {

std::string cache_folder(const std::string& base, const RemoteUrl& remote, const std::string& at) {
  const std::string text = remote.text() + (at.empty() ? "" : "@" + at);
  std::string name;
  for (const char c : text.substr(text.find("://") + 3)) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    name.push_back(plain || c == '.' || c == '-' ? c : '_');
  }
  constexpr size_t kReadable = 60;
  if (name.size() > kReadable) name = name.substr(name.size() - kReadable);
  return base + "/" + name + "-" + sha256(as_bytes(text)).hex().substr(0, 12);
}

PassingFolder::~PassingFolder() {
  if (path_.empty()) return;
  std::error_code error;
  std::filesystem::remove_all(path_, error);
  if (error) log_warn("{} cannot be removed: {}", path_, error.message());
}

}  // namespace cairn
