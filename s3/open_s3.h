// open_s3_store: from what a person typed to a store, as the AWS CLI would find everything else.
//
// Puts together settings, credentials, one CurlPool and one S3Store. It sends nothing: call
// check_access on the result to learn whether the bucket can be used. It starts the HTTP thread, so
// a daemon forks before it.
// Lifetime: env, executor, clock and rng must outlive the store and its requests. The pool goes to
// `pools`, too: who opens a store closes them before the executor goes, which ends its requests.
#pragma once

#include <memory>
#include <vector>

#include "cache/base/env.h"
#include "s3/aws_config.h"
#include "s3/curl_pool.h"
#include "s3/endpoint.h"
#include "s3/s3_buckets.h"
#include "s3/s3_store.h"

namespace cairn {

struct OpenS3 {
  BucketUrl url;
  AwsOverrides overrides;
  bool no_sign_request = false;
  S3Options options;           // sse_c_key is read from the file
  std::string sse_c_key_file;  // empty: none
  CurlOptions curl;            // ca_bundle is filled in from the settings
  S3Settings settings;         // endpoint, region, bucket, prefix, style, options are filled in
};

struct OpenS3Deps {
  Env& env;
  EnvVars vars;
  Executor& executor;
  Clock& clock;
  Rng& rng;
  std::vector<std::shared_ptr<CurlPool>>& pools;
};

Result<std::unique_ptr<S3Store>> open_s3_store(OpenS3 what, OpenS3Deps deps);
// All buckets instead of the one in the URL, which is left empty.
Result<std::shared_ptr<S3Buckets>> open_s3_buckets(OpenS3 what, OpenS3Deps deps);

}  // namespace cairn
