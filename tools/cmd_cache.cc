// pin, unpin, warm, evict: what people say about the cache, a file at a time.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <vector>

#include "tools/client.h"
#include "tools/commands.h"
#include "tools/units.h"

namespace cairn {

namespace {

namespace fs = std::filesystem;

// Regular files at and below `path`.
Result<std::vector<std::string>> files_of(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (error) return fail_errno(error.value(), path);
  if (status.type() == fs::file_type::regular) return std::vector<std::string>{path};
  if (status.type() != fs::file_type::directory)
    return fail(Errc::kInvalid, path + " is neither a file nor a directory");
  std::vector<std::string> files;
  fs::recursive_directory_iterator each(path, error);
  for (; !error && each != fs::recursive_directory_iterator(); each.increment(error))
    if (each->symlink_status(error).type() == fs::file_type::regular)
      files.push_back(each->path().string());
  if (error) return fail_errno(error.value(), path);
  return files;
}

// Reads past the kernel's cache, so that the daemon is asked for all of it.
Status read_through(const std::string& path) {
  constexpr size_t kPiece = 1U << 20;
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return fail_errno(errno, path);
  const std::unique_ptr<void, void (*)(void*)> piece(std::aligned_alloc(4096, kPiece), std::free);
  ssize_t n = 0;
  do {
    n = ::read(fd, piece.get(), kPiece);
  } while (n > 0 || (n < 0 && errno == EINTR));
  const int error = n < 0 ? errno : 0;
  ::close(fd);
  return error == 0 ? Status() : fail_errno(error, path);
}

void forget_pages(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return;  // only the kernel's own copy
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  ::close(fd);
}

Status one_file(const std::string& verb, const std::string& path) {
  if (verb == "warm") return read_through(path);
  struct stat st{};
  if (::lstat(path.c_str(), &st) != 0) return fail_errno(errno, path);
  std::string mountpoint;
  TRY_ASSIGN(const auto client, connect_to(path, mountpoint));
  if (verb == "evict") forget_pages(path);
  const Json request{{"command", verb}, {"inode", st.st_ino}, {"size", st.st_size}};
  if (auto answer = ask(*client, request); !answer)
    return tl::unexpected<Error>(std::move(answer).error().wrap(path));
  return verb == "pin" ? read_through(path) : Status();
}

int run_cache_verb(const std::string& verb, const std::vector<std::string>& paths) {
  int code = kExitOk;
  for (const std::string& path : paths) {
    std::string mountpoint;
    if (const auto client = connect_to(path, mountpoint); !client) return complain(client.error());
    const auto files = files_of(path);
    if (!files) {
      code = complain(files.error());
      continue;
    }
    for (const std::string& file : *files)
      if (const Status done = one_file(verb, file); !done) code = complain(done.error());
  }
  return code;
}

}  // namespace

void add_cache_commands(CommandLine& line) {
  const auto add = [&](const char* verb, const char* what) {
    Command& command = line.add(verb, what);
    auto paths = std::make_shared<std::vector<std::string>>();
    command.argument("PATH", ValueKind::kFile, *paths,
                     "files, or directories with all that is in them now");
    command.run([=] { return run_cache_verb(verb, *paths); });
  };
  add("pin", "Bring files into the cache and keep them there");
  add("unpin", "Let pinned files be evicted again");
  add("warm", "Bring files into the cache");
  add("evict", "Let what is cached of files go (what is not in the store yet stays)");
}

}  // namespace cairn
