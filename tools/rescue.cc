#include "tools/rescue.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <future>
#include <map>
#include <unordered_set>

#include "cache/base/log.h"
#include "cache/format/records.h"

namespace cairn {

namespace {

// Runs an operation until what it needs is here.
template <class Op>
auto run(Volume& volume, const Op& op) -> decltype(op(std::declval<Need&>())) {
  while (true) {
    Need need;
    auto result = op(need);
    if (result || result.error().code() != Errc::kNotLocal || !need.any()) return result;
    std::promise<Status> done;
    Context context;
    context.deadline =
        Deadline::after(volume.engine().clock(), volume.engine().settings().io_timeout);
    volume.engine().satisfy(std::move(need), context,
                            [&done](Status status) { done.set_value(std::move(status)); });
    TRY(done.get_future().get());
  }
}

class Rescuer {
 public:
  Rescuer(Volume& volume, std::string target, const std::vector<LostData>& lost)
      : volume_(volume), target_(std::move(target)) {
    for (const LostData& bad : lost) lost_[bad.inode].push_back(bad);
  }

  Result<RescueReport> walk() {
    TRY(directory(kRootIno, ""));
    TRY(nameless());
    return report_;
  }

 private:
  static constexpr size_t kPage = 512;
  static constexpr uint64_t kPart = 1U << 20;
  static constexpr uint64_t kSmallPart = 4096;  // where a part cannot be read

  template <class Op>
  auto now(const Op& op) {
    return run(volume_, op);
  }
  std::string full(const std::string& path) const { return target_ + path; }
  // A name that nothing has, not even a link that leads elsewhere.
  std::string free_name(const std::string& wanted) const {
    std::string path = wanted;
    struct stat there {};
    for (unsigned n = 1; ::lstat(full(path).c_str(), &there) == 0; ++n)
      path = wanted + "-" + std::to_string(n);
    return path;
  }

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
    if (!attr) return failed(path, attr.error());
    const bool is_changed = changed(ino);
    if (is_changed) seen_.insert(ino);
    Status status;
    if (S_ISDIR(attr->mode)) {
      if (is_changed) status = posix_env().make_dirs(full(path));
      if (status) status = directory(ino, path);
      // Also of one that is only here for what is in it.
      if (status && posix_env().stat(full(path))) status = put_attributes(*attr, path);
    } else if (is_changed) {
      status = node(*attr, path);
    }
    if (!status) failed(path, status.error());
  }

  void failed(const std::string& path, const Error& error) {
    ++report_.failed;
    log_error("{}: {}", path, error.message());
  }

  bool changed(Ino ino) {
    const auto row = volume_.engine().live().tree_row(inode_key(ino));
    return row && *row && (*row)->value;
  }

  Status node(const Attr& attr, const std::string& path) {
    const std::string to = full(path);
    TRY(posix_env().make_dirs(to.substr(0, to.rfind('/'))));
    if (const auto first = made_.find(attr.ino); first != made_.end()) {
      if (::link(first->second.c_str(), to.c_str()) != 0) return fail_errno(errno, to);
      return {};
    }
    if (S_ISREG(attr.mode)) {
      TRY(file(attr, path));
    } else if (S_ISLNK(attr.mode)) {
      TRY_ASSIGN(const std::string text,
                 now([&](Need& need) { return volume_.readlink(attr.ino, need); }));
      if (::symlink(text.c_str(), to.c_str()) != 0) return fail_errno(errno, to);
    } else {
      if (::mknod(to.c_str(), (attr.mode & S_IFMT) | 0600, attr.rdev) != 0)
        return fail_errno(errno, to);
    }
    if (attr.nlink > 1) made_[attr.ino] = to;
    ++report_.files;
    return put_attributes(attr, path);
  }

