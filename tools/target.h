// Target: what `ls`, `get`, `put` and `set` are about.
//
// Written as s3://bucket/key, bucket:key, file:///path or a path. A path that lies in a mount of
// cairn means the file there; any other the place that a REMOTE of that spelling names. A key is
// taken as it stands, whatever its slashes and dots are. Of a directory (file:) the store is the
// nearest one above the path that is known as one (it has `.tmp` or `cairn.json`), else the
// nearest directory that is there.
#pragma once

#include <memory>
#include <string>

#include "tools/client.h"
#include "tools/compose.h"
#include "tools/remote_url.h"

namespace cairn {

struct Target {
  // In a mount: its daemon, and the path as it was written.
  std::unique_ptr<ControlClient> mount;
  std::string path;
  // Else:
  RemoteUrl root;   // a bucket, all buckets, or a directory
  std::string key;  // below it; empty: the root itself
  // Of what lies below the root under `key`, for messages.
  std::string text_of(const std::string& below) const;
  std::string text() const { return mount ? path : text_of(key); }
  // The last part of the key or the path.
  std::string name() const;
};

// `is_new`: a path that need not be there yet; its directory decides.
Result<Target> find_target(const std::string& text, bool is_new = false);

// The volume that a key lies in, by its cairn.json: what is before it of the key ("" or "a/b"), or
// nullopt. One small request for each level of the key.
Result<std::optional<std::string>> find_volume(ObjectStore& store, const std::string& key,
                                               const Context& context);

RemoteUrl url_of_volume(const Target& target, const std::string& volume);

// A remote, opened for one command.
struct OpenTarget {
  StoreStack stack;
  std::optional<std::string> volume;  // as find_volume says it
};
// `writes`: what is in a volume is refused. `as_objects`: nobody looks for one.
Result<OpenTarget> open_target(const Target& target, const StoreOptions& options, Runtime& runtime,
                               bool writes, bool as_objects, const Context& context);

// Contexts of single requests of a command that may be interrupted.
Context one_request(const CancelToken& cancel, uint64_t bytes = 0);

}  // namespace cairn
