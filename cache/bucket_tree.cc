#include "cache/bucket_tree.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <mutex>

#include "cache/base/coding.h"
#include "cache/base/log.h"
#include "cache/bucket_names.h"
#include "cache/bucket_past.h"
#include "cache/bucket_rows.h"
#include "cache/format/records.h"

namespace cairn {

namespace {

constexpr const char* kNumbersRow = "s";
constexpr const char* kFormRow = "f";
constexpr const char* kPublishedRow = "p";
constexpr uint64_t kReserve = 4096;  // inode numbers
constexpr size_t kNamesAtOnce = 1000;
constexpr size_t kMaxDepth = 1024;

tl::unexpected<Error> damaged() {
  return fail(Errc::kCorruption, "a row of the names of objects is damaged");
}

Digest version_of(std::string_view key, const BucketNode& node) {
  ByteVec in;
  put_le(in, static_cast<uint64_t>(key.size()));
  append(in, as_bytes(key));
  put_le(in, node.size);
  put_le(in, node.etag.empty() ? node.mtime_ns : int64_t{0});
  append(in, as_bytes(bare_etag(node.etag)));
  return sha256(in);
}

// Without an etag the time has to do.
bool same_version(const BucketNode& a, const BucketNode& b) {
  return a.size == b.size && bare_etag(a.etag) == bare_etag(b.etag) &&
         (!a.etag.empty() || a.mtime_ns == b.mtime_ns);
}

}  // namespace

BucketTree::BucketTree(std::unique_ptr<MetaStore> store, Clock& clock, bool has_buckets,
                       bool only_utf8)
    : clock_(clock),
      has_buckets_(has_buckets),
      only_utf8_(only_utf8),
      begun_wall_ns_(clock.wall_ns()),
      begun_(clock.now()),
      tables_(std::move(store)) {}

int64_t BucketTree::now_ns() const {
  return begun_wall_ns_ + Duration(clock_.now() - begun_).count();
}

// ---- keys

std::string_view BucketTree::bucket_of(std::string_view key) const {
  return has_buckets_ ? key.substr(0, key.find('/') + 1) : std::string_view();
}

std::string_view BucketTree::inside_bucket(std::string_view key) const {
  const std::string_view bucket = bucket_of(key);
  if (has_buckets_ && bucket.empty()) return {};
  return key.substr(bucket.size());
}

Status BucketTree::check_key(std::string_view key) const {
  if (only_utf8_ && !is_utf8(key)) return fail(Errc::kInvalid, "a key that is not UTF-8");
  return cairn::check_key(inside_bucket(key));
}

Status BucketTree::check_any_key(std::string_view key) const {
  return cairn::check_any_key(inside_bucket(key));
}

bool BucketTree::is_usable(const std::string& key, uint64_t size) const {
  const bool is_bucket = has_buckets_ && key.find('/') + 1 == key.size();
  const bool fine = (is_bucket || check_any_key(key).has_value()) &&
                    size <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (!fine)
    log_once_per(std::chrono::minutes(1), "unusable object",
                 "an object cannot be shown: its key or its size is none that a bucket can have");
  return fine;
}

// ---- reading

Result<std::optional<BucketNode>> BucketTree::node(uint64_t ino) const {
  TRY_ASSIGN(const auto row, tables_.get(bucket_rows::kTable, bucket_rows::node_key(ino)));
  if (!row && ino == kRoot) {  // unless something was set here
    BucketNode root;
    root.kind = BucketNode::Kind::kDirectory;
    root.parent = kRoot;
    root.mtime_ns = begun_wall_ns_;
    return std::optional<BucketNode>(root);
  }
  if (!row) return std::optional<BucketNode>();
  TRY_ASSIGN(BucketNode node, bucket_rows::decode_node(*row));
  return std::optional<BucketNode>(std::move(node));
}

Result<std::optional<BucketEntry>> BucketTree::entry(uint64_t dir, std::string_view name) const {
  TRY_ASSIGN(const auto row, tables_.get(bucket_rows::kTable, bucket_rows::entry_key(dir, name)));
  if (!row) return std::optional<BucketEntry>();
  TRY_ASSIGN(const BucketEntry entry, bucket_rows::decode_entry(*row));
  return std::optional<BucketEntry>(entry);
}

Result<std::vector<BucketTree::Named>> BucketTree::entries(uint64_t dir, std::string_view from,
                                                           size_t limit) const {
  // Who asked for `limit` takes less for the end.
  TRY_ASSIGN(auto names, all_entries(dir, from, limit + (from <= kPastPart ? 1 : 0)));
  std::erase_if(names, [](const Named& each) { return each.name == kPastPart; });
  if (names.size() > limit) names.pop_back();
  return names;
}

Result<BucketEntry> BucketTree::past_entry(uint64_t dir) {
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(const auto there, entry(dir, kPastPart));
  if (there) return *there;
  TRY_ASSIGN(const uint64_t ino, next_ino());
  BucketNode node;
  node.kind = BucketNode::Kind::kDirectory;
  node.parent = dir;
  node.mtime_ns = now_ns();
  node.part = kPastPart;
  const BucketEntry made{ino | kPastNumbers, true, false, node.mtime_ns};
  put_node(made.ino, node);
  put_entry(dir, kPastPart, made);
  return made;
}

Result<std::vector<BucketTree::Named>> BucketTree::all_entries(uint64_t dir, std::string_view from,
                                                               size_t limit) const {
  const std::string prefix = bucket_rows::entry_key(dir);
  const std::string end = bucket_rows::entry_key(dir + 1);
  TRY_ASSIGN(const auto rows,
             tables_.scan(bucket_rows::kTable, prefix + std::string(from), end, limit));
  std::vector<Named> out;
  out.reserve(rows.size());
  for (const auto& row : rows) {
    TRY_ASSIGN(const BucketEntry entry, bucket_rows::decode_entry(row.value));
    out.push_back({row.key.substr(prefix.size()), entry});
  }
  return out;
}

Result<std::optional<BucketListing>> BucketTree::listing(uint64_t dir) const {
  TRY_ASSIGN(const auto row, tables_.get(bucket_rows::kTable, bucket_rows::listing_key(dir)));
  if (!row) return std::optional<BucketListing>();
  TRY_ASSIGN(const BucketListing listing, bucket_rows::decode_listing(*row));
  return std::optional<BucketListing>(listing);
}

Result<std::string> BucketTree::prefix_of(uint64_t dir) const {
  std::vector<std::string> parts;
  while (dir != kRoot) {
    TRY_ASSIGN(auto directory, node(dir));
    if (!directory || parts.size() > kMaxDepth)
      return fail_errno(ESTALE, "a directory of the bucket that is gone");
    parts.push_back(std::move(directory->part));
    dir = directory->parent;
  }
  std::string prefix;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) prefix += *part + "/";
  return prefix;
}

