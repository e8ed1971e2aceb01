#include <filesystem>
#include <iostream>

#include "cache/base/log.h"
#include "cache/cache_dir.h"
#include "fs/volume.h"
#include "tools/commands.h"
#include "tools/host_name.h"
#include "tools/rescue.h"
#include "tools/units.h"

namespace cairn {

namespace {

struct RecoverArguments {
  std::string cache_dir;
  std::string target;
  StoreOptions store;
};

// The folder of one remote's cache: what was named, or the only one below it.
Result<std::string> find_cache(const std::string& named) {
  Env& env = posix_env();
  if (env.stat(named + "/identity")) return named;
  const auto names = env.list_dir(named);
  if (!names) return fail(Errc::kNotFound, "there is no directory " + named);
  std::vector<std::string> caches;
  for (const std::string& name : *names)
    if (env.stat(named + "/" + name + "/identity")) caches.push_back(named + "/" + name);
  if (caches.size() == 1) return caches.front();
  if (caches.empty()) return fail(Errc::kNotFound, named + " is not a cache directory of cairn");
  std::string list;
  for (const std::string& cache : caches) list += "\n  " + cache;
  return fail(Errc::kInvalid, named + " holds several caches; name one of them:" + list);
}

Status check_target(const std::string& target) {
  TRY(posix_env().make_dirs(target));
  TRY_ASSIGN(const auto names, posix_env().list_dir(target));
  if (!names.empty())
    return fail(Errc::kInvalid,
                target + " is not empty; name a directory that is or does not exist");
  return {};
}

Result<RescueReport> recover(const RecoverArguments& arguments, Runtime& runtime) {
  const std::string named =
      std::filesystem::absolute(arguments.cache_dir).lexically_normal().string();
  const std::string target =
      std::filesystem::absolute(arguments.target).lexically_normal().string();
  TRY_ASSIGN(const std::string folder, find_cache(named));
  TRY_ASSIGN(const std::string remote, CacheDir::remote_of(posix_env(), folder));
  TRY_ASSIGN(const RemoteUrl url, parse_remote_url(remote));
  TRY(check_target(target));
  TRY_ASSIGN(const StoreStack stack, open_store(url, arguments.store, false, runtime));
  TRY_ASSIGN(const auto cache, CacheDir::open(posix_env(), os_rng(), folder, remote));
  MountOptions options;
  options.engine.read_only = true;
  options.recover = true;
  options.host = host_name();
  const MountEnvironment environment{*stack.store,       posix_env(),         system_clock(),
                                     os_rng(),           runtime.work,        runtime.maintenance,
                                     runtime.publishing, open_lmdb_meta_store};
  TRY_ASSIGN(OpenedMount mount, open_mount(*cache, environment, options, Context()));
  TRY_ASSIGN(const auto volume, Volume::open(*mount.engine, 0, 0));
  return rescue(*volume, target);
}

int run_recover(const RecoverArguments& arguments) {
  set_log_level(LogLevel::kWarn);
  Runtime runtime;
  const auto report = recover(arguments, runtime);
  if (!report) return complain(report.error());
  std::cout << report->files << " files (" << format_size(report->bytes)
            << ") with unpublished changes are in " << arguments.target << "\n";
  if (report->failed > 0) {
    std::cerr << "cairn: " << report->failed << " could not be recovered, see above\n";
    return kExitFailed;
  }
  if (report->files > 0)
    std::cout << "To use the cache again, give its own changes up: cairn mount --discard-local\n";
  return kExitOk;
}

}  // namespace

void add_recover_command(CommandLine& line) {
  auto arguments = std::make_shared<RecoverArguments>();
  Command& command = line.add("recover", "Take unpublished files out of a cache that cannot mount");
  command.argument("CACHE-DIR", ValueKind::kDirectory, arguments->cache_dir, "the cache directory");
  command
      .text("to", "DIR", arguments->target, "an empty directory for the files",
            ValueKind::kDirectory)
      .required()
      .only_typed();
  command.about(
      "When another node has taken a volume over, or a mount refuses because this cache holds "
      "changes that the volume's history has passed by, this copies every file with such changes "
      "out of the cache, as it was here. The cache is left as it is; 'cairn mount --discard-local' "
      "gives its changes up afterwards.");
  command.example("cairn recover /var/cache/cairn --to /root/rescued",
                  "all that was not published");
  add_store_options(command, arguments->store);
  command.run([arguments] { return run_recover(*arguments); });
}

}  // namespace cairn
