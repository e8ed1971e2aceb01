#include "tools/mount.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <iostream>

#include "cache/await.h"
#include "cache/base/log.h"
#include "cache/collector_loop.h"
#include "cache/commit_parts.h"
#include "cache/snapshots.h"
#include "cache/space.h"
#include "cache/volume_format.h"
#include "fs/fuse_session.h"
#include "fs/volume.h"
#include "s3/file_walk.h"
#include "tools/cache_folder.h"
#include "tools/commands.h"
#include "tools/format.h"
#include "tools/history.h"
#include "tools/host_name.h"
#include "tools/memory_limit.h"
#include "tools/mount_table.h"
#include "tools/past_view.h"
#include "tools/service_notify.h"
#include "tools/status_json.h"
#include "tools/units.h"

namespace cairn {

namespace {

sigset_t ending_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&set, signal);
  return set;
}

class Mount {
 public:
  Mount(MountSettings settings, Daemon& daemon) : settings_(std::move(settings)), daemon_(daemon) {}

  int run() {
    runtime_.control.submit([this] { watch_signals(); });
    if (const Status opened = open(); !opened) {
      no_more_signals();
      if (collector_) collector_->stop();
      if (mount_.engine) engine().abandon();  // before the session that it tells of changes goes
      log_error("{}", opened.error().message());
      daemon_.failed(opened.error().message());
      return kExitFailed;
    }
    std::string line = settings_.remote.text() + " is mounted at " + settings_.mountpoint;
    if (settings_.remote.is_all_buckets())
      line += ": its buckets as directories, their objects as files";
    else if (shows_objects_)
      line += ": the objects there as files (it holds no volume)";
    if (is_offline())
      line += settings_.options.engine.read_only && shows_objects_
                  ? "\nthe store cannot be reached: what the cache has is shown"
                  : "\nthe store cannot be reached: the mount works from the cache, and what is "
                    "written is sent when the store is back";
    const bool follows = settings_.options.engine.read_only && !shows_objects_;
    log_info("{}{}", line, follows ? " (read-only)" : "");
    daemon_.ready(line);
    notify_.ready(line);
    if (shows_objects_ && !settings_.options.engine.read_only &&
        settings_.stale_uploads.count() > 0)
      store_.abort_stale_uploads(settings_.stale_uploads, Context{.cancel = closing_});
    phase_ = Phase::kServing;
    const Status served = session_->run(kFuseThreads);
    if (!served) log_error("{}", served.error().message());
    return close(served);
  }

 private:
  static constexpr unsigned kFuseThreads = 8;
  // How long the service manager waits for the next word of a flush before it thinks us dead.
  static constexpr Duration kPatience = std::chrono::seconds(30);

  Engine& engine() { return *mount_.engine; }
  // Opened without the store, and it has answered nothing since.
  bool is_offline() {
    if (mount_.remote != nullptr) return mount_.remote->state().offline;
    const RequestCounts requests = store_.store->counts();
    return offline_ && requests.total() == requests.failed + requests.in_flight;
  }
  std::string cache_folder_path(bool of_objects) const {
    return cache_folder(settings_.cache_base, settings_.remote,
                        (of_objects ? kAtObjects : "") + settings_.at_text);
  }

