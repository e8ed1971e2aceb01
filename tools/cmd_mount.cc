#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <sstream>

#include "cache/base/log.h"
#include "tools/commands.h"
#include "tools/control.h"
#include "tools/host_name.h"
#include "tools/memory_limit.h"
#include "tools/mount.h"
#include "tools/units.h"

namespace cairn {

namespace {

struct MountArguments {
  std::string remote;
  std::string mountpoint;
  std::string cache_dir;
  std::optional<uint64_t> cache_size, cache_reserve, memory_limit, pending_bytes, pending_files;
  std::optional<int64_t> commit_interval_ns, stall_timeout_ns, io_timeout_ns, shutdown_timeout_ns,
      poll_interval_ns, pending_age_ns;
  std::string durability = "local";
  std::string log_level = "info";
  std::string log_file;
  std::vector<std::string> mount_options;
  bool foreground = false, create = false, read_only = false, allow_other = false;
  bool takeover = false, discard_local = false;
  StoreOptions store;
};

Result<std::string> default_cache_base() {
  if (::geteuid() == 0) return std::string("/var/cache/cairn");
  if (const char* dir = std::getenv("XDG_CACHE_HOME"); dir != nullptr && *dir == '/')
    return std::string(dir) + "/cairn";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/')
    return std::string(home) + "/.cache/cairn";
  return fail(Errc::kInvalid, "no place for the cache: set HOME or give --cache-dir");
}

Status check_mountpoint(const std::string& path) {
  struct stat st{};
  if (::stat(path.c_str(), &st) != 0) {
    if (errno == ENOTCONN)
      return fail(Errc::kInvalid, "the daemon behind " + path +
                                      " is gone; take the dead mount "
                                      "away with 'fusermount3 -uz " +
                                      path + "'");
    if (errno == ENOENT)
      return fail(Errc::kNotFound, "the mount point " + path +
                                       " does not exist; make it with "
                                       "'mkdir " +
                                       path + "'");
    return fail_errno(errno, path);
  }
  if (!S_ISDIR(st.st_mode)) return fail(Errc::kInvalid, path + " is not a directory");
  TRY_ASSIGN(const std::string socket, control_path(path));
  if (ControlClient::connect(socket)) {
    struct stat parent{};
    const bool unmounted =
        ::stat((path + "/..").c_str(), &parent) == 0 && parent.st_dev == st.st_dev;
    return fail(Errc::kExists,
                unmounted ? "the mount that was at " + path +
                                " is still sending what was written; wait for it ('cairn flush " +
                                path + "')"
                          : path + " is mounted already (see 'cairn status " + path + "')");
  }
  TRY_ASSIGN(const auto names, posix_env().list_dir(path));
  if (!names.empty())
    return fail(Errc::kInvalid,
                "the mount point " + path + " is not empty; name an empty directory");
  return {};
}

// -o ro,allow_other,...: what fstab and other tools pass on.
Status apply_mount_options(const MountArguments& arguments, MountSettings& settings) {
  for (const std::string& list : arguments.mount_options) {
    std::stringstream stream(list);
    std::string option;
    while (std::getline(stream, option, ',')) {
      if (option == "ro") {
        settings.options.engine.read_only = true;
      } else if (option == "allow_other") {
        settings.allow_other = true;
      } else if (option == "nosuid" || option == "nodev" || option == "noexec" ||
                 option == "suid" || option == "dev" || option == "exec" || option == "noatime") {
        settings.kernel_options += (settings.kernel_options.empty() ? "" : ",") + option;
      } else if (!option.empty() && option != "rw" && option != "default_permissions" &&
                 option != "_netdev" && option != "nofail" && option != "noauto") {
        return fail(Errc::kInvalid, "-o " + option + " is not known; see 'cairn mount --help'");
      }
    }
  }
  return {};
}

// 10 GiB or a quarter of what is free, whichever is less.
uint64_t default_cache_size(const std::string& base) {
  constexpr uint64_t kDefault = 10ULL << 30;
  const auto space = posix_env().disk_space(base);
  if (!space) return kDefault;
  return std::max(Space::kSmallestCache, std::min(kDefault, space->free_bytes / 4));
}

uint64_t default_reserve(const std::string& base) {
  constexpr uint64_t kAtLeast = 1ULL << 30;
  const auto space = posix_env().disk_space(base);
  return space ? std::max(kAtLeast, space->total_bytes / 20) : kAtLeast;
}

Result<MountSettings> to_settings(const MountArguments& arguments) {
  MountSettings settings;
  TRY_ASSIGN(settings.remote, parse_remote_url(arguments.remote));
  TRY_ASSIGN(settings.mountpoint, canonical_mountpoint(arguments.mountpoint));
  if (arguments.cache_dir.empty()) {
    TRY_ASSIGN(settings.cache_base, default_cache_base());
  } else {
    settings.cache_base =
        std::filesystem::absolute(arguments.cache_dir).lexically_normal().string();
  }
  settings.store = arguments.store;
  settings.create = arguments.create;
  settings.allow_other = arguments.allow_other;
  settings.remote_durability = arguments.durability == "remote";
  settings.foreground = arguments.foreground;
  settings.log_file = arguments.log_file;
  MountOptions& options = settings.options;
  options.host = host_name();
  options.takeover = arguments.takeover;
  options.discard_local = arguments.discard_local;
  EngineSettings& engine = options.engine;
  engine.read_only = arguments.read_only;
  TRY(apply_mount_options(arguments, settings));
  const auto set = [](auto& target, const auto& given) {
    if (given) target = std::decay_t<decltype(target)>(*given);
  };
  set(engine.publish_interval, arguments.commit_interval_ns);
  set(engine.stall_timeout, arguments.stall_timeout_ns);
  set(engine.io_timeout, arguments.io_timeout_ns);
  set(engine.poll_interval, arguments.poll_interval_ns);
  set(engine.pending_age_max, arguments.pending_age_ns);
  set(settings.shutdown_timeout, arguments.shutdown_timeout_ns);
  if (options.takeover && engine.read_only)
    return fail(Errc::kInvalid, "--takeover makes this mount the writer; it cannot be --read-only");
  return settings;
}

// What depends on the disk the cache lies on, which may have to be made first.
Status size_cache(const MountArguments& arguments, MountSettings& settings) {
  if (auto made = posix_env().make_dirs(settings.cache_base); !made)
    return tl::unexpected<Error>(std::move(made).error().wrap("cache directory"));
  MountOptions& options = settings.options;
  options.cache_bytes_max = arguments.cache_size.value_or(default_cache_size(settings.cache_base));
  if (options.cache_bytes_max < Space::kSmallestCache)
    return fail(Errc::kInvalid, "--cache-size " + format_size(options.cache_bytes_max) +
                                    " is below the smallest cache, 64M");
  options.disk_reserve_bytes =
      arguments.cache_reserve.value_or(default_reserve(settings.cache_base));
  options.engine.pending_bytes_max = arguments.pending_bytes.value_or(options.cache_bytes_max / 2);
  options.memory_bytes_max = arguments.memory_limit.value_or(default_memory_limit());
  if (options.memory_bytes_max < MemoryPlan::kSmallest)
    return fail(Errc::kInvalid, "--memory-limit " + format_size(options.memory_bytes_max) +
                                    " is below the smallest, 64M");
  if (arguments.pending_files) options.engine.pending_files_max = *arguments.pending_files;
  return {};
}

int mount(const MountArguments& arguments) {
  LogLevel level = LogLevel::kInfo;
  if (!parse_log_level(arguments.log_level, level))
    return complain(Error(Errc::kInvalid,
                          "--log-level is one of trace, debug, info, warn, error, "
                          "off")),
           kExitUsage;
  set_log_level(level);
  auto settings = to_settings(arguments);
  if (!settings) {
    complain(settings.error());
    return settings.error().code() == Errc::kInvalid ? kExitUsage : kExitFailed;
  }
  if (const Status fine = check_mountpoint(settings->mountpoint); !fine)
    return complain(fine.error());
  if (const Status sized = size_cache(arguments, *settings); !sized) return complain(sized.error());
  keep_memory_private();
  Daemon daemon(arguments.foreground);
  return run_mount(std::move(*settings), daemon);
}

void add_limits(CLI::App& command, MountArguments& a) {
  const auto group = "Cache and limits";
  command.add_option("--cache-dir", a.cache_dir, "where the cache lives; one folder a remote")
      ->group(group);
  command
      .add_option("--cache-size", a.cache_size, "ceiling of the cache (10G, or 1/4 of the disk)")
      ->transform(size_option())
      ->group(group);
  command.add_option("--cache-reserve", a.cache_reserve, "what the disk keeps free (5 %, 1G)")
      ->transform(size_option())
      ->group(group);
  command
      .add_option("--memory-limit", a.memory_limit,
                  "ceiling of the daemon's own memory (128M, or half of the cgroup's)")
      ->transform(size_option())
      ->group(group);
  command
      .add_option("--pending-bytes", a.pending_bytes, "most bytes not yet stored (half the cache)")
      ->transform(size_option())
      ->group(group);
  command.add_option("--pending-files", a.pending_files, "most files not yet stored (1000000)")
      ->group(group);
  command.add_option("--pending-age", a.pending_age_ns,
                  "a change this old is sent whatever the interval (1h)")
      ->transform(duration_option())
      ->group(group);
  command.add_option("--commit-interval", a.commit_interval_ns, "time between commits (5s)")
      ->transform(duration_option())
      ->group(group);
  command
      .add_option("--stall-timeout", a.stall_timeout_ns,
                  "writers get ENOSPC when the cache is full and the store takes nothing (5m)")
      ->transform(duration_option())
      ->group(group);
  command
      .add_option("--io-timeout", a.io_timeout_ns, "reads get EIO when the store is silent (60s)")
      ->transform(duration_option())
      ->group(group);
  command.add_option("--shutdown-timeout", a.shutdown_timeout_ns, "longest flush at SIGTERM (80s)")
      ->transform(duration_option())
      ->group(group);
  command.add_option("--poll-interval", a.poll_interval_ns, "read-only: how often to look (5s)")
      ->transform(duration_option())
      ->group(group);
}

}  // namespace

void add_mount_command(CLI::App& app, Chosen& chosen) {
  auto a = std::make_shared<MountArguments>();
  CLI::App* command = app.add_subcommand("mount", "Mount a volume on a directory");
  command
      ->add_option("REMOTE", a->remote, "s3://bucket[/prefix], bucket[:prefix], file:///dir, ./dir")
      ->required();
  command->add_option("MOUNTPOINT", a->mountpoint, "an empty directory")->required();
  command->add_flag("-f,--foreground", a->foreground, "stay in the foreground");
  command->add_flag("--create", a->create, "make a volume when nothing lies at REMOTE");
  command->add_flag("--read-only", a->read_only, "follow the volume's writer");
  command->add_flag("--allow-other", a->allow_other, "let other users in");
  command->add_flag("--takeover", a->takeover, "become the writer in place of another node");
  command->add_flag("--discard-local", a->discard_local,
                    "give up changes in this cache that never reached the store");
  command
      ->add_option("--durability", a->durability, "what fsync waits for: local disk or the store")
      ->check(CLI::IsMember({"local", "remote"}))
      ->capture_default_str();
  command->add_option("-o", a->mount_options,
                      "mount options, comma-separated (ro, allow_other, ...)");
  command->add_option("--log-level", a->log_level, "trace, debug, info, warn, error, off")
      ->capture_default_str();
  command->add_option("--log-file", a->log_file, "default: 'log' in the cache folder; -f: stderr");
  add_limits(*command, *a);
  add_store_options(*command, a->store);
  command->callback([a, &chosen] { chosen = [a] { return mount(*a); }; });
}

}  // namespace cairn
