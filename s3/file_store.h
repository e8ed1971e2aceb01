// FileStore: the `file:` remote, a directory that keeps the object layout with its guarantees.
//
// An object is a file whose path below the root is its key. A put writes a temporary file in
// `.tmp` below the root, syncs it, and gives it its name by rename(2), or by link(2) for
// kIfAbsent, which exactly one of many can win, also over NFS; then it syncs the directories that
// changed. So a completed put or remove survives power loss, and what a crash leaves behind is a
// temporary, which the first put of a later store removes when it is a day old.
//
// kIfMatch looks at the version and renames under a lock on a file in `.tmp`, which the kernel
// frees when its holder dies. So of many such puts over one version exactly one wins, whatever
// process they come from, on other hosts too where the filesystem carries flock(2) there. A put of
// another kind, a remove or another tool's write that comes between the look and the rename is
// lost. Ranges of objects are read from their files; their versions are looked at before and
// behind. Content type, metadata and tags: s3/file_headers.h. There is one version of a key,
// "null".
//
// Threads: thread-safe, also between processes that use the same directory. Requests are blocking
// file I/O in tasks of the executor; deadline and cancellation are looked at between pieces of
// 1 MiB, so a disk that hangs holds the request as it holds any process.
// Limits a bucket does not have: a component of a key is at most 255 bytes, `.tmp` is ours, and a
// key cannot be both an object and a directory of others (kUnsupported). Directories stay when
// their last object is removed. Symbolic links are never listed, read or written through as
// objects. A page of a list reads each directory it touches whole.
// Errors: those of the port; kNoSpace for a full disk or quota, kIo for what the disk refuses.
#pragma once

#include <memory>
#include <string>

#include "cache/base/env.h"
#include "cache/base/executor.h"
#include "cache/base/random.h"
#include "cache/object_store.h"

namespace cairn {

class FileStore final : public ObjectStore {
 public:
  // What it stands on; all of it must outlive the store and its requests.
  struct Parts {
    Env& env;
    Executor& executor;
    Clock& clock;
    Rng& rng;
  };
  enum class Create : uint8_t { kMustExist, kIfMissing };

  // kNotFound when the directory is missing and may not be made.
  static Result<std::shared_ptr<FileStore>> open(const Parts& parts, std::string root,
                                                 Create create);

  void get(std::string key, GetRange range, Context context, Callback<GetResult> done) override;
  void head(std::string key, Context context, Callback<ObjectHead> done) override;
  void put(std::string key, Body body, PutHow how, Context context,
           Callback<std::string> done) override;
  void remove(std::string key, Context context, Callback<void> done) override;
  void list(ListScope scope, std::string after, uint32_t limit, Context context,
            Callback<ListPage> done) override;
  void head_version(std::string key, std::string version, Context context,
                    Callback<ObjectHead> done) override;
  void get_tags(std::string key, std::string version, Context context,
                Callback<ObjectTags> done) override;
  void put_tags(std::string key, std::string version, ObjectTags tags, Context context,
                Callback<void> done) override;
  void list_versions(ListScope scope, std::string after, uint32_t limit, Context context,
                     Callback<VersionPage> done) override;
  void keeps_versions(Context context, Callback<bool> done) override;
  std::string description() const override;

 private:
  class Directory;  // the blocking side, shared with the requests under way
  FileStore(const Parts& parts, std::shared_ptr<Directory> directory);

  Env& env_;
  Executor& executor_;
  Clock& clock_;
  const std::string root_;
  const std::shared_ptr<Directory> directory_;
};

}  // namespace cairn
