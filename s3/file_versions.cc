// FileStore: tags, and the one version that a key has.
#include <utility>

#include "s3/file_headers.h"
#include "s3/file_names.h"
#include "s3/file_store.h"
#include "s3/file_walk.h"
#include "s3/request.h"

namespace cairn {

namespace {

bool is_only_version(const std::string& version) {
  return version.empty() || version == kOnlyVersion;
}

// Is there such an object, which can have tags?
Status find_object(Env& env, const std::string& root, const std::string& key,
                   const std::string& version, const std::string& what) {
  TRY(check_file_key(key, what));
  const auto info = env.stat(root + "/" + key);
  if (info && is_directory_key(key) && info->is_directory)
    return fail(Errc::kUnsupported, what + ": directories have no tags here");
  if (info && info->is_regular && !info->is_symlink && is_only_version(version)) return {};
  if (!info && !is_missing(info.error()))
    return fail(Errc::kIo, what + ": " + info.error().message(), info.error().sys_errno());
  return fail(Errc::kNotFound, what + ": no such object");
}

// Files may be listed under errors of the system that the port has no codes for.
template <class T>
Result<T> as_port(Result<T> result, const std::string& what) {
  if (result) return result;
  Error error = std::move(result).error();
  const Errc code =
      error.code() == Errc::kExists || error.code() == Errc::kInvalid ? Errc::kIo : error.code();
  return fail(code, what + ": " + error.message(), error.sys_errno());
}

}  // namespace

void FileStore::head_version(std::string key, std::string version, Context context,
                             Callback<ObjectHead> done) {
  if (is_only_version(version)) return head(std::move(key), std::move(context), std::move(done));
  std::string what = description() + ": head '" + key + "'";
  run_task<ObjectHead>(executor_, clock_, std::move(context), what, std::move(done),
                       [what](const Context&) -> Result<ObjectHead> {
                         return fail(Errc::kNotFound, what + ": there is no such version");
                       });
}

void FileStore::get_tags(std::string key, std::string version, Context context,
                         Callback<ObjectTags> done) {
  std::string what = description() + ": get the tags of '" + key + "'";
  run_task<ObjectTags>(executor_, clock_, std::move(context), what, std::move(done),
                       [&env = env_, root = root_, key = std::move(key),
                        version = std::move(version), what](const Context&) -> Result<ObjectTags> {
                         if (key.empty())
                           return fail(Errc::kUnsupported, what + ": a directory has no tags");
                         TRY(find_object(env, root, key, version, what));
                         return as_port(read_file_tags(env, root + "/" + key), what);
                       });
}

void FileStore::put_tags(std::string key, std::string version, ObjectTags tags, Context context,
                         Callback<void> done) {
  std::string what = description() + ": put the tags of '" + key + "'";
  run_task<void>(executor_, clock_, std::move(context), what, std::move(done),
                 [&env = env_, root = root_, key = std::move(key), version = std::move(version),
                  tags = std::move(tags), what](const Context&) -> Status {
                   TRY(check_tags(tags));
                   TRY(find_object(env, root, key, version, what));
                   const std::string path = root + "/" + key;
                   TRY(as_port(write_file_tags(env, path, tags), what));
                   auto file = env.open(path, OpenMode::kRead);
                   if (!file && is_missing(file.error())) return {};
                   if (!file) return tl::unexpected<Error>(std::move(file).error().wrap(what));
                   return as_port((*file)->sync_data(), what);
                 });
}

void FileStore::list_versions(ListScope scope, std::string after, uint32_t limit, Context context,
                              Callback<VersionPage> done) {
  const bool one_level = scope.one_level;
  list(std::move(scope), std::move(after), limit, std::move(context),
       [one_level, done = std::move(done)](Result<ListPage> page) {
         if (!page) return done(tl::unexpected<Error>(std::move(page).error()));
         VersionPage out;
         for (ObjectInfo& info : page->objects)
           out.versions.push_back({std::move(info), std::string(kOnlyVersion), true, false});
         out.prefixes = std::move(page->prefixes);
         out.truncated = page->truncated;
         if (out.truncated)
           out.next = one_level || out.versions.empty() ? page->next : out.versions.back().info.key;
         done(std::move(out));
       });
}

void FileStore::keeps_versions(Context context, Callback<bool> done) {
  run_task<bool>(executor_, clock_, std::move(context), description() + ": versioning",
                 std::move(done), [](const Context&) -> Result<bool> { return false; });
}

}  // namespace cairn
