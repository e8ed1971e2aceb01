#include "cache/bucket_filters.h"

#include <algorithm>
#include <cerrno>

namespace cairn {

namespace {

const std::string& type_of(const ObjectHeaders& headers) {
  static const std::string none(kDefaultContentType);
  return headers.content_type.empty() ? none : headers.content_type;
}

std::string_view text_of_tag(const ObjectTags& tags, std::string_view name) {
  for (const auto& [key, value] : tags)
    if (key == name) return value;
  return {};
}

}  // namespace

BucketFilters::Names BucketFilters::names_of(const std::string& key) const {
  if (!scope_.top_is_buckets) return {scope_.bucket, scope_.key_prefix + key, key};
  const size_t slash = std::min(key.find('/'), key.size());
  return {key.substr(0, slash), key.substr(std::min(slash + 1, key.size())), key};
}

FilterSubject BucketFilters::subject_of(const Names& names) const {
  FilterSubject subject{.bucket = names.bucket,
                        .key = names.key,
                        .path = names.path,
                        .size = {},
                        .content_type = nullptr,
                        .metadata = nullptr,
                        .tags = nullptr,
                        .bucket_tags = nullptr};
  return subject;
}

// The pointers are into `node`.
FilterSubject BucketFilters::subject_of(const Names& names, const BucketNode& node) const {
  FilterSubject subject = subject_of(names);
  subject.size = node.size;
  if (!node.headers) return subject;
  subject.content_type = &type_of(*node.headers);
  subject.metadata = &node.headers->metadata;
  return subject;
}

Result<bool> BucketFilters::shows(const BucketEntry& entry, Missing& missing) const {
  if (!hides_names()) return true;
  TRY_ASSIGN(const auto node, tree_.node(entry.ino));
  if (!node) return true;
  const Filter& filter = scope_.policies->visible;
  if (entry.is_dir) {
    auto prefix = tree_.prefix_of(entry.ino);
    if (!prefix && prefix.error().sys_errno() == ESTALE) return true;
    TRY(prefix);
    return filter.any_below(subject_of(names_of(*prefix)));
  }
  auto key = tree_.key_of(*node);
  if (!key && key.error().sys_errno() == ESTALE) return true;
  TRY(key);
  const Names names = names_of(*key);
  const auto tags = tags_->of(entry.ino, *node);
  FilterSubject subject = subject_of(names, *node);
  subject.tags = tags.tags ? &*tags.tags : nullptr;
  const Filter::Answer answer = filter.ask(subject);
  if (answer.included) return *answer.included;
  if (!note_missing(entry.ino, answer.needs, tags, missing)) return true;
  return fail(Errc::kNotLocal, "whether an object is shown depends on what it says of itself");
}

// Is there something to be asked for?
bool BucketFilters::note_missing(uint64_t ino, const Filter::Needs& needs,
                                 const BucketTags::Known& tags, Missing& missing) const {
  const bool headers = needs.headers && !given_up_(ino);
  const bool asks_tags = needs.tags && tags.must_be_asked();
  if (headers) missing.add_object(ino);
  if (asks_tags) missing.add_tags(ino);
  return headers || asks_tags;
}

bool BucketFilters::may_be(const std::string& key) const {
  if (!hides_names()) return true;
  const Names names = names_of(key);
  const FilterSubject subject = subject_of(names);
  if (key.ends_with('/')) return scope_.policies->visible.any_below(subject);
  return scope_.policies->visible.ask(subject).included.value_or(true);
}

Result<ContentPolicy> BucketFilters::policy_of(uint64_t ino, const BucketNode& node,
                                               Missing& missing) const {
  ContentPolicy policy;
  if (!scope_.policies || node.kind == BucketNode::Kind::kDirectory) return policy;
  const FilterPolicies& rules = *scope_.policies;
  auto key = tree_.key_of(node);
  if (!key && key.error().sys_errno() == ESTALE) return policy;
  TRY(key);
  const Names names = names_of(*key);
  const auto tags = tags_->of(ino, node);
  FilterSubject subject = subject_of(names, node);
  subject.tags = tags.tags ? &*tags.tags : nullptr;
  Filter::Needs needs;
  const auto ask = [&](const Filter& filter, bool& out) {
    const Filter::Answer answer = filter.ask(subject);
    needs.headers |= answer.needs.headers;
    needs.tags |= answer.needs.tags;
    out = answer.included.value_or(out);
  };
  ask(rules.cache, policy.keep);
  ask(rules.pin, policy.pin);
  ask(rules.prefetch, policy.whole);
  if (note_missing(ino, needs, tags, missing))
    return fail(Errc::kNotLocal, "what becomes of an object depends on what it says of itself");
  if (tags.tags && text_of_tag(*tags.tags, "s3d.cache") == "pin") policy.pin = policy.keep = true;
  return policy;
}

Filter::Answer BucketFilters::uploads(const std::string& key, uint64_t size,
                                      const ObjectHeaders* headers, const ObjectTags* tags) const {
  if (!scope_.policies) return {true, {}};
  const Names names = names_of(key);
  FilterSubject subject = subject_of(names);
  subject.size = size;
  subject.tags = tags;
  if (headers != nullptr) {
    subject.content_type = &type_of(*headers);
    subject.metadata = &headers->metadata;
  }
  const std::string_view own = tags != nullptr ? text_of_tag(*tags, "s3d.upload") : "";
  if (own == "false" || own == "true") return {own == "true", {}};
  return scope_.policies->upload.ask(subject);
}

bool BucketFilters::is_cached(const std::string& key, uint64_t size) const {
  if (!scope_.policies) return true;
  const Names names = names_of(key);
  FilterSubject subject = subject_of(names);
  subject.size = size;
  return scope_.policies->cache.ask(subject).included.value_or(true);
}

}  // namespace cairn
