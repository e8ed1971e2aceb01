#include "tools/output.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "cache/base/clock.h"
#include "cache/base/mutex.h"

namespace cairn {

namespace {

tl::unexpected<Error> failed(const std::string& path) {
  return fail_errno(errno, path.empty() ? "standard output" : path);
}

// The temporaries that are there, for who ends the process at once.
struct Unfinished {
  RankedMutex<Rank::kLeaf> mutex;
  std::set<std::string> paths;
};
Unfinished& unfinished() {
  static Unfinished all;
  return all;
}
void note_unfinished(const std::string& path) {
  const std::lock_guard lock(unfinished().mutex);
  unfinished().paths.insert(path);
}
void note_finished(const std::string& path) {
  const std::lock_guard lock(unfinished().mutex);
  unfinished().paths.erase(path);
}

// What open(2) would give a new file.
mode_t new_file_mode() {
  const mode_t mask = ::umask(0);
  ::umask(mask);
  return 0666 & ~mask;
}

// A link to a file stays a link: it is the file that is replaced.
std::string behind_link(const std::string& path) {
  struct stat st{};
  if (::lstat(path.c_str(), &st) != 0 || !S_ISLNK(st.st_mode)) return path;
  const std::unique_ptr<char, decltype(&::free)> real(::realpath(path.c_str(), nullptr), &::free);
  return real ? std::string(real.get()) : path;
}

}  // namespace

// The names of standard output are links to what it is, which must stay what it is.
bool is_standard_output(const std::string& path) {
  return path == "-" || path == "/dev/stdout" || path == "/dev/fd/1" || path == "/proc/self/fd/1";
}

bool is_written_as_it_is(const std::string& path) {
  struct stat st{};
  if (is_standard_output(path)) return true;
  return ::stat(path.c_str(), &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

void remove_unfinished_outputs() {
  const std::lock_guard lock(unfinished().mutex);
  for (const std::string& path : unfinished().paths) ::unlink(path.c_str());
}

Status flush_standard_output() {
  errno = 0;
  std::cout.flush();
  if (std::cout) return {};
  // What failed before the last line left no number.
  if (errno != 0) return failed("");
  return fail(Errc::kIo, "standard output cannot be written");
}

Result<Output> Output::open(const std::string& named) {
  if (is_standard_output(named)) return Output(STDOUT_FILENO, "", "");
  const std::string path = behind_link(named);
  struct stat st{};
  const bool is_there = ::stat(path.c_str(), &st) == 0;
  if (is_there && S_ISDIR(st.st_mode)) return fail_errno(EISDIR, path);
  if (is_written_as_it_is(path)) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) return failed(path);
    return Output(fd, path, "");
  }
  const size_t slash = path.rfind('/');
  const std::string dir = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  std::string temporary = dir + ".cairn-part-XXXXXX";
  const int fd = ::mkostemp(temporary.data(), O_CLOEXEC);
  if (fd < 0 && errno == ENOENT && !dir.empty())
    return fail(Errc::kNotFound, path + ": there is no directory " + dir, ENOENT);
  if (fd < 0) return failed(path);
  note_unfinished(temporary);
  Output out(fd, path, temporary);
  if (::fchmod(fd, is_there ? st.st_mode & 07777 : new_file_mode()) != 0) return failed(path);
  return out;
}

Output::Output(Output&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})) {}

Output::~Output() {
  if (fd_ >= 0 && fd_ != STDOUT_FILENO) ::close(fd_);
  if (temporary_.empty()) return;
  ::unlink(temporary_.c_str());
  note_finished(temporary_);
}

Status Output::write(Bytes bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(path_);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Status Output::write_sparse(Bytes bytes) {
  const bool zeroes =
      std::all_of(bytes.begin(), bytes.end(), [](std::byte each) { return each == std::byte{0}; });
  if (temporary_.empty() || bytes.empty() || !zeroes) {
    ends_with_hole_ = ends_with_hole_ && bytes.empty();
    return write(bytes);
  }
  ends_with_hole_ = true;
  return ::lseek(fd_, static_cast<off_t>(bytes.size()), SEEK_CUR) < 0 ? failed(path_) : Status();
}

Status Output::finish(int64_t mtime_ns) {
  if (temporary_.empty()) return {};
  if (ends_with_hole_ && ::ftruncate(fd_, ::lseek(fd_, 0, SEEK_CUR)) != 0) return failed(path_);
  if (mtime_ns >= 0) {
    constexpr int64_t kSecond = 1'000'000'000;
    const timespec time{mtime_ns / kSecond, mtime_ns % kSecond};
    const timespec times[2] = {time, time};
    if (::futimens(fd_, times) != 0) return failed(path_);
  }
  return give_name(0);
}

Status Output::finish_new() {
  return temporary_.empty() ? Status() : give_name(RENAME_NOREPLACE);
}

Status Output::give_name(unsigned flags) {
  if (::fsync(fd_) != 0 && errno != EINVAL) return failed(path_);
  if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), flags) != 0)
    return failed(path_);
  note_finished(temporary_);
  temporary_.clear();
  return {};
}

Result<size_t> read_some(int fd, MutableBytes out, const CancelToken& cancel) {
  constexpr int kLookMs = 100;
  while (true) {
    if (cancel.cancelled()) return fail(Errc::kCancelled, "interrupted");
    pollfd ready{fd, POLLIN, 0};
    const int count = ::poll(&ready, 1, kLookMs);
    if (count < 0 && errno != EINTR) return fail_errno(errno, "the input");
    if (count <= 0) continue;
    const ssize_t n = ::read(fd, out.data(), out.size());
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return fail_errno(errno, "the input");
    return static_cast<size_t>(n);
  }
}

}  // namespace cairn
