#include "tools/rescue_objects.h"

#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "cache/base/log.h"
#include "cache/bucket_remote.h"
#include "cache/bucket_tree.h"
#include "cache/format/records.h"
#include "tools/rescue_writer.h"

namespace cairn {

namespace {

constexpr size_t kRowsAtOnce = 512;
constexpr unsigned kDeepest = 1024;

class Finder {
 public:
  Finder(const OpenedMount& mount, Volume& volume) : bucket_(*mount.bucket), volume_(volume) {}

  Result<std::vector<UnpublishedItem>> find() {
    TRY(read_rows());
    std::vector<UnpublishedItem> items;
    for (const auto& [ino, lsn] : inodes_) {
      if (ino == kRootIno) continue;
      const auto item = item_of(ino, lsn);
      if (!item) {
        note_damage("inode " + std::to_string(ino), item.error());
      } else if (*item) {
        items.push_back(**item);
      }
    }
    for (const auto& [dir, name] : removed_) {
      const auto known = bucket_.known_at(dir, name);
      if (!known) note_damage("removed '" + name + "'", known.error());
      if (!known || !*known) continue;
      const auto& there = *known;
      if (places_.contains(there->ino)) continue;  // elsewhere by now
      UnpublishedItem item;
      item.kind = UnpublishedItem::Kind::kRemoved;
      item.ino = there->ino;
      item.is_dir = there->is_dir;
      item.path = path_of(dir, 0).value_or("/lost+found") + "/" + name;
      items.push_back(std::move(item));
    }
    std::sort(items.begin(), items.end(),
              [](const auto& a, const auto& b) { return a.path < b.path; });
    return items;
  }

  // Nothing was left out.
  bool is_complete() const { return complete_; }

 private:
  // What is damaged does not keep the others back.
  void note_damage(const std::string& what, const Error& why) {
    log_error("{}: {}", what, why.message());
    complete_ = false;
  }

  Status read_rows() {
    std::string from;
    while (true) {
      TRY_ASSIGN(const auto rows, volume_.engine().live().scan_tree(from, "", kRowsAtOnce));
      for (const auto& row : rows)
        if (const Status noted = note(row.key, row.row); !noted)
          note_damage("a name", noted.error());
      if (rows.size() < kRowsAtOnce) return {};
      from = rows.back().key + '\0';
    }
  }

  Status note(const std::string& key, const TreeRow& row) {
    const auto parsed = parse_key(key);
    if (!parsed) return {};
    const Ino ino = parsed->ino;
    if (parsed->kind == KeyKind::kInode && row.value) inodes_[ino] = row.lsn;
    if (parsed->kind != KeyKind::kDirent) return {};
    if (!row.value) {
      removed_.emplace(ino, std::string(parsed->name));
      return {};
    }
    Need need;
    TRY_ASSIGN(const Buffer bytes, volume_.engine().value_bytes(*row.value, need));
    TRY_ASSIGN(const Dirent dirent, Dirent::decode(bytes));
    places_[dirent.ino] = {ino, std::string(parsed->name)};
    return {};
  }

  // Nullopt: the bucket has it.
  Result<std::optional<UnpublishedItem>> item_of(Ino ino, Lsn lsn) {
    using Kind = UnpublishedItem::Kind;
    TRY_ASSIGN(const bool is_stored, bucket_.has_stored(ino, lsn));
    if (is_stored) return std::optional<UnpublishedItem>();
    Need need;
    TRY_ASSIGN(const Attr attr, volume_.getattr(ino, need));
    TRY_ASSIGN(const auto known, bucket_.known(ino));
    TRY_ASSIGN(const auto state, volume_.engine().live().file_state(ino));
    UnpublishedItem item;
    item.ino = ino;
    item.held = lsn == kKeptBackLsn;
    item.is_dir = S_ISDIR(attr.mode);
    const auto path = path_of(ino, 0);
    item.nameless = !path;
    item.path = path.value_or("/lost+found/" + std::to_string(ino));
    const auto place = places_.find(ino);
    const bool moves =
        known && place != places_.end() && place->second != std::pair(known->dir, known->name);
    if (moves) item.from = path_in_bucket(ino, 0).value_or("");
    if (item.is_dir) {
      item.kind = Kind::kDirectory;
      if (moves) item.kind = Kind::kRenamed;
      if (known && !moves) {
        TRY_ASSIGN(const bool is_set, is_set_otherwise(ino, attr));
        if (!is_set) return std::optional<UnpublishedItem>();  // only its time, by what is in it
        item.kind = Kind::kSet;
      }
      return std::optional(std::move(item));
    }
    if (known && !state) {
      item.kind = moves ? Kind::kRenamed : Kind::kSet;
      return std::optional(std::move(item));
    }
    item.kind = S_ISLNK(attr.mode) ? Kind::kLink : Kind::kFile;
    item.size = attr.size;
    item.base_lost = !known && !is_own_ino(ino) && item.kind == Kind::kFile;
    if (known) {
      TRY_ASSIGN(item.only_in_store, unwritten(ino, std::min(known->size, attr.size), *state));
    }
    return std::optional(std::move(item));
  }

  Result<bool> is_set_otherwise(Ino ino, const Attr& attr) {
    Missing missing;
    TRY_ASSIGN(const auto value, bucket_.find(inode_key(ino), missing));
    if (!value || !value->is_identity()) return true;
    TRY_ASSIGN(const InodeRecord record, InodeRecord::decode(value->payload()));
    return record.mode != attr.mode || record.uid != attr.uid || record.gid != attr.gid;
  }

