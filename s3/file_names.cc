#include "s3/file_names.h"

#include <algorithm>

#include "s3/file_walk.h"

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

Status check_file_key(const std::string& key, const std::string& what) {
  constexpr size_t kNameMax = 255;
  TRY(check_key(key));
  for (size_t begin = 0; begin <= key.size();) {
    const size_t end = std::min(key.find('/', begin), key.size());
    const std::string_view part = std::string_view(key).substr(begin, end - begin);
    if (part.size() > kNameMax)
      return fail(Errc::kInvalid, what + ": a component is longer than 255 bytes");
    if (begin == 0 && part == kTemporaryDir)
      return fail(Errc::kInvalid, what + ": '.tmp' belongs to the store");
    begin = end + 1;
  }
  return {};
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
