#include "s3/endpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "cache/object_store.h"
#include "s3/sigv4.h"

namespace cairn {

namespace {

bool is_lower_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

// May stand as one label of a host name under a wildcard certificate.
bool is_host_label(std::string_view bucket) {
  return bucket.size() >= 3 && bucket.size() <= 63 && is_lower_alnum(bucket.front()) &&
         is_lower_alnum(bucket.back()) && std::all_of(bucket.begin(), bucket.end(), [](char c) {
           return is_lower_alnum(c) || c == '-';
         });
}

// "host[:port]", the port left out when it is the scheme's own.
Result<std::string> clean_host(std::string_view text, bool tls) {
  const auto bad = [&](std::string_view why) {
    return fail(Errc::kInvalid, fmt::format("endpoint host '{}': {}", text.substr(0, 80), why));
  };
  if (text.find('@') != std::string_view::npos)
    return fail(Errc::kInvalid, "an endpoint URL must not hold a user name or a password");
  std::string_view host = text;
  std::string_view port;
  const size_t bracket = host.starts_with('[') ? host.find(']') : 0;
  if (bracket == std::string_view::npos) return bad("']' is missing");
  const size_t colon = host.find(':', bracket);
  if (colon != std::string_view::npos) {
    port = host.substr(colon + 1);
    host = host.substr(0, colon);
  }
  const auto allowed = [](char c) {
    return is_lower_alnum(c) || (c >= 'A' && c <= 'Z') ||
           std::string_view("-._[]:%").find(c) != std::string_view::npos;
  };
  if (host.empty() || !std::all_of(host.begin(), host.end(), allowed))
    return bad("it is not a host name");
  if (colon == std::string_view::npos) return std::string(host);
  unsigned number = 0;
  const auto [end, ec] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (ec != std::errc() || end != port.data() + port.size() || number == 0 || number > 65535)
    return bad("the port is not a number from 1 to 65535");
  if (number == (tls ? 443U : 80U)) return std::string(host);
  return fmt::format("{}:{}", host, number);
}

}  // namespace

// Some stores allow more than AWS does (upper case, '_', up to 255 bytes).
Status check_bucket(std::string_view bucket) {
  const auto allowed = [](char c) {
    return is_lower_alnum(c) || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '.';
  };
  if (bucket.empty() || bucket.size() > 255 || bucket == "." || bucket == ".." ||
      !std::all_of(bucket.begin(), bucket.end(), allowed))
    return fail(Errc::kInvalid,
                fmt::format("'{}' is not a bucket name: letters, digits, '-', '_' and '.' only",
                            bucket.substr(0, 80)));
  return {};
}

Status check_region_name(std::string_view region) {
  const auto allowed = [](char c) {
    return is_lower_alnum(c) || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
  };
  if (region.empty() || region.size() > 64 || !std::all_of(region.begin(), region.end(), allowed))
    return fail(Errc::kInvalid, fmt::format("'{}' is not a region name", region.substr(0, 80)));
  return {};
}

Result<BucketUrl> parse_bucket_url(std::string_view text) {
  BucketUrl out;
  char separator = ':';
  if (text.starts_with("s3://")) {
    text.remove_prefix(5);
    separator = '/';
  }
  const size_t at = text.find(separator);
  out.bucket = std::string(text.substr(0, at));
  TRY(check_bucket(out.bucket));
  if (at == std::string_view::npos) return out;
  std::string_view prefix = text.substr(at + 1);
  while (prefix.starts_with('/')) prefix.remove_prefix(1);
  while (prefix.ends_with('/')) prefix.remove_suffix(1);
  if (!prefix.empty()) {
    if (auto ok = check_key(prefix); !ok)
      return tl::unexpected<Error>(std::move(ok).error().wrap("the prefix cannot be used"));
  }
  out.prefix = std::string(prefix);
  return out;
}

std::string aws_host(std::string_view service, const std::string& region) {
  return fmt::format("{}.{}.amazonaws.com{}", service, region,
                     region.starts_with("cn-") ? ".cn" : "");
}

Result<HttpUrl> parse_http_url(std::string_view url) {
  HttpUrl out;
  std::string_view rest = url;
  if (rest.starts_with("https://")) {
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
    out.tls = false;
  } else {
    return fail(Errc::kInvalid, fmt::format("endpoint URL '{}' must begin with https:// or http://",
                                            url.substr(0, 80)));
  }
  if (rest.find_first_of("?#") != std::string_view::npos)
    return fail(Errc::kInvalid, "an endpoint URL must not have a query or a fragment");
  const size_t slash = rest.find('/');
  TRY_ASSIGN(out.host, clean_host(rest.substr(0, slash), out.tls));
  if (slash != std::string_view::npos) out.path = uri_encode(rest.substr(slash), true);
  while (out.path.ends_with('/')) out.path.pop_back();
  return out;
}

std::string Endpoint::object_path(std::string_view key) const {
  std::string out = path;
  if (!bucket.empty()) out.append("/").append(bucket);
  if (!key.empty()) out.append("/").append(uri_encode(key, true));
  return out.empty() ? "/" : out;
}

Result<Endpoint> make_endpoint(const std::string& url, const std::string& region,
                               const std::string& bucket, std::optional<bool> path_style,
                               bool dual_stack) {
  if (!bucket.empty()) TRY(check_bucket(bucket));
  TRY(check_region_name(region));
  Endpoint out;
  if (url.empty()) {
    out.aws = true;
    out.host = aws_host(dual_stack ? "s3.dualstack" : "s3", region);
  } else {
    TRY_ASSIGN(HttpUrl parsed, parse_http_url(url));
    out.tls = parsed.tls;
    out.host = std::move(parsed.host);
    out.path = std::move(parsed.path);
    out.aws = out.host.ends_with(".amazonaws.com") || out.host.ends_with(".amazonaws.com.cn");
  }
  const bool by_host = path_style ? !*path_style : out.aws;
  if (by_host && is_host_label(bucket)) {
    out.host.insert(0, bucket + ".");
  } else {
    out.bucket = uri_encode(bucket, false);
  }
  return out;
}

std::string without_port(const std::string& host) {
  const size_t port = host.rfind(':');
  const bool has_port = port != std::string::npos && host.find(']', port) == std::string::npos;
  return has_port ? host.substr(0, port) : host;
}

bool is_loopback(const std::string& host) {
  const std::string name = without_port(host);
  if (name == "localhost" || name == "[::1]") return true;
  // 127.0.0.0/8, as four numbers: "127.example.com" is a name.
  if (!name.starts_with("127.") || std::count(name.begin(), name.end(), '.') != 3) return false;
  return name.find_first_not_of("0123456789.") == std::string::npos;
}

}  // namespace cairn