  Status open() {
    EngineSettings& engine_settings = settings_.options.engine;
    auto stack = open_store(
        settings_.remote, settings_.store,
        (settings_.create || settings_.as_objects) && !engine_settings.read_only, runtime_);
    if (!stack) {
      if (settings_.remote.kind == RemoteUrl::Kind::kFile &&
          stack.error().code() == Errc::kNotFound)
        return no_volume("there is no directory " + settings_.remote.directory);
      return tl::unexpected<Error>(stack.error());
    }
    store_ = std::move(*stack);
    shown_store_ = store_.store;
    Context context;
    context.deadline = Deadline::after(system_clock(), first_contact_timeout());
    // Where objects were seen before there is hardly a volume.
    auto look = settings_.as_objects || has_cache(/*of_objects=*/true)
                    ? nullptr
                    : std::make_shared<HeadLook>(*store_.store, context);
    TRY_ASSIGN(const bool reached, find_out(context));
    if (shows_objects_) TRY(set_up_objects(reached, context));
    if (!shows_objects_ && settings_.objects.filters.policies)
      return fail(Errc::kInvalid, settings_.remote.text() +
                                      " holds a volume: filters (--filter-visible and the like) "
                                      "are for the objects of a bucket");
    const bool writes = !engine_settings.read_only;
    MountOptions options = settings_.options;
    options.offline = !reached;
    options.head_look = std::move(look);
    const std::string folder = cache_folder_path(shows_objects_);
    TRY_ASSIGN(cache_, CacheDir::open(posix_env(), os_rng(), folder, settings_.remote.text()));
    if (settings_.at_is_relative) passing_cache_.set(cache_->path());
    begin_log();
    const MountEnvironment environment{
        *shown_store_, posix_env(),          system_clock(),      os_rng(),
        runtime_.work, runtime_.maintenance, runtime_.publishing, open_lmdb_meta_store};
    TRY_ASSIGN(mount_, open_mount(*cache_, environment, options, Context()));
    offline_ = !reached;
    if (mount_.replayed > 0)
      log_info("{} changes of an earlier mount are not in the store yet; they are sent now",
               mount_.replayed);
    TRY_ASSIGN(volume_, Volume::open(engine(), mount_.slot.slot, mount_.slot.next_group));
    Phase opening = Phase::kOpening;
    if (!phase_.compare_exchange_strong(opening, Phase::kMounting))
      return fail(Errc::kCancelled, "stopped before it was mounted");
    if (writes && !shows_objects_) start_collector();
    TRY(open_session());
    return open_control();
  }

  tl::unexpected<Error> no_volume(const std::string& why, const std::string& or_else = {}) const {
    return fail(Errc::kNotFound, why + "; make a volume with 'cairn format " +
                                     settings_.remote.text() + "' or 'cairn mount --create'" +
                                     or_else);
  }

  bool has_cache(bool of_objects = false) const {
    return posix_env().stat(cache_folder_path(of_objects) + "/identity").has_value();
  }
  // Nobody should have to wait long to hear that the store is away.
  Duration first_contact_timeout() const {
    return std::min<Duration>(settings_.options.engine.io_timeout,
                              std::chrono::seconds(has_cache() ? 10 : 15));
  }

  Status set_up_objects(bool reached, const Context& context) {
    MountOptions& options = settings_.options;
    if (options.takeover || options.discard_local)
      return fail(Errc::kInvalid, settings_.remote.text() +
                                      " holds objects and no volume: --takeover and "
                                      "--discard-local are for volumes");
    const PastQuestion question{settings_.remote.text(), options.at, reached, keeps_versions_};
    TRY_ASSIGN(PastView view, past_view(store_.store, question, runtime_.io, context));
    shown_store_ = std::move(view.store);
    if (shown_store_ != store_.store) runtime_.stores.push_back(shown_store_);
    settings_.objects.past = view.past;
    // What was does not change.
    if (options.at) settings_.objects.metadata_ttl = std::chrono::hours(24);
    const bool is_directory = settings_.remote.kind == RemoteUrl::Kind::kFile;
    settings_.objects.probe_names = !is_directory;
    settings_.objects.only_utf8 = !is_directory;
    if (is_directory) settings_.objects.reserved = kTemporaryDir;
    // A page of names that were may be many of versions.
    settings_.objects.deep_pages = !is_directory && !options.at;
    options.at.reset();
    // How soon the kernel hears of what was replaced; it costs no request.
    options.engine.poll_interval = std::chrono::seconds(1);
    options.objects = settings_.objects;
    options.objects->all_buckets = settings_.remote.is_all_buckets();
    return {};
  }

  // Without the store: the cache of a volume, or of a bucket's own objects, will do.
  bool finds_cache() {
    if (has_cache()) return true;
    shows_objects_ = has_cache(/*of_objects=*/true);
    return shows_objects_;
  }

  // Out of reach: say why in the words of the first minute, or go on from the cache (false).
  Result<bool> go_on_without(const Status& access, const Error& otherwise) {
    const Error& why = access ? otherwise : access.error();
    const bool is_away = why.code() == Errc::kTransient || why.code() == Errc::kTimeout;
    if ((!access && !is_away) || !finds_cache()) return tl::unexpected<Error>(why);
    log_warn("{} cannot be reached; going on with what the cache has: {}", settings_.remote.text(),
             why.message());
    return false;
  }

