#include "s3/s3_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "cache/base/digest.h"
#include "cache/base/legacy_digest.h"

namespace cairn {

namespace {

constexpr size_t kKeyBytes = 32;
constexpr uint64_t kMaxKeyFile = 1024;

bool header_value(const std::string& text) {
  return !text.empty() && text.size() <= 2048 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

// 43 digits and '=': nothing else is 32 bytes.
Secret key_from_base64(std::string_view text) {
  if (text.size() != 44 || text.back() != '=') return Secret();
  std::string out;
  out.reserve(kKeyBytes + 1);
  uint32_t bits = 0;
  int held = 0;
  for (const char c : text.substr(0, 43)) {
    const int value = base64_value(c);
    if (value < 0) return Secret();
    bits = bits << 6 | static_cast<uint32_t>(value);
    held += 6;
    if (held >= 8) {
      held -= 8;
      out.push_back(static_cast<char>(bits >> held & 0xff));
    }
  }
  return Secret(std::move(out));
}

constexpr std::string_view kCustomerKey = "x-amz-server-side-encryption-customer-";
constexpr std::string_view kSourceCustomerKey =
    "x-amz-copy-source-server-side-encryption-customer-";

void append_customer_key(std::string_view prefix, const Secret& key,
                         std::vector<HttpHeader>& headers) {
  const Bytes raw = as_bytes(key.reveal());
  const auto sum = md5(raw);
  headers.push_back({std::string(prefix) + "algorithm", "AES256"});
  headers.push_back({std::string(prefix) + "key", to_base64(raw)});
  headers.push_back({std::string(prefix) + "key-md5", to_base64(sum)});
}

}  // namespace

Status check_s3_options(const S3Options& options) {
  if (!options.expected_bucket_owner.empty() &&
      (options.expected_bucket_owner.size() != 12 ||
       options.expected_bucket_owner.find_first_not_of("0123456789") != std::string::npos))
    return fail(Errc::kInvalid, "--expected-bucket-owner is an AWS account number of 12 digits");
  constexpr std::array<std::string_view, 3> kSse = {"AES256", "aws:kms", "aws:kms:dsse"};
  if (!options.sse.empty() && std::find(kSse.begin(), kSse.end(), options.sse) == kSse.end())
    return fail(Errc::kInvalid, "--sse is one of AES256, aws:kms, aws:kms:dsse");
  if (!options.sse_kms_key_id.empty() && !options.sse.starts_with("aws:kms"))
    return fail(Errc::kInvalid, "--sse-kms-key-id needs --sse aws:kms");
  if (!options.sse_kms_key_id.empty() && !header_value(options.sse_kms_key_id))
    return fail(Errc::kInvalid, "--sse-kms-key-id is no key id");
  if (!options.sse_c_key.empty() && !options.sse.empty())
    return fail(Errc::kInvalid,
                "--sse and --sse-c-key-file exclude each other: S3 encrypts with "
                "its key or with yours");
  constexpr std::array<std::string_view, 7> kAcls = {
      "private",       "public-read",       "public-read-write",        "authenticated-read",
      "aws-exec-read", "bucket-owner-read", "bucket-owner-full-control"};
  if (!options.acl.empty() && std::find(kAcls.begin(), kAcls.end(), options.acl) == kAcls.end())
    return fail(Errc::kInvalid, fmt::format("--acl is one of {}", fmt::join(kAcls, ", ")));
  if (options.storage_class.empty()) return {};
  if (!header_value(options.storage_class))
    return fail(Errc::kInvalid, "--storage-class is no name of a storage class");
  if (options.storage_class == "GLACIER" || options.storage_class == "DEEP_ARCHIVE")
    return fail(Errc::kInvalid, fmt::format("objects of storage class {} cannot be read without "
                                            "restoring them first: use GLACIER_IR",
                                            options.storage_class));
  return {};
}

void append_option_headers(const S3Options& options, S3Use use, std::vector<HttpHeader>& headers) {
  if (options.requester_pays) headers.push_back({"x-amz-request-payer", "requester"});
  if (!options.expected_bucket_owner.empty())
    headers.push_back({"x-amz-expected-bucket-owner", options.expected_bucket_owner});
  if (use == S3Use::kOther) return;
  if (!options.sse_c_key.empty()) append_customer_key(kCustomerKey, options.sse_c_key, headers);
  if (use != S3Use::kCreate) return;
  if (!options.sse.empty()) headers.push_back({"x-amz-server-side-encryption", options.sse});
  if (!options.sse_kms_key_id.empty())
    headers.push_back({"x-amz-server-side-encryption-aws-kms-key-id", options.sse_kms_key_id});
  if (!options.acl.empty()) headers.push_back({"x-amz-acl", options.acl});
  // A put may say another class.
  const bool has_class = std::any_of(headers.begin(), headers.end(), [](const HttpHeader& header) {
    return header.name == "x-amz-storage-class";
  });
  if (!options.storage_class.empty() && !has_class)
    headers.push_back({"x-amz-storage-class", options.storage_class});
}

void append_copy_source_headers(const S3Options& options, std::vector<HttpHeader>& headers) {
  if (!options.expected_bucket_owner.empty())
    headers.push_back({"x-amz-source-expected-bucket-owner", options.expected_bucket_owner});
  if (!options.sse_c_key.empty())
    append_customer_key(kSourceCustomerKey, options.sse_c_key, headers);
}

Result<Secret> read_sse_c_key(Env& env, const std::string& path) {
  auto bytes = read_file(env, path, kMaxKeyFile);
  if (!bytes) return tl::unexpected<Error>(std::move(bytes).error().wrap("--sse-c-key-file"));
  std::string text = to_string(*bytes);
  if (!bytes->empty()) ::explicit_bzero(bytes->data(), bytes->size());
  if (text.size() == kKeyBytes) return Secret(std::move(text));
  std::string_view trimmed = text;
  while (!trimmed.empty() && (trimmed.back() == '\n' || trimmed.back() == '\r'))
    trimmed.remove_suffix(1);
  Secret key = key_from_base64(trimmed);
  wipe(text);
  if (key.empty())
    return fail(Errc::kInvalid, "--sse-c-key-file " + path +
                                    ": expected a key of 32 bytes, as they are or in base64 (head "
                                    "-c 32 /dev/urandom >FILE makes one)");
  return key;
}

}  // namespace cairn
