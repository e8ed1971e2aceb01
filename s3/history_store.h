// HistoryStore: a store of versions that shows what was overwritten or removed, too, as objects
// below a part of their own.
//
// Beside every directory's keys "DIR/NAME" there are those of its past, "DIR/PART/...": of each
// version but the newest "DIR/PART/STEM@TIME-ID.EXT", where TIME is when it was put and ID the id
// of the version, and of each directory, also of one that is gone, "DIR/PART/SUB/". They can be
// listed by one level, read, and asked for headers and tags; they are in no flat listing, and
// nothing below PART can be changed. All other keys pass through.
// A level of the past is one request for 1,000 versions. Pages of it are in order each, not one
// after the other. The etag of what is past is that of s3/versions_at_store.h.
//
// Thread-safe. Errors: those of the store below; kUnsupported for changes of what is past.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "cache/base/executor.h"
#include "cache/object_store.h"

namespace cairn {

class HistoryStore final : public ObjectStore {
 public:
  // `part` is one that no key of the bucket has.
  HistoryStore(std::shared_ptr<ObjectStore> base, Executor& executor, std::string part);

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
  std::string description() const override { return base_->description(); }

 private:
  struct Past {
    std::string directory;  // of the bucket: "" or "DIR/SUB/"
    std::string name;       // below it
  };
  std::optional<Past> past_of(std::string_view key) const;
  template <class T>
  bool refuse(const std::string& key, Callback<T>& done) const;

  const std::shared_ptr<ObjectStore> base_;
  Executor& executor_;
  const std::string part_;
};

// "STEM@TIME-ID.EXT" of a name and one of its versions, and what it is of; nullopt when it is none.
struct PastName {
  std::string name;
  std::string version;
  bool operator==(const PastName&) const = default;
};
std::string format_past_name(std::string_view name, std::string_view version, int64_t time_ns);
std::optional<PastName> parse_past_name(std::string_view text);

}  // namespace cairn
