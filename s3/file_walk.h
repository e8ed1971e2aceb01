// walk_objects: one page of the objects below a directory, in byte order of their keys; of one
// level, its directories are listed as prefixes, empty ones too.
//
// Directory order is not key order: "a-b" sorts before "a/b", which sorts before "ab". Pure apart
// from the Env; keeps one list of names for each level of the path it is in.
#pragma once

#include <functional>
#include <string>

#include "cache/base/env.h"
#include "cache/object_store.h"

namespace cairn {

// The name of the directory below the root that holds temporaries; never part of a key.
inline constexpr std::string_view kTemporaryDir = ".tmp";

// An opaque string that changes with the file's content.
std::string file_etag(const FileInfo& info);

// Nothing has that name: no such entry, or a file where a directory would be.
bool is_missing(const Error& error);

// `check` is called now and then and ends the walk with its error.
Result<ListPage> walk_objects(Env& env, const std::string& root, const ListScope& scope,
                              const std::string& after, uint32_t limit,
                              const std::function<Status()>& check);

}  // namespace cairn
