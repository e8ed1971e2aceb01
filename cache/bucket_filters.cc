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

bool BucketFilters::asks_buckets(const FilterPolicies& policies) {
  for (const Filter* filter :
       {&policies.visible, &policies.cache, &policies.pin, &policies.prefetch, &policies.upload})
    if (filter->needs().bucket_tags) return true;
  return false;
}

Result<std::optional<uint64_t>> BucketFilters::bucket_of(const std::string& key) const {
  if (!asks_buckets_) return std::optional<uint64_t>();
  if (!scope_.top_is_buckets) return std::optional(BucketTree::kRoot);
  TRY_ASSIGN(const auto entry, tree_.entry(BucketTree::kRoot, key.substr(0, key.find('/'))));
  return entry && entry->is_dir ? std::optional(entry->ino) : std::nullopt;
}

Status BucketFilters::look_at_bucket(const std::string& key, Bucket& out) const {
  TRY_ASSIGN(out.ino, bucket_of(key));
  if (!out.ino) return {};
  TRY_ASSIGN(out.node, tree_.node(*out.ino));
  if (out.node) out.tags = known_tags(*out.ino, *out.node);
  return {};
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
    Bucket bucket;
    TRY(look_at_bucket(*prefix, bucket));
    const Names names = names_of(*prefix);
    FilterSubject directory = subject_of(names);
    directory.bucket_tags = bucket.tags;
    const Filter::Answer answer = filter.any_below(directory);
    if (answer.included) return *answer.included;
    if (!note_missing(0, bucket, answer.needs, missing)) return true;
    return fail(Errc::kNotLocal, "whether a directory is shown depends on its bucket's tags");
  }
  auto key = tree_.key_of(*node);
  if (!key && key.error().sys_errno() == ESTALE) return true;
  TRY(key);
  const Names names = names_of(*key);
  FilterSubject subject = subject_of(names, *node);
  subject.tags = known_tags(entry.ino, *node);
  Bucket bucket;
  TRY(look_at_bucket(*key, bucket));
  subject.bucket_tags = bucket.tags;
  const Filter::Answer answer = filter.ask(subject);
  if (answer.included) return *answer.included;
  if (!note_missing(entry.ino, bucket, answer.needs, missing)) return true;
  return fail(Errc::kNotLocal, "whether an object is shown depends on what it says of itself");
}

const ObjectTags* BucketFilters::known_tags(uint64_t ino, const BucketNode& node) const {
  const bool counts = node.tags && (asking_.fresh(node.tags_seen_ns) || asking_.tags_given_up(ino));
  return counts ? &*node.tags : nullptr;
}

// Is there something to be asked for? Only what is needed and not known is.
bool BucketFilters::note_missing(uint64_t ino, const Bucket& bucket, const Filter::Needs& needs,
                                 Missing& missing) const {
  const bool of_bucket = needs.bucket_tags && bucket.ino && !asking_.tags_given_up(*bucket.ino);
  if (of_bucket) {
    asking_.want_tags(*bucket.ino);
    missing.add_object(*bucket.ino);
  }
  const bool headers = needs.headers && !asking_.given_up(ino);
  const bool tags = needs.tags && !asking_.tags_given_up(ino);
  if (tags) asking_.want_tags(ino);
  if (headers || tags) missing.add_object(ino);
  return headers || tags || of_bucket;
}

bool BucketFilters::may_be(const std::string& key) const {
  if (!hides_names()) return true;
  const Names names = names_of(key);
  Bucket bucket;
  FilterSubject subject = subject_of(names);
  if (look_at_bucket(key, bucket)) subject.bucket_tags = bucket.tags;
  if (key.ends_with('/'))
    return scope_.policies->visible.any_below(subject).included.value_or(true);
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
  Bucket bucket;
  TRY(look_at_bucket(*key, bucket));
  subject.bucket_tags = bucket.tags;
  Filter::Needs needs;
  const auto ask = [&](const Filter& filter, bool& out) {
    const Filter::Answer answer = filter.ask(subject);
    needs.headers |= answer.needs.headers;
    needs.tags |= answer.needs.tags;
    needs.bucket_tags |= answer.needs.bucket_tags;
    out = answer.included.value_or(out);
  };
  ask(rules.cache, policy.keep);
  ask(rules.pin, policy.pin);
  ask(rules.prefetch, policy.whole);
  if (note_missing(ino, bucket, needs, missing))
    return fail(Errc::kNotLocal, "what becomes of an object depends on what it says of itself");
  if (says(subject.tags, "s3d.cache", "pin")) policy.pin = policy.keep = true;
  return policy;
}

Filter::Answer BucketFilters::uploads(const std::string& key, uint64_t size,
                                      const ObjectHeaders* headers, const ObjectTags* tags,
                                      const ObjectTags* bucket_tags) const {
  if (!scope_.policies) return {true, {}};
  const Names names = names_of(key);
  FilterSubject subject = subject_of(names);
  subject.size = size;
  subject.tags = tags;
  subject.bucket_tags = bucket_tags;
  if (headers != nullptr) {
    subject.content_type = &type_of(*headers);
    subject.metadata = &headers->metadata;
  }
  if (says(tags, "s3d.upload", "true")) return {true, {}};
  if (says(tags, "s3d.upload", "false")) return {false, {}};
  return scope_.policies->upload.ask(subject);
}

}  // namespace cairn
