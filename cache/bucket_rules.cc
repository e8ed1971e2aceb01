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

constexpr std::string_view kTagXattrPrefix = "user.s3.tag.";

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

// The key of a name, also below directories that only the batch makes; nullopt: none that is known.
Result<std::optional<std::string>> BucketRemote::key_in(const PublishBatch& batch, uint64_t dir,
                                                        const std::string& name) const {
  constexpr size_t kDepthMost = 1024;
  std::string below = meaning_of(name).part;
  for (size_t depth = 0; depth < kDepthMost; ++depth) {
    auto prefix = tree_->prefix_of(dir);
    if (prefix) return std::optional(*prefix + below);
    if (prefix.error().sys_errno() != ESTALE) return tl::unexpected<Error>(prefix.error());
    bool found = false;
    for (const TreeEdit& edit : batch.edits) {
      TRY_ASSIGN(const RecordKey key, parse_key(edit.key));
      if (key.kind != KeyKind::kDirent || !edit.value) continue;
      TRY_ASSIGN(const Dirent dirent, Dirent::decode(edit.value->payload()));
      if (dirent.ino != dir) continue;
      below = meaning_of(key.name).part + "/" + below;
      dir = key.ino;
      found = true;
      break;
    }
    if (!found) break;
  }
  return std::optional<std::string>();
}

Result<std::vector<Keep>> BucketRemote::keep_back(const std::vector<KeepCandidate>& candidates,
                                                  const PublishBatch& batch, Context context) {
  std::vector<Keep> out;
  for (const KeepCandidate& candidate : candidates) {
    TRY_ASSIGN(const Keep keep, keeps(candidate, batch, context));
    out.push_back(keep);
  }
  return out;
}

// The publisher notes of each object which record it contains.
Result<bool> BucketRemote::has_stored(uint64_t ino, Lsn lsn) const {
  TRY_ASSIGN(const auto node, tree_->node(ino));
  return node && node->lsn >= lsn;
}

Result<Keep> BucketRemote::keeps(const KeepCandidate& candidate, const PublishBatch& batch,
                                 const Context& context) const {
  Keep keep;
  TRY_ASSIGN(const auto node, tree_->node(candidate.inode));
  keep.is_stored = node.has_value();
  if (node) keep.stored_size = node->size;
  std::optional<std::string> key;
  if (candidate.dir != 0) {
    TRY_ASSIGN(key, key_in(batch, candidate.dir, candidate.name));
  } else if (node) {
    TRY_ASSIGN(key, tree_->key_of(*node));
  }
  const bool is_news =
      candidate.is_link ? !node : candidate.has_content || !node || candidate.size != node->size;
  if (!key || !is_news || !filters_.keeps_back_any()) return keep;
  ObjectHeaders headers;
  if (node && node->headers) headers = *node->headers;
  if (!node) headers.content_type = content_type_of(*key);
  bool knows = !node || node->headers.has_value();
  // Of what is not in the bucket only what was set here is there.
  std::optional<ObjectTags> tags;
  if (!node) tags.emplace();
  const auto ask = [&] {
    for (const auto& [name, value] : candidate.xattrs) {
      if (name == kTypeXattr || name.starts_with(kMetaXattr))
        (void)set_object_xattr(headers, name, value);
      if (!name.starts_with(kTagXattrPrefix)) continue;
      const std::string tag = name.substr(kTagXattrPrefix.size());
      if (!tags && value && tag == "s3d.upload") tags.emplace();
      if (!tags) continue;
      std::erase_if(*tags, [&tag](const auto& each) { return each.first == tag; });
      if (value) tags->emplace_back(tag, *value);
    }
    return filters_.uploads(*key, candidate.size, knows ? &headers : nullptr,
                            tags ? &*tags : nullptr);
  };
  Filter::Answer answer = ask();
  if (!answer.included && node) {
    TRY_ASSIGN(const std::string there, tree_->key_of(*node));
    Context one = context;
    one.deadline = Deadline::after(parts_.clock, options_.io_timeout);
    if (answer.needs.headers) {
      TRY_ASSIGN(const auto head, as_told(head_sync(parts_.store, there, one)));
      knows = head.has_value();
      if (head) headers = head->headers;
    }
    if (answer.needs.tags) {
      TRY_ASSIGN(tags, as_told(filters_.tags().ask(there, one)));
    }
    answer = ask();
  }
  keep.keeps = !answer.included.value_or(true);
  return keep;
}

}  // namespace cairn