  // What the remote holds: a volume, which is made when that was asked for, or objects. False: the
  // store is out of reach, and the cache will do.
  Result<bool> find_out(const Context& context) {
    // What is in the buckets is not looked at.
    if (settings_.remote.is_all_buckets()) {
      shows_objects_ = true;
      const Status access = store_.check_access(context);
      if (access) return true;
      return go_on_without(access, access.error());
    }
    const auto identity = identify(*store_.store, context);
    if (!identity) return go_on_without(store_.check_access(context), identity.error());
    const std::string url = settings_.remote.text();
    const auto& at = settings_.options.at;
    switch (identity->kind) {
      case Identity::Kind::kVolume:
        if (!settings_.as_objects) return true;
        return fail(Errc::kExists, url + " holds a volume: it is mounted without --objects");
      case Identity::Kind::kOther:
        if (has_cache())
          return fail(Errc::kCorruption,
                      url + " was a volume (the cache " + cache_folder_path(shows_objects_) +
                          " is of it), but its cairn.json is gone; take out what only the cache "
                          "has with 'cairn recover', or remove that cache to see the objects as "
                          "files");
        if (!settings_.create) {
          shows_objects_ = true;
          return true;
        }
        return fail(Errc::kExists, url + " holds other things (such as " + identity->example +
                                       ") and no volume; make one beside them with 'cairn format " +
                                       url +
                                       "/PREFIX', or mount without --create to see them as files");
      case Identity::Kind::kEmpty:
        // Also where objects were and all are gone.
        shows_objects_ = true;
        if (!settings_.create && (settings_.as_objects || has_cache(true))) return true;
        if (!settings_.create) keeps_versions_ = has_past(*store_.store, at, context);
        if (keeps_versions_.value_or(false)) return true;
        shows_objects_ = false;
        break;
    }
    if (!settings_.create) {
      TRY(store_.check_access(context));
      return no_volume(url + " is empty", ", or mount with --objects to have plain objects there");
    }
    if (settings_.options.engine.read_only)
      return fail(Errc::kInvalid, url + " is empty, and what only reads makes no volume there");
    TRY(format_remote(store_, FormatSettings(), runtime_, Context()));
    return true;
  }

  void begin_log() {
    if (settings_.foreground && settings_.log_file.empty()) return;
    // A file that the user named is the user's to rotate.
    const bool own = settings_.log_file.empty();
    const std::string path = own ? cache_->path() + "/log" : settings_.log_file;
    if (!log_to_file(path, own ? Space::kLogBytes : 0))
      log_warn("the log file {} cannot be written", path);
  }

  Status open_session() {
    const EngineSettings& engine_settings = settings_.options.engine;
    FuseSession::Options options;
    options.mountpoint = settings_.mountpoint;
    options.source = settings_.remote.text();
    options.read_only = engine_settings.read_only;
    options.allow_other = settings_.allow_other;
    options.extra = settings_.kernel_options;
    options.io_timeout = engine_settings.io_timeout;
    options.fixed_content = shows_objects_;
    // What was begun offline may find that another node went on.
    options.changed_here_only = !shows_objects_ && !engine_settings.read_only && !is_offline();
    if (shows_objects_)
      options.cache_seconds = std::chrono::duration<double>(settings_.objects.metadata_ttl).count();
    else if (engine_settings.read_only)
      options.cache_seconds = std::chrono::duration<double>(engine_settings.poll_interval).count();
    options.remote_durability = settings_.remote_durability;
    TRY_ASSIGN(session_, FuseSession::mount(*volume_, options));
    engine().on_followed([this](const Changes& changes) { session_->invalidate(changes); });
    return {};
  }

  void start_collector() {
    CollectorLoop::Options options;
    options.interval = settings_.gc_interval;
    options.grace = settings_.gc_grace;
    options.pinned = [this] { return volume_->open_removed(); };
    collector_ = std::make_unique<CollectorLoop>(engine(), *mount_.remote, runtime_.collecting,
                                                 system_clock(), std::move(options));
    collector_->start();
  }

  // ---- control