Result<std::string> BucketTree::key_of(const BucketNode& node) const {
  TRY_ASSIGN(std::string prefix, prefix_of(node.parent));
  return std::move(prefix) + node.part;
}

Status BucketTree::thin_out() {
  TRY_ASSIGN(const auto form, tables_.get(bucket_rows::kTable, kFormRow));
  const bool fills = !has_room();
  if (form == std::string(bucket_rows::kForm) && !fills) return {};
  return forget_all(fills);
}

void BucketTree::note_published(Lsn lsn) {
  ByteVec row;
  put_le(row, lsn);
  tables_.apply({{bucket_rows::kTable, kPublishedRow, to_string(row)}});
}

Result<Lsn> BucketTree::published() const {
  TRY_ASSIGN(const auto row, tables_.get(bucket_rows::kTable, kPublishedRow));
  if (!row) return Lsn{0};
  if (row->size() != sizeof(Lsn)) return damaged();
  return get_le<Lsn>(as_bytes(*row).data());
}

Status BucketTree::forget_all(bool fills) {
  if (fills)
    log_info("the names of the bucket fill the cache's room for them: they are listed anew");
  for (std::string from;;) {
    TRY_ASSIGN(const auto rows, tables_.scan(bucket_rows::kTable, from, "", kNamesAtOnce));
    std::vector<TableChange> changes;
    for (const auto& row : rows)
      if (row.key != kNumbersRow && row.key[0] != bucket_rows::kLeftRow &&
          !(fills && row.key == bucket_rows::node_key(kRoot)))
        changes.push_back({bucket_rows::kTable, row.key, std::nullopt});
    if (rows.empty()) break;
    tables_.apply(changes);
    TRY(tables_.checkpoint());
    from = rows.back().key + '\0';
  }
  tables_.apply({{bucket_rows::kTable, kFormRow, std::string(bucket_rows::kForm)}});
  return {};
}

bool BucketTree::has_room(bool own) {
  const MetaStore& store = tables_.store();
  // A checkpoint writes the pages it touches anew before it lets go of the old ones.
  return store.used_bytes() + 4 * tables_.memory_bytes() < store.bytes_max() / 8 * (own ? 7 : 6);
}

