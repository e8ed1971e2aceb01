#include "cache/bucket_tree.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <mutex>

#include "cache/base/coding.h"
#include "cache/base/log.h"
#include "cache/bucket_names.h"
#include "cache/format/records.h"

namespace cairn {

namespace {

// All rows are in one table, by their first letter.
constexpr Table kTable = Table::kTree;
constexpr char kNodeRow = 'n';
constexpr char kEntryRow = 'd';
constexpr char kListingRow = 'l';
constexpr const char* kNumbersRow = "s";
constexpr uint64_t kReserve = 4096;  // inode numbers
constexpr size_t kNamesAtOnce = 1000;
constexpr size_t kMaxDepth = 1024;

std::string row_key(char letter, uint64_t ino, std::string_view name = {}) {
  std::array<std::byte, 8> number{};
  put_be64(number.data(), ino);
  std::string key(1, letter);
  key.append(as_chars(number));
  key.append(name);
  return key;
}

std::string encode_node(const BucketNode& node) {
  ByteVec out;
  put_le(out, static_cast<uint8_t>(node.kind));
  put_le(out, node.parent);
  put_le(out, node.size);
  put_le(out, node.mtime_ns);
  put_le(out, static_cast<uint16_t>(node.etag.size()));
  return to_string(out) + node.etag + node.part;
}

tl::unexpected<Error> damaged() {
  return fail(Errc::kCorruption, "a row of the names of objects is damaged");
}

Result<BucketNode> decode_node(std::string_view in) {
  constexpr size_t kFixed = 27;
  if (in.size() < kFixed) return damaged();
  const std::byte* b = as_bytes(in).data();
  BucketNode node;
  const auto kind = get_le<uint8_t>(b);
  if (kind < 1 || kind > 3) return damaged();
  node.kind = static_cast<BucketNode::Kind>(kind);
  node.parent = get_le<uint64_t>(b + 1);
  node.size = get_le<uint64_t>(b + 9);
  node.mtime_ns = get_le<int64_t>(b + 17);
  const size_t etag = get_le<uint16_t>(b + 25);
  if (in.size() < kFixed + etag) return damaged();
  node.etag = std::string(in.substr(kFixed, etag));
  node.part = std::string(in.substr(kFixed + etag));
  return node;
}

std::string encode_entry(const BucketEntry& entry) {
  ByteVec out;
  put_le(out, entry.ino);
  put_le(out, static_cast<uint8_t>(entry.is_dir ? 1 : 0));
  put_le(out, entry.seen_ns);
  return to_string(out);
}

Result<BucketEntry> decode_entry(std::string_view in) {
  if (in.size() != 17) return damaged();
  const std::byte* b = as_bytes(in).data();
  return BucketEntry{get_le<uint64_t>(b), get_le<uint8_t>(b + 8) != 0, get_le<int64_t>(b + 9)};
}

std::string encode_listing(const BucketListing& listing) {
  ByteVec out;
  put_le(out, static_cast<uint8_t>(listing.complete ? 1 : 0));
  put_le(out, listing.listed_ns);
  put_le(out, listing.pages);
  return to_string(out);
}

Result<BucketListing> decode_listing(std::string_view in) {
  if (in.size() != 17) return damaged();
  const std::byte* b = as_bytes(in).data();
  return BucketListing{get_le<uint8_t>(b) != 0, get_le<int64_t>(b + 1), get_le<uint64_t>(b + 9)};
}

// Without an etag the time has to do.
bool same_version(const BucketNode& a, const BucketNode& b) {
  return a.size == b.size && a.etag == b.etag && (!a.etag.empty() || a.mtime_ns == b.mtime_ns);
}

bool usable(const std::string& key, uint64_t size) {
  const bool fine = check_any_key(key).has_value() &&
                    size <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (!fine)
    log_once_per(std::chrono::minutes(1), "unusable object",
                 "an object cannot be shown: its key or its size is none that a bucket can have");
  return fine;
}

}  // namespace

BucketTree::BucketTree(std::unique_ptr<MetaStore> store, Clock& clock)
    : clock_(clock),
      begun_wall_ns_(clock.wall_ns()),
      begun_(clock.now()),
      tables_(std::move(store)) {}

int64_t BucketTree::now_ns() const {
  return begun_wall_ns_ + Duration(clock_.now() - begun_).count();
}

// ---- reading

Result<std::optional<BucketNode>> BucketTree::node(uint64_t ino) const {
  if (ino == kRoot) {
    BucketNode root;
    root.kind = BucketNode::Kind::kDirectory;
    root.parent = kRoot;
    return std::optional<BucketNode>(root);
  }
  TRY_ASSIGN(const auto row, tables_.get(kTable, row_key(kNodeRow, ino)));
  if (!row) return std::optional<BucketNode>();
  TRY_ASSIGN(BucketNode node, decode_node(*row));
  return std::optional<BucketNode>(std::move(node));
}

Result<std::optional<BucketEntry>> BucketTree::entry(uint64_t dir, std::string_view name) const {
  TRY_ASSIGN(const auto row, tables_.get(kTable, row_key(kEntryRow, dir, name)));
  if (!row) return std::optional<BucketEntry>();
  TRY_ASSIGN(const BucketEntry entry, decode_entry(*row));
  return std::optional<BucketEntry>(entry);
}

Result<std::vector<BucketTree::Named>> BucketTree::entries(uint64_t dir, std::string_view from,
                                                           size_t limit) const {
  const std::string prefix = row_key(kEntryRow, dir);
  const std::string end = row_key(kEntryRow, dir + 1);
  TRY_ASSIGN(const auto rows, tables_.scan(kTable, prefix + std::string(from), end, limit));
  std::vector<Named> out;
  out.reserve(rows.size());
  for (const auto& row : rows) {
    TRY_ASSIGN(const BucketEntry entry, decode_entry(row.value));
    out.push_back({row.key.substr(prefix.size()), entry});
  }
  return out;
}

Result<std::optional<BucketListing>> BucketTree::listing(uint64_t dir) const {
  TRY_ASSIGN(const auto row, tables_.get(kTable, row_key(kListingRow, dir)));
  if (!row) return std::optional<BucketListing>();
  TRY_ASSIGN(const BucketListing listing, decode_listing(*row));
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
  const MetaStore& store = tables_.store();
  if (store.used_bytes() <= store.bytes_max() / 2) return {};
  log_info("the names of the bucket fill the cache's room for them: they are listed anew");
  for (std::string from;;) {
    TRY_ASSIGN(const auto rows, tables_.scan(kTable, from, "", kNamesAtOnce));
    std::vector<TableChange> changes;
    for (const auto& row : rows)
      if (row.key != kNumbersRow) changes.push_back({kTable, row.key, std::nullopt});
    if (changes.empty()) return {};
    tables_.apply(changes);
    TRY(tables_.checkpoint());
    from = rows.back().key;
  }
}

bool BucketTree::has_room() {
  const MetaStore& store = tables_.store();
  // A checkpoint writes the pages it touches anew before it lets go of the old ones.
  return store.used_bytes() + 4 * tables_.memory_bytes() < store.bytes_max() / 8 * 7;
}

// ---- changing

Result<BucketTree::Keys> BucketTree::note_page(uint64_t dir, const std::string& prefix,
                                               const ListPage& page) {
  Keys keys;
  const auto part_of = [&prefix](const std::string& key) {
    return std::string_view(key).substr(std::min(prefix.size(), key.size()));
  };
  for (const ObjectInfo& object : page.objects) {
    const bool below = part_of(object.key).find('/') != std::string_view::npos;
    if (below || !usable(object.key, object.size)) continue;
    const std::lock_guard lock(mutex_);
    TRY(note_object(dir, part_of(object.key), object, keys));
  }
  for (const std::string& name : page.prefixes) {
    if (!usable(name, 0)) continue;
    std::string_view part = part_of(name);
    part.remove_suffix(std::min<size_t>(part.size(), 1));
    const std::lock_guard lock(mutex_);
    TRY(note_dir(dir, part, keys));
  }
  return keys;
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
    if (info.size == 0) return {};  // it only says that there is a directory
    node.kind = BucketNode::Kind::kMarker;
    return put_file(dir, std::string(kMarkerName), std::move(node), keys);
  }
  std::string name = shown_name(part);
  TRY_ASSIGN(const auto there, entry(dir, name));
  if (there && there->is_dir) name = shown_beside(part);
  return put_file(dir, name, std::move(node), keys);
}