  Status open_control() {
    TRY_ASSIGN(const auto table, read_mount_table());
    if (const auto entry = mount_at(table, settings_.mountpoint)) device_ = entry->device;
    TRY_ASSIGN(const std::string path, control_path(settings_.mountpoint));
    TRY_ASSIGN(control_, ControlServer::open(path, runtime_.control,
                                             [this](const Json& request, const auto& progress) {
                                               return answer(request, progress);
                                             }));
    return {};
  }

  Json status() {
    const PublishedState published = engine().remote().published();
    const LsnStatus lsn = engine().lsn_status();
    const RemoteHealth health = engine().health();
    const Status local = engine().local_health();
    const RequestCounts requests = store_.store->counts();
    return Json{
        {"pid", ::getpid()},
        {"remote", settings_.remote.text()},
        {"mountpoint", settings_.mountpoint},
        {"view", shows_objects_ ? "objects" : "volume"},
        {"mode", settings_.options.engine.read_only ? "read-only"
                 : health.fenced                    ? "fenced"
                                                    : "read-write"},
        {"epoch", published.epoch},
        {"lsn", lsn_json(lsn)},
        {"pending", pending_json(engine().pending())},
        {"held", held_json(engine().kept_back())},
        {"cache", {{"bytes", engine().cache_bytes()}, {"limit", engine().cache_bytes_max()}}},
        {"memory", memory_json(settings_.options.memory_bytes_max)},
        {"requests", requests_json(requests)},
        {"transferred", transferred_json(requests)},
        {"commit", commit_json(published)},
        {"store", store_json(published)},
        {"objects", objects_status()},
        {"commit_interval_ms", engine().commit_interval().count() / 1'000'000},
        {"collection", last_collection()},
        {"fenced", health.fenced},
        {"offline", is_offline()},
        {"store_error", health.last_error},
        {"publish_error", health.publish_error},
        {"local_error", local ? std::string() : local.error().message()},
        {"device", device_},
        {"ending", ending_.load()},
    };
  }

  // How sure it is to find out that somebody else changed an object, and how often that was so.
  Json objects_status() {
    if (mount_.bucket == nullptr) return Json();
    const auto honours = mount_.bucket->honours_if_match();
    return Json{{"conditional_puts", honours ? Json(*honours) : Json()},
                {"conflicts", mount_.bucket->conflicts()}};
  }

  Json last_collection() {
    const auto last = collector_ ? collector_->last() : std::nullopt;
    return last ? collect_json(*last) : Json();
  }

  // Everything acknowledged so far is in the store before it gets a name.
  Status make_snapshot(const std::string& name, const Context& context) {
    TRY(check_snapshot_name(name));
    if (shows_objects_)
      return fail(Errc::kInvalid,
                  settings_.remote.text() + " holds objects and no volume: it has no snapshots");
    if (!settings_.options.engine.read_only) TRY(engine().flush(context, nullptr));
    TRY_ASSIGN(const StoredCommit commit, stored_commit(mount_.remote->shown_commit()));
    CommitLog log(*store_.store, runtime_.work, system_clock(), os_rng(), {});
    return create_snapshot(*store_.store, log, name, commit, context);
  }

  Json answer_snapshot(const Json& request) {
    if (mount_.remote == nullptr)
      return to_answer(fail(Errc::kUnsupported, "only volumes have snapshots"));
    const std::string action = request.value("action", "");
    const std::string name = request.value("name", "");
    Context context;
    context.cancel = stop_token_;
    context.deadline = Deadline::after(system_clock(), settings_.options.engine.stall_timeout);
    if (action == "list") {
      const auto snapshots = list_snapshots(*store_.store, context);
      if (!snapshots) return to_answer(tl::unexpected<Error>(snapshots.error()));
      return Json{{"ok", true}, {"snapshots", snapshots_json(*snapshots)}};
    }
    Status done = fail(Errc::kInvalid, "unknown action");
    if (action == "create") done = make_snapshot(name, context);
    if (action == "delete") done = delete_snapshot(*store_.store, name, context);
    return to_answer(done);
  }