Status BucketTree::settle_names() {
  const uint64_t named = named_;
  if (settled_ >= named) return {};
  TRY(tables_.checkpoint());
  settled_ = std::max(settled_.load(), named);
  return {};
}

// ---- changing

Result<BucketTree::Keys> BucketTree::note_page(uint64_t dir, const std::string& prefix,
                                               const ListPage& page, int64_t asked_ns) {
  Keys keys;
  const auto part_of = [&prefix](const std::string& key) {
    return std::string_view(key).substr(std::min(prefix.size(), key.size()));
  };
  for (const ObjectInfo& object : page.objects) {
    const bool below = part_of(object.key).find('/') != std::string_view::npos;
    if (below || !is_usable(object.key, object.size)) continue;
    const std::lock_guard lock(mutex_);
    asked_ns_ = asked_ns;
    TRY(note_object(dir, part_of(object.key), object, keys));
  }
  for (const std::string& name : page.prefixes) {
    if (!is_usable(name, 0)) continue;
    std::string_view part = part_of(name);
    part.remove_suffix(std::min<size_t>(part.size(), 1));
    const std::lock_guard lock(mutex_);
    asked_ns_ = asked_ns;
    TRY(note_dir(dir, part, keys));
  }
  return keys;
}

// It says that there is a directory, and what that is like.
Status BucketTree::note_marker(uint64_t dir, const ObjectInfo& info, Keys& keys) {
  TRY_ASSIGN(auto directory, node(dir));
  std::string stamp = stamp_of(info);
  if (dir == kRoot || !directory || directory->etag == stamp) return {};
  directory->etag = std::move(stamp);
  if (directory->headers_asked) {
    directory->headers.reset();
    directory->headers_asked = false;
    keys.push_back(inode_key(dir));
  }
  put_node(dir, *directory);
  return {};
}

Status BucketTree::note_object(uint64_t dir, std::string_view part, const ObjectInfo& info,
                               Keys& keys) {
  BucketNode node;
  node.parent = dir;
  node.size = info.size;
  node.mtime_ns = info.mtime_ns;
  node.etag = info.etag;
  node.part = std::string(part);
  if (part.empty()) {
    if (info.size == 0) return note_marker(dir, info, keys);
    node.kind = BucketNode::Kind::kMarker;
    return put_file(dir, std::string(kMarkerName), std::move(node), keys);
  }
  std::string name = shown_name(part);
  TRY_ASSIGN(const auto there, entry(dir, name));
  if (there && there->is_dir) name = shown_beside(part);
  return put_file(dir, name, std::move(node), keys);
}

Status BucketTree::put_file(uint64_t dir, const std::string& name, BucketNode node, Keys& keys) {
  if (is_own_since(dir, name, asked_ns_)) return {};
  const int64_t now = now_ns();
  TRY_ASSIGN(const auto there, entry(dir, name));
  if (there && !there->is_dir) {
    TRY_ASSIGN(auto known, this->node(there->ino));
    TRY_ASSIGN(const bool held, holds(*there));
    if (held || (known && known->kind == node.kind && same_version(*known, node))) {
      put_entry(dir, name, {there->ino, false, there->is_link, now});
      if (held || known->mtime_ns == node.mtime_ns) return {};
      known->mtime_ns = node.mtime_ns;
      // Who only changes metadata copies an object onto itself, and its etag stays.
      if (known->headers_asked) known->headers.reset();
      known->headers_asked = false;
      put_node(there->ino, *known);
      // Of what was written here the time is in its headers.
      if (!known->headers) keys.push_back(inode_key(there->ino));
      return {};
    }
  }
  if (there) {
    TRY_ASSIGN(const bool held, holds(*there));
    if (held) return {};
    TRY(remove(dir, name, keys));
  }
  TRY_ASSIGN(const uint64_t ino, next_ino_in(dir));
  TRY_ASSIGN(const std::string key, key_of(node));
  node.version = version_of(key, node);
  put_node(ino, node);
  put_entry(dir, name, {ino, false, false, now});
  return {};
}

