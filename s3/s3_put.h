// put_object: writes one object, in the one of four ways that fits.
//
//   PUT                 bytes of ours, up to the multipart threshold
//   multipart           more than that, and everything with ranges of objects: s3/s3_multipart.h
//   CopyObject          a whole object of up to 5 GiB, also onto itself for other headers
//   multipart of copies the same, when the put has a condition and the store is not AWS: MinIO and
//                       versitygw take a CopyObject's If-Match and If-None-Match and then ignore
//                       them, while they keep those of the last step of an upload
//
// Threads: steps run as tasks of the executor. Errors are those of ObjectStore::put.
// Source: Amazon S3 API reference (PutObject, CopyObject).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cache/object_store.h"
#include "s3/s3_client.h"

namespace cairn {

struct S3Put {
  std::string key;         // as the bucket knows it
  std::string key_prefix;  // before the keys of ranges of objects
  Body body;               // check_put holds
  PutHow how;
  Context context;
};

void put_object(std::shared_ptr<S3Client> client, S3Put put, Callback<std::string> done);

// What a multipart upload needs too: class and tags as headers; the condition, and what a refusal
// means then.
void append_put_headers(const PutHow& how, S3Call& call);
void set_condition(const PutHow& how, S3Call& call);
// The source of a CopyObject or UploadPartCopy, of that version only.
void set_copy_source(const S3Client& client, const std::string& key_prefix,
                     const ObjectRange& object, S3Call& call);

}  // namespace cairn