  // Bytes of the version in the bucket that show through.
  Result<uint64_t> unwritten(Ino ino, uint64_t size, const FileState& state) {
    const uint64_t end = std::min(size, state.base_limit(bucket_.published().lsn));
    const uint64_t chunk_bytes = bucket_.params().chunk_bytes;
    uint64_t written = 0;
    for (uint64_t from = 0;;) {
      TRY_ASSIGN(const auto chunks,
                 volume_.engine().live().scan_extents(ino, from, UINT64_MAX, kRowsAtOnce));
      for (const auto& chunk : chunks)
        for (const Extent& extent : chunk.extents) {
          const uint64_t begin = std::min(chunk.chunk * chunk_bytes + extent.offset, end);
          written += std::min(chunk.chunk * chunk_bytes + extent.end(), end) - begin;
        }
      if (chunks.size() < kRowsAtOnce) return end - std::min(end, written);
      from = chunks.back().chunk + 1;
    }
  }

  // As the mount shows it; as the bucket has it.
  std::optional<std::string> path_of(Ino ino, unsigned depth) const {
    if (ino == kRootIno) return "";
    const auto place = places_.find(ino);
    if (place == places_.end()) return path_from_known(ino, depth, true);
    return joined(path_next(place->second.first, depth, true), place->second.second);
  }
  std::optional<std::string> path_in_bucket(Ino ino, unsigned depth) const {
    return ino == kRootIno ? "" : path_from_known(ino, depth, false);
  }
  std::optional<std::string> path_next(Ino dir, unsigned depth, bool as_shown) const {
    if (depth >= kDeepest) return std::nullopt;
    return as_shown ? path_of(dir, depth + 1) : path_in_bucket(dir, depth + 1);
  }
  std::optional<std::string> path_from_known(Ino ino, unsigned depth, bool as_shown) const {
    const auto known = bucket_.known(ino);
    if (!known || !*known) return std::nullopt;
    return joined(path_next((*known)->dir, depth, as_shown), (*known)->name);
  }
  static std::optional<std::string> joined(const std::optional<std::string>& dir,
                                           const std::string& name) {
    if (!dir || !valid_name(name)) return std::nullopt;
    return *dir + "/" + name;
  }

  BucketRemote& bucket_;
  Volume& volume_;
  bool complete_ = true;
  std::map<Ino, Lsn> inodes_;  // changed
  std::map<Ino, std::pair<Ino, std::string>> places_;
  std::set<std::pair<Ino, std::string>> removed_;
};

}  // namespace

Result<std::vector<UnpublishedItem>> unpublished_items(const OpenedMount& mount, Volume& volume,
                                                       bool& complete) {
  Finder finder(mount, volume);
  auto items = finder.find();
  complete = complete && finder.is_complete();
  return items;
}

namespace {
// No part of it is a link: what is put there stays below.
bool is_real_dir(const std::string& below, const std::string& path) {
  struct stat st{};
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = below + path.substr(0, end);
    if (::lstat(part.c_str(), &st) != 0 || !S_ISDIR(st.st_mode)) return false;
    if (end == std::string::npos) return true;
  }
}
}  // namespace

Result<RescueReport> rescue_objects(const OpenedMount& mount, Volume& volume,
                                    const std::vector<UnpublishedItem>& items,
                                    const std::string& target) {
  using Kind = UnpublishedItem::Kind;
  RescueReport report;
  RescueWriter writer(volume, target, mount.lost, report);
  writer.set_objects(
      {[&volume](Ino ino) -> Result<std::vector<std::string>> {
         // What was set here, and not what the bucket has as well.
         const std::string prefix = xattr_prefix(ino);
         std::vector<std::string> names;
         TRY_ASSIGN(const auto rows,
                    volume.engine().live().scan_tree(prefix, prefix_end(prefix), SIZE_MAX));
         for (const auto& row : rows)
           if (row.row.value) names.push_back(row.key.substr(prefix.size()));
         return names;
       },
       [&mount, &volume](Ino ino) -> Result<uint64_t> {
         TRY_ASSIGN(const auto known, mount.bucket->known(ino));
         TRY_ASSIGN(const auto state, volume.engine().live().file_state(ino));
         const uint64_t size = known ? known->size : 0;
         return state ? std::min(size, state->base_limit(mount.bucket->published().lsn)) : size;
       }});
  const auto attr_of_item = [&](const UnpublishedItem& item) {
    return writer.now([&](Need& need) { return volume.getattr(item.ino, need); });
  };
  // Links last: nothing is made through one.
  for (const Kind kind : {Kind::kDirectory, Kind::kFile, Kind::kLink})
    for (const UnpublishedItem& item : items) {
      if (item.kind != kind) continue;
      std::string path = item.path;
      if (item.nameless) {
        ++report.nameless;
        report.nameless_dir = "/lost+found";
        path = writer.free_name(path);
      }
      const auto attr = attr_of_item(item);
      Status done;
      if (!attr)
        done = tl::unexpected<Error>(attr.error());
      else if (kind == Kind::kDirectory)
        done = posix_env().make_dirs(writer.full(path));
      else
        done = writer.node(*attr, path);
      if (done && item.base_lost)
        done = fail(Errc::kCorruption,
                    "what the bucket has of it is not known here any more: what was not written "
                    "here is zeroes");
      if (!done) writer.failed(path, done.error());
    }
  // When nothing is made in them any more, the deepest first.
  for (auto item = items.rbegin(); item != items.rend(); ++item) {
    const bool is_there =
        item->is_dir && item->kind != Kind::kRemoved && is_real_dir(target, item->path);
    if (!is_there) continue;
    const auto attr = attr_of_item(*item);
    const Status done =
        attr ? writer.put_attributes(*attr, item->path) : tl::unexpected<Error>(attr.error());
    if (!done) writer.failed(item->path, done.error());
  }
  return report;
}

}  // namespace cairn
