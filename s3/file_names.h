// Names in a directory that is a store: which of them are its own, and the directories above them.
//
// Stateless; thread-safe as the Env. Errors: those of the Env.
#pragma once

#include <string>
#include <string_view>

#include "cache/base/env.h"
#include "cache/object_store.h"

namespace cairn {

// What the one version of a key is called.
inline constexpr std::string_view kOnlyVersion = "null";
// The etag of every directory's own object.
inline constexpr std::string_view kDirectoryEtag = "\"directory\"";
bool is_directory_key(const std::string& key);

// As the store names its temporaries. Other files may lie in a directory that is no store of ours.
bool is_temporary_name(std::string_view name);

// What a key may be here, beyond the port's rule. `what` is for messages.
Status check_file_key(const std::string& key, const std::string& what);

std::string parent_of(const std::string& path);
// Makes `path` and syncs the directory above each part that is new. `path` is absolute, or relative
// to the working directory.
Status make_dirs_durably(Env& env, const std::string& path);

}  // namespace cairn
