// The tags of a bucket or one object of it: GetBucketTagging, GetObjectTagging, PutObjectTagging,
// DeleteObjectTagging.
//
// One request each. What is there may break our rule for tags (those that a store makes itself): it
// is given back as it is. Errors are those of ObjectStore::get_tags and put_tags. Threads: `done`
// is a task of the client's executor.
#pragma once

#include <memory>
#include <string>

#include "cache/object_store.h"
#include "s3/s3_client.h"

namespace cairn {

// `key` as the bucket knows it; `version` may be empty. Without a key: those of the bucket.
void get_object_tags(const std::shared_ptr<S3Client>& client, std::string key, std::string version,
                     Context context, Callback<ObjectTags> done);
// Requires check_tags.
void put_object_tags(const std::shared_ptr<S3Client>& client, std::string key, std::string version,
                     const ObjectTags& tags, Context context, Callback<void> done);

}  // namespace cairn
