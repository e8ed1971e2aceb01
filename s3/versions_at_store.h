// VersionsAtStore: a store of versions as it was at one time, read only.
//
// Of each key it shows the newest version that is not younger than that time; where that is a
// delete marker, nothing. What is shown never changes, unless somebody removes versions for good.
// The etag of what it lists or answers ends with '@' and the id of the version, so a get with
// `if_match` needs no look-up; one without asks for the versions of the key first, as a head does
// of what was not listed lately.
// One level of a listing is one request for 1,000 versions, and one or more for each directory in
// it: is there anything in it that was there at that time? A flat listing that goes on behind a key
// reads the versions before it again: it is for short ones.
//
// Threads: as the port says. Errors: those of the store below; kUnsupported for every change, and
// kIo when versions do not end.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "cache/base/executor.h"
#include "cache/base/mutex.h"
#include "cache/object_store.h"

namespace cairn {

class VersionsAtStore final : public ObjectStore {
 public:
  VersionsAtStore(std::shared_ptr<ObjectStore> base, Executor& executor, int64_t at_ns);

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
  class Known;   // versions of keys that were listed lately; bounded
  class Lookup;  // of one key, or of the first thing below a prefix
  class Level;   // one page of a listing
  template <class T>
  void refuse(const char* what, Callback<T> done);
  void find(const std::string& key, const Context& context, Callback<std::string> done);

  const std::shared_ptr<ObjectStore> base_;
  Executor& executor_;
  const int64_t at_ns_;
  const std::shared_ptr<Known> known_;
};

// "ETAG@VERSION", and what is behind the '@'; empty when nothing is.
std::string etag_with_version(std::string_view etag, std::string_view version);
std::string version_in(std::string_view etag);

}  // namespace cairn
