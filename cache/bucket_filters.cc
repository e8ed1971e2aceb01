#include "cache/bucket_filters.h"

#include <algorithm>
#include <cerrno>

#include "cache/object_attrs.h"

namespace cairn {

namespace {

const std::string& type_of(const ObjectHeaders& headers) {
  static const std::string none(kDefaultContentType);
  return headers.content_type.empty() ? none : headers.content_type;
}

bool says(const ObjectTags* tags, std::string_view name, std::string_view value) {
  const std::string* const there = tags != nullptr ? find_tag(*tags, name) : nullptr;
  return there != nullptr && *there == value;
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
  FilterSubject subject = subject_of(names, *node);
  subject.tags = known_tags(entry.ino, *node);
  const Filter::Answer answer = filter.ask(subject);
  if (answer.included) return *answer.included;
  if (!note_missing(entry.ino, answer.needs, missing)) return true;
  return fail(Errc::kNotLocal, "whether an object is shown depends on what it says of itself");
}

const ObjectTags* BucketFilters::known_tags(uint64_t ino, const BucketNode& node) const {
  const bool counts = node.tags && (asking_.fresh(node.tags_seen_ns) || asking_.tags_given_up(ino));
  return counts ? &*node.tags : nullptr;
}

// Is there something to be asked for? Only what is needed and not known is.
bool BucketFilters::note_missing(uint64_t ino, const Filter::Needs& needs, Missing& missing) const {
  const bool headers = needs.headers && !asking_.given_up(ino);
  const bool tags = needs.tags && !asking_.tags_given_up(ino);
  if (tags) asking_.want_tags(ino);
  if (headers || tags) missing.add_object(ino);
  return headers || tags;
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
  FilterSubject subject = subject_of(names, node);
  subject.tags = known_tags(ino, node);
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
  if (note_missing(ino, needs, missing))
    return fail(Errc::kNotLocal, "what becomes of an object depends on what it says of itself");
  if (says(subject.tags, "s3d.cache", "pin")) policy.pin = policy.keep = true;
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
  if (says(tags, "s3d.upload", "true")) return {true, {}};
  if (says(tags, "s3d.upload", "false")) return {false, {}};
  return scope_.policies->upload.ask(subject);
}

}  // namespace cairn
