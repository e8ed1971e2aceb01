// MemoryStore: an object store in memory, for simulations and for mounts that need not last.
//
// Thread-safe. Everything is gone with the store and its last request. Work and completions are
// tasks of the executor; a put reads its body there, so the body's files are read on its threads.
// memory_versions.cc has versions and tags.
// Errors: those of the port; a body that cannot be read gives the error of its file.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "cache/base/executor.h"
#include "cache/base/mutex.h"
#include "cache/object_store.h"

namespace cairn {

class MemoryStore final : public ObjectStore {
 public:
  MemoryStore(Executor& executor, Clock& clock);

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
  std::string description() const override { return "memory:"; }

  // Those of the bucket itself.
  void set_bucket_tags(ObjectTags tags);
  // From now on what is replaced or removed is kept, as in a bucket with versioning.
  void keep_versions();
  // As another tool would put it: any key that a bucket can hold.
  void put_foreign(const std::string& key, Buffer bytes);
  // Another store that holds what this one holds now; the bytes are shared.
  std::unique_ptr<MemoryStore> copy(Executor& executor) const;
  uint64_t object_count() const;
  uint64_t stored_bytes() const;

 private:
  struct Object {
    Buffer bytes;
    std::string etag;
    int64_t mtime_ns = 0;
    ObjectHeaders headers;
    ObjectTags tags;
    std::string storage_class;
    std::string version = "null";
    bool deleted = false;  // only among versions
  };
  using Versions = std::map<std::string, std::vector<Object>, std::less<>>;
  // Shared with the requests under way, which may outlive the store.
  struct State {
    mutable RankedMutex<Rank::kStore> mutex;
    std::map<std::string, Object, std::less<>> objects;
    // Of each key the newest first, what is there among them; empty unless they are kept.
    Versions versions;
    bool keeps_versions = false;
    ObjectTags bucket_tags;
    uint64_t puts = 0;
  };

  static ObjectTags tags_to_copy(const State& state, const Body& body);
  static void keep(State& state, const std::string& key, Object object);
  static Object* find(State& state, const std::string& key, const std::string& version);
  static VersionPage list_kept(const State& state, const ListScope& scope, const std::string& after,
                               uint32_t limit);
  static ListPage list_all(const State& state, const std::string& prefix, const std::string& after,
                           uint32_t limit);
  static ListPage list_level(const State& state, const std::string& prefix,
                             const std::string& after, uint32_t limit);
  static Result<Buffer> assemble(const State& state, const Body& body, const std::string& what);
  static ObjectInfo info_of(const std::string& key, const Object& object);

  Executor& executor_;
  Clock& clock_;
  const std::shared_ptr<State> state_;
};

}  // namespace cairn
