#include "s3/sigv4.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <ctime>

#include "cache/base/digest.h"

namespace cairn {

namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";

bool unreserved(unsigned char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

// Without blanks at the ends, runs of blanks inside as one.
std::string canonical_value(std::string_view raw) {
  std::string out;
  for (const char c : raw) {
    if (c != ' ' && c != '\t') {
      out.push_back(c);
    } else if (!out.empty() && out.back() != ' ') {
      out.push_back(' ');
    }
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

std::vector<std::pair<std::string, std::string>> canonical_headers(
    const std::vector<HttpHeader>& headers) {
  std::vector<std::pair<std::string, std::string>> out;
  out.reserve(headers.size());
  for (const HttpHeader& h : headers) {
    std::string name = h.name;
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    out.emplace_back(std::move(name), canonical_value(h.value));
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  // Several headers of one name are one, their values in the order they are sent.
  for (size_t i = 1; i < out.size();) {
    if (out[i].first == out[i - 1].first) {
      out[i - 1].second += "," + out[i].second;
      out.erase(out.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
  return out;
}

std::string signed_names(const std::vector<HttpHeader>& headers) {
  std::string out;
  for (const auto& [name, value] : canonical_headers(headers)) {
    if (!out.empty()) out.push_back(';');
    out += name;
  }
  return out;
}

std::string scope_text(const SigningScope& scope) {
  return fmt::format("{}/{}/{}/aws4_request", scope.timestamp.substr(0, 8), scope.region,
                     scope.service);
}

}  // namespace

std::string uri_encode(std::string_view raw, bool keep_slash) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  out.reserve(raw.size() + raw.size() / 4);
  for (const char ch : raw) {
    const auto c = static_cast<unsigned char>(ch);
    if (unreserved(c) || (c == '/' && keep_slash)) {
      out.push_back(ch);
    } else {
      out.push_back('%');
      out.push_back(kHex[c >> 4]);
      out.push_back(kHex[c & 15]);
    }
  }
  return out;
}

std::string canonical_query(const QueryParameters& query) {
  QueryParameters encoded;
  encoded.reserve(query.size());
  for (const auto& [name, value] : query)
    encoded.emplace_back(uri_encode(name, false), uri_encode(value, false));
  std::sort(encoded.begin(), encoded.end());
  std::string out;
  for (const auto& [name, value] : encoded) {
    if (!out.empty()) out.push_back('&');
    out.append(name).append("=").append(value);
  }
  return out;
}

std::string amz_timestamp(int64_t wall_ns) {
  const auto seconds = static_cast<std::time_t>(wall_ns / 1'000'000'000);
  std::tm tm{};
  ::gmtime_r(&seconds, &tm);
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", tm.tm_year + 1900, tm.tm_mon + 1,
                     tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

std::string canonical_request(const SigningInput& input) {
  std::string out;
  out.append(input.method).append("\n").append(input.path).append("\n");
  out.append(input.query).append("\n");
  for (const auto& [name, value] : canonical_headers(input.headers))
    out.append(name).append(":").append(value).append("\n");
  out.append("\n").append(signed_names(input.headers)).append("\n").append(input.payload_hash);
  return out;
}

std::string string_to_sign(const SigningScope& scope, std::string_view canonical_request) {
  return fmt::format("{}\n{}\n{}\n{}", kAlgorithm, scope.timestamp, scope_text(scope),
                     sha256(as_bytes(canonical_request)).hex());
}

std::string authorization(const SigningInput& input, const SigningScope& scope,
                          std::string_view access_key, const Secret& secret_key) {
  std::string seed = "AWS4";
  seed.reserve(4 + secret_key.reveal().size());  // no reallocation: no copy of the key left behind
  seed += secret_key.reveal();
  Digest key = hmac_sha256(as_bytes(seed), as_bytes(scope.timestamp.substr(0, 8)));
  wipe(seed);
  for (const std::string_view part :
       {scope.region, scope.service, std::string_view("aws4_request")})
    key = hmac_sha256(key.view(), as_bytes(part));
  const std::string text = string_to_sign(scope, canonical_request(input));
  return fmt::format("{} Credential={}/{}, SignedHeaders={}, Signature={}", kAlgorithm, access_key,
                     scope_text(scope), signed_names(input.headers),
                     hmac_sha256(key.view(), as_bytes(text)).hex());
}

}  // namespace cairn
