// Tags and storage class of what is published.
//
// Tags belong to the object and not to a version of it: anybody may set them at any time. So those
// that are there when an object is written anew are asked for just before, and go with it; what was
// set here is changed in them.
#include <algorithm>

#include "cache/base/log.h"
#include "cache/bucket_publish.h"

namespace cairn {

bool BucketPublisher::changes_tags(uint64_t ino) const {
  const auto xattrs = xattrs_.find(ino);
  return xattrs != xattrs_.end() &&
         std::any_of(xattrs->second.begin(), xattrs->second.end(),
                     [](const auto& each) { return each.first.starts_with(kTagXattr); });
}

std::optional<std::string> BucketPublisher::class_set(uint64_t ino) const {
  std::optional<std::string> set;
  const auto xattrs = xattrs_.find(ino);
  if (xattrs == xattrs_.end()) return set;
  for (const auto& [name, value] : xattrs->second)
    if (name == kClassXattr) set = value;
  return set;
}

// Nullopt: the store keeps none. One that does not know of tags may answer with the object itself.
Result<std::optional<ObjectTags>> BucketPublisher::tags_of(const std::string& key) const {
  auto tags = get_tags_sync(parts_.store, key, {}, request());
  if (tags) {
    std::erase_if(*tags, [](const auto& each) { return each.first.starts_with("aws:"); });
    return std::optional(*std::move(tags));
  }
  const Errc code = tags.error().code();
  if (code == Errc::kNotFound) return std::optional(ObjectTags());
  if (code == Errc::kUnsupported || code == Errc::kIo) return std::optional<ObjectTags>();
  return tl::unexpected<Error>(std::move(tags).error());
}

ObjectTags BucketPublisher::with_changes(const File& file, ObjectTags tags) const {
  const auto xattrs = xattrs_.find(file.ino);
  if (xattrs == xattrs_.end()) return tags;
  for (const auto& [name, value] : xattrs->second) {
    if (!set_tag_xattr(tags, name, value))
      log_warn("'{}' has 10 tags of others by now: {} is not kept", file.to.key, name);
  }
  return tags;
}

// A copy that the store makes takes the tags along.
Status BucketPublisher::choose_labels(File& file, const Source& source) const {
  const bool changed = changes_tags(file.ino);
  const bool is_copy =
      file.before && file.frozen == nullptr && source.base && source.base->size > 0;
  if (changed || (file.before && !is_copy)) {
    Result<std::optional<ObjectTags>> tags = std::optional(ObjectTags());
    if (source.base) tags = tags_of(source.base->key);
    const bool hidden = !tags && tags.error().code() == Errc::kPermission;
    if (!tags && !hidden) return tl::unexpected<Error>(std::move(tags).error());
    if (hidden)
      log_once_per(std::chrono::hours(1), "tags of what is written",
                   "tags that others gave are lost where objects are written anew: " +
                       tags.error().message());
    if (hidden) tags = std::optional(ObjectTags());
    if (*tags) file.tags = with_changes(file, **tags);
  }
  if (const auto set = class_set(file.ino)) {
    file.storage_class = *set;
  } else if (source.storage_class) {
    file.storage_class = class_to_keep(*source.storage_class);
  } else if (file.before && file.before->storage_class) {
    file.storage_class = class_to_keep(*file.before->storage_class);
  }
  return {};
}

// Nothing but tags changed: the version stays.
Status BucketPublisher::put_tags(const File& file, BucketNode& node) {
  TRY_ASSIGN(auto found, tags_of(file.from_key));
  ObjectTags tags = with_changes(file, found.value_or(ObjectTags()));
  Status put = fail(Errc::kUnsupported, "the store has no tags");
  if (found) put = put_tags_sync(parts_.store, file.from_key, {}, tags, request());
  const bool never =
      !put && (put.error().code() == Errc::kUnsupported || put.error().code() == Errc::kNotFound);
  if (!put && !never) return put;
  if (never) {
    log_warn("'{}' keeps no tags: {}", file.from_key, put.error().message());
    tags.clear();
  }
  parts_.host.progressed();
  node.tags = std::move(tags);
  node.tags_seen_ns = parts_.tree.now_ns();
  return {};
}

}  // namespace cairn
