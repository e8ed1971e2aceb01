#include "s3/file_headers.h"

#include <utility>

#include "cache/base/log.h"
#include "s3/object_tags.h"

namespace cairn {

namespace {

constexpr std::string_view kTypeAttribute = "mime_type";
constexpr std::string_view kMetadataAttribute = "s3.meta.";
constexpr std::string_view kHeaderAttribute = "s3.header.";
constexpr const char* kTagsAttribute = "s3.tags";

Status set_or_say(Env& env, const std::string& path, const std::string& name,
                  const std::string& value) {
  auto status = env.set_attribute(path, name, value);
  if (status || status.error().code() != Errc::kUnsupported) return status;
  log_once_per(std::chrono::hours(24), "file-headers",
               "the filesystem of the file: remote keeps no extended attributes: objects have no "
               "metadata and no content type there");
  return {};
}

}  // namespace

Status write_file_headers(Env& env, const std::string& path, const ObjectHeaders& headers) {
  const std::string& type = headers.content_type;
  if (!type.empty() && type != kDefaultContentType) {
    TRY(set_or_say(env, path, std::string(kTypeAttribute), type));
  }
  for (const auto& [name, value] : headers.metadata) {
    TRY(set_or_say(env, path, std::string(kMetadataAttribute) + name, value));
  }
  for (const auto& [name, value] : headers.kept) {
    TRY(set_or_say(env, path, std::string(kHeaderAttribute) + name, value));
  }
  return {};
}

Status write_file_tags(Env& env, const std::string& path, const ObjectTags& tags) {
  return env.set_attribute(path, kTagsAttribute, format_tags(tags));
}

Result<ObjectTags> read_file_tags(Env& env, const std::string& path) {
  auto attributes = env.attributes(path);
  if (!attributes && attributes.error().code() == Errc::kUnsupported) return ObjectTags();
  if (!attributes) return tl::unexpected<Error>(std::move(attributes).error());
  for (const auto& [name, value] : *attributes)
    if (name == kTagsAttribute) return parse_tags(value).value_or(ObjectTags());
  return ObjectTags();
}

Result<ObjectHeaders> read_file_headers(Env& env, const std::string& path) {
  ObjectHeaders headers;
  headers.content_type = kDefaultContentType;
  auto attributes = env.attributes(path);
  if (!attributes && attributes.error().code() == Errc::kUnsupported) return headers;
  if (!attributes) return tl::unexpected<Error>(std::move(attributes).error());
  for (auto& [name, value] : *attributes) {
    ObjectHeaders with = headers;
    if (name == kTypeAttribute && !value.empty()) {
      with.content_type = std::move(value);
    } else if (name.starts_with(kMetadataAttribute)) {
      with.metadata.emplace_back(name.substr(kMetadataAttribute.size()), std::move(value));
    } else if (name.starts_with(kHeaderAttribute)) {
      with.kept.emplace_back(name.substr(kHeaderAttribute.size()), std::move(value));
    }
    if (check_headers(with)) headers = std::move(with);
  }
  return headers;
}

}  // namespace cairn