Status BucketTree::note_dir(uint64_t dir, std::string_view part, Keys& keys) {
  const std::string name = shown_name(part);
  const int64_t now = now_ns();
  if (is_own_since(dir, name, asked_ns_)) return {};
  TRY_ASSIGN(const auto there, entry(dir, name));
  if (there && there->is_dir) {
    put_entry(dir, name, {there->ino, true, false, now});
    return {};
  }
  if (there) TRY(move_entry(dir, name, shown_beside(part), keys));
  TRY_ASSIGN(const uint64_t ino, next_ino_in(dir));
  BucketNode node;
  node.kind = BucketNode::Kind::kDirectory;
  node.parent = dir;
  node.mtime_ns = now;
  node.part = std::string(part);
  put_node(ino, node);
  put_entry(dir, name, {ino, true, false, now});
  return {};
}

Status BucketTree::move_entry(uint64_t dir, const std::string& from, const std::string& to,
                              Keys& keys) {
  TRY_ASSIGN(const auto there, entry(dir, from));
  if (!there) return {};
  TRY_ASSIGN(const auto in_the_way, entry(dir, to));
  if (in_the_way) {
    TRY_ASSIGN(const bool held, holds(*in_the_way));
    if (held) return {};
    TRY(remove(dir, to, keys));
  }
  put_entry(dir, to, *there);
  tables_.apply({{bucket_rows::kTable, bucket_rows::entry_key(dir, from), std::nullopt}});
  keys.push_back(dirent_key(dir, from));
  return {};
}

Status BucketTree::remove(uint64_t dir, const std::string& name, Keys& keys) {
  TRY_ASSIGN(const auto there, entry(dir, name));
  if (!there) return {};
  if (there->is_dir) TRY(remove_below(there->ino));
  tables_.apply({{bucket_rows::kTable, bucket_rows::entry_key(dir, name), std::nullopt},
                 {bucket_rows::kTable, bucket_rows::node_key(there->ino), std::nullopt}});
  keys.push_back(dirent_key(dir, name));
  keys.push_back(inode_key(there->ino));
  return {};
}

Status BucketTree::remove_below(uint64_t dir) {
  std::vector<uint64_t> dirs{dir};
  while (!dirs.empty()) {
    const uint64_t at = dirs.back();
    dirs.pop_back();
    tables_.apply({{bucket_rows::kTable, bucket_rows::listing_key(at), std::nullopt}});
    for (bool more = true; more;) {
      TRY_ASSIGN(const auto names, all_entries(at, "", kNamesAtOnce));
      std::vector<TableChange> changes;
      for (const Named& each : names) {
        if (each.entry.is_dir) dirs.push_back(each.entry.ino);
        changes.push_back(
            {bucket_rows::kTable, bucket_rows::entry_key(at, each.name), std::nullopt});
        changes.push_back(
            {bucket_rows::kTable, bucket_rows::node_key(each.entry.ino), std::nullopt});
      }
      tables_.apply(changes);
      more = names.size() == kNamesAtOnce;
    }
  }
  return {};
}

Result<BucketTree::Keys> BucketTree::finish_listing(uint64_t dir, int64_t started_ns,
                                                    uint64_t pages, int64_t older_ns) {
  Keys keys;
  const int64_t ended_ns = now_ns();
  // Others note names meanwhile; stamps of later than now are none of this mount.
  const auto was_seen = [&](const BucketEntry& entry) {
    return entry.seen_ns >= started_ns && entry.seen_ns <= now_ns();
  };
  std::string from;
  for (bool more = true; more;) {
    TRY_ASSIGN(const auto names, entries(dir, from, kNamesAtOnce));
    more = names.size() == kNamesAtOnce;
    if (more) from = names.back().name + '\0';
    for (const Named& each : names) {
      if (was_seen(each.entry)) continue;
      const std::lock_guard lock(mutex_);
      // The name may have been looked up, or moved, since.
      TRY_ASSIGN(const auto there, entry(dir, each.name));
      if (!there || was_seen(*there)) continue;
      if (is_own_since(dir, each.name, started_ns)) continue;
      TRY_ASSIGN(const bool held, holds(*there));
      if (held) continue;
      TRY(remove(dir, each.name, keys));
      const NameMeaning meaning = meaning_of(each.name);
      if (there->is_dir && meaning.kind == NameMeaning::Kind::kPart)
        TRY(move_entry(dir, shown_beside(meaning.part), each.name, keys));
    }
  }
  const std::lock_guard lock(mutex_);
  if (was_forgotten(dir, started_ns)) return keys;  // whoever wants all of them lists again
  tables_.apply({{bucket_rows::kTable, bucket_rows::listing_key(dir),
                  bucket_rows::encode(BucketListing{true, ended_ns - older_ns, pages})}});
  return keys;
}

