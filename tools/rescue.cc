#include "tools/rescue.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <future>

#include "cache/base/log.h"

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
  Rescuer(Volume& volume, std::string target) : volume_(volume), target_(std::move(target)) {}

  Result<RescueReport> walk() {
    TRY(directory(kRootIno, ""));
    return report_;
  }

 private:
  static constexpr size_t kPage = 512;
  static constexpr uint64_t kPart = 1U << 20;

  Status directory(Ino ino, const std::string& path) {
    TRY_ASSIGN(const HandleId handle,
               run(volume_, [&](Need& need) { return volume_.open_dir(ino, need); }));
    uint64_t after = 0;
    Status status;
    while (status) {
      const auto page = run(
          volume_, [&](Need& need) { return volume_.readdir(handle, after, kPage, true, need); });
      if (!page) {
        status = tl::unexpected<Error>(page.error());
        break;
      }
      if (page->empty()) break;
      after = page->back().cookie;
      for (const DirEntry& entry : *page)
        if (entry.attr) this->entry(entry, path + "/" + entry.name);
    }
    volume_.release_dir(handle);
    return status;
  }

  void entry(const DirEntry& entry, const std::string& path) {
    Status status;
    if (entry.type == FileType::kDirectory) {
      status = directory(entry.ino, path);
    } else if (changed(entry.ino)) {
      status = entry.type == FileType::kRegular   ? file(*entry.attr, path)
               : entry.type == FileType::kSymlink ? symlink(entry.ino, path)
                                                  : Status();
    }
    if (status) return;
    ++report_.failed;
    log_error("{}: {}", path, status.error().message());
  }

  bool changed(Ino ino) {
    const auto row = volume_.engine().live().tree_row(inode_key(ino));
    return row && *row;
  }

  Status make_parents(const std::string& path) {
    const std::string full = target_ + path;
    return posix_env().make_dirs(full.substr(0, full.rfind('/')));
  }

  Status symlink(Ino ino, const std::string& path) {
    TRY_ASSIGN(const std::string to,
               run(volume_, [&](Need& need) { return volume_.readlink(ino, need); }));
    TRY(make_parents(path));
    if (::symlink(to.c_str(), (target_ + path).c_str()) != 0)
      return fail_errno(errno, target_ + path);
    ++report_.files;
    return {};
  }

  Status file(const Attr& attr, const std::string& path) {
    TRY(make_parents(path));
    TRY_ASSIGN(auto out, posix_env().open(target_ + path, OpenMode::kCreateNew));
    TRY(out->truncate(attr.size));
    TRY_ASSIGN(const HandleId handle,
               run(volume_, [&](Need& need) { return volume_.open_file(attr.ino, need); }));
    Status status;
    for (uint64_t at = 0; status && at < attr.size; at += kPart) {
      const auto part =
          run(volume_, [&](Need& need) { return volume_.read(handle, at, kPart, need); });
      status = part ? out->write_at(at, *part) : Status(tl::unexpected<Error>(part.error()));
    }
    volume_.release_file(handle);
    TRY(std::move(status));
    TRY(out->sync_data());
    if (::chmod((target_ + path).c_str(), attr.mode & 0777) != 0)
      return fail_errno(errno, target_ + path);
    ++report_.files;
    report_.bytes += attr.size;
    return {};
  }

  Volume& volume_;
  std::string target_;
  RescueReport report_;
};

}  // namespace

Result<RescueReport> rescue(Volume& volume, const std::string& target) {
  return Rescuer(volume, target).walk();
}

}  // namespace cairn