  Status file(const Attr& attr, const std::string& path) {
    TRY_ASSIGN(auto out, posix_env().open(full(path), OpenMode::kCreateNew));
    TRY(out->truncate(attr.size));
    TRY_ASSIGN(const HandleId handle,
               now([&](Need& need) { return volume_.open_file(attr.ino, need); }));
    uint64_t bad_begin = 0;
    uint64_t bad_end = 0;
    bool whole = true;
    const auto say_bad = [&] {
      if (bad_begin == bad_end) return;
      log_error("{}: bytes {} to {} cannot be read; they are zeroes", path, bad_begin, bad_end);
      whole = false;
    };
    Status status;
    uint64_t small_until = 0;
    for (uint64_t at = 0; status && at < attr.size;) {
      const uint64_t step = std::min(at < small_until ? kSmallPart : kPart, attr.size - at);
      const auto part = now([&](Need& need) { return volume_.read(handle, at, step, need); });
      if (part) {
        status = out->write_at(at, *part);
      } else if (part.error().code() != Errc::kCorruption) {
        status = tl::unexpected<Error>(part.error());
      } else if (step > kSmallPart) {
        small_until = at + step;  // again, in smaller steps
        continue;
      } else {
        if (bad_end != at) {
          say_bad();
          bad_begin = at;
        }
        bad_end = at + step;
      }
      at += step;
    }
    say_bad();
    volume_.release_file(handle);
    TRY(std::move(status));
    TRY(out->sync_data());
    report_.bytes += attr.size;
    if (const auto lost = lost_.find(attr.ino); lost != lost_.end()) {
      for (const LostData& bad : lost->second)
        log_error("{}: bytes {} to {}, written by record {}, are damaged", path, bad.offset,
                  bad.offset + bad.length, bad.lsn);
      whole = false;
    }
    if (!whole) ++report_.failed;
    return {};
  }

  // Owner first: changing it takes set-user-id bits and capabilities away.
  Status put_attributes(const Attr& attr, const std::string& path) {
    const std::string to = full(path);
    const bool is_root = ::geteuid() == 0;
    if (is_root && ::lchown(to.c_str(), attr.uid, attr.gid) != 0) return fail_errno(errno, to);
    TRY(put_xattrs(attr.ino, to));
    // Somebody else's set-user-id file does not become one of this user.
    const uint32_t bits = is_root ? 07777 : 01777;
    if (!S_ISLNK(attr.mode) && ::chmod(to.c_str(), attr.mode & bits) != 0)
      return fail_errno(errno, to);
    const timespec times[2] = {timespec_of(attr.atime), timespec_of(attr.mtime)};
    if (::utimensat(AT_FDCWD, to.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
      return fail_errno(errno, to);
    return {};
  }

  static timespec timespec_of(int64_t ns) {
    constexpr int64_t kSecond = 1'000'000'000;
    const int64_t rest = (ns % kSecond + kSecond) % kSecond;
    return {(ns - rest) / kSecond, rest};
  }

  Status put_xattrs(Ino ino, const std::string& to) {
    const Caller caller{::geteuid(), ::getegid(), 0, {}};
    TRY_ASSIGN(const auto names,
               now([&](Need& need) { return volume_.listxattr(ino, caller, need); }));
    for (const std::string& name : names) {
      TRY_ASSIGN(const Buffer value,
                 now([&](Need& need) { return volume_.getxattr(ino, name, need); }));
      if (::lsetxattr(to.c_str(), name.c_str(), value.data(), value.size(), 0) == 0) continue;
      if (errno != EPERM && errno != ENOTSUP) return fail_errno(errno, to + ": " + name);
      log_warn("{}: the attribute {} cannot be set here", to, name);
    }
    return {};
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
        if (report_.nameless_dir.empty()) report_.nameless_dir = free_name("/lost+found");
        entry(key->ino, report_.nameless_dir + "/" + std::to_string(key->ino));
      }
      if (rows.size() < kPage) return {};
      from = rows.back().key + '\0';
    }
  }

  Volume& volume_;
  std::string target_;
  std::map<Ino, std::vector<LostData>> lost_;
  std::map<Ino, std::string> made_;  // with several names: where the first one is
  std::unordered_set<Ino> seen_;     // changed ones
  RescueReport report_;
};

}  // namespace

Result<RescueReport> rescue(Volume& volume, const std::string& target,
                            const std::vector<LostData>& lost) {
  return Rescuer(volume, target, lost).walk();
}

}  // namespace cairn
