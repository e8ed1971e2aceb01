#include "tools/remote_url.h"

#include <charconv>
#include <filesystem>
#include <optional>

#include "cache/object_store.h"

namespace cairn {

namespace {

std::string trimmed(std::string_view text) {
  while (text.starts_with('/')) text.remove_prefix(1);
  while (text.ends_with('/')) text.remove_suffix(1);
  return std::string(text);
}

// The byte of "%20" at `at`; nothing where that is no such triple: it is what it looks like.
std::optional<char> encoded_at(std::string_view text, size_t at) {
  if (text[at] != '%' || at + 2 >= text.size()) return std::nullopt;
  unsigned byte = 0;
  const char* const digits = text.data() + at + 1;
  if (std::from_chars(digits, digits + 2, byte, 16).ptr != digits + 2) return std::nullopt;
  return static_cast<char>(byte);
}

std::string decoded(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    const auto byte = encoded_at(text, at);
    out.push_back(byte.value_or(text[at]));
    if (byte) at += 2;
  }
  return out;
}

// What would be decoded is encoded, and nothing else: text() is read again.
std::string encoded(const std::string& path) {
  std::string out;
  for (size_t at = 0; at < path.size(); ++at) {
    out.push_back(path[at]);
    if (encoded_at(path, at)) out += "25";
  }
  return out;
}

// What stands behind "file:" as a path.
Result<std::string> path_of_url(std::string_view text, std::string_view whole) {
  if (text.starts_with("//")) {
    text.remove_prefix(2);
    constexpr std::string_view kHere = "localhost/";
    if (text.starts_with(kHere)) text.remove_prefix(kHere.size() - 1);
    if (!text.empty() && !text.starts_with("/"))
      return fail(Errc::kInvalid, "'" + std::string(whole) +
                                      "' names another machine where a directory should be: write "
                                      "file:///dir, or ./dir for one below this");
  }
  std::string path = decoded(text);
  if (path.find('\0') != std::string::npos)
    return fail(Errc::kInvalid, "'" + std::string(whole) + "' is no path: it has a %00");
  return path;
}

Result<RemoteUrl> file_url(std::string_view path) {
  if (path.empty()) return fail(Errc::kInvalid, "file: needs a directory, as in file:///dir");
  std::error_code error;
  auto absolute = std::filesystem::absolute(std::filesystem::path(path), error).lexically_normal();
  if (error) return fail(Errc::kInvalid, std::string(path) + ": " + error.message());
  RemoteUrl url;
  url.kind = RemoteUrl::Kind::kFile;
  url.directory = absolute.string();
  while (url.directory.size() > 1 && url.directory.back() == '/') url.directory.pop_back();
  return url;
}

}  // namespace

std::string RemoteUrl::text() const {
  if (kind == Kind::kFile) return "file://" + encoded(directory);
  return "s3://" + bucket + (prefix.empty() ? "" : "/" + prefix);
}

Result<RemoteUrl> parse_remote_url(std::string_view text, bool may_be_all_buckets) {
  if (text.starts_with("file:")) {
    TRY_ASSIGN(const std::string path, path_of_url(text.substr(5), text));
    return file_url(path);
  }
  if (text.starts_with("/") || text.starts_with("./") || text.starts_with("../") || text == "." ||
      text == "..")
    return file_url(text);
  RemoteUrl url;
  if (text == "s3://" && may_be_all_buckets) return url;
  if (text == "s3://")
    return fail(Errc::kInvalid, "'s3://' is all buckets; name one of them: s3://bucket/prefix");
  std::string_view rest = text;
  const bool has_scheme = rest.starts_with("s3://");
  if (has_scheme) {
    rest.remove_prefix(5);
  } else if (rest.find("://") != std::string_view::npos) {
    return fail(Errc::kInvalid, "'" + std::string(text) +
                                    "' is no remote: write s3://bucket/prefix or file:///dir");
  }
  const size_t split = rest.find(has_scheme ? '/' : ':');
  url.bucket = std::string(rest.substr(0, split));
  if (split != std::string_view::npos) url.prefix = trimmed(rest.substr(split + 1));
  const bool odd =
      url.bucket.find_first_not_of(
          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") != std::string::npos;
  if (url.bucket.empty() || odd)
    return fail(Errc::kInvalid, "'" + std::string(text) +
                                    "' is no remote: write s3://bucket/prefix, or ./dir for a "
                                    "directory");
  const Status prefix = url.prefix.empty() ? Status() : check_key(url.prefix);
  if (!prefix)
    return fail(Errc::kInvalid,
                "'" + std::string(text) + "' is no remote: its " + prefix.error().message());
  return url;
}

}  // namespace cairn
