#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "cache/base/log.h"
#include "cache/cache_dir.h"
#include "cache/cache_repair.h"
#include "fs/volume.h"
#include "tools/commands.h"
#include "tools/host_name.h"
#include "tools/progress.h"
#include "tools/recovery_store.h"
#include "tools/rescue.h"
#include "tools/rescue_objects.h"
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

// What was named, or all below it.
Result<std::vector<std::string>> find_caches(const std::string& named) {
  Env& env = posix_env();
  const auto is_cache = [&env](const std::string& path) {
    return env.stat(path + "/identity") || env.stat(path + "/journal");
  };
  std::vector<std::string> caches;
  if (is_cache(named)) caches.push_back(named);
  if (!caches.empty()) return caches;
  const auto names = env.list_dir(named);
  if (!names) return fail(Errc::kNotFound, "there is no directory " + named);
  for (const std::string& name : *names)
    if (is_cache(named + "/" + name)) caches.push_back(named + "/" + name);
  std::sort(caches.begin(), caches.end());
  if (caches.empty()) return fail(Errc::kNotFound, named + " is not a cache directory of cairn");
  return caches;
}

// The only one.
Result<std::string> find_cache(const std::string& named) {
  TRY_ASSIGN(const auto caches, find_caches(named));
  if (caches.size() == 1) return caches.front();
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

std::string counted(size_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

std::string line_of(const UnpublishedItem& item) {
  using Kind = UnpublishedItem::Kind;
  const auto path = [&item](const std::string& of) {
    return printable_name(of.substr(std::min<size_t>(of.size(), 1))) + (item.is_dir ? "/" : "");
  };
  const std::string from = item.from.empty() ? "" : path(item.from) + " -> ";
  switch (item.kind) {
    case Kind::kRenamed:
      return "renamed    " + from + path(item.path);
    case Kind::kRemoved:
      return "removed    " + path(item.path);
    case Kind::kSet:
      return "set        " + path(item.path) + " (mode, owner, time or metadata)";
    case Kind::kDirectory:
      return "directory  " + path(item.path);
    case Kind::kFile:
    case Kind::kLink:
      break;
  }
  std::string line = (item.held ? "held       " : "pending    ") + from + path(item.path);
  if (item.kind == Kind::kLink) return line + " (symbolic link)";
  line += " (" + format_size(item.size);
  if (item.only_in_store > 0)
    line += ", " + format_size(item.only_in_store) + " of it as the bucket has it";
  return line + ")";
}

void print_items(const std::vector<UnpublishedItem>& items) {
  for (const UnpublishedItem& item : items) std::cout << "  " << line_of(item) << "\n";
}

class Recover {
 public:
  Recover(const RecoverArguments& arguments, Runtime& runtime)
      : arguments_(arguments), runtime_(runtime) {
    options_.host = host_name();
  }

  Status run() {
    TRY_ASSIGN(const std::string folder, find_cache(absolute(arguments_.cache_dir)));
    TRY(open(folder));
    if (!arguments_.target.empty()) TRY(take_out(absolute(arguments_.target)));
    return arguments_.repair ? repair() : Status();
  }

  // Says what is not published in a cache.
  Status list(const std::string& folder) {
    TRY(open(folder));
    std::cout << folder << ": " << url_.text() << (is_of_objects_ ? ", objects" : ", a volume")
              << "\n";
    if (!is_of_objects_) return list_volume();
    return with_mount([this](OpenedMount& mount, Volume& volume) -> Status {
      TRY_ASSIGN(const auto items, unpublished_items(mount, volume, complete_));
      print_items(items);
      if (items.empty() && complete_) std::cout << "  everything is in the bucket\n";
      return {};
    });
  }
  bool is_complete() const { return complete_; }

 private:
  Status open(const std::string& folder) {
    is_of_objects_ = posix_env().stat(folder + "/names").has_value();
    std::string remote;
    if (const auto told = CacheDir::remote_of(posix_env(), folder)) {
      remote = *told;
    } else if (arguments_.remote.empty()) {
      return fail(Errc::kCorruption, told.error().message() +
                                         "; say with --remote REMOTE which remote the cache "
                                         "belongs to");
    } else {
      TRY_ASSIGN(const RemoteUrl given, parse_remote_url(arguments_.remote, true));
      remote = given.text();
    }
    TRY_ASSIGN(url_, parse_remote_url(remote, true));
    if (is_of_objects_ && arguments_.repair)
      return fail(Errc::kUnsupported,
                  folder +
                      " is the cache of a bucket's objects, which --repair is not for; take "
                      "out what can be read with --to, then remove the folder");
    if (!arguments_.target.empty()) TRY(check_target(absolute(arguments_.target)));
    TRY(is_of_objects_ ? open_for_objects() : open_for_volume());
    TRY_ASSIGN(cache_, CacheDir::open(posix_env(), os_rng(), folder, remote, true));
    return {};
  }

  Status open_for_volume() {
    if (!wants_store()) {
      use_recovery_store(nullptr, not_asked());
      return {};
    }
    TRY_ASSIGN(StoreStack stack, open_store(url_, arguments_.store, false, runtime_));
    store_ = stack.store;
    return {};
  }
  bool wants_store() const { return !arguments_.target.empty() || arguments_.repair; }

  // Whatever has become of the bucket, or of the keys to it.
  Status open_for_objects() {
    std::shared_ptr<ObjectStore> there;
    Status why = not_asked();
    if (wants_store()) {
      auto stack = open_store(url_, arguments_.store, false, runtime_);
      if (stack) there = stack->store;
      why = stack ? Status() : tl::unexpected<Error>(stack.error());
    }
    use_recovery_store(std::move(there), std::move(why));
    options_.engine.io_timeout = std::chrono::seconds(10);
    options_.objects = ObjectView{};
    options_.objects->uid = ::geteuid();
    options_.objects->gid = ::getegid();
    options_.objects->all_buckets = url_.is_all_buckets();
    return {};
  }

  static Status not_asked() { return fail(Errc::kUnsupported, "the store was not asked"); }
  void use_recovery_store(std::shared_ptr<ObjectStore> there, Status why) {
    recovery_store_ =
        std::make_shared<RecoveryStore>(std::move(there), std::move(why), url_.text(), runtime_.io);
    runtime_.stores.push_back(recovery_store_);
    store_ = recovery_store_;
  }

  MountEnvironment environment() {
    return {*store_,       posix_env(),          system_clock(),      os_rng(),
            runtime_.work, runtime_.maintenance, runtime_.publishing, open_lmdb_meta_store};
  }

  // As it was here, with `use(mount, volume)`. Nothing of the cache is changed.
  template <class Use>
  Status with_mount(const Use& use) {
    const ScratchDir scratch("cairn-recover");
    if (scratch.path().empty()) return fail_errno(errno, "temporary directory");
    MountOptions options = options_;
    options.engine.read_only = true;
    options.recover = true;
    options.scratch_dir = scratch.path();
    TRY_ASSIGN(OpenedMount mount, open_mount(*cache_, environment(), options, Context()));
    for (const std::string& damage : mount.damage) std::cerr << "damaged: " + damage + "\n";
    TRY_ASSIGN(const auto volume, Volume::open(*mount.engine, 0, 0));
    complete_ = complete_ && mount.damage.empty();
    return use(mount, *volume);
  }

  Status list_volume() {
    TRY_ASSIGN(const JournalSurvey survey,
               survey_journal(posix_env(), journal_options_of(*cache_, options_)));
    TRY_ASSIGN(const CacheTables tables,
               open_cache_tables(environment(), options_, cache_->sub("meta")));
    const Lsn published = tables.marks.published;
    if (survey.last() <= published) {
      std::cout << "  everything is in the store\n";
      return {};
    }
    std::cout << "  " << counted(survey.last() - published, "change")
              << " may not be in the store; --to brings the files out\n";
    return {};
  }

  Status take_out(const std::string& target) {
    return with_mount([&](OpenedMount& mount, Volume& volume) -> Status {
      RescueReport report;
      if (is_of_objects_) {
        TRY_ASSIGN(const auto items, unpublished_items(mount, volume, complete_));
        print_items(items);
        TRY_ASSIGN(report, rescue_objects(mount, volume, items, target));
        if (const Status away = recovery_store_->away(); !away && report.missing > 0)
          std::cerr << "cairn: the bucket cannot be read (" << away.error().message()
                    << "): of files that were changed in part only what was written here is "
                       "there; with the bucket within reach, recover into another directory\n";
      } else {
        TRY_ASSIGN(report, rescue(volume, target, mount.lost));
      }
      tell(report, target, mount.damage.empty());
      return {};
    });
  }

  void tell(const RescueReport& report, const std::string& target, bool is_sound) {
    std::cout << report.files << " files (" << format_size(report.bytes)
              << ") with unpublished changes are in " << target << "\n";
    if (report.nameless > 0)
      std::cout << report.nameless << " of them have lost their names; they are in " << target
                << report.nameless_dir << "\n";
    if (report.failed > 0)
      std::cerr << "cairn: " << report.failed << " could not be recovered whole, see above\n";
    complete_ = complete_ && report.failed == 0;
    if (is_of_objects_) {
      std::cout << "The cache is as it was: a mount with it sends all this when the bucket can be "
                   "reached.\n";
      return;
    }
    if (report.files > 0 && is_sound && !arguments_.repair)
      std::cout << "To use the cache again, give its own changes up: cairn mount --discard-local\n";
  }

  Status repair() {
    TRY_ASSIGN(const RepairReport report,
               repair_cache(*cache_, environment(), options_, Context()));
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
  RemoteUrl url_;
  bool is_of_objects_ = false;
  std::shared_ptr<ObjectStore> store_;
  std::shared_ptr<RecoveryStore> recovery_store_;  // the same, of objects or for a list
  std::unique_ptr<CacheDir> cache_;
  bool complete_ = true;
};

// All caches that are there.
int run_list(const RecoverArguments& arguments) {
  const auto caches = find_caches(absolute(arguments.cache_dir));
  if (!caches) return complain(caches.error());
  int code = kExitOk;
  for (const std::string& cache : *caches) {
    Runtime runtime;
    Recover recover(arguments, runtime);
    const Status listed = recover.list(cache);
    if (!listed) complain(listed.error());
    if (!listed || !recover.is_complete()) code = kExitFailed;
  }
  return code;
}

int run_recover(const RecoverArguments& arguments) {
  set_log_level(LogLevel::kWarn);
  if (arguments.target.empty() && !arguments.repair) return run_list(arguments);
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
            "what the cache belongs to, when the cache cannot say it any more")
      .only_typed();
  command.about(
      "When another node has taken a volume over, or a mount refuses because this cache holds "
      "changes that the volume's history has passed by, --to copies every file with such changes "
      "out of the cache, as it was here: with its owner, mode, times, extended attributes and hard "
      "links, as far as the user may set them. The cache is left as it is; 'cairn mount "
      "--discard-local' gives its changes up afterwards.");
  command.about(
      "The cache of a bucket's objects is read without the bucket. --to brings out each file and "
      "directory that is not there yet, or is held back by --filter-upload, under its path in the "
      "mount; what is only renamed, removed or set otherwise is told. Of a file that was changed "
      "in part the rest is fetched; where that cannot be had it is zeroes, each range is named, "
      "and the exit status is 1. The cache is left as it is, and a later mount sends what waits.");
  command.about(
      "Without an option it says what is not published in the cache, or in each cache of a "
      "directory of caches (such as /var/cache/cairn).");
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
  command.example("cairn recover /var/cache/cairn", "what is not published, in which cache");
  command.example("cairn recover /var/cache/cairn --to /root/rescued",
                  "all that was not published");
  command.example("cairn recover /var/cache/cairn --repair", "a cache that is damaged");
  add_store_options(command, arguments->store);
  command.run([arguments] { return run_recover(*arguments); });
}

}  // namespace cairn
