// MultipartUpload: puts one object in parts: bytes that are sent, and ranges of objects that the
// store copies (s3/s3_parts.h says which).
//
// The object appears only when the last step (complete) succeeds; before that, and after a failure,
// readers see nothing of it. A part whose sending failed is tried again a few times by itself, so
// that a hiccup does not cost the parts before it. After a failure the parts are given back to the
// store (abort), as well as that can be done; a lifecycle rule of the bucket catches the rest.
// Bounds: `parts_in_flight` parts at once; the parts are ranges of the body, never copied whole.
// Threads: steps run as tasks of the executor. The upload keeps itself alive until it is done.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "s3/s3_put.h"

namespace cairn {

// Completes with the new object's etag. Errors and their meaning are those of ObjectStore::put.
void put_multipart(std::shared_ptr<S3Client> client, S3Put put, Callback<std::string> done);

}  // namespace cairn