  Json answer_collect(const Json& request, const ControlServer::Progress& progress) {
    if (!collector_)
      return to_answer(
          fail(Errc::kUnsupported, shows_objects_ ? "only volumes have garbage"
                                                  : "this mount is read-only; the volume's writer "
                                                    "collects"));
    Context context;  // the end of the mount ends a collection anyway
    CollectOptions how;
    how.grace = settings_.gc_grace;
    how.dry_run = request.value("dry_run", false);
    if (const auto grace = request.find("grace_ns"); grace != request.end())
      how.grace = Duration(grace->get<int64_t>());
    if (const Status fine = check_grace(how.grace); !fine) return to_answer(fine);
    how.progress = [&](std::string_view step, const CollectReport& report) {
      Json json = collect_json(report);
      json["step"] = step;
      if (!progress(json)) context.cancel.cancel();  // nobody waits for it any more
    };
    const auto report = collector_->run(std::move(how), context);
    if (!report) return to_answer(tl::unexpected<Error>(report.error()));
    return Json{{"ok", true}, {"report", collect_json(*report)}};
  }

  Json answer(const Json& request, const ControlServer::Progress& progress) {
    const std::string command = request.value("command", "");
    const uint64_t inode = request.value("inode", uint64_t{0});
    if (command == "status") return Json{{"ok", true}, {"status", status()}};
    if (command == "snapshot") return answer_snapshot(request);
    if (command == "gc") return answer_collect(request, progress);
    if (command == "file-status") return file_status(inode);
    if (command == "flush" || command == "umount") {
      Json flushed = to_answer(flush(request, progress));
      flushed["held"] = held_json(engine().kept_back());
      return flushed;
    }
    if (command == "pin") return to_answer(pin(inode, request.value("size", uint64_t{0})));
    if (command == "evict") return to_answer(engine().evict(inode));
    if (command != "unpin") return to_answer(fail(Errc::kInvalid, "unknown command"));
    engine().unpin(inode);
    return to_answer({});
  }

  static Json to_answer(const Status& done) {
    if (done) return Json{{"ok", true}};
    // Waiting cannot help who was fenced: it may leave.
    const bool fenced = done.error().code() == Errc::kFenced;
    return Json{{"ok", false}, {"error", done.error().message()}, {"fenced", fenced}};
  }

  Json file_status(uint64_t inode) {
    const auto found = engine().file_status(inode);
    if (!found) return to_answer(tl::unexpected<Error>(found.error()));
    return Json{{"ok", true}, {"status", file_json(*found)}};
  }

  Status flush(const Json& request, const ControlServer::Progress& progress) {
    Context context;
    const auto stopped =
        stop_token_.on_cancel([cancel = context.cancel]() mutable { cancel.cancel(); });
    const int64_t timeout_ns = request.value("timeout_ns", int64_t{0});
    const Duration timeout = timeout_ns < 0 ? settings_.shutdown_timeout : Duration(timeout_ns);
    if (timeout_ns != 0) context.deadline = Deadline::after(system_clock(), timeout);
    return engine().flush(context, [&](const PendingStatus& pending) {
      if (!progress(flush_json(pending, engine().health()))) context.cancel.cancel();
    });
  }

  // Reads the records of what is pinned already, which may have to come from the store.
  Status pin(uint64_t inode, uint64_t size) {
    const Deadline deadline = Deadline::after(system_clock(), settings_.options.engine.io_timeout);
    while (true) {
      Need need;
      Status pinned = engine().pin(inode, size, need);
      if (pinned || pinned.error().code() != Errc::kNotLocal) return pinned;
      Context context;
      context.deadline = deadline;
      TRY(await<void>([&](Callback<void> done) {
        engine().satisfy(std::move(need), context, std::move(done));
      }));
    }
  }

  // ---- the end

  void watch_signals() {
    const sigset_t set = ending_signals();
    unsigned told = 0, done = 0;
    while (true) {
      const timespec patience{0, 200'000'000};
      const int signal = ::sigtimedwait(&set, nullptr, &patience);
      // What a signal acts on goes only after `over_` is set.
      const std::lock_guard lock(signal_mutex_);
      if (over_) return;
      if (signal > 0 && signal != SIGHUP) ++told;
      if (told == done) continue;
      Phase opening = Phase::kOpening;
      if (phase_.compare_exchange_strong(opening, Phase::kLeaving)) leave();
      if (phase_ != Phase::kServing) continue;
      if (done == 0) stop();
      // Who asks again will not wait: the next mount sends what is left.
      if (told > 1) stop_token_.cancel();
      done = told;
    }
  }

