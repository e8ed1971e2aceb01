#include "cache/bucket_tags.h"

#include <mutex>

#include "cache/base/log.h"

namespace cairn {

namespace {
constexpr size_t kToldMost = 16'384;
constexpr Duration kTagsGivenUpTerm = std::chrono::seconds(10);
}  // namespace

BucketTags::Known BucketTags::of(uint64_t ino, const BucketNode& node) const {
  const std::lock_guard lock(mutex_);
  const auto told = told_.find(ino);
  if (told == told_.end() || told->second.etag != node.etag || clock_.now() >= told->second.until)
    return {};
  return {told->second.tags, !told->second.tags};
}

void BucketTags::fetch(const std::vector<uint64_t>& inos, const Context& context,
                       Callback<void> done) {
  const Callback<void> each = all_of(inos.size(), std::move(done));
  for (const uint64_t ino : inos) request(ino, context, each);
}

void BucketTags::request(uint64_t ino, const Context& context, const Callback<void>& done) {
  const auto node = tree_->node(ino);
  if (!node) return done(tl::unexpected<Error>(node.error()));
  const auto key = *node ? tree_->key_of(**node) : Result<std::string>(std::string());
  if (!key || key->empty()) return done({});  // it is gone: whoever asks again sees that
  store_.get_tags(*key, "", context,
                  [self = shared_from_this(), ino, etag = (*node)->etag,
                   done](Result<ObjectTags> got) { done(self->note(ino, etag, std::move(got))); });
}

Status BucketTags::note(uint64_t ino, const std::string& etag, Result<ObjectTags> got) {
  Told told{etag, std::nullopt, clock_.now() + ttl_};
  if (got) {
    told.tags = *std::move(got);
  } else if (got.error().code() == Errc::kNotFound) {
    told.tags.emplace();
  } else if (got.error().code() == Errc::kCancelled) {
    return tl::unexpected<Error>(got.error());
  } else {
    log_once_per(std::chrono::minutes(1), "tags",
                 "the tags that a filter asks for are not told: " + got.error().message());
    told.until = clock_.now() + kTagsGivenUpTerm;
  }
  const std::lock_guard lock(mutex_);
  if (told_.size() >= kToldMost) told_.clear();
  told_.insert_or_assign(ino, std::move(told));
  return {};
}

Result<ObjectTags> BucketTags::ask(const std::string& key, Context context) const {
  auto got = get_tags_sync(store_, key, "", std::move(context));
  if (!got && got.error().code() == Errc::kNotFound) return ObjectTags();
  return got;
}

}  // namespace cairn