Status BucketTree::put_file(uint64_t dir, const std::string& name, BucketNode node, Keys& keys) {
  const int64_t now = now_ns();
  TRY_ASSIGN(const auto there, entry(dir, name));
  if (there && !there->is_dir) {
    TRY_ASSIGN(const auto known, this->node(there->ino));
    if (known && known->kind == node.kind && same_version(*known, node)) {
      put_entry(dir, name, {there->ino, false, now});
      if (known->mtime_ns == node.mtime_ns) return {};
      put_node(there->ino, node);
      keys.push_back(inode_key(there->ino));
      return {};
    }
  }
  if (there) TRY(remove(dir, name, keys));
  TRY_ASSIGN(const uint64_t ino, next_ino());
  put_node(ino, node);
  put_entry(dir, name, {ino, false, now});
  return {};
}

Status BucketTree::note_dir(uint64_t dir, std::string_view part, Keys& keys) {
  const std::string name = shown_name(part);
  const int64_t now = now_ns();
  TRY_ASSIGN(const auto there, entry(dir, name));
  if (there && there->is_dir) {
    put_entry(dir, name, {there->ino, true, now});
    return {};
  }
  if (there) TRY(move_entry(dir, name, shown_beside(part), keys));
  TRY_ASSIGN(const uint64_t ino, next_ino());
  BucketNode node;
  node.kind = BucketNode::Kind::kDirectory;
  node.parent = dir;
  node.mtime_ns = now;
  node.part = std::string(part);
  put_node(ino, node);
  put_entry(dir, name, {ino, true, now});
  return {};
}

