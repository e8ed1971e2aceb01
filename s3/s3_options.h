// S3Options: what a bucket's owner may want said with every request, and how it is said.
//
// Requester pays, the expected owner, server-side encryption (SSE-S3, SSE-KMS, or SSE-C with a key
// of our own), the storage class, a canned ACL. Pure but for the key file.
// Errors: kInvalid with one sentence that names the option; a key never shows in a message.
// Source: Amazon S3 API reference (PutObject, CreateMultipartUpload, UploadPart, GetObject).
#pragma once

#include <string>
#include <vector>

#include "cache/base/env.h"
#include "s3/http.h"
#include "s3/secret.h"

namespace cairn {

struct S3Options {
  bool requester_pays = false;
  std::string expected_bucket_owner;  // account number
  std::string sse;  // "AES256", "aws:kms", "aws:kms:dsse"; empty: the bucket's own
  std::string sse_kms_key_id;
  Secret sse_c_key;  // 32 bytes; empty: none
  std::string storage_class;
  std::string acl;  // canned, of what is put; empty: the bucket's way
};

// Combinations and values that no store can serve.
Status check_s3_options(const S3Options& options);

// What a request does to an object decides which headers S3 takes with it.
enum class S3Use : uint8_t {
  kOther,   // lists, deletes, ends an upload
  kCreate,  // begins an object: the whole of it, or an upload in parts
  kPart,    // sends a part of one
  kRead,
};
void append_option_headers(const S3Options& options, S3Use use, std::vector<HttpHeader>& headers);

// Beside those of the copy itself: whose bucket the source is in, and the key it is encrypted with.
void append_copy_source_headers(const S3Options& options, std::vector<HttpHeader>& headers);

// A key of 256 bits: 32 bytes as they are, or in base64.
Result<Secret> read_sse_c_key(Env& env, const std::string& path);

}  // namespace cairn
