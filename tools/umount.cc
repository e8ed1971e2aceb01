#include "tools/umount.h"

#include <poll.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <iostream>
#include <utility>

#include "tools/units.h"

namespace cairn {

std::function<void(const Json&)> flush_progress() {
  return [said = false](const Json& pending) mutable {
    const std::string refused = pending.value("refused", "");
    if (!refused.empty() && !std::exchange(said, true))
      std::cerr << "cairn: the store refuses something, which is tried until it is allowed: "
                << refused << "\nNothing is lost: 'kill " << pending.value("pid", 0)
                << "' ends the mount without it (said twice, at once), and the next one tries "
                   "again\n";
    if (::isatty(STDERR_FILENO) == 0) return;
    std::cerr << "\r" << format_size(pending.value("bytes", uint64_t{0})) << " in "
              << pending.value("files", uint64_t{0}) << " files to go          " << std::flush;
  };
}

void end_flush_progress() {
  if (::isatty(STDERR_FILENO) != 0) std::cerr << "\r                                        \r";
}

void print_held(const Json& answer) {
  const Json held = answer.value("held", Json::object());
  const uint64_t files = held.value("files", uint64_t{0});
  if (files == 0) return;
  std::cerr << "cairn: --filter-upload holds back " << format_size(held.value("bytes", uint64_t{0}))
            << " in " << files << (files == 1 ? " file" : " files")
            << ": only the cache has them, not the store\n";
}

namespace {

Status run_fusermount(const char* flags, const std::string& mountpoint) {
  const pid_t child = ::fork();
  if (child < 0) return fail_errno(errno, "fork");
  if (child == 0) {
    ::execlp("fusermount3", "fusermount3", flags, "--", mountpoint.c_str(), nullptr);
    ::_exit(127);
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return fail(Errc::kIo, "fusermount3 could not unmount " + mountpoint);
  return {};
}

Status unmount(const std::string& mountpoint) {
  if (::geteuid() == 0) {
    if (::umount2(mountpoint.c_str(), UMOUNT_NOFOLLOW) == 0) return {};
    if (errno == EBUSY)
      return fail(Errc::kIo, mountpoint +
                                 " is busy: a process has a file open or its working directory "
                                 "there ('fuser -vm " +
                                 mountpoint + "' names it)");
    return fail_errno(errno, "umount " + mountpoint);
  }
  return run_fusermount("-u", mountpoint);
}

}  // namespace

Status detach_dead_mount(const std::string& mountpoint) {
  if (::geteuid() != 0) return run_fusermount("-uz", mountpoint);
  if (::umount2(mountpoint.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return {};
  return fail_errno(errno, "umount " + mountpoint);
}

namespace {

// The daemon, whose end can be waited for: it holds the cache's disk until then.
class Daemonized {
 public:
  explicit Daemonized(pid_t process)
      : fd_(process > 0 ? static_cast<int>(::syscall(SYS_pidfd_open, process, 0)) : -1) {}
  ~Daemonized() {
    if (fd_ >= 0) ::close(fd_);
  }
  Daemonized(const Daemonized&) = delete;
  Daemonized& operator=(const Daemonized&) = delete;
  void wait_for_end() const {
    constexpr int kMostMs = 15'000;
    pollfd ended{fd_, POLLIN, 0};
    if (fd_ >= 0) ::poll(&ended, 1, kMostMs);
  }

 private:
  int fd_;
};

// After the unmount: the daemon's last word. It comes when everything is stored and nothing shows
// the file system any more; a copy of the mount in another namespace may keep it for ever.
Result<Json> last_word(ControlClient& client, const std::string& mountpoint,
                       const std::vector<MountEntry>& table) {
  constexpr Duration kLook = std::chrono::seconds(3);
  constexpr int kLooksMost = 3;  // when nobody is seen to have it
  for (int look = 1;; ++look) {
    auto word = client.receive(kLook);
    if (word || word.error().code() != Errc::kTimeout) return word;
    const auto other = connect_at(mountpoint, table);
    if (!other) continue;
    const auto status = quick_status(**other);
    if (!status || status->value("ending", true)) continue;  // it sends what is left
    const std::string places = places_of(status->value("device", ""));
    if (places.empty() && look < kLooksMost) continue;
    return fail(Errc::kExists, mounted_elsewhere_text(mountpoint, *status, places));
  }
}

}  // namespace

bool is_all_stored(const Json& status) {
  // A follower has nothing to store.
  return status["lsn"]["appended"] == status["lsn"]["published"] ||
         status.value("mode", "") == "read-only";
}

std::string mounted_elsewhere_text(const std::string& mountpoint, const Json& status,
                                   const std::string& places) {
  return mountpoint + " is unmounted here" +
         (is_all_stored(status) ? " and everything is in the store" : "") +
         ", but the mount is still in use elsewhere" +
         (places.empty() ? ": another mount namespace, or an open file" : ": " + places) +
         "; its daemon (process " + std::to_string(status.value("pid", 0)) +
         ") ends when that ends";
}

Status umount_flushed(ControlClient& client, const std::string& mountpoint, Duration timeout) {
  const Daemonized daemon(client.peer());
  TRY_ASSIGN(const auto table, read_mount_table());
  const auto flushed = ask(
      client, Json{{"command", "umount"}, {"timeout_ns", timeout.count()}, {"wait_for_end", true}},
      flush_progress());
  end_flush_progress();
  if (!flushed && flushed.error().code() == Errc::kNotFound)
    return fail(Errc::kNotFound, dead_mount_text(mountpoint));
  if (!flushed && flushed.error().code() != Errc::kFenced)
    return fail(Errc::kIo, flushed.error().message() + "; " + mountpoint +
                               " stays mounted and nothing is lost: try again later, or leave "
                               "without waiting with 'umount -l' (the next mount sends the rest)");
  TRY(unmount(mountpoint));
  const auto end = last_word(client, mountpoint, table);
  if (end) daemon.wait_for_end();
  if (!end && end.error().code() == Errc::kExists) return tl::unexpected<Error>(end.error());
  if (!flushed) return tl::unexpected<Error>(flushed.error());
  if (!end)
    return fail(Errc::kIo,
                "the daemon ended without a word; the next mount goes on where it stopped");
  if (!end->value("closed", false))
    return fail(Errc::kIo, end->value("error", "not everything is in the store"));
  print_held(*end);
  return {};
}

}  // namespace cairn
