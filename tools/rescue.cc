#include "tools/rescue.h"

#include <sys/stat.h>

#include <unordered_set>

#include "cache/format/records.h"
#include "tools/rescue_writer.h"

namespace cairn {

namespace {

class Rescuer {
 public:
  Rescuer(Volume& volume, std::string target, const std::vector<LostData>& lost)
      : volume_(volume), writer_(volume, std::move(target), lost, report_) {}

  Result<RescueReport> walk() {
    TRY(directory(kRootIno, ""));
    TRY(nameless());
    return report_;
  }

 private:
  static constexpr size_t kPage = 512;

  template <class Op>
  auto now(const Op& op) {
    return writer_.now(op);
  }
  std::string full(const std::string& path) const { return writer_.full(path); }

  Status directory(Ino ino, const std::string& path) {
    TRY_ASSIGN(const HandleId handle,
               now([&](Need& need) { return volume_.open_dir(ino, need); }));
    uint64_t after = 0;
    Status status;
    while (status) {
      // Without attributes: an inode that is lost must not hide its neighbours.
      const auto page =
          now([&](Need& need) { return volume_.readdir(handle, after, kPage, false, need); });
      if (!page) {
        status = tl::unexpected<Error>(page.error());
        break;
      }
      if (page->empty()) break;
      after = page->back().cookie;
      for (const DirEntry& entry : *page)
        if (entry.name != "." && entry.name != "..")
          this->entry(entry.ino, path + "/" + entry.name);
    }
    volume_.release_dir(handle);
    return status;
  }

  void entry(Ino ino, const std::string& path) {
    const auto attr = now([&](Need& need) { return volume_.getattr(ino, need); });
    if (!attr) return writer_.failed(path, attr.error());
    const bool is_changed = changed(ino);
    if (is_changed) seen_.insert(ino);
    Status status;
    if (S_ISDIR(attr->mode)) {
      if (is_changed) status = posix_env().make_dirs(full(path));
      if (status) status = directory(ino, path);
      // Also of one that is only here for what is in it.
      if (status && posix_env().stat(full(path))) status = writer_.put_attributes(*attr, path);
    } else if (is_changed) {
      status = writer_.node(*attr, path);
    }
    if (!status) writer_.failed(path, status.error());
  }

  bool changed(Ino ino) {
    const auto row = volume_.engine().live().tree_row(inode_key(ino));
    return row && *row && (*row)->value;
  }

  // What changed and has no name that can be read.
  Status nameless() {
    std::string from;
    while (true) {
      TRY_ASSIGN(const auto rows, volume_.engine().live().scan_tree(from, "", kPage));
      for (const auto& row : rows) {
        const auto key = parse_key(row.key);
        if (!key || key->kind != KeyKind::kInode || !row.row.value || key->ino == kRootIno ||
            seen_.contains(key->ino))
          continue;
        ++report_.nameless;
        if (report_.nameless_dir.empty()) report_.nameless_dir = writer_.free_name("/lost+found");
        entry(key->ino, report_.nameless_dir + "/" + std::to_string(key->ino));
      }
      if (rows.size() < kPage) return {};
      from = rows.back().key + '\0';
    }
  }

  Volume& volume_;
  RescueReport report_;
  RescueWriter writer_;
  std::unordered_set<Ino> seen_;  // changed ones
};

}  // namespace

Result<RescueReport> rescue(Volume& volume, const std::string& target,
                            const std::vector<LostData>& lost) {
  return Rescuer(volume, target, lost).walk();
}

}  // namespace cairn
