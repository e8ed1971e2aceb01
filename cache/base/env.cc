#include "cache/base/env.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>

namespace cairn {

namespace {

auto fail_path(const char* what, const std::string& path) {
  return fail_errno(errno, std::string(what) + " " + path);
}

class PosixFile final : public File {
 public:
  PosixFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~PosixFile() override { ::close(fd_); }
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  Result<size_t> read_at(uint64_t offset, MutableBytes out) override {
    size_t done = 0;
    while (done < out.size()) {
      const ssize_t n = ::pread(fd_, out.data() + done, out.size() - done,
                                static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return fail_path("read", path_);
      if (n == 0) break;
      done += static_cast<size_t>(n);
    }
    return done;
  }

  Status write_at(uint64_t offset, Bytes data) override {
    size_t done = 0;
    while (done < data.size()) {
      const ssize_t n = ::pwrite(fd_, data.data() + done, data.size() - done,
                                 static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return fail_path("write", path_);
      done += static_cast<size_t>(n);
    }
    return {};
  }

  Status sync_data() override {
    if (::fdatasync(fd_) != 0) return fail_path("sync", path_);
    return {};
  }

  Result<uint64_t> size() override {
    struct stat st {};
    if (::fstat(fd_, &st) != 0) return fail_path("stat", path_);
    return static_cast<uint64_t>(st.st_size);
  }

  Result<uint64_t> allocated_bytes() override {
    struct stat st {};
    if (::fstat(fd_, &st) != 0) return fail_path("stat", path_);
    return static_cast<uint64_t>(st.st_blocks) * 512;
  }

  Status allocate(uint64_t offset, uint64_t length) override {
    int rc = 0;
    do {
      rc = ::posix_fallocate(fd_, static_cast<off_t>(offset), static_cast<off_t>(length));
    } while (rc == EINTR);
    if (rc != 0) return fail_errno(rc, "allocate " + path_);
    return {};
  }

  Status punch(uint64_t offset, uint64_t length) override {
    if (::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                    static_cast<off_t>(length)) != 0)
      return fail_path("punch", path_);
    return {};
  }

  Status truncate(uint64_t size) override {
    if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) return fail_path("truncate", path_);
    return {};
  }

  Result<Buffer> map() override {
    TRY_ASSIGN(const uint64_t length, size());
    if (length == 0) return Buffer();
    void* at = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, fd_, 0);
    if (at == MAP_FAILED) return fail_path("map", path_);
    (void)::madvise(at, length, MADV_RANDOM);  // what is mapped is searched
    const std::shared_ptr<const void> owner(at, [length](void* p) { ::munmap(p, length); });
    return Buffer(owner, {static_cast<const std::byte*>(at), length});
  }

 private:
  int fd_;
  std::string path_;
};

constexpr std::string_view kUserPrefix = "user.";
constexpr size_t kAttributeListMax = 65'536;  // of Linux, as is the next
constexpr size_t kAttributeValueMax = 65'536;
constexpr size_t kAttributesMax = 1 << 20;  // in all, of one file

class PosixLock final : public FileLock {
 public:
  explicit PosixLock(int fd) : fd_(fd) {}
  ~PosixLock() override { ::close(fd_); }
  PosixLock(const PosixLock&) = delete;
  PosixLock& operator=(const PosixLock&) = delete;

 private:
  int fd_;
};

int open_flags(OpenMode mode) {
  switch (mode) {
    case OpenMode::kRead: return O_RDONLY;
    case OpenMode::kReadWrite: return O_RDWR;
    case OpenMode::kCreate: return O_RDWR | O_CREAT;
    case OpenMode::kCreateNew: return O_RDWR | O_CREAT | O_EXCL;
  }
  return O_RDONLY;
}

class PosixEnv final : public Env {
 public:
  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override {
    const int fd = ::open(path.c_str(), open_flags(mode) | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return fail_path("open", path);
    return std::unique_ptr<File>(std::make_unique<PosixFile>(fd, path));
  }

  Result<FileInfo> stat(const std::string& path) override {
    struct stat st {};
    FileInfo info;
    if (::lstat(path.c_str(), &st) != 0) return fail_path("stat", path);
    info.is_symlink = S_ISLNK(st.st_mode);
    if (info.is_symlink && ::stat(path.c_str(), &st) != 0) return fail_path("stat", path);
    info.size = static_cast<uint64_t>(st.st_size);
    info.allocated_bytes = static_cast<uint64_t>(st.st_blocks) * 512;
    info.is_directory = S_ISDIR(st.st_mode);
    info.is_regular = S_ISREG(st.st_mode);
    info.inode = st.st_ino;
    info.link_count = st.st_nlink;
    info.mtime_ns = static_cast<int64_t>(st.st_mtim.tv_sec) * 1'000'000'000 + st.st_mtim.tv_nsec;
    return info;
  }

  Result<std::vector<std::string>> list_dir(const std::string& path) override {
    DIR* dir = ::opendir(path.c_str());
    if (dir == nullptr) return fail_path("list", path);
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(dir)) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    }
    const int error = errno;
    ::closedir(dir);
    if (error != 0) return fail_errno(error, "list " + path);
    std::sort(names.begin(), names.end());
    return names;
  }

