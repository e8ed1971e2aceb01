// The XML of S3 and STS: what is read from answers and the one document that is sent.
//
// Pure functions over hostile input: size and number of elements are bounded before parsing, no
// entity beyond XML's own five is expanded, nothing is allocated from a declared length.
// Errors: kIo, "not an S3 answer: ...".
// Source: Amazon S3 API reference (ListObjectsV2, CreateMultipartUpload, CompleteMultipartUpload,
// ListMultipartUploads, CopyObject, UploadPartCopy, ListObjectVersions, GetBucketVersioning,
// GetObjectTagging, PutObjectTagging,
// REST error responses); AWS STS API reference (AssumeRole, common errors).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cache/base/bytes.h"
#include "cache/base/result.h"
#include "cache/object_store.h"
#include "s3/credentials.h"

namespace cairn {

inline constexpr size_t kMaxXmlBytes = 8 << 20;

struct S3ListedObject {
  std::string key;
  uint64_t size = 0;
  std::string etag;
  int64_t mtime_ns = 0;
};

struct S3Listing {
  std::vector<S3ListedObject> objects;
  std::vector<std::string> prefixes;  // with a delimiter
  bool truncated = false;
  std::string next_token;  // empty when the store gave none
};

struct S3ErrorBody {
  std::string code;
  std::string message;
  std::string region;    // the right one, when the server says it
  std::string endpoint;  // likewise
  std::string request_id;
  std::string server_time;   // with RequestTimeTooSkewed
  uint64_t object_size = 0;  // with InvalidRange, when has_object_size
  bool has_object_size = false;
};

struct S3Part {
  int number = 0;
  std::string etag;
  std::string crc32c;  // base64; empty when the parts carry none
};

struct S3Copied {
  std::string etag;
  std::string crc32c;  // base64; empty when the store names none
};

struct S3ListedUpload {
  std::string key;
  std::string id;
  int64_t begun_ns = 0;
};

struct S3UploadListing {
  std::vector<S3ListedUpload> uploads;
  bool truncated = false;
  std::string next_key;  // with next_upload_id where the next page begins
  std::string next_upload_id;
};

struct S3VersionListing {
  std::vector<ObjectVersion> versions;  // as the store lists them
  std::vector<std::string> prefixes;
  bool truncated = false;
  std::string next_key;  // with next_version where the next page begins; may be empty
  std::string next_version;
};

// At most `max_objects` entries are accepted.
Result<S3Listing> parse_list_objects(Bytes xml, size_t max_objects);
// An error document; kIo when it is something else (an HTML page, nothing at all).
Result<S3ErrorBody> parse_s3_error(Bytes xml);
// The answer to CopyObject or UploadPartCopy; an Error inside a success is refused as below.
Result<S3Copied> parse_copy_result(Bytes xml);
// At most `max_uploads` entries are accepted.
Result<S3UploadListing> parse_list_uploads(Bytes xml, size_t max_uploads);
// At most `max_entries` entries are accepted.
Result<S3VersionListing> parse_list_versions(Bytes xml, size_t max_entries);
// Is it on, or was it?
Result<bool> parse_versioning(Bytes xml);
// Not more than S3 allows by far; what they say is not checked.
Result<ObjectTags> parse_tagging(Bytes xml);
std::string format_tagging(const ObjectTags& tags);
// The upload's id.
Result<std::string> parse_initiate_multipart(Bytes xml);
// The new object's etag. An Error (S3 sends those with status 200 too) is refused here: try
// parse_s3_error on it.
Result<std::string> parse_complete_multipart(Bytes xml);
std::string format_complete_multipart(const std::vector<S3Part>& parts);

// The keys in the answer to AssumeRole or AssumeRoleWithWebIdentity.
Result<Credentials> parse_sts_credentials(Bytes xml);
// A refusal of STS.
Result<S3ErrorBody> parse_sts_error(Bytes xml);

// Percent decoding with '+' as a blank, as encoding-type=url means it; kIo when malformed.
Result<std::string> url_decode(std::string_view text);
// 2026-11-22T20:47:07.000Z in nanoseconds since the epoch; kIo when malformed.
Result<int64_t> parse_iso8601(std::string_view text);

}  // namespace cairn
