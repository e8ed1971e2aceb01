// S3Store: the ObjectStore port on an S3 bucket, or on a prefix of one.
//
// Owner: the composition root. Thread-safe; answers come as tasks of the executor. Requests under
// way keep what they need alive: the store itself may go first.
// Promises: those of cache/object_store.h. kIfAbsent and kIfMatch are If-None-Match: * and If-Match
// and as good as the store's own conditional writes (s3/conditional_probe.h and
// cache/if_match_probe.h find out). Ranges of objects are copied inside the store. Nothing is
// retried here but single parts of a large upload; that is what the retrying decorator is for.
// Errors: see s3/s3_error.h; every message names the operation and the object.
#pragma once

#include <memory>
#include <string>

#include "cache/object_store.h"
#include "s3/s3_client.h"
#include "s3/s3_stream.h"

namespace cairn {

class S3Store final : public ObjectStore {
 public:
  static Result<std::unique_ptr<S3Store>> make(S3Settings settings, S3Parts parts);

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
  // s3/s3_stream.h; the key is one that put takes. What is short is put through `small`, a stack
  // on this store that tries again what failed.
  Result<std::string> put_stream(ObjectStore& small, const std::string& key, const ReadStream& read,
                                 const PutHow& how, const Context& context);
  // As S3Client::server.
  std::string server() const;

  // As in s3/s3_uploads.h, below this store's prefix.
  void abort_stale_uploads(Duration older_than, Context context, Callback<uint64_t> done);

  // The first minute: can this bucket be used at all? One sentence says what is wrong (credentials,
  // endpoint, bucket, permission, region, clock) and what to do.
  void check_access(Context context, Callback<void> done);
  Status check_access_sync(Context context);

 private:
  explicit S3Store(std::shared_ptr<S3Client> client);
  std::string full_key(const std::string& key) const { return key_prefix_ + key; }
  bool refuse_limit(uint32_t limit, const std::function<void(Error)>& refuse) const;
  bool refuse_key(const std::string& key, Status (*check)(std::string_view),
                  const std::function<void(Error)>& refuse) const;

  const std::shared_ptr<S3Client> client_;
  const std::string key_prefix_;  // empty, or ends with '/'
};

}  // namespace cairn
