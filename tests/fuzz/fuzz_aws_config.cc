// The AWS files as anybody could leave them: no crash, and no line of them in a message.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "s3/aws_config.h"
#include "s3/credential_plan.h"
#include "s3/endpoint.h"

using namespace cairn;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  auto file = parse_aws_ini(text, "the-file");
  if (!file) {
    // Name, line and one of a few sentences: nothing of the input.
    if (file.error().message().size() > 100) std::abort();
    return 0;
  }
  AwsFiles files;
  files.config = *file;
  files.credentials = *std::move(file);
  for (const auto& [name, section] : files.config) {
    (void)section.block_text("s3", "endpoint_url");
    const std::string profile = name.starts_with("profile ") ? name.substr(8) : name;
    const EnvVars vars = [](std::string_view) { return std::optional<std::string>(); };
    (void)plan_credentials(files, vars, profile, /*profile_is_explicit=*/true);
  }
  (void)split_command(text);
  (void)check_container_url(text);
  (void)make_endpoint(text, "us-east-1", "bucket", std::nullopt);
  if (const auto url = parse_bucket_url(text); url && url->bucket.empty()) std::abort();
  return 0;
}
