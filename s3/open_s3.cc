#include "s3/open_s3.h"

#include "s3/credential_sources.h"

namespace cairn {

namespace {

struct Prepared {
  S3Settings settings;
  S3Parts parts;
};

Result<Prepared> prepare(OpenS3 what, const OpenS3Deps& deps) {
  TRY_ASSIGN(const AwsSettings aws, resolve_aws_settings(deps.env, deps.vars, what.overrides));
  what.settings.endpoint_url = aws.endpoint_url;
  what.settings.region = aws.region;
  what.settings.path_style = aws.path_style;
  what.settings.dual_stack = aws.dual_stack;
  what.settings.bucket = what.url.bucket;
  what.settings.prefix = what.url.prefix;
  what.settings.options = what.options;
  if (!what.sse_c_key_file.empty()) {
    TRY_ASSIGN(what.settings.options.sse_c_key, read_sse_c_key(deps.env, what.sse_c_key_file));
  }
  if (what.curl.ca_bundle.empty()) what.curl.ca_bundle = aws.ca_bundle;
  if (!what.curl.ca_bundle.empty()) {
    if (auto bundle = deps.env.stat(what.curl.ca_bundle); !bundle)
      return tl::unexpected<Error>(std::move(bundle).error().wrap("the CA bundle cannot be used"));
  }
  auto http = std::make_shared<CurlPool>(std::move(what.curl), deps.executor, deps.clock);
  deps.pools.push_back(http);
  std::shared_ptr<CredentialsProvider> credentials;
  if (what.no_sign_request) {
    Credentials anonymous;
    anonymous.anonymous = true;
    credentials = make_static_credentials(std::move(anonymous), deps.executor);
  } else {
    credentials = make_default_credentials(deps.vars, what.overrides,
                                           {deps.env, deps.executor, deps.clock, deps.rng, http});
  }
  return Prepared{std::move(what.settings),
                  {std::move(http), std::move(credentials), deps.executor, deps.clock, deps.rng}};
}

}  // namespace

Result<std::unique_ptr<S3Store>> open_s3_store(OpenS3 what, OpenS3Deps deps) {
  TRY_ASSIGN(Prepared ready, prepare(std::move(what), deps));
  return S3Store::make(std::move(ready.settings), std::move(ready.parts));
}

Result<std::shared_ptr<S3Buckets>> open_s3_buckets(OpenS3 what, OpenS3Deps deps) {
  TRY_ASSIGN(Prepared ready, prepare(std::move(what), deps));
  return S3Buckets::make(std::move(ready.settings), std::move(ready.parts));
}

}  // namespace cairn
