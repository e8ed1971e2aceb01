// abort_stale_uploads: gives back what multipart uploads of dead processes left in the bucket.
//
// Aborts, one after the other, the uploads below a prefix that began longer ago than `older_than`
// by the store's clock. Uploads of other tools below the prefix count too: nobody can tell them
// apart, so the age has to be one that no living upload has. MinIO lists no uploads by prefix, so
// only AWS is asked for the prefix; elsewhere all of the bucket's uploads are looked at.
// Bounds: one page of at most 1,000 in memory, at most 1,000 pages.
// Errors: the first one; what was aborted before it stays aborted. An upload that is gone meanwhile
// is no error.
// Source: Amazon S3 API reference (ListMultipartUploads, AbortMultipartUpload).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "s3/s3_client.h"

namespace cairn {

// `prefix` is empty or ends with '/'. Completes with how many were aborted.
void abort_stale_uploads(std::shared_ptr<S3Client> client, std::string prefix, Duration older_than,
                         Context context, Callback<uint64_t> done);

}  // namespace cairn
