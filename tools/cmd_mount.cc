#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "cache/base/log.h"
#include "tools/client.h"
#include "tools/commands.h"
#include "tools/control.h"
#include "tools/filter_options.h"
#include "tools/history.h"
#include "tools/host_name.h"
#include "tools/memory_limit.h"
#include "tools/mount.h"
#include "tools/mount_table.h"
#include "tools/umount.h"
#include "tools/units.h"

namespace cairn {

namespace {

struct MountArguments {
  std::string remote;
  std::string mountpoint;
  std::string cache_dir;
  std::optional<uint64_t> cache_size, cache_reserve, memory_limit, pending_bytes, pending_files;
  std::optional<Duration> commit_interval, stall_timeout, io_timeout, shutdown_timeout,
      poll_interval, pending_age, commit_interval_max, gc_interval, gc_grace, metadata_ttl,
      stale_uploads;
  std::optional<uint64_t> uid, gid;
  std::string at;
  std::string durability = "local";
  std::string attrs = "listing";
  std::string log_level = "info";
  std::string log_file;
  std::string kernel_options;  // comma-separated
  bool foreground = false, create = false, read_only = false, allow_other = false;
  bool as_objects = false;
  bool takeover = false, discard_local = false;
  StoreOptions store;
  FilterPolicies filters;
};

Result<std::string> default_cache_base() {
  if (::geteuid() == 0) return std::string("/var/cache/cairn");
  if (const char* dir = std::getenv("XDG_CACHE_HOME"); dir != nullptr && *dir == '/')
    return std::string(dir) + "/cairn";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/')
    return std::string(home) + "/.cache/cairn";
  return fail(Errc::kInvalid, "no place for the cache: set HOME or give --cache-dir");
}

// What a killed daemon of the same remote left is taken away, so that a service can start again
// without a hand; anything else is not ours.
Status clear_dead_mount(const std::string& path, const std::string& remote) {
  TRY_ASSIGN(const auto table, read_mount_table());
  const auto entry = mount_at(table, path);
  if (!entry || entry->type != kMountType || entry->source != remote)
    return fail(Errc::kInvalid, dead_mount_text(path));
  return detach_dead_mount(path);
}

// An empty directory on which nothing of ours is mounted.
Status look_at_mountpoint(const std::string& path) {
  struct stat st{};
  if (::stat(path.c_str(), &st) != 0) {
    if (errno != ENOENT) return fail_errno(errno, path);
    return fail(Errc::kNotFound,
                "the mount point " + path + " does not exist; make it with 'mkdir " + path + "'");
  }
  if (!S_ISDIR(st.st_mode)) return fail(Errc::kInvalid, path + " is not a directory");
  TRY_ASSIGN(const std::string socket, control_path(path));
  if (const auto there = ControlClient::connect(socket)) {
    TRY_ASSIGN(const auto table, read_mount_table());
    if (mount_at(table, path))
      return fail(Errc::kExists, path + " is mounted already (see 'cairn status " + path + "')");
    const auto status = quick_status(**there);
    if (status && !status->value("ending", true))
      return fail(Errc::kExists,
                  mounted_elsewhere_text(path, *status, places_of(status->value("device", ""))));
    return fail(Errc::kExists,
                "the mount that was at " + path +
                    " is still sending what was written; wait for it ('cairn flush " + path + "')");
  }
  TRY_ASSIGN(const auto names, posix_env().list_dir(path));
  if (!names.empty())
    return fail(Errc::kInvalid,
                "the mount point " + path + " is not empty; name an empty directory");
  return {};
}

Status check_mountpoint(const std::string& path, const std::string& remote) {
  Status usable = look_at_mountpoint(path);
  if (usable || usable.error().sys_errno() != ENOTCONN) return usable;
  TRY(clear_dead_mount(path, remote));
  return look_at_mountpoint(path);
}

// What an -o list of fstab or of another tool may hold beside our own options.
Result<bool> take_mount_option(const std::string& option, MountArguments& arguments) {
  static const std::set<std::string, std::less<>> for_kernel{
      "nosuid", "nodev", "noexec", "suid", "dev", "exec", "noatime", "sync", "dirsync"};
  // Said to mount(8) or to systemd, or what is so anyway: reading never sets a time.
  static const std::set<std::string, std::less<>> nothing_to_do{
      "defaults", "rw",       "auto",       "noauto",   "nofail",       "_netdev",
      "user",     "users",    "owner",      "group",    "nouser",       "default_permissions",
      "atime",    "relatime", "norelatime", "diratime", "nodiratime",   "async",
      "lazytime", "silent",   "nolazytime", "loud",     "nostrictatime"};
  if (option == "strictatime")
    return fail(Errc::kInvalid,
                "-o strictatime cannot be had: reading changes no access time of a volume; leave "
                "it out (relatime and noatime are accepted)");
  // A FUSE mount is nosuid and nodev unless told, and mount(8) keeps "suid" and "dev", its own
  // defaults, from its helpers: in fstab only these other words are seen. mount(8) changes the
  // order, too, so it means nothing for these: "nosuid" and "nodev" win, wherever they stand.
  std::string allowed;
  if (option == "allow_suid" || option == "allow-suid") allowed = "suid";
  if (option == "allow_dev" || option == "allow-dev") allowed = "dev";
  std::string& list = arguments.kernel_options;
  if (option == "ro") {
    arguments.read_only = true;
  } else if (!allowed.empty()) {
    list.insert(0, allowed + (list.empty() ? "" : ","));
  } else if (for_kernel.count(option) != 0) {
    list += (list.empty() ? "" : ",") + option;
  } else {
    return nothing_to_do.count(option) != 0 || option.starts_with("x-") ||
           option.starts_with("X-") || option.starts_with("comment=");
  }
  return true;
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

Result<ObjectView> to_object_view(const MountArguments& arguments) {
  constexpr Duration kLeast = std::chrono::seconds(1);
  ObjectView view;
  const uint64_t uid = arguments.uid.value_or(::geteuid());
  const uint64_t gid = arguments.gid.value_or(::getegid());
  if (uid > UINT32_MAX || gid > UINT32_MAX)
    return fail(Errc::kInvalid, "--uid and --gid are numbers below 4294967296");
  view.uid = static_cast<uint32_t>(uid);
  view.gid = static_cast<uint32_t>(gid);
  if (arguments.metadata_ttl) view.metadata_ttl = *arguments.metadata_ttl;
  view.full_attrs = arguments.attrs == "full";
  TRY(check_filters(arguments.filters, view.full_attrs));
  if (has_filters(arguments.filters))
    view.filters.policies = std::make_shared<const FilterPolicies>(arguments.filters);
  if (view.metadata_ttl < kLeast) return fail(Errc::kInvalid, "--metadata-ttl is at least 1s");
  return view;
}

// Nothing answers in no time: with less a mount would take every store for away.
Status check_io_timeout(Duration timeout) {
  if (timeout >= std::chrono::seconds(1)) return {};
  return fail(Errc::kInvalid,
              "--io-timeout is at least 1s: so long the store may be silent before reads get EIO");
}

// Also "-2h": so long ago.
Result<HistoryPoint> parse_at(const std::string& text) {
  if (!text.starts_with('-')) return parse_history_point(text);
  constexpr int64_t kSecond = 1'000'000'000;
  TRY_ASSIGN(const Duration ago, parse_duration(text.substr(1)));
  return HistoryPoint(HistoryTime{(system_clock().wall_ns() - ago.count()) / kSecond * kSecond});
}

// What rules call the bucket, and a directory that stands for one.
void set_scope(const RemoteUrl& remote, FilterScope& scope) {
  scope.bucket = remote.bucket;
  scope.top_is_buckets = remote.is_all_buckets();
  if (!remote.prefix.empty()) scope.key_prefix = remote.prefix + "/";
  if (remote.kind == RemoteUrl::Kind::kFile)
    scope.bucket = std::filesystem::path(remote.directory).filename().string();
}

Result<MountSettings> to_settings(const MountArguments& arguments) {
  MountSettings settings;
  TRY_ASSIGN(settings.remote, parse_remote_url(arguments.remote, true));
  if (settings.remote.is_all_buckets() && arguments.create)
    return fail(Errc::kInvalid, "--create makes a volume in a bucket: name it, s3://BUCKET");
  if (arguments.create && arguments.as_objects)
    return fail(Errc::kInvalid, "--create makes a volume, and --objects shows none: leave one out");
  if (settings.remote.is_all_buckets() && !arguments.at.empty())
    return fail(Errc::kInvalid, "--at shows one bucket as it was: name it, s3://BUCKET");
  TRY_ASSIGN(settings.mountpoint, canonical_mountpoint(arguments.mountpoint));
  if (arguments.cache_dir.empty()) {
    TRY_ASSIGN(settings.cache_base, default_cache_base());
  } else {
    settings.cache_base =
        std::filesystem::absolute(arguments.cache_dir).lexically_normal().string();
  }
  settings.store = arguments.store;
  settings.create = arguments.create;
  settings.as_objects = arguments.as_objects;
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
  settings.kernel_options = arguments.kernel_options;
  TRY_ASSIGN(settings.objects, to_object_view(arguments));
  if (arguments.create && settings.objects.filters.policies)
    return fail(Errc::kInvalid,
                "--create makes a volume, and filters (--filter-visible and the like) are for the "
                "objects of a bucket: leave one out");
  set_scope(settings.remote, settings.objects.filters);
  const auto set = [](auto& target, const auto& given) {
    if (given) target = std::decay_t<decltype(target)>(*given);
  };
  set(engine.publish_interval, arguments.commit_interval);
  set(engine.publish_interval_max, arguments.commit_interval_max);
  set(engine.stall_timeout, arguments.stall_timeout);
  set(engine.io_timeout, arguments.io_timeout);
  TRY(check_io_timeout(engine.io_timeout));
  set(engine.poll_interval, arguments.poll_interval);
  set(engine.pending_age_max, arguments.pending_age);
  set(settings.shutdown_timeout, arguments.shutdown_timeout);
  set(settings.gc_interval, arguments.gc_interval);
  set(settings.gc_grace, arguments.gc_grace);
  set(settings.stale_uploads, arguments.stale_uploads);
  TRY(check_grace(settings.gc_grace));
  if (!arguments.at.empty()) {
    TRY_ASSIGN(options.at, parse_at(arguments.at));
    const auto* time = std::get_if<HistoryTime>(&*options.at);
    settings.at_is_relative = arguments.at.starts_with('-');
    settings.at_text = time == nullptr ? arguments.at : utc_text(time->wall_ns);
    engine.read_only = true;
  }
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
  if (parse_log_level(arguments.log_level, level)) set_log_level(level);
  auto settings = to_settings(arguments);
  if (!settings) return refuse(settings.error());
  if (const Status fine = check_mountpoint(settings->mountpoint, settings->remote.text()); !fine)
    return complain(fine.error());
  if (const Status sized = size_cache(arguments, *settings); !sized) return complain(sized.error());
  keep_memory_private();
  Daemon daemon(arguments.foreground);
  return run_mount(std::move(*settings), daemon);
}

void add_limits(Command& command, MountArguments& a) {
  command.group("Cache and limits");
  command
      .text("cache-dir", "DIR", a.cache_dir, "where the cache lives; one folder a remote",
            ValueKind::kDirectory)
      .fallback("/var/cache/cairn for root, else ~/.cache/cairn");
  command.size("cache-size", a.cache_size, "ceiling of the cache")
      .fallback("10G, or a quarter of the free disk");
  command.size("cache-reserve", a.cache_reserve, "what the disk keeps free")
      .fallback("5 % of the disk, at least 1G");
  command.size("memory-limit", a.memory_limit, "ceiling of the daemon's own memory")
      .fallback("128M, or half of the control group's");
  command.size("pending-bytes", a.pending_bytes, "most bytes not yet stored")
      .fallback("half the cache");
  command.count("pending-files", a.pending_files, "most files not yet stored").fallback("1000000");
  command.duration("pending-age", a.pending_age, "a change this old is sent whatever the interval")
      .fallback("1h");
  command.duration("commit-interval", a.commit_interval, "time between commits").fallback("5s");
  command
      .duration("commit-interval-max", a.commit_interval_max,
                "longest time between commits that upload much more than was written")
      .fallback("5m");
  command
      .duration("gc-interval", a.gc_interval,
                "how often to see whether garbage is worth collecting; 0: never")
      .fallback("1h");
  command
      .duration("gc-grace", a.gc_grace, "how long what nothing needs any more stays in the store")
      .fallback("24h");
  command
      .duration("stall-timeout", a.stall_timeout,
                "writers get ENOSPC when the cache is full and the store took nothing for this "
                "long; never: they wait")
      .fallback("5m");
  command.duration("io-timeout", a.io_timeout, "reads get EIO when the store is silent")
      .fallback("60s");
  command.duration("shutdown-timeout", a.shutdown_timeout, "longest flush after SIGTERM")
      .fallback("80s");
  command.duration("poll-interval", a.poll_interval, "read-only: how often to look for news")
      .fallback("5s");
}

void add_view_options(Command& command, MountArguments& a) {
  command.group("Objects of a bucket without a volume");
  command.flag("objects", a.as_objects, "show objects also where none lies yet");
  command
      .duration("metadata-ttl", a.metadata_ttl,
                "how old names and attributes may be before the store is asked again")
      .fallback("60s");
  command
      .choice("attrs", a.attrs, {"listing", "full"},
              "where mode, owner and time of a file come from: the listing, or what each object "
              "says (s3fs, rclone), which is a request for every object")
      .fallback("listing");
  command
      .duration("stale-uploads", a.stale_uploads,
                "multipart uploads that no program finished for so long are aborted when the "
                "bucket is mounted to be written; 0: never")
      .fallback("7d");
  command.count("uid", a.uid, "who owns the files").fallback("who mounts");
  command.count("gid", a.gid, "their group").fallback("of who mounts");
}

void describe(Command& command) {
  command.about(
      "Mounts the volume at REMOTE on the directory MOUNTPOINT, goes into the background when it "
      "is ready, and returns. Writes are in a local cache at once and go to the store soon after.");
  command.about(
      "Where other things lie at REMOTE and no volume, they are shown as they are: each object is "
      "a file, and what is written comes out as plain objects.");
  command.about(
      "A volume has one writer at a time. Where another node writes, --read-only follows it and "
      "--takeover replaces it; what the replaced one had not published stays in its cache, see "
      "cairn-recover(1).");
  command.about(
      "The cache of a mount stays in --cache-dir for the next one of the same REMOTE, and of the "
      "same point of --at. Only that of a time ago (--at=-2h) is removed when the mount ends.");
  command.about(
      "A RULE of a filter is BUCKET/KEY, or /PATH below the mount point, with what the object has "
      "to be in brackets, and ! before it to exclude. In a key * and ? stay inside of its part, ** "
      "does not, **/ is any number of parts or none, and a / at the end means all that lies below. "
      "[hdr:content-length<100M], [hdr:content-type='video/*'], [md:NAME=VALUE] and "
      "[tag:NAME=VALUE] "
      "compare with = != < <= > >=; of = and != the value is a pattern. Of the rules of an option "
      "the last one that matches decides; what none matches is the opposite of what the first one "
      "says. In a configuration file they are lists in a table [filter]: visible, cache, pin, "
      "prefetch, upload.");
  command.example("cairn mount s3://bucket/data /mnt", "credentials as the AWS CLI finds them");
  command.example("cairn mount --create ~/store ~/mnt", "a directory as the store");
  command.example("cairn mount --at before s3://bucket/data /old", "a snapshot, read-only");
  command.example("cairn mount --at 2026-11-27T06:00:00Z s3://bucket/photos /old",
                  "the objects as they were, where the bucket keeps versions");
  command.example("cairn mount s3://bucket/photos /mnt", "the objects of any bucket as files");
  command.example("cairn mount s3:// /mnt", "all buckets, each a directory");
  command.example("cairn mount --filter-upload '!/**.tmp' s3://bucket/photos /mnt",
                  "what ends with .tmp stays here until it is renamed");
  command.example("cairn mount --config /etc/cairn/data.toml", "all of it from a file");
}

}  // namespace

void add_mount_command(CommandLine& line) {
  auto a = std::make_shared<MountArguments>();
  Command& command = line.add("mount", "Mount a volume on a directory");
  command.argument("REMOTE", ValueKind::kRemote, a->remote,
                   std::string(kRemoteHelp) + "; s3:// is all buckets");
  command.argument("MOUNTPOINT", ValueKind::kDirectory, a->mountpoint, "an empty directory");
  command.flag("foreground", a->foreground, "stay in the foreground").letter('f');
  command.flag("create", a->create, "make a volume when nothing lies at REMOTE");
  command.flag("read-only", a->read_only, "follow the volume's writer");
  command
      .text(
          "at", "POINT", a->at,
          "read-only: the volume as of a snapshot, a commit's number or a time (UTC, or -2h); the "
          "objects of a bucket that keeps versions as of a time")
      .only_typed();
  command.flag("allow-other", a->allow_other, "let other users in");
  command.flag("takeover", a->takeover, "become the writer in place of another node");
  command
      .flag("discard-local", a->discard_local,
            "give up changes in this cache that never reached the store")
      .only_typed();
  command
      .choice("durability", a->durability, {"local", "remote"},
              "what fsync waits for: the local disk or the store")
      .fallback("local");
  command.option_list([a](const std::string& item) { return take_mount_option(item, *a); });
  command
      .choice("log-level", a->log_level, {"trace", "debug", "info", "warn", "error", "off"},
              "how much to log")
      .fallback("info");
  command.text("log-file", "FILE", a->log_file, "where to log", ValueKind::kFile)
      .fallback("'log' in the cache folder, with -f stderr");
  add_limits(command, *a);
  add_view_options(command, *a);
  add_filter_options(command, a->filters);
  add_store_options(command, a->store);
  describe(command);
  command.run([a] { return mount(*a); });
}

}  // namespace cairn
