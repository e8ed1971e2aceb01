#include "s3/file_names.h"

namespace cairn {

bool is_directory_key(const std::string& key) {
  return key.ends_with('/');
}

bool is_temporary_name(std::string_view name) {
  constexpr std::string_view kShape = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
  if (name.size() != kShape.size()) return false;
  for (size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    if (kShape[i] == 'x' ? !hex : c != '-') return false;
  }
  return true;
}

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

Status make_dirs_durably(Env& env, const std::string& path) {
  std::string existing = path;
  while (!existing.empty() && !env.stat(existing)) existing = parent_of(existing);
  TRY(env.make_dirs(path));
  for (std::string part = path; part.size() > existing.size(); part = parent_of(part)) {
    const std::string above = parent_of(part);
    TRY(env.sync_dir(!above.empty() ? above : path.starts_with('/') ? "/" : "."));
  }
  return {};
}

}  // namespace cairn
