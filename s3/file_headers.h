// The headers of a file: remote's objects, kept in extended attributes of their files: the content
// type as user.mime_type, where desktops and web servers look for it, metadata as
// user.s3.meta.NAME, other headers as user.s3.header.NAME.
//
// Tags are one attribute, user.s3.tags, as s3/object_tags.h writes them: to change them is one
// step.
//
// Stateless; thread-safe as the Env. What other tools left there is given back as far as it keeps
// the port's rules for headers. On a filesystem without such attributes nothing is kept, and the
// log says so.
// Errors: those of the Env; kNoSpace when the filesystem has too little room for attributes.
#pragma once

#include <string>

#include "cache/base/env.h"
#include "cache/object_store.h"

namespace cairn {

// To a file that has none yet. Requires check_headers.
Status write_file_headers(Env& env, const std::string& path, const ObjectHeaders& headers);
Result<ObjectHeaders> read_file_headers(Env& env, const std::string& path);

// Replaces all. kUnsupported on a filesystem without such attributes.
Status write_file_tags(Env& env, const std::string& path, const ObjectTags& tags);
Result<ObjectTags> read_file_tags(Env& env, const std::string& path);

}  // namespace cairn