  void no_more_signals() {
    const std::lock_guard lock(signal_mutex_);
    over_ = true;
  }

  // Nothing is mounted and nothing was accepted: there is nothing to wait for.
  [[noreturn]] void leave() {
    const std::string what = "stopped before it was mounted";
    log_info("{}", what);
    daemon_.failed(what);
    ::_exit(kExitFailed);
  }

  void stop() {
    log_info("told to stop: flushing for at most {}",
             format_duration(settings_.shutdown_timeout.count() / 1'000'000));
    runtime_.control.submit_at(system_clock().now() + settings_.shutdown_timeout,
                               [token = stop_token_]() mutable { token.cancel(); });
    session_->stop();
  }

  int close(const Status& served) {
    ending_ = true;
    Context context;
    context.cancel = stop_token_;
    closing_.cancel();
    if (collector_) collector_->stop();
    notify_.stopping("flushing", kPatience);
    const Status closed = engine().close(context, [this](const PendingStatus& pending) {
      const std::string left = "flushing: " + format_size(pending.bytes) + " in " +
                               std::to_string(pending.files) + " files to go";
      log_once_per(std::chrono::seconds(10), "closing", left);
      notify_.stopping(left, kPatience);
    });
    Json last_word{{"closed", closed.has_value()}};
    if (!closed) {
      const std::string left =
          closed.error().message() + "; the cache keeps it and the next mount goes on";
      log_error("not everything is in the store: {}", left);
      if (settings_.foreground)
        std::cerr << "cairn: not everything is in the store: " << left << "\n";
      last_word["error"] = left;
      notify_.stopping("not everything is in the store: " + left, kPatience);
    } else {
      const KeptStatus held = engine().kept_back();
      last_word["held"] = held_json(held);
      log_info("{} is unmounted, everything is in the store{}", settings_.mountpoint,
               held.files == 0
                   ? std::string()
                   : " but " + std::to_string(held.files) +
                         " files that --filter-upload holds back: the cache keeps them");
    }
    no_more_signals();
    control_->stop();  // a request may still look at what goes now
    session_.reset();
    volume_.reset();
    mount_.engine.reset();
    cache_.reset();  // gives the lock back before a waiting client is told
    control_->close(last_word);
    return served && closed ? kExitOk : kExitFailed;
  }

  MountSettings settings_;
  Daemon& daemon_;
  ServiceNotify notify_{ServiceNotify::address()};
  // Threads are the last to go: everything below gives them work.
  Runtime runtime_{/*says_trouble=*/false};  // the log and `status` do
  CancelToken stop_token_;
  CancelToken closing_;  // of what is done beside while the mount serves
  LongMutex signal_mutex_;
  bool over_ = false;
  // Until kMounting a signal ends the process at once; from kServing on it asks for a flush.
  enum class Phase : uint8_t { kOpening, kLeaving, kMounting, kServing };
  std::atomic<Phase> phase_{Phase::kOpening};
  std::atomic<bool> ending_{false};  // the session is over
  std::string device_;               // of the mount, as the kernel names it
  StoreStack store_;
  std::shared_ptr<ObjectStore> shown_store_;  // the same, or what is made of it for the view
  bool shows_objects_ = false;                // known once the store, or the cache, was looked at
  bool offline_ = false;                      // it was out of reach then
  std::optional<bool> keeps_versions_;        // when the store was asked
  PassingFolder passing_cache_;
  std::unique_ptr<CacheDir> cache_;
  OpenedMount mount_;
  std::unique_ptr<Volume> volume_;
  std::unique_ptr<CollectorLoop> collector_;
  std::unique_ptr<FuseSession> session_;
  std::unique_ptr<ControlServer> control_;
};

}  // namespace

int run_mount(MountSettings settings, Daemon& daemon) {
  // Before any thread is made, so that all of them leave these to the one that waits for them.
  const sigset_t set = ending_signals();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  prepare_allocator();
  ::umask(0077);
  return Mount(std::move(settings), daemon).run();
}

}  // namespace cairn
