// AWS Signature Version 4, the S3 flavour: paths are percent-encoded once, the payload's hash is
// sent as x-amz-content-sha256.
//
// Pure functions; every step is visible so that each can be checked against the published examples.
// Source: AWS, "Signature Calculations for the Authorization Header" (S3 API reference).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "s3/http.h"
#include "s3/secret.h"

namespace cairn {

inline constexpr std::string_view kEmptyPayloadHash =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
inline constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";

// Percent-encodes everything but A-Z a-z 0-9 - . _ ~ (and '/' when `keep_slash`), upper-case hex.
std::string uri_encode(std::string_view raw, bool keep_slash);

// Names and values as they are before encoding, in any order.
using QueryParameters = std::vector<std::pair<std::string, std::string>>;
// "a=1&b=", encoded and sorted as both the URL and the signature need it.
std::string canonical_query(const QueryParameters& query);

struct SigningInput {
  std::string_view method;
  std::string_view path;   // percent-encoded, begins with '/'
  std::string_view query;  // canonical_query()
  // All of them are signed; `host` must be among them.
  const std::vector<HttpHeader>& headers;
  std::string_view payload_hash;
};

struct SigningScope {
  std::string_view timestamp;  // amz_timestamp()
  std::string_view region;
  std::string_view service = "s3";
};

// 20130524T000000Z
std::string amz_timestamp(int64_t wall_ns);

std::string canonical_request(const SigningInput& input);
std::string string_to_sign(const SigningScope& scope, std::string_view canonical_request);
// The value of the Authorization header.
std::string authorization(const SigningInput& input, const SigningScope& scope,
                          std::string_view access_key, const Secret& secret_key);

}  // namespace cairn
