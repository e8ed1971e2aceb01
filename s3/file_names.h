// Names in a directory that is a store: which of them are its own, and the directories above them.
//
// Stateless; thread-safe as the Env. Errors: those of the Env.
#pragma once

#include <string>
#include <string_view>

#include "cache/base/env.h"

namespace cairn {

// The etag of every directory's own object.
inline constexpr std::string_view kDirectoryEtag = "\"directory\"";
bool is_directory_key(const std::string& key);

// As the store names its temporaries. Other files may lie in a directory that is no store of ours.
bool is_temporary_name(std::string_view name);

std::string parent_of(const std::string& path);
// Makes `path` and syncs the directory above each part that is new. `path` is absolute, or relative
// to the working directory.
Status make_dirs_durably(Env& env, const std::string& path);

}  // namespace cairn
