// RemoteUrl: what a person may write for REMOTE.
//
//   s3://bucket[/prefix]   bucket   bucket:prefix      an S3 bucket
//   file:///dir   /dir   ./dir   ../dir                a directory
//   s3://                                              all buckets, where that makes sense
// In a URL of a file %20 is a blank, as in any URL, and file://localhost/dir is file:///dir.
// Only what begins with '/', './', '../' or 'file:' is a path; everything else is a bucket.
#pragma once

#include <string>
#include <string_view>

#include "cache/base/result.h"

namespace cairn {

struct RemoteUrl {
  enum class Kind : uint8_t { kS3, kFile };
  Kind kind = Kind::kS3;
  std::string bucket;
  std::string prefix;     // without slashes at its ends
  std::string directory;  // absolute, for kFile
  bool is_all_buckets() const { return kind == Kind::kS3 && bucket.empty(); }
  // The one spelling that names it everywhere: s3://bucket/prefix or file:///dir.
  std::string text() const;
};

// Relative paths are resolved against the working directory.
Result<RemoteUrl> parse_remote_url(std::string_view text, bool may_be_all_buckets = false);

}  // namespace cairn