Status BucketTree::move_entry(uint64_t dir, const std::string& from, const std::string& to,
                              Keys& keys) {
  TRY_ASSIGN(const auto there, entry(dir, from));
  if (!there) return {};
  TRY_ASSIGN(const auto in_the_way, entry(dir, to));
  if (in_the_way) TRY(remove(dir, to, keys));
  put_entry(dir, to, *there);
  tables_.apply({{kTable, row_key(kEntryRow, dir, from), std::nullopt}});
  keys.push_back(dirent_key(dir, from));
  return {};
}

Status BucketTree::remove(uint64_t dir, const std::string& name, Keys& keys) {
  TRY_ASSIGN(const auto there, entry(dir, name));
  if (!there) return {};
  if (there->is_dir) TRY(remove_below(there->ino));
  tables_.apply({{kTable, row_key(kEntryRow, dir, name), std::nullopt},
                 {kTable, row_key(kNodeRow, there->ino), std::nullopt}});
  keys.push_back(dirent_key(dir, name));
  keys.push_back(inode_key(there->ino));
  return {};
}

Status BucketTree::remove_below(uint64_t dir) {
  std::vector<uint64_t> dirs{dir};
  while (!dirs.empty()) {
    const uint64_t at = dirs.back();
    dirs.pop_back();
    tables_.apply({{kTable, row_key(kListingRow, at), std::nullopt}});
    for (bool more = true; more;) {
      TRY_ASSIGN(const auto names, entries(at, "", kNamesAtOnce));
      std::vector<TableChange> changes;
      for (const Named& each : names) {
        if (each.entry.is_dir) dirs.push_back(each.entry.ino);
        changes.push_back({kTable, row_key(kEntryRow, at, each.name), std::nullopt});
        changes.push_back({kTable, row_key(kNodeRow, each.entry.ino), std::nullopt});
      }
      tables_.apply(changes);
      more = names.size() == kNamesAtOnce;
    }
  }
  return {};
}

