#include "tools/commands.h"

#include <algorithm>
#include <iostream>

namespace cairn {

CommandLine cairn_command_line() {
  CommandLine line("cairn", CAIRN_VERSION,
                   "Mounts an S3 bucket, or a directory, as a POSIX file system with a local "
                   "write-back cache.");
  add_mount_command(line);
  add_umount_command(line);
  add_format_command(line);
  add_ls_command(line);
  add_get_command(line);
  add_put_commands(line);
  add_status_command(line);
  add_flush_command(line);
  add_cache_commands(line);
  add_snapshot_command(line);
  add_gc_command(line);
  add_check_command(line);
  add_recover_command(line);
  add_dump_command(line);
  return line;
}

namespace {

void add_object_options(Command& command, StoreOptions& options) {
  S3Options& s3 = options.s3;
  command.group("Objects");
  command.flag("requester-pays", s3.requester_pays,
               "pay for requests to a bucket of somebody else");
  command.text("expected-bucket-owner", "ACCOUNT", s3.expected_bucket_owner,
               "AWS account that must own the bucket");
  command.choice("sse", s3.sse, {"AES256", "aws:kms", "aws:kms:dsse"}, "server-side encryption")
      .fallback("the bucket's own");
  command.text("sse-kms-key-id", "KEY", s3.sse_kms_key_id, "KMS key for --sse aws:kms")
      .fallback("AWS's own");
  command.text("sse-c-key-file", "FILE", options.sse_c_key_file,
               "file with a key of 32 bytes that S3 encrypts with and does not keep (SSE-C)",
               ValueKind::kFile);
  command.text("storage-class", "CLASS", s3.storage_class,
               "storage class of new objects (STANDARD_IA, INTELLIGENT_TIERING, ...)");
  command
      .choice("acl", s3.acl,
              {"private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read",
               "bucket-owner-read", "bucket-owner-full-control"},
              "canned access control list of new objects")
      .fallback("the bucket's own");
}

}  // namespace

void add_store_options(Command& command, StoreOptions& options, const char* profile_names) {
  AwsOverrides& aws = options.aws;
  command.group("Configuration");
  command.configurable();
  command.group("Store");
  command.text(profile_names, "NAME", aws.profile, "AWS profile to take credentials from")
      .keys("profile,aws-profile")
      .outranked_by({"AWS_PROFILE", "AWS_DEFAULT_PROFILE"});
  command.text("region", "NAME", aws.region, "AWS region of the bucket")
      .outranked_by({"AWS_REGION", "AWS_DEFAULT_REGION"});
  command.text("endpoint-url", "URL", aws.endpoint_url, "URL of an S3-compatible server")
      .outranked_by({"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"});
  command
      .text("ca-bundle", "FILE", aws.ca_bundle, "PEM file with the authorities to trust",
            ValueKind::kFile)
      .outranked_by({"AWS_CA_BUNDLE"});
  command.flag("no-sign-request", options.no_sign_request, "send no credentials (public buckets)");
  command.flag("force-path-style", aws.force_path_style,
               "put the bucket into the path instead of the host name");
  command.choice("addressing-style", aws.addressing_style, {"auto", "path", "virtual"},
                 "where the bucket's name goes; virtual is into the host name");
  command.flag("dual-stack", aws.dual_stack, "use AWS's endpoints for IPv4 and IPv6")
      .outranked_by({"AWS_USE_DUALSTACK_ENDPOINT"});
  add_object_options(command, options);
}

namespace {

bool is_one_of(std::initializer_list<std::string_view> names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// What an object is made with.
bool is_of_new_objects(const std::string& name) {
  return is_one_of({"acl", "sse", "sse-kms-key-id", "storage-class"}, name);
}

bool is_of_store(const std::string& name) {
  return is_of_new_objects(name) ||
         is_one_of({"profile", "region", "endpoint-url", "ca-bundle", "no-sign-request",
                    "force-path-style", "addressing-style", "dual-stack", "requester-pays",
                    "expected-bucket-owner", "sse-c-key-file"},
                   name);
}

}  // namespace

Status check_store_options(const std::vector<std::string>& typed, const Target& target,
                           StoreUse use) {
  for (const std::string& name : typed) {
    const std::string nothing = "--" + name + " does nothing ";
    if (target.mount && (is_of_store(name) || name == "objects"))
      return fail(Errc::kInvalid, nothing + "on a path in a mount" +
                                      (is_of_store(name) ? ": the mount itself takes it" : ""));
    if (!target.mount && target.root.kind == RemoteUrl::Kind::kFile && is_of_store(name))
      return fail(Errc::kInvalid, nothing + "on a directory: it is for S3");
    if (use == StoreUse::kRead && is_of_new_objects(name))
      return fail(Errc::kInvalid, nothing + "here: it is for new objects");
  }
  return {};
}

int complain(const Error& error) {
  std::cerr << "cairn: " << error.message() << "\n";
  return kExitFailed;
}

int refuse(const Error& error) {
  complain(error);
  return error.code() == Errc::kInvalid ? kExitUsage : kExitFailed;
}

}  // namespace cairn
