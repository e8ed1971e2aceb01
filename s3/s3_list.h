// One page of a listing of a bucket (ListObjectsV2), flat or one level of it.
//
// A page is one request. Two more are possible: MinIO (2025-10) calls some full pages the last one
// that are not, so a full last page is asked whether it is; and a flat page that only held the
// marker of our own prefix is followed by the next one.
// What the answer says is checked: keys in order, all inside the scope. `done` runs as a task.
// Errors: those of S3Client; kIo when the answer does not add up.
#pragma once

#include <memory>
#include <string>

#include "cache/object_store.h"
#include "s3/s3_client.h"

namespace cairn {

struct S3ListRequest {
  std::string key_prefix;  // of the store: empty, or ends with '/'
  ListScope scope;         // without it, as all that the caller sees
  std::string after;
  uint32_t limit = 0;
  Context context;
};

void list_objects(const std::shared_ptr<S3Client>& client, S3ListRequest request,
                  Callback<ListPage> done);

}  // namespace cairn