Result<BucketTree::Keys> BucketTree::finish_listing(uint64_t dir, int64_t started_ns,
                                                    uint64_t pages) {
  Keys keys;
  const int64_t now = now_ns();
  std::string from;
  for (bool more = true; more;) {
    TRY_ASSIGN(const auto names, entries(dir, from, kNamesAtOnce));
    more = names.size() == kNamesAtOnce;
    if (more) from = names.back().name + '\0';
    for (const Named& each : names) {
      if (each.entry.seen_ns >= started_ns && each.entry.seen_ns <= now) continue;
      const std::lock_guard lock(mutex_);
      // The name may have been looked up, or moved, since.
      TRY_ASSIGN(const auto there, entry(dir, each.name));
      if (!there || (there->seen_ns >= started_ns && there->seen_ns <= now)) continue;
      TRY(remove(dir, each.name, keys));
      const NameMeaning meaning = meaning_of(each.name);
      if (there->is_dir && meaning.kind == NameMeaning::Kind::kPart)
        TRY(move_entry(dir, shown_beside(meaning.part), each.name, keys));
    }
  }
  tables_.apply({{kTable, row_key(kListingRow, dir), encode_listing({true, now, pages})}});
  return keys;
}

void BucketTree::leave_listing(uint64_t dir) {
  const BucketListing left{false, now_ns(), 1};
  tables_.apply({{kTable, row_key(kListingRow, dir), encode_listing(left)}});
}

Result<BucketTree::Keys> BucketTree::settle(uint64_t dir, std::string_view part,
                                            const std::optional<ObjectInfo>& object,
                                            bool is_dir) {
  Keys keys;
  const std::lock_guard lock(mutex_);
  const std::string name = shown_name(part);
  const std::string beside = shown_beside(part);
  if (is_dir) {
    TRY(note_dir(dir, part, keys));
    if (!object) TRY(remove(dir, beside, keys));
  } else {
    TRY_ASSIGN(const auto there, entry(dir, name));
    if (!object || (there && there->is_dir)) TRY(remove(dir, name, keys));
    if (object && there && there->is_dir) TRY(move_entry(dir, beside, name, keys));
    TRY(remove(dir, beside, keys));
  }
  if (object && usable(object->key, object->size)) TRY(note_object(dir, part, *object, keys));
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
    put_entry(known->parent, name, {ino, there->is_dir, 0});
    keys.push_back(dirent_key(known->parent, name));
  }
  TRY_ASSIGN(auto listed, listing(known->parent));
  if (!listed) return keys;
  listed->listed_ns = 0;
  tables_.apply({{kTable, row_key(kListingRow, known->parent), encode_listing(*listed)}});
  return keys;
}

void BucketTree::put_entry(uint64_t dir, std::string_view name, const BucketEntry& entry) {
  tables_.apply({{kTable, row_key(kEntryRow, dir, name), encode_entry(entry)}});
}

void BucketTree::put_node(uint64_t ino, const BucketNode& node) {
  tables_.apply({{kTable, row_key(kNodeRow, ino), encode_node(node)}});
}

// What was handed out is below the row, or below what the clock said when that was begun: nobody
// gets 16 million names a second, so a later second is behind all of them even without the row.
Result<uint64_t> BucketTree::next_ino() {
  constexpr unsigned kPerSecondBits = 24;
  constexpr int64_t kSecond = 1'000'000'000;
  if (next_ino_ == 0) {
    TRY_ASSIGN(const auto row, tables_.get(kTable, kNumbersRow));
    if (row && row->size() != 8) return damaged();
    const uint64_t known = row ? get_le<uint64_t>(as_bytes(*row).data()) : 0;
    const auto seconds = static_cast<uint64_t>(std::max<int64_t>(clock_.wall_ns() / kSecond, 1));
    next_ino_ = reserved_ino_ = std::max(known, seconds << kPerSecondBits);
  }
  if (next_ino_ == reserved_ino_) {
    reserved_ino_ += kReserve;
    ByteVec row;
    put_le(row, reserved_ino_);
    tables_.apply({{kTable, kNumbersRow, to_string(row)}});
  }
  return next_ino_++;
}

}  // namespace cairn
