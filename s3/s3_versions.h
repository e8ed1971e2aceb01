// Versions of the objects of a bucket: pages of ListObjectVersions, and whether there are any.
//
// A page is one request. What the answer says is checked: keys inside the scope, in order; stores
// that list delete markers apart are put in order here. A full page counts as followed by more
// whatever it says, because some stores are mistaken there. `done` runs as a task.
// Errors: those of S3Client; kIo when the answer does not add up.
#pragma once

#include <memory>
#include <string>

#include "cache/object_store.h"
#include "s3/s3_list.h"

namespace cairn {

// `request.after` is the `next` of the page before.
void list_object_versions(const std::shared_ptr<S3Client>& client, S3ListRequest request,
                          Callback<VersionPage> done);
void bucket_keeps_versions(const std::shared_ptr<S3Client>& client, Context context,
                           Callback<bool> done);

}  // namespace cairn
