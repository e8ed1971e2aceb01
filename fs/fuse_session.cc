#include "fs/fuse_session.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <vector>

#include "cache/base/log.h"
#include "fs/fuse_request.h"
#include "fs/fuse_wire.h"

namespace cairn {

class FuseSession::Impl {
 public:
  Impl(Volume& volume, Options options)
      : options_(std::move(options)),
        context_{volume,
                 options_.cache_seconds,
                 options_.changed_here_only,
                 !options_.read_only || options_.fixed_content,
                 options_.io_timeout,
                 options_.remote_durability,
                 MonotonicTime::min(),
                 {},
                 {},
                 {}} {}

  ~Impl() {
    if (session_ == nullptr) return;
    if (mounted_) fuse_session_unmount(session_);
    fuse_session_destroy(session_);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Status mount() {
    if (::access("/dev/fuse", R_OK | W_OK) != 0 && (errno == EACCES || errno == EPERM))
      return fail(Errc::kPermission,
                  "/dev/fuse may not be opened by this user: its mode should be 0666, and a "
                  "container may need it allowed (docker run --device /dev/fuse)");
    if (::access("/dev/fuse", R_OK | W_OK) != 0)
      return fail(Errc::kUnsupported,
                  "/dev/fuse cannot be opened: load the fuse module, or give the container the "
                  "device (docker run --device /dev/fuse --cap-add SYS_ADMIN)");
    std::string mount_options =
        "fsname=" + escaped(options_.source) + ",subtype=cairn,default_permissions";
    if (options_.read_only) mount_options += ",ro";
    if (options_.allow_other) mount_options += ",allow_other";
    if (!options_.extra.empty()) mount_options += "," + options_.extra;
    std::vector<std::string> words{"cairn", "-o", mount_options};
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    fuse_args args = FUSE_ARGS_INIT(static_cast<int>(argv.size()), argv.data());
    session_ = fuse_session_new(&args, &kFuseOps, sizeof kFuseOps, &context_);
    fuse_opt_free_args(&args);
    if (session_ == nullptr)
      return fail(Errc::kInvalid, "the mount options were refused: " + mount_options);
    if (fuse_session_mount(session_, options_.mountpoint.c_str()) != 0)
      return fail(Errc::kIo, "could not mount on " + options_.mountpoint +
                                 ": is fusermount3 installed (package fuse3), and does "
                                 "/etc/fuse.conf allow allow_other if that was asked for?");
    mounted_ = true;
    return use_wire(session_);
  }

  Status run(unsigned threads) {
    fuse_loop_config* config = fuse_loop_cfg_create();
    fuse_loop_cfg_set_clone_fd(config, 0);
    fuse_loop_cfg_set_max_threads(config, threads);
    fuse_loop_cfg_set_idle_threads(config, threads);
    const int rc = fuse_session_loop_mt(session_, config);
    fuse_loop_cfg_destroy(config);
    interrupt_all(context_);  // who waits for room could wait longer than we may
    {
      std::unique_lock lock(context_.mutex);
      context_.none_parked.wait(lock, [this] { return context_.parked.empty(); });
    }
    fuse_session_unmount(session_);
    mounted_ = false;
    if (rc < 0) return fail_errno(-rc, "the connection to the kernel failed");
    return {};
  }

  void stop() {
    fuse_session_exit(session_);
    // The workers look at the flag when a request comes: send one.
    struct statvfs st{};
    if (::statvfs(options_.mountpoint.c_str(), &st) != 0) log_debug("the session ended already");
  }

  void invalidate(const Changes& changes) {
    for (const std::string& key : changes.keys) {
      const auto parsed = parse_key(key);
      if (!parsed) continue;
      if (parsed->kind == KeyKind::kInode) {
        fuse_lowlevel_notify_inval_inode(session_, parsed->ino, 0, 0);
      } else if (parsed->kind == KeyKind::kDirent) {
        fuse_lowlevel_notify_inval_entry(session_, parsed->ino, parsed->name.data(),
                                         parsed->name.size());
      }
    }
  }

 private:
  // A comma would end the option, a backslash escapes.
  static std::string escaped(const std::string& text) {
    std::string out;
    for (const char c : text) {
      if (c == ',' || c == '\\') out.push_back('\\');
      out.push_back(c);
    }
    return out;
  }

  Options options_;
  FuseContext context_;
  fuse_session* session_ = nullptr;
  bool mounted_ = false;
};

FuseSession::FuseSession(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
FuseSession::~FuseSession() = default;

Result<std::unique_ptr<FuseSession>> FuseSession::mount(Volume& volume, Options options) {
  auto impl = std::make_unique<Impl>(volume, std::move(options));
  TRY(impl->mount());
  return std::unique_ptr<FuseSession>(new FuseSession(std::move(impl)));
}

Status FuseSession::run(unsigned threads) {
  return impl_->run(threads);
}
void FuseSession::stop() {
  impl_->stop();
}
void FuseSession::invalidate(const Changes& changes) {
  impl_->invalidate(changes);
}

}  // namespace cairn
