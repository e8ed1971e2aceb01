#include "tools/commands.h"

#include <iostream>

#include "tools/units.h"

namespace cairn {

namespace {

void add_object_options(CLI::App& command, StoreOptions& options) {
  const auto group = "Objects";
  S3Options& s3 = options.s3;
  command
      .add_flag("--requester-pays", s3.requester_pays,
                "pay for requests to a bucket of somebody else")
      ->group(group);
  command
      .add_option("--expected-bucket-owner", s3.expected_bucket_owner,
                  "AWS account that must own the bucket")
      ->group(group);
  command
      .add_option("--sse", s3.sse,
                  "server-side encryption: AES256, aws:kms, aws:kms:dsse (the bucket's default)")
      ->check(CLI::IsMember({"AES256", "aws:kms", "aws:kms:dsse"}))
      ->group(group);
  command
      .add_option("--sse-kms-key-id", s3.sse_kms_key_id, "KMS key for --sse aws:kms (AWS's own)")
      ->group(group);
  command
      .add_option("--sse-c-key-file", options.sse_c_key_file,
                  "file with a key of 32 bytes that S3 encrypts with and does not keep (SSE-C)")
      ->group(group);
  command
      .add_option("--storage-class", s3.storage_class,
                  "storage class of new objects (STANDARD_IA, INTELLIGENT_TIERING, ...)")
      ->group(group);
}

}  // namespace

void add_store_options(CLI::App& command, StoreOptions& options, const char* profile_names) {
  const auto group = "Store";
  AwsOverrides& aws = options.aws;
  command.add_option(profile_names, aws.profile, "AWS profile to take credentials from")
      ->group(group);
  command.add_option("--region", aws.region, "AWS region of the bucket")->group(group);
  command.add_option("--endpoint-url", aws.endpoint_url, "URL of an S3-compatible server")
      ->group(group);
  command.add_option("--ca-bundle", aws.ca_bundle, "PEM file with the authorities to trust")
      ->group(group);
  command
      .add_flag("--no-sign-request", options.no_sign_request,
                "send no credentials (public buckets)")
      ->group(group);
  command
      .add_flag("--force-path-style", aws.force_path_style,
                "put the bucket into the path instead of the host name")
      ->group(group);
  command
      .add_option("--addressing-style", aws.addressing_style,
                  "auto, path or virtual (the bucket in the host name)")
      ->check(CLI::IsMember({"auto", "path", "virtual"}))
      ->group(group);
  command.add_flag("--dual-stack", aws.dual_stack, "use AWS's endpoints for IPv4 and IPv6")
      ->group(group);
  add_object_options(command, options);
}

CLI::Validator size_option() {
  return CLI::Validator(
      [](std::string& text) {
        const auto size = parse_size(text);
        if (!size) return size.error().message();
        text = std::to_string(*size);
        return std::string();
      },
      "SIZE");
}

CLI::Validator duration_option() {
  return CLI::Validator(
      [](std::string& text) {
        const auto duration = parse_duration(text);
        if (!duration) return duration.error().message();
        text = std::to_string(duration->count());
        return std::string();
      },
      "DURATION");
}

int complain(const Error& error) {
  std::cerr << "cairn: " << error.message() << "\n";
  return kExitFailed;
}

}  // namespace cairn
