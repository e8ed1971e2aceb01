#include "tools/remote_url.h"

#include <filesystem>

#include "cache/object_store.h"

namespace cairn {

namespace {

std::string trimmed(std::string_view text) {
  while (text.starts_with('/')) text.remove_prefix(1);
  while (text.ends_with('/')) text.remove_suffix(1);
  return std::string(text);
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
  if (kind == Kind::kFile) return "file://" + directory;
  return "s3://" + bucket + (prefix.empty() ? "" : "/" + prefix);
}

Result<RemoteUrl> parse_remote_url(std::string_view text, bool may_be_all_buckets) {
  if (text.starts_with("file:")) {
    text.remove_prefix(5);
    if (text.starts_with("//")) text.remove_prefix(2);
    return file_url(text);
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
