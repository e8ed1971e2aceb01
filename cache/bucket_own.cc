// What this cache itself does to the objects, in the tree of their names.
#include <algorithm>
#include <mutex>

#include "cache/base/coding.h"
#include "cache/bucket_names.h"
#include "cache/bucket_rows.h"
#include "cache/bucket_tree.h"
#include "cache/format/records.h"

namespace cairn {

namespace {

constexpr size_t kOwnMax = 10'000;
constexpr int64_t kOwnNs = 600'000'000'000;  // longer than any listing's request takes
constexpr size_t kBelowAtOnce = 1000;

}  // namespace

bool BucketTree::is_own_since(uint64_t dir, std::string_view name, int64_t asked_ns) const {
  const auto own = own_.find(std::pair(dir, std::string(name)));
  return own != own_.end() && own->second >= asked_ns;
}

bool BucketTree::changed_since(uint64_t dir, std::string_view name, int64_t asked_ns) const {
  const std::lock_guard lock(mutex_);
  return is_own_since(dir, name, asked_ns);
}

void BucketTree::note_own(uint64_t dir, std::string_view name) {
  note_own(dir, name, now_ns());
}

void BucketTree::note_own(uint64_t dir, std::string_view name, int64_t now) {
  if (own_.size() >= own_max_) {
    std::erase_if(own_, [now](const auto& each) { return each.second < now - kOwnNs; });
    own_max_ = std::max(kOwnMax, 2 * own_.size());
  }
  own_.insert_or_assign(std::pair(dir, std::string(name)), now);
}

// A directory is held when something below it is.
Result<bool> BucketTree::holds(const BucketEntry& entry) const {
  if (!held_) return false;
  if (held_(entry.ino)) return true;
  if (!entry.is_dir) return false;
  std::vector<uint64_t> dirs{entry.ino};
  while (!dirs.empty()) {
    const uint64_t at = dirs.back();
    dirs.pop_back();
    std::string from;
    for (bool more = true; more;) {
      TRY_ASSIGN(const auto names, entries(at, from, kBelowAtOnce));
      for (const Named& each : names) {
        if (held_(each.entry.ino)) return true;
        if (each.entry.is_dir) dirs.push_back(each.entry.ino);
      }
      more = names.size() == kBelowAtOnce;
      if (more) from = names.back().name + '\0';
    }
  }
  return false;
}

Result<std::string> BucketTree::shown_as(uint64_t ino, const BucketNode& node) const {
  if (node.kind == BucketNode::Kind::kMarker) return std::string(kMarkerName);
  for (const std::string& name : {shown_name(node.part), shown_beside(node.part)}) {
    TRY_ASSIGN(const auto there, entry(node.parent, name));
    if (there && there->ino == ino) return name;
  }
  return std::string();
}

Result<BucketTree::Keys> BucketTree::place(uint64_t dir, const std::string& name, uint64_t ino,
                                           BucketNode node) {
  Keys keys;
  const std::lock_guard lock(mutex_);
  const bool is_dir = node.kind == BucketNode::Kind::kDirectory;
  TRY_ASSIGN(const auto before, this->node(ino));
  if (before) {
    TRY_ASSIGN(const std::string old_name, shown_as(ino, *before));
    if (!old_name.empty() && (before->parent != dir || old_name != name)) {
      tables_.apply(
          {{bucket_rows::kTable, bucket_rows::entry_key(before->parent, old_name), std::nullopt}});
      note_own(before->parent, old_name);
      keys.push_back(dirent_key(before->parent, old_name));
    }
  }
  TRY_ASSIGN(const auto there, entry(dir, name));
  if (there && there->ino != ino) TRY(remove(dir, name, keys));
  node.parent = dir;
  const bool is_link = !node.target.empty();
  put_node(ino, node);
  put_entry(dir, name, {ino, is_dir, is_link, now_ns()});
  note_own(dir, name);
  if (is_dir && !before)
    tables_.apply({{bucket_rows::kTable, bucket_rows::listing_key(ino),
                    bucket_rows::encode(BucketListing{true, now_ns(), 1})}});
  keys.push_back(dirent_key(dir, name));
  keys.push_back(inode_key(ino));
  return keys;
}

Status BucketTree::update(uint64_t ino, const BucketNode& node) {
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(const auto before, this->node(ino));
  if (before) put_node(ino, node);
  return {};
}

Result<BucketTree::Keys> BucketTree::learn(uint64_t ino, const BucketNode& asked,
                                           const ObjectHead& head, std::string target) {
  Keys keys;
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(auto known, node(ino));
  const bool is_same = known && known->version == asked.version && known->etag == asked.etag &&
                       known->mtime_ns == asked.mtime_ns;
  if (!is_same) return keys;
  const bool is_dir = known->kind == BucketNode::Kind::kDirectory;
  if (!is_dir) {
    known->storage_class = head.storage_class;
    known->version_id = head.version_id;
    known->has_tags = head.tag_count.value_or(0) > 0;
  }
  if (known->headers && !known->headers_asked) {
    put_node(ino, *known);
    return keys;
  }
  if (is_dir) known->etag = stamp_of(head.info);
  known->headers = head.headers;
  known->headers_asked = true;
  known->target = std::move(target);
  put_node(ino, *known);
  if (is_dir) return keys;
  TRY_ASSIGN(const std::string name, shown_as(ino, *known));
  TRY_ASSIGN(auto there, entry(known->parent, name));
  if (!there || there->ino != ino || there->is_link == !known->target.empty()) return keys;
  there->is_link = !known->target.empty();
  put_entry(known->parent, name, *there);
  keys.push_back(dirent_key(known->parent, name));
  keys.push_back(inode_key(ino));
  return keys;
}

Status BucketTree::learn_tags(uint64_t ino, const BucketNode& asked, ObjectTags tags,
                              int64_t asked_ns) {
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(auto known, node(ino));
  const bool is_same = known && known->version == asked.version && known->etag == asked.etag;
  // What was set here since is newer.
  if (!is_same || known->tags_seen_ns > asked_ns) return {};
  known->tags = std::move(tags);
  known->tags_seen_ns = asked_ns;
  put_node(ino, *known);
  return {};
}

// Empty when there is none.
std::string BucketTree::stamp_of(const ObjectInfo& info) {
  constexpr int64_t kStampSecond = 1'000'000'000;  // a head says no more
  if (info.etag.empty()) return {};
  return std::string(bare_etag(info.etag)) + "@" + std::to_string(info.mtime_ns / kStampSecond);
}

Result<BucketTree::Keys> BucketTree::drop(uint64_t ino) {
  Keys keys;
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(const auto known, node(ino));
  if (!known) return keys;
  TRY_ASSIGN(const std::string name, shown_as(ino, *known));
  if (name.empty()) {
    tables_.apply({{bucket_rows::kTable, bucket_rows::node_key(ino), std::nullopt}});
    return keys;
  }
  TRY(remove(known->parent, name, keys));
  note_own(known->parent, name);
  return keys;
}

Result<std::optional<uint64_t>> BucketTree::ino_of(std::string_view key) const {
  uint64_t at = kRoot;
  while (!key.empty()) {
    const size_t slash = key.find('/');
    const std::string_view part = key.substr(0, slash);
    const bool is_dir = slash != std::string_view::npos;
    key.remove_prefix(is_dir ? slash + 1 : key.size());
    bool found = false;
    for (const std::string& name : {shown_name(part), shown_beside(part)}) {
      TRY_ASSIGN(const auto there, entry(at, name));
      if (!there || there->is_dir != is_dir) continue;
      at = there->ino;
      found = true;
      break;
    }
    if (!found) return std::optional<uint64_t>();
  }
  return std::optional<uint64_t>(at);
}

void BucketTree::note_leftover(const std::string& from, const std::string& to) {
  tables_.apply({bucket_rows::left_row(from, to)});
}

void BucketTree::forget_leftover(const std::string& from) {
  tables_.apply({bucket_rows::left_row(from, std::nullopt)});
}

Result<std::vector<std::pair<std::string, std::string>>> BucketTree::leftovers() const {
  const std::string end(1, static_cast<char>(bucket_rows::kLeftRow + 1));
  TRY_ASSIGN(
      const auto rows,
      tables_.scan(bucket_rows::kTable, std::string(1, bucket_rows::kLeftRow), end, kBelowAtOnce));
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& row : rows) {
    TRY_ASSIGN(auto left, bucket_rows::decode_left(row.key, row.value));
    out.push_back(std::move(left));
  }
  return out;
}

}  // namespace cairn
