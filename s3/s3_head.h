// head_object: what the store knows of one object, by HEAD.
//
// An answer to HEAD has no body: a refusal does not say why, and any web server says 404. So what
// is refused is asked for again as one byte: that answer names the reason, and lets keys that have
// expired be renewed. Errors are those of ObjectStore::head.
#pragma once

#include <memory>
#include <string>

#include "cache/object_store.h"
#include "s3/s3_client.h"

namespace cairn {

// `key` as the bucket knows it; `name` is the key in the answer. `version` may be empty.
void head_object(std::shared_ptr<S3Client> client, std::string key, std::string name,
                 std::string version, Context context, Callback<ObjectHead> done);

}  // namespace cairn
