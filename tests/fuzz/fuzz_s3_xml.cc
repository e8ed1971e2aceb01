// Every reader of a store's answers on bytes that a store could send.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "s3/object_tags.h"
#include "s3/s3_error.h"
#include "s3/s3_get.h"
#include "s3/s3_xml.h"

using namespace cairn;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes input(reinterpret_cast<const std::byte*>(data), size);
  constexpr size_t kMaxObjects = 100;
  if (const auto listing = parse_list_objects(input, kMaxObjects)) {
    if (listing->objects.size() > kMaxObjects) std::abort();
    for (const S3ListedObject& object : listing->objects)
      if (object.key.empty() || object.key.size() > 4096) std::abort();
  }
  if (const auto listing = parse_list_buckets(input, kMaxObjects)) {
    if (listing->buckets.size() > kMaxObjects) std::abort();
    for (const S3ListedBucket& bucket : listing->buckets)
      if (bucket.name.empty() || bucket.name.size() > 255) std::abort();
  }
  if (const auto listing = parse_list_versions(input, kMaxObjects)) {
    if (listing->versions.size() + listing->prefixes.size() > kMaxObjects) std::abort();
    for (const ObjectVersion& version : listing->versions)
      if (version.info.key.empty() || version.version_id.empty()) std::abort();
  }
  (void)parse_tagging(input);
  (void)parse_versioning(input);
  if (const auto tags = parse_tags(as_chars(input)); tags && !check_tags(*tags)) std::abort();
  (void)parse_initiate_multipart(input);
  if (const auto keys = parse_sts_credentials(input); keys && keys->session_token.empty())
    std::abort();
  (void)parse_sts_error(input);
  (void)parse_complete_multipart(input);
  (void)parse_content_range(as_chars(input));
  (void)url_decode(as_chars(input));
  (void)parse_iso8601(as_chars(input));

  // The same bytes as an error of any status: the sentence stays one line.
  HttpResponse response;
  response.status = size == 0 ? 500 : 300 + data[0];
  response.body = to_vec(input);
  response.headers = {{"retry-after", to_string(input)}, {"date", to_string(input)}};
  S3ErrorContext context;
  context.operation = "get";
  context.object = "o";
  const Error error = s3_error(response, context);
  for (const char c : error.message())
    if (c == '\n' || c == '\x1b') std::abort();
  if (error.retry_after() < std::chrono::seconds(0) ||
      error.retry_after() > std::chrono::seconds(120))
    std::abort();
  return 0;
}