  Status make_dirs(const std::string& path) override {
    for (size_t at = path.find('/', 1); ; at = path.find('/', at + 1)) {
      const std::string part = path.substr(0, at);
      if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) return fail_path("make", part);
      if (at == std::string::npos) break;
    }
    TRY_ASSIGN(const FileInfo info, stat(path));
    if (!info.is_directory) return fail_errno(ENOTDIR, "make " + path);
    return {};
  }

  Status rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return fail_path("rename to", to);
    return {};
  }

  Status link(const std::string& from, const std::string& to) override {
    if (::link(from.c_str(), to.c_str()) != 0) return fail_path("link to", to);
    return {};
  }

  Status remove(const std::string& path) override {
    if (::unlink(path.c_str()) != 0) return fail_path("remove", path);
    return {};
  }

  Status remove_dir(const std::string& path) override {
    if (::rmdir(path.c_str()) != 0) return fail_path("remove directory", path);
    return {};
  }

  Status sync_dir(const std::string& path) override {
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail_path("open", path);
    const int rc = ::fsync(fd);
    const int error = errno;
    ::close(fd);
    if (rc != 0) return fail_errno(error, "sync directory " + path);
    return {};
  }

  Result<std::unique_ptr<FileLock>> lock_file(const std::string& path) override {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return fail_path("open", path);
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      char holder[128] = {};
      const ssize_t n = ::pread(fd, holder, sizeof holder - 1, 0);
      ::close(fd);
      if (error != EWOULDBLOCK) return fail_errno(error, "lock " + path);
      std::string by = n > 0 ? " by " + std::string(holder) : "";
      return fail(Errc::kExists, path + " is locked" + by, EBUSY);
    }
    const std::string self = "process " + std::to_string(::getpid());
    if (::ftruncate(fd, 0) != 0 ||
        ::pwrite(fd, self.data(), self.size(), 0) != static_cast<ssize_t>(self.size())) {
      const int error = errno;
      ::close(fd);
      return fail_errno(error, "write " + path);
    }
    return std::unique_ptr<FileLock>(std::make_unique<PosixLock>(fd));
  }

  Result<DiskSpace> disk_space(const std::string& path) override {
    struct statvfs st {};
    if (::statvfs(path.c_str(), &st) != 0) return fail_path("statvfs", path);
    return DiskSpace{st.f_blocks * st.f_frsize, st.f_bavail * st.f_frsize};
  }

  Status set_attribute(const std::string& path, const std::string& name,
                       const std::string& value) override {
    const std::string full = std::string(kUserPrefix) + name;
    if (::lsetxattr(path.c_str(), full.c_str(), value.data(), value.size(), 0) != 0)
      return fail_path("set an attribute of", path);
    return {};
  }

  Result<FileAttributes> attributes(const std::string& path) override {
    std::string names(kAttributeListMax, '\0');
    const ssize_t length = ::llistxattr(path.c_str(), names.data(), names.size());
    if (length < 0) return fail_path("list the attributes of", path);
    names.resize(static_cast<size_t>(length));
    FileAttributes out;
    std::string value(kAttributeValueMax, '\0');
    size_t total = 0;
    for (size_t at = 0; at < names.size();) {
      const std::string name = names.c_str() + at;
      at += name.size() + 1;
      if (!name.starts_with(kUserPrefix)) continue;
      const ssize_t n = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
      if (n < 0 && errno == ENODATA) continue;  // removed meanwhile
      if (n < 0) return fail_path("read an attribute of", path);
      total += static_cast<size_t>(n);
      if (total > kAttributesMax) return fail_errno(E2BIG, "read the attributes of " + path);
      out.emplace_back(name.substr(kUserPrefix.size()), value.substr(0, static_cast<size_t>(n)));
    }
    std::sort(out.begin(), out.end());
    return out;
  }
};

}  // namespace

Result<Buffer> File::map() {
  TRY_ASSIGN(const uint64_t length, size());
  ByteVec bytes(length);
  TRY_ASSIGN(const size_t count, read_at(0, bytes));
  bytes.resize(count);
  return Buffer(std::move(bytes));
}

Env& posix_env() {
  static PosixEnv env;
  return env;
}

Result<ByteVec> read_file(Env& env, const std::string& path, uint64_t limit) {
  TRY_ASSIGN(auto file, env.open(path, OpenMode::kRead));
  TRY_ASSIGN(const uint64_t size, file->size());
  if (size > limit)
    return fail(Errc::kInvalid, path + " is larger than " + std::to_string(limit) + " bytes");
  ByteVec out(size);
  TRY_ASSIGN(const size_t n, file->read_at(0, out));
  out.resize(n);
  return out;
}

Status replace_file(Env& env, const std::string& path, Bytes data) {
  const std::string temporary = path + ".tmp";
  {
    TRY_ASSIGN(auto file, env.open(temporary, OpenMode::kCreate));
    TRY(file->truncate(0));
    TRY(file->write_at(0, data));
    TRY(file->sync_data());
  }
  TRY(env.rename(temporary, path));
  return env.sync_dir(std::filesystem::path(path).parent_path().string());
}

}  // namespace cairn
