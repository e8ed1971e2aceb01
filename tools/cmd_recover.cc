#include <filesystem>
#include <iostream>

#include "cache/base/log.h"
#include "cache/cache_dir.h"
#include "cache/cache_repair.h"
#include "fs/volume.h"
#include "tools/commands.h"
#include "tools/host_name.h"
#include "tools/rescue.h"
#include "tools/scratch_dir.h"
#include "tools/units.h"

namespace cairn {

namespace {

struct RecoverArguments {
  std::string cache_dir;
  std::string target;
  std::string remote;  // empty: the cache says it
  bool repair = false;
  StoreOptions store;
};

// The folder of one remote's cache: what was named, or the only one below it.
Result<std::string> find_cache(const std::string& named) {
  Env& env = posix_env();
  const auto is_cache = [&env](const std::string& path) {
    return env.stat(path + "/identity") || env.stat(path + "/journal");
  };
  if (is_cache(named)) return named;
  const auto names = env.list_dir(named);
  if (!names) return fail(Errc::kNotFound, "there is no directory " + named);
  std::vector<std::string> caches;
  for (const std::string& name : *names)
    if (is_cache(named + "/" + name)) caches.push_back(named + "/" + name);
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

std::string absolute(const std::string& path) {
  return std::filesystem::absolute(path).lexically_normal().string();
}

class Recover {
 public:
  Recover(const RecoverArguments& arguments, Runtime& runtime)
      : arguments_(arguments), runtime_(runtime) {
    options_.host = host_name();
  }

  Status run() {
    TRY(open());
    const MountEnvironment environment{
        *stack_.store,         posix_env(),          system_clock(),      os_rng(),
        runtime_.work,         runtime_.maintenance, runtime_.publishing, open_lmdb_meta_store};
    if (!arguments_.target.empty()) TRY(take_out(environment, absolute(arguments_.target)));
    return arguments_.repair ? repair(environment) : Status();
  }
  bool is_complete() const { return complete_; }

 private:
  Status open() {
    TRY_ASSIGN(const std::string folder, find_cache(absolute(arguments_.cache_dir)));
    std::string remote;
    if (const auto told = CacheDir::remote_of(posix_env(), folder)) {
      remote = *told;
    } else if (arguments_.remote.empty()) {
      return fail(Errc::kCorruption, told.error().message() +
                                         "; say with --remote REMOTE which volume the cache "
                                         "belongs to");
    } else {
      TRY_ASSIGN(const RemoteUrl given, parse_remote_url(arguments_.remote));
      remote = given.text();
    }
    TRY_ASSIGN(const RemoteUrl url, parse_remote_url(remote));
    if (!arguments_.target.empty()) TRY(check_target(absolute(arguments_.target)));
    TRY_ASSIGN(stack_, open_store(url, arguments_.store, false, runtime_));
    TRY_ASSIGN(cache_, CacheDir::open(posix_env(), os_rng(), folder, remote, true));
    return {};
  }

  Status take_out(const MountEnvironment& environment, const std::string& target) {
    const ScratchDir scratch("cairn-recover");
    if (scratch.path().empty()) return fail_errno(errno, "temporary directory");
    MountOptions options = options_;
    options.engine.read_only = true;
    options.recover = true;
    options.scratch_dir = scratch.path();
    TRY_ASSIGN(OpenedMount mount, open_mount(*cache_, environment, options, Context()));
    for (const std::string& damage : mount.damage) std::cerr << "damaged: " << damage << "\n";
    TRY_ASSIGN(const auto volume, Volume::open(*mount.engine, 0, 0));
    TRY_ASSIGN(const RescueReport report, rescue(*volume, target, mount.lost));
    std::cout << report.files << " files (" << format_size(report.bytes)
              << ") with unpublished changes are in " << target << "\n";
    if (report.nameless > 0)
      std::cout << report.nameless << " of them have lost their names; they are in " << target
                << report.nameless_dir << "\n";
    if (report.failed > 0)
      std::cerr << "cairn: " << report.failed << " could not be recovered whole, see above\n";
    complete_ = complete_ && report.failed == 0 && mount.damage.empty();
    if (report.files > 0 && mount.damage.empty() && !arguments_.repair)
      std::cout << "To use the cache again, give its own changes up: cairn mount --discard-local\n";
    return {};
  }

  Status repair(const MountEnvironment& environment) {
    TRY_ASSIGN(const RepairReport report, repair_cache(*cache_, environment, options_, Context()));
    if (report.damage.empty()) {
      std::cout << "nothing is damaged in " << cache_->path() << "\n";
      return {};
    }
    for (const std::string& line : report.damage) std::cout << "damaged: " << line << "\n";
    for (const std::string& line : report.done) std::cout << "repaired: " << line << "\n";
    for (const std::string& line : report.lost) std::cout << "lost: " << line << "\n";
    std::cout << "What was damaged is kept in " << report.aside << "; remove it when nothing in it "
              << "is needed.\n";
    if (!report.lost.empty())
      std::cout << "To see what can be read of the rest: cairn recover " << report.aside
                << " --to DIR\n";
    std::cout << "The cache can be mounted again.\n";
    complete_ = complete_ && report.lost.empty();
    return {};
  }

  const RecoverArguments& arguments_;
  Runtime& runtime_;
  MountOptions options_;
  StoreStack stack_;
  std::unique_ptr<CacheDir> cache_;
  bool complete_ = true;
};

int run_recover(const RecoverArguments& arguments) {
  set_log_level(LogLevel::kWarn);
  if (arguments.target.empty() && !arguments.repair) {
    std::cerr << "cairn: say --to DIR, --repair, or both\n";
    return kExitUsage;
  }
  Runtime runtime;
  Recover recover(arguments, runtime);
  if (const Status done = recover.run(); !done) return complain(done.error());
  return recover.is_complete() ? kExitOk : kExitFailed;
}

}  // namespace

void add_recover_command(CommandLine& line) {
  auto arguments = std::make_shared<RecoverArguments>();
  Command& command =
      line.add("recover", "Take unpublished files out of a cache, or repair a damaged one");
  command.argument("CACHE-DIR", ValueKind::kDirectory, arguments->cache_dir, "the cache directory");
  command
      .text("to", "DIR", arguments->target, "an empty directory for the files",
            ValueKind::kDirectory)
      .only_typed();
  command.flag("repair", arguments->repair, "rebuild what is damaged in the cache").only_typed();
  command
      .text("remote", "REMOTE", arguments->remote,
            "the volume the cache belongs to, when the cache cannot say it any more")
      .only_typed();
  command.about(
      "When another node has taken a volume over, or a mount refuses because this cache holds "
      "changes that the volume's history has passed by, --to copies every file with such changes "
      "out of the cache, as it was here: with its owner, mode, times, extended attributes and hard "
      "links, as far as the user may set them. The cache is left as it is; 'cairn mount "
      "--discard-local' gives its changes up afterwards.");
  command.about(
      "When a mount refuses because the cache is damaged, --repair makes it usable again. Its log "
      "of changes is kept up to the first one that cannot be read: a state that the volume really "
      "had. Its tables are made anew from the last commit in the store and that log. Which "
      "changes, files and byte ranges are lost with the rest is said, and everything that was "
      "damaged is kept in CACHE-DIR/damaged-1 (and so on), from which --to brings out what can "
      "still be read, with the changes behind the damage. --to also works on a damaged cache "
      "before a repair; with both options it comes first.");
  command.about(
      "The exit status is 1 when something was lost or could not be brought out whole.");
  command.example("cairn recover /var/cache/cairn --to /root/rescued",
                  "all that was not published");
  command.example("cairn recover /var/cache/cairn --repair", "a cache that is damaged");
  add_store_options(command, arguments->store);
  command.run([arguments] { return run_recover(*arguments); });
}

}  // namespace cairn
