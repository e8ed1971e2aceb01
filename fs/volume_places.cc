// Names that rules hide: nothing new may be called so.
#include <cerrno>

#include "fs/volume.h"

namespace cairn {

namespace {
constexpr size_t kNamesKept = 10'000;
constexpr size_t kNamesAtOnce = 256;
constexpr size_t kDepthMost = 1024;
}  // namespace

void Volume::note_name(Ino dir, Ino parent, std::string_view name) {
  if (!engine_.remote().hides_names()) return;
  if (new_names_.size() >= kNamesKept) new_names_.clear();
  new_names_[dir] = std::pair(parent, std::string(name));
}

// The name of a directory that was made or renamed and is not published as that; nullopt: what is
// published is true of it.
Result<std::optional<std::pair<Ino, std::string>>> Volume::new_name_of(Ino dir, Need& need) {
  if (const auto known = new_names_.find(dir); known != new_names_.end()) return known->second;
  std::optional<std::pair<Ino, std::string>> found;
  TRY_ASSIGN(const auto changed, engine_.live().tree_row(inode_key(dir)));
  if (changed && dir != kRootIno) {
    TRY_ASSIGN(const InodeRecord record, load(dir, need));
    const Ino parent = parent_of(dir, record);
    const std::string prefix = dirent_prefix(parent);
    std::string from = prefix;
    for (bool more = true; more && !found;) {
      TRY_ASSIGN(const auto rows, engine_.live().scan_tree(from, prefix_end(prefix), kNamesAtOnce));
      for (const auto& row : rows) {
        if (!row.row.value) continue;
        TRY_ASSIGN(const Dirent dirent, Dirent::decode(row.row.value->payload()));
        if (dirent.ino == dir) found = std::pair(parent, row.key.substr(prefix.size()));
      }
      more = rows.size() == kNamesAtOnce;
      if (more) from = rows.back().key + '\0';
    }
  }
  if (new_names_.size() >= kNamesKept) new_names_.clear();
  new_names_[dir] = found;
  return found;
}

Status Volume::check_place(Ino parent, std::string_view name, bool is_dir, Need& need) {
  if (!engine_.remote().hides_names()) return {};
  Remote::NewPlace place{parent, {}, std::string(name), is_dir};
  while (place.below.size() < kDepthMost) {
    TRY_ASSIGN(const auto above, new_name_of(place.dir, need));
    if (!above) break;
    place.below.insert(place.below.begin(), above->second);
    place.dir = above->first;
  }
  return engine_.remote().check_place(place);
}

}  // namespace cairn