void BucketTree::leave_listing(uint64_t dir) {
  const BucketListing left{false, now_ns(), 1};
  tables_.apply({{bucket_rows::kTable, bucket_rows::listing_key(dir), bucket_rows::encode(left)}});
}

Result<BucketTree::Keys> BucketTree::settle(uint64_t dir, std::string_view part,
                                            const std::optional<ObjectInfo>& object, bool is_dir,
                                            int64_t asked_ns) {
  Keys keys;
  const std::lock_guard lock(mutex_);
  asked_ns_ = asked_ns;
  const std::string name = shown_name(part);
  const std::string beside = shown_beside(part);
  const auto gone = [&](const std::string& which) -> Status {
    TRY_ASSIGN(const auto there, entry(dir, which));
    if (!there || is_own_since(dir, which, asked_ns)) return {};
    TRY_ASSIGN(const bool held, holds(*there));
    return held ? Status() : remove(dir, which, keys);
  };
  if (is_dir) {
    TRY(note_dir(dir, part, keys));
    if (!object) TRY(gone(beside));
  } else {
    TRY_ASSIGN(const auto there, entry(dir, name));
    if (!object || (there && there->is_dir)) TRY(gone(name));
    if (object && there && there->is_dir) TRY(move_entry(dir, beside, name, keys));
    TRY(gone(beside));
  }
  if (object && is_usable(object->key, object->size)) TRY(note_object(dir, part, *object, keys));
  return keys;
}

Result<BucketTree::Keys> BucketTree::expire(uint64_t ino) {
  Keys keys;
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(const auto known, node(ino));
  if (!known) return keys;
  const bool marker = known->kind == BucketNode::Kind::kMarker;
  for (const std::string& name :
       {marker ? std::string(kMarkerName) : shown_name(known->part), shown_beside(known->part)}) {
    TRY_ASSIGN(const auto there, entry(known->parent, name));
    if (!there || there->ino != ino) continue;
    put_entry(known->parent, name, {ino, there->is_dir, there->is_link, 0});
    // What was asked for before says nothing of it: neither that it is as it was, nor, where a
    // listing under way has seen it, that it is gone.
    note_own(known->parent, name, now_ns() - 1);
    keys.push_back(dirent_key(known->parent, name));
  }
  TRY_ASSIGN(auto listed, listing(known->parent));
  if (!listed) return keys;
  listed->listed_ns = 0;
  tables_.apply({{bucket_rows::kTable, bucket_rows::listing_key(known->parent),
                  bucket_rows::encode(*listed)}});
  return keys;
}

void BucketTree::put_entry(uint64_t dir, std::string_view name, const BucketEntry& entry) {
  tables_.apply(
      {{bucket_rows::kTable, bucket_rows::entry_key(dir, name), bucket_rows::encode(entry)}});
  ++named_;
}

void BucketTree::put_node(uint64_t ino, const BucketNode& node) {
  tables_.apply({{bucket_rows::kTable, bucket_rows::node_key(ino), bucket_rows::encode(node)}});
}

Result<uint64_t> BucketTree::first_new_ino() {
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(const uint64_t used, next_ino());
  return used + 1;
}

// What is in a directory of what is past is past.
Result<uint64_t> BucketTree::next_ino_in(uint64_t dir) {
  TRY_ASSIGN(const uint64_t ino, next_ino());
  return is_past_ino(dir) ? ino | kPastNumbers : ino;
}

// What was handed out is below the row, or below what the clock said when that was begun: nobody
// gets 16 million names a second, so a later second is behind all of them even without the row.
Result<uint64_t> BucketTree::next_ino() {
  constexpr unsigned kPerSecondBits = 24;
  constexpr int64_t kSecond = 1'000'000'000;
  if (next_ino_ == 0) {
    TRY_ASSIGN(const auto row, tables_.get(bucket_rows::kTable, kNumbersRow));
    if (row && row->size() != 8) return damaged();
    const uint64_t known = row ? get_le<uint64_t>(as_bytes(*row).data()) : 0;
    const auto seconds = static_cast<uint64_t>(std::max<int64_t>(clock_.wall_ns() / kSecond, 1));
    next_ino_ = reserved_ino_ = std::max(known, seconds << kPerSecondBits);
  }
  if (next_ino_ == reserved_ino_) {
    reserved_ino_ += kReserve;
    ByteVec row;
    put_le(row, reserved_ino_);
    tables_.apply({{bucket_rows::kTable, kNumbersRow, to_string(row)}});
  }
  return next_ino_++;
}

}  // namespace cairn
