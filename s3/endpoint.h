// Endpoint: where a bucket lives and how its objects are addressed. Pure.
//
// Path style: https://host/bucket/key. Virtual-host style: https://bucket.host/key. AWS wants the
// second, most other stores the first; a bucket name that is no host name (or has dots, which no
// wildcard certificate covers) gets the first anywhere.
// Errors: kInvalid with what is wrong about the URL or the name.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "cache/base/result.h"

namespace cairn {

struct BucketUrl {
  std::string bucket;
  std::string prefix;  // without slashes at its ends; may be empty
};
// "s3://bucket[/prefix]", "bucket[:prefix]".
Result<BucketUrl> parse_bucket_url(std::string_view text);

struct Endpoint {
  bool tls = true;
  bool aws = false;
  std::string host;    // with the port when it is not the scheme's own, ready for a Host header
  std::string path;    // percent-encoded, without '/' at the end; mostly empty
  std::string bucket;  // percent-encoded; empty in virtual-host style
  std::string scheme_and_host() const { return (tls ? "https://" : "http://") + host; }
  // The path of a request for `key` (empty: for the bucket), percent-encoded.
  std::string object_path(std::string_view key) const;
};

// `url` empty: AWS in `region`, `dual_stack`: by IPv6 too. `bucket` empty: the service itself.
Result<Endpoint> make_endpoint(const std::string& url, const std::string& region,
                               const std::string& bucket, std::optional<bool> path_style,
                               bool dual_stack = false);

// A service's URL in pieces.
struct HttpUrl {
  bool tls = true;
  std::string host;  // as in Endpoint
  std::string path;  // percent-encoded, without '/' at the end
  std::string scheme_and_host() const { return (tls ? "https://" : "http://") + host; }
};
Result<HttpUrl> parse_http_url(std::string_view url);
// "sts.eu-west-1.amazonaws.com"
std::string aws_host(std::string_view service, const std::string& region);
// Of a host as in Endpoint: a name or address, "[::1]".
std::string without_port(const std::string& host);
// This machine, by whatever port: "localhost:9000", "127.0.0.1", "[::1]".
bool is_loopback(const std::string& host);
Status check_region_name(std::string_view region);
// Some stores allow more than AWS does (upper case, '_', up to 255 bytes).
Status check_bucket(std::string_view bucket);

}  // namespace cairn
