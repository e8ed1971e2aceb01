// What BucketRemote answers where rules (bucket_filters.h) have a say.
#include <cerrno>
#include <utility>

#include "cache/base/log.h"
#include "cache/bucket_names.h"
#include "cache/bucket_remote.h"
#include "cache/format/records.h"
#include "cache/object_attrs.h"

namespace cairn {

namespace {

constexpr std::string_view kUploadTag = "s3d.upload";

// What an object says of itself, as far as it can be found out: what it does not say for good
// decides nothing, and keeps nothing else waiting. Of one that is gone there is nothing to say.
template <class T>
Result<std::optional<T>> as_told(Result<T> got) {
  if (got) return std::optional<T>(*std::move(got));
  if (got.error().code() == Errc::kNotFound) return std::optional<T>(T());
  if (is_passing(got.error())) return tl::unexpected<Error>(std::move(got).error());
  log_once_per(std::chrono::hours(1), "what upload rules ask for",
               "--filter-upload: an object is sent because what a rule asks of it is not told: " +
                   got.error().message());
  return std::optional<T>();
}

Result<std::optional<BucketNode>> no_node() {
  return std::optional<BucketNode>();
}

}  // namespace

// Of what a rule hides, and of what lies hidden under the name.
Status BucketRemote::check_place(const NewPlace& place) const {
  auto key = tree_->prefix_of(place.dir);
  if (!key && key.error().sys_errno() == ESTALE) return {};
  TRY(key);
  for (const std::string& name : place.below) *key += meaning_of(name).part + "/";
  *key += meaning_of(place.name).part;
  if (place.is_dir) *key += "/";
  bool fine = filters_.may_be(*key);
  if (fine && place.below.empty()) {
    TRY_ASSIGN(const auto there, tree_->entry(place.dir, place.name));
    Missing unknown;  // then it counts as shown
    const auto shown = there ? filters_.shows(*there, unknown) : Result<bool>(true);
    fine = !shown || *shown;
  }
  if (fine) return {};
  log_once_per(std::chrono::seconds(10), "hidden name",
               "'" + *key + "' is not made: --filter-visible hides what is called so");
  return fail_errno(EPERM, "'" + *key + "' would not be shown (--filter-visible)");
}

Result<bool> BucketRemote::hides_some(uint64_t dir, Missing& missing) {
  if (!filters_.hides_names()) return false;
  constexpr size_t kAtOnce = 256;
  std::string from;
  while (true) {
    TRY_ASSIGN(const auto names, tree_->entries(dir, from, kAtOnce));
    for (const auto& [name, entry] : names) {
      TRY_ASSIGN(const bool shown, filters_.shows(entry, missing));
      if (!shown) return true;
    }
    if (names.size() < kAtOnce) return false;
    from = names.back().name + '\0';
  }
}

Result<ContentPolicy> BucketRemote::policy_of(uint64_t ino, Missing& missing) {
  TRY_ASSIGN(const auto node, tree_->node(ino));
  if (!node) return ContentPolicy();  // what was made here and is not in the bucket yet
  return filters_.policy_of(ino, *node, missing);
}

Result<BucketRemote::MadeDirs> BucketRemote::made_dirs(const PublishBatch& batch) {
  MadeDirs made;
  for (const TreeEdit& edit : batch.edits) {
    TRY_ASSIGN(const RecordKey key, parse_key(edit.key));
    if (key.kind != KeyKind::kDirent || !edit.value) continue;
    TRY_ASSIGN(const Dirent dirent, Dirent::decode(edit.value->payload()));
    if (dirent.type == FileType::kDirectory) made.try_emplace(dirent.ino, key.ino, key.name);
  }
  return made;
}

// The key of a name, also below directories that only the batch makes; nullopt: none that is known.
Result<std::optional<std::string>> BucketRemote::key_in(const MadeDirs& made, uint64_t dir,
                                                        const std::string& name) const {
  constexpr size_t kDepthMost = 1024;
  std::string below = meaning_of(name).part;
  for (size_t depth = 0; depth < kDepthMost; ++depth) {
    auto prefix = tree_->prefix_of(dir);
    if (prefix) return std::optional(*prefix + below);
    if (prefix.error().sys_errno() != ESTALE) return tl::unexpected<Error>(prefix.error());
    const auto it = made.find(dir);
    if (it == made.end()) break;
    below = meaning_of(it->second.second).part + "/" + below;
    dir = it->second.first;
  }
  return std::optional<std::string>();
}

Result<std::vector<Keep>> BucketRemote::keep_back(const std::vector<KeepCandidate>& candidates,
                                                  const PublishBatch& batch, Context context) {
  std::vector<Keep> out;
  TRY_ASSIGN(const MadeDirs made, made_dirs(batch));
  BucketTags told;
  for (const KeepCandidate& candidate : candidates) {
    TRY_ASSIGN(const Keep keep, keeps(candidate, made, told, context));
    out.push_back(keep);
  }
  return out;
}

// The publisher notes of each object which record it contains.
Result<bool> BucketRemote::has_stored(uint64_t ino, Lsn lsn) const {
  TRY_ASSIGN(const auto node, tree_->node(ino));
  return node && node->lsn >= lsn;
}

Result<Keep> BucketRemote::keeps(const KeepCandidate& candidate, const MadeDirs& made,
                                 BucketTags& told, const Context& context) {
  Keep keep;
  TRY_ASSIGN(const auto node, tree_->node(candidate.inode));
  keep.is_stored = node.has_value();
  if (node) keep.stored_size = node->size;
  std::optional<std::string> key;
  if (candidate.dir != 0) {
    TRY_ASSIGN(key, key_in(made, candidate.dir, candidate.name));
  } else if (node) {
    TRY_ASSIGN(key, tree_->key_of(*node));
  }
  const bool is_news =
      candidate.is_link ? !node : candidate.has_content || !node || candidate.size != node->size;
  if (!key || !is_news || !filters_.keeps_back_any()) return keep;
  Labels labels;
  if (node) {
    labels.headers = node->headers;
    if (const ObjectTags* tags = filters_.known_tags(candidate.inode, *node)) labels.tags = *tags;
  } else {  // of what is not in the bucket only what was set here is there
    labels.headers.emplace().content_type = content_type_of(*key);
    labels.tags.emplace();
  }
  TRY_ASSIGN(const auto bucket, filters_.bucket_of(*key));
  TRY_ASSIGN(const auto bucket_node, bucket ? tree_->node(*bucket) : no_node());
  if (bucket_node)
    if (const ObjectTags* tags = filters_.known_tags(*bucket, *bucket_node))
      labels.bucket_tags = *tags;
  Filter::Answer answer = uploads(candidate, *key, labels);
  if (!answer.included && node)
    TRY(find_out(candidate.inode, *node, answer.needs, context, labels));
  if (!answer.included && bucket_node && answer.needs.bucket_tags) {
    const auto [known, is_new] = told.try_emplace(*bucket);
    if (is_new) {
      TRY_ASSIGN(known->second, tags_told(*bucket, *bucket_node, context));
    }
    labels.bucket_tags = known->second;
  }
  if (!answer.included) answer = uploads(candidate, *key, labels);
  keep.keeps = !answer.included.value_or(true);
  return keep;
}

// With what was set here and is not in the bucket yet.
Filter::Answer BucketRemote::uploads(const KeepCandidate& candidate, const std::string& key,
                                     Labels labels) const {
  for (const auto& [name, value] : candidate.xattrs) {
    if (labels.headers && is_header_xattr(name))
      (void)set_object_xattr(*labels.headers, name, value);
    // It outranks the rules, whatever else is known.
    const bool decides = name.starts_with(kTagXattr) &&
                         name.substr(kTagXattr.size()) == kUploadTag &&
                         (value == "true" || value == "false");
    if (decides) return {value == "true", {}};
    if (labels.tags) (void)set_tag_xattr(*labels.tags, name, value);
  }
  return filters_.uploads(key, candidate.size, labels.headers ? &*labels.headers : nullptr,
                          labels.tags ? &*labels.tags : nullptr,
                          labels.bucket_tags ? &*labels.bucket_tags : nullptr);
}

Status BucketRemote::find_out(uint64_t ino, const BucketNode& node, const Filter::Needs& needs,
                              Context context, Labels& labels) {
  TRY_ASSIGN(const std::string key, tree_->key_of(node));
  context.deadline = Deadline::after(parts_.clock, options_.io_timeout);
  if (needs.headers) {
    TRY_ASSIGN(const auto head, as_told(head_sync(parts_.store, key, context)));
    if (head) labels.headers = head->headers;
  }
  if (needs.tags) {
    TRY_ASSIGN(labels.tags, tags_told(ino, node, context));
  }
  return {};
}

// Of an object, or of a bucket where the inode is one.
Result<std::optional<ObjectTags>> BucketRemote::tags_told(uint64_t ino, const BucketNode& node,
                                                          Context context) {
  context.deadline = Deadline::after(parts_.clock, options_.io_timeout);
  std::string key;  // nothing: the one bucket that there is
  if (ino != BucketTree::kRoot) {
    TRY_ASSIGN(key, tree_->key_of(node));
  }
  if (!key.empty() && tree_->is_bucket(ino, node)) key += '/';
  const int64_t asked_ns = tree_->now_ns();
  auto tags = get_tags_sync(parts_.store, key, {}, context);
  if (!tags && tags.error().code() == Errc::kUnsupported) tags = ObjectTags();  // there are none
  if (tags && tree_->has_room()) {
    if (tree_->memory_bytes() >= options_.name_memory_bytes) TRY(tree_->checkpoint());
    TRY(tree_->learn_tags(ino, node, *tags, asked_ns));
  }
  return as_told(std::move(tags));
}

}  // namespace cairn
