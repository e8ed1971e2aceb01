#include "cache/cache_dir.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>

#include "cache/base/coding.h"
#include "cache/base/failpoint.h"
#include "cache/base/log.h"
#include "cache/cache_repair.h"
#include "cache/journal_recovery.h"
#include "cache/journal_survey.h"

namespace cairn {

namespace {

constexpr uint64_t kMaxIdentity = 4096;

constexpr std::string_view kChecksum = "checksum ";

std::string checksum_line(std::string_view text) {
  return fmt::format("{}{:08x}\n", kChecksum, crc32c(as_bytes(text)));
}

// The UUID in hex, the remote, the checksum of both (which early caches do not have): a line each.
Result<CacheIdentity> parse_identity(const ByteVec& bytes, const std::string& path) {
  std::string_view text = as_chars(bytes);
  const auto damaged = [&path] { return fail(Errc::kCorruption, path + " is damaged"); };
  if (!text.ends_with('\n')) return damaged();
  const size_t last = text.size() - std::min(text.size(), checksum_line("").size());
  if (text.substr(last).starts_with(kChecksum)) {
    if (text.substr(last) != checksum_line(text.substr(0, last))) return damaged();
    text = text.substr(0, last);
  } else if (std::count(text.begin(), text.end(), '\n') > 2) {
    return damaged();
  }
  const size_t line = text.find('\n');
  const auto id = from_hex(text.substr(0, line));
  if (line == std::string_view::npos || line + 1 >= text.size() || !id || id->size() != 16)
    return damaged();
  CacheIdentity identity;
  std::copy(id->begin(), id->end(), identity.cache_id.begin());
  identity.remote = std::string(text.substr(line + 1, text.size() - line - 2));
  return identity;
}

bool has_journal(Env& env, const std::string& folder) {
  const auto files = find_journal_files(env, folder + "/journal");
  return files && !files->empty();
}

}  // namespace

Result<std::unique_ptr<CacheDir>> CacheDir::open(Env& env, Rng& rng, const std::string& path,
                                                 const std::string& remote, bool mend) {
  if (auto made = env.make_dirs(path); !made)
    return tl::unexpected<Error>(std::move(made).error().wrap("cache directory"));
  auto lock = env.lock_file(path + "/lock");
  if (!lock) {
    if (lock.error().code() != Errc::kExists)
      return tl::unexpected<Error>(std::move(lock).error().wrap("cache directory"));
    return fail(Errc::kExists,
                "the cache directory " + path +
                    " is in use by another mount; unmount that one first or give "
                    "this one its own --cache-dir (" +
                    lock.error().message() + ")",
                EBUSY);
  }
  std::unique_ptr<CacheDir> dir(new CacheDir(path, std::move(*lock)));
  TRY(dir->find_identity(env, rng, remote, mend));
  return dir;
}

Status CacheDir::find_identity(Env& env, Rng& rng, const std::string& remote, bool mend) {
  const std::string file = path_ + "/identity";
  Result<CacheIdentity> identity;
  if (env.stat(file)) {
    const auto bytes = read_file(env, file, kMaxIdentity);
    if (!bytes && bytes.error().code() != Errc::kInvalid)
      return tl::unexpected<Error>(bytes.error());
    identity = parse_identity(bytes ? *bytes : ByteVec(), file);
    // Who made it may have died before its name was durable; a journal that is must not outlive it.
    if (identity) TRY(env.sync_dir(path_));
  } else if (has_journal(env, path_)) {
    identity = fail(Errc::kCorruption, file + " is missing");
  } else {
    identity = CacheIdentity{make_uuid(rng), remote};
    TRY(put_identity(env, path_, *identity));
  }
  if (!identity) {
    if (!mend) return tl::unexpected<Error>(repair_advice(*this, identity.error(), remote));
    identity_damage_ = identity.error().message();
    TRY_ASSIGN(const auto id, cache_id_of_journal(env, sub("journal")));
    identity = CacheIdentity{id ? *id : make_uuid(rng), remote};
  }
  if (identity->remote != remote)
    return fail(Errc::kInvalid, "the cache directory " + path_ + " belongs to " +
                                    identity->remote + "; give " + remote +
                                    " another --cache-dir");
  identity_ = *std::move(identity);
  return {};
}

Status CacheDir::put_identity(Env& env, const std::string& folder, const CacheIdentity& identity) {
  const std::string text = to_hex(identity.cache_id) + "\n" + identity.remote + "\n";
  return replace_file(env, folder + "/identity", as_bytes(text + checksum_line(text)));
}

Result<std::string> CacheDir::remote_of(Env& env, const std::string& path) {
  const std::string identity_path = path + "/identity";
  TRY_ASSIGN(const ByteVec bytes, read_file(env, identity_path, kMaxIdentity));
  TRY_ASSIGN(CacheIdentity identity, parse_identity(bytes, identity_path));
  return std::move(identity.remote);
}

namespace {

// What the disk had left, which every write asks for. So far from the reserve nothing that is
// written in so short a time gets there.
struct LastLook {
  static constexpr uint64_t kFar = 1ULL << 30;
  static constexpr Duration kTime = std::chrono::milliseconds(10);
  std::atomic<uint64_t> left{0};
  std::atomic<MonotonicTime> good_until{MonotonicTime::min()};
};

class Opening {
 public:
  Opening(CacheDir& dir, const MountEnvironment& environment, const MountOptions& options,
          Context context)
      : dir_(dir), e_(environment), options_(options), context_(std::move(context)) {}

  Result<OpenedMount> run() {
    if (options_.cache_bytes_max < Space::kSmallestCache)
      return fail(Errc::kInvalid, "--cache-size is below the smallest cache, 64M");
    if (options_.recover) return recover();
    auto opened = open();
    if (opened || opened.error().code() != Errc::kCorruption || is_of_store_) return opened;
    return tl::unexpected<Error>(repair_advice(dir_, opened.error(), ""));
  }

 private:
  Result<OpenedMount> open() {
    TRY(open_tables(dir_.sub("meta")));
    is_of_store_ = true;
    std::vector<std::string> damage;
    TRY(options_.objects ? open_bucket(damage) : open_remote(false));
    is_of_store_ = false;
    TRY(open_segments());
    if (options_.engine.read_only) return finish_reader();
    return bucket_ != nullptr ? finish_bucket_writer() : finish_writer();
  }

  // As it was here, and as far as it can be read. Nothing of the cache is changed.
  Result<OpenedMount> recover() {
    OpenedMount mount;
    TRY_ASSIGN(JournalSurvey survey, survey_journal(e_.env, journal_options()));
    const Status tables = open_tables(dir_.sub("meta"));
    if (!tables) {
      if (options_.scratch_dir.empty() || !is_damage(tables.error()))
        return tl::unexpected<Error>(tables.error());
      mount.damage.push_back(tables.error().message());
      TRY(open_tables(options_.scratch_dir));
    }
    Lsn published = 0;
    if (options_.objects) {
      TRY(open_bucket(mount.damage));
      // Not what the names say: a batch that failed half-way counts there, too. What of an inode is
      // in the bucket is known for each.
      published = marks_.published;
      bucket_->begin_recovery(published);
      mount.bucket = bucket_;
    } else {
      TRY(open_volume_for_recovery(survey, mount));
      published = std::max(remote_->published().lsn, marks_.published);
    }
    TRY(open_segments());
    survey.tell(marks_.checkpointed, mount.damage);
    mount.engine = make_engine();
    for (const JournalRun& run : survey.runs)
      TRY(visit_run(e_.env, run, published + 1, journal_options().record_bytes_max,
                    [&](const JournalRecord& record, Lsn) -> Status {
                      ++mount.replayed;
                      return mount.engine->salvage(record, marks_.checkpointed, mount.lost);
                    }));
    TRY(mount.engine->drop_leftovers(published));
    mount.engine->attach(open_surveyed_journal(e_.env, journal_options(), std::move(survey)),
                         marks_.checkpointed, published);
    return mount;
  }

  Status open_volume_for_recovery(const JournalSurvey& survey, OpenedMount& mount) {
    if (last_commit_.empty()) {
      TRY_ASSIGN(StoredBase base, find_stored_base(dir_, e_, survey, Buffer(), context_));
      if (!base.known) mount.damage.push_back(base.text);
      marks_.published = std::max(marks_.published, base.published);
      last_commit_ = std::move(base.commit);
    }
    TRY(open_remote(true));
    mount.remote = remote_;
    return {};
  }

  Journal::Options journal_options() const { return journal_options_of(dir_, options_); }

  std::unique_ptr<Space> make_space() const {
    return std::make_unique<Space>(
        options_.cache_bytes_max,
        [env = &e_.env, clock = &e_.clock, path = dir_.path(),
         reserve = options_.disk_reserve_bytes, last = std::make_shared<LastLook>()]() -> uint64_t {
          const MonotonicTime now = clock->now();
          if (now < last->good_until.load()) return last->left;
          const auto space = env->disk_space(path);
          if (!space) return UINT64_MAX;
          const uint64_t left = space->free_bytes > reserve ? space->free_bytes - reserve : 0;
          if (left < LastLook::kFar) return left;
          last->left = left;
          last->good_until = now + LastLook::kTime;
          return left;
        });
  }

  Status open_tables(const std::string& where) {
    TRY_ASSIGN(CacheTables found, open_cache_tables(e_, options_, where));
    tables_ = std::move(found.tables);
    marks_ = found.marks;
    last_commit_ = std::move(found.last_commit);
    return {};
  }

  // The names of the objects take the share of the metadata packs, which a bucket has none of.
  Status open_bucket(std::vector<std::string>& damage) {
    const uint64_t share = Space::metadata_pack_share(options_.cache_bytes_max);
    TRY(e_.env.make_dirs(dir_.sub("names")));
    auto names = e_.open_meta_store(dir_.sub("names"), share);
    if (!names && options_.recover && is_damage(names.error()) && !options_.scratch_dir.empty()) {
      damage.push_back(names.error().message());
      const std::string anew = options_.scratch_dir + "/names";
      TRY(e_.env.make_dirs(anew));
      names = e_.open_meta_store(anew, share);
    } else if (!names && names.error().code() == Errc::kCorruption) {
      // Losing them costs requests and nothing else.
      log_warn("the known names of the bucket are damaged and will be listed anew: {}",
               names.error().message());
      for (const char* file : {"/data.mdb", "/lock.mdb"})
        (void)e_.env.remove(dir_.sub("names") + file);
      names = e_.open_meta_store(dir_.sub("names"), share);
    }
    if (!names) return tl::unexpected<Error>(std::move(names).error());
    BucketRemote::Options options;
    options.cache_id = dir_.identity().cache_id;
    options.host = options_.host;
    options.view = *options_.objects;
    options.read_memory_bytes = memory_.read_bytes + memory_.idle_read_bytes;
    options.publish_memory_bytes = memory_.publish_bytes;
    options.name_memory_bytes = std::min(memory_.node_bytes, share / 32);
    options.io_timeout = options_.engine.io_timeout;
    TRY_ASSIGN(auto remote,
               BucketRemote::open({e_.store, e_.clock, e_.executor, e_.publishing, e_.rng},
                                  *std::move(names), options));
    bucket_ = remote.get();
    owned_remote_ = std::move(remote);
    return {};
  }

  Status open_remote(bool pinned) {
    TreeRemote::Options options;
    options.mode =
        options_.engine.read_only ? TreeRemote::Mode::kFollower : TreeRemote::Mode::kWriter;
    options.pinned = pinned;
    options.at = options_.at;
    options.cache_id = dir_.identity().cache_id;
    options.host = options_.host;
    options.index = options_.index;
    options.metadata = options_.metadata;
    options.pack_bytes = options_.pack_bytes;
    options.metadata_dir = dir_.sub("packs");
    options.metadata_cache_bytes = Space::metadata_pack_share(options_.cache_bytes_max);
    options.index_memory_bytes = memory_.block_index_bytes;
    options.metadata_memory_bytes = memory_.node_bytes;
    options.tail_memory_bytes = memory_.tail_bytes;
    options.page_memory_bytes = memory_.page_bytes;
    options.around_memory_bytes = memory_.around_bytes;
    options.read_memory_bytes = memory_.read_bytes + memory_.idle_read_bytes;
    options.tails_ahead = options_.tails_ahead;
    options.index_ahead_bytes = options_.index_ahead_bytes;
    options.publish_memory_bytes = memory_.publish_bytes;
    options.packs_in_flight_max = memory_.packs_in_flight_max;
    options.offline = options_.offline;
    options.head_look = options_.head_look;
    options.takeover = options_.takeover;
    options.last_commit_record = last_commit_;
    options.io_timeout = options_.engine.io_timeout;
    TRY_ASSIGN(auto remote, TreeRemote::open({e_.store, e_.env, e_.clock, e_.rng, e_.executor,
                                              &e_.publishing},
                                             options, context_));
    remote_ = remote.get();
    owned_remote_ = std::move(remote);
    return {};
  }

  Status open_segments() {
    Segments::Options options;
    options.dir = dir_.sub("segments");
    options.segment_bytes = Space::segment_bytes(options_.cache_bytes_max);
    options.space = space_.get();
    TRY(e_.env.make_dirs(options.dir));
    TRY_ASSIGN(segments_, Segments::open(e_.env, options, marks_.segment_numbers_end));
    return {};
  }

  EngineSettings engine_settings() const {
    EngineSettings settings = options_.engine;
    // In proportion to the tables, too: a checkpoint needs as many pages again as it touches.
    const auto at_most = [](uint64_t& value, uint64_t most) { value = std::min(value, most); };
    at_most(settings.memtable_bytes, memory_.memtable_bytes);
    at_most(settings.memtable_bytes, Space::meta_store_share(options_.cache_bytes_max) / 64);
    at_most(settings.chunk_memory_bytes, memory_.chunk_bytes);
    // What a reader waits for starts at once, however much a stream has asked for.
    at_most(settings.read_ahead_bytes, memory_.read_bytes / 8 * 7);
    at_most(settings.idle_ahead_bytes, memory_.idle_read_bytes);
    settings.leaves_cache = options_.recover;
    at_most(settings.fold.records_max, memory_.fold_records);
    return settings;
  }

  std::unique_ptr<Engine> make_engine() {
    Engine::Components components{e_.clock,
                                  e_.executor,
                                  e_.maintenance,
                                  e_.publishing,
                                  std::move(tables_),
                                  std::move(segments_),
                                  std::move(owned_remote_),
                                  std::move(space_),
                                  {}};
    components.bookmark = [remote = remote_] {
      return remote != nullptr ? remote->commit_record() : Buffer();
    };
    return std::make_unique<Engine>(engine_settings(), std::move(components));
  }

  Result<OpenedMount> finish_reader() {
    OpenedMount mount;
    mount.bucket = bucket_;
    mount.engine = make_engine();
    if (bucket_ != nullptr) {
      TRY(refuse_unpublished(mount.engine->live().tables()));
      keep_what_is_in_use(*mount.engine);
      TRY(bucket_->begin_reading());
    }
    mount.remote = remote_;
    TRY(mount.engine->start());
    return mount;
  }

  // Opens the journal; what is not published of it becomes the engine's state again.
  Result<std::unique_ptr<Journal>> replay_journal(OpenedMount& mount, Lsn published) {
    Engine& engine = *mount.engine;
    Journal::Options with = journal_options();
    Segments* segments = &engine.segments();
    // Clean content is checked against its digest when it is read: no fsync waits for it.
    with.sync_data = [segments] { return segments->sync_written(); };
    with.space = &engine.space();
    TRY(e_.env.make_dirs(with.dir));
    std::string refused;
    auto found = Journal::open(e_.env, with, std::min(published, marks_.checkpointed),
                               marks_.checkpointed, [&](const JournalRecord& record) {
                               if (record.lsn > published) {
                                 if (record.type == kRecordChange) ++mount.replayed;
                                 if (record.type == kRecordCommitIntent)
                                   intended_.push_back(record.lsn);
                               }
                               auto keep = engine.replay(record, marks_.checkpointed, published);
                               if (keep && !*keep) refused = damaged_data(dir_, *segments, record);
                               return keep;
                             });
    if (!found && !refused.empty()) return fail(found.error().code(), refused);
    return found;
  }

  void keep_what_is_in_use(Engine& engine) {
    bucket_->set_in_use([with = &engine](uint64_t ino) { return with->is_in_use(ino); });
  }

  // What is to be published refers to names that a reader would list anew.
  Status refuse_unpublished(const LiveTables& tables) const {
    if (!has_journal(e_.env, dir_.path())) return {};
    TRY_ASSIGN(const JournalSurvey survey, survey_journal(e_.env, journal_options()));
    TRY_ASSIGN(const bool keeps, Engine::keeps_back_any(tables));
    if (survey.last() <= marks_.published && !keeps) return {};
    return fail(Errc::kInvalid, "the cache " + dir_.path() +
                                    " holds changes that are not in the bucket yet: mount without "
                                    "--read-only to send them, or give this mount its own "
                                    "--cache-dir");
  }

  // Objects have no writer of their own: what others change is found out object by object.
  Result<OpenedMount> finish_bucket_writer() {
    OpenedMount mount;
    mount.bucket = bucket_;
    mount.engine = make_engine();
    Engine& engine = *mount.engine;
    TRY_ASSIGN(auto journal, replay_journal(mount, marks_.published));
    if (journal->appended() < marks_.published) return journal_is_short(*journal, marks_.published);
    const Lsn done = std::max(marks_.published, journal->trimmed());
    BucketRemote::LocalState local;
    local.published = done;
    local.appended = journal->appended();
    local.tables_are_new = marks_.checkpointed == 0 && journal->trimmed() > 0;
    TRY_ASSIGN(local.keeps_back, Engine::keeps_back_any(engine.live().tables()));
    local.held = [engine = &engine](uint64_t ino) { return engine->has_unpublished(ino); };
    keep_what_is_in_use(engine);
    TRY(bucket_->begin_writing(std::move(local)));
    TRY(engine.drop_leftovers(done));
    engine.attach(std::move(journal), marks_.checkpointed, done);
    mount.slot.slot = kOwnSlot;
    TRY(engine.checkpoint());
    TRY(engine.start());
    return mount;
  }

  // Records that came now would count as published.
  tl::unexpected<Error> journal_is_short(const Journal& journal, Lsn published) const {
    return fail(Errc::kCorruption,
                fmt::format("{} ends with record {}, but the store has those of this cache up to "
                            "record {}",
                            journal_options().dir, journal.appended(), published));
  }

  Result<OpenedMount> finish_writer() {
    const bool ours = remote_->state().head.ours;
    // What the head does not tell (another writer's commit), our own last checkpoint does.
    Lsn published = std::max(remote_->published().lsn, marks_.published);
    OpenedMount mount;
    mount.remote = remote_;
    mount.engine = make_engine();
    Engine& engine = *mount.engine;

    TRY_ASSIGN(auto journal, replay_journal(mount, published));
    CAIRN_FAILPOINT("open.replayed");
    if (journal->appended() < published) return journal_is_short(*journal, published);
    if (mount.replayed > 0 && !ours && !options_.discard_local) {
      is_of_store_ = true;
      TRY_ASSIGN(published, find_published(*journal, published));
      is_of_store_ = false;
      TRY_ASSIGN(mount.replayed, changes_behind(*journal, published));
      if (mount.replayed > 0) return passed_by(mount.replayed);
    }
    Lsn done = std::max(published, journal->trimmed());
    if (options_.discard_local) done = journal->appended();
    // Another node wrote since: what the rows say (where numbering goes on in a directory, sums) is
    // of a tree that is no more.
    if (!ours || options_.discard_local) TRY(engine.forget_changes());
    TRY(engine.drop_leftovers(done));
    engine.attach(std::move(journal), marks_.checkpointed, done);
    is_of_store_ = true;
    // What is published or given up is so for good before we are the writer: afterwards the head is
    // ours and says nothing of these records, which then would count as new.
    if (!ours || options_.discard_local) TRY(engine.checkpoint());
    if (remote_->state().offline) {
      TRY_ASSIGN(mount.slot, remote_->begin_writing_offline());
    } else {
      TRY_ASSIGN(mount.slot, remote_->begin_writing(engine.publish_host(), context_));
    }
    CAIRN_FAILPOINT("open.writing");
    // A commit that the process before had sent may have arrived since the head was looked for.
    TRY(engine.found_published(remote_->published().lsn));
    TRY(engine.checkpoint());
    engine.tidy_up();
    TRY(engine.start());
    return mount;
  }

  // Another node made the head. A commit of ours may lie behind it, of which the process that sent
  // it never heard: the newest that is there counts.
  Result<Lsn> find_published(Journal& journal, Lsn published) {
    if (remote_->state().offline) return published;
    for (auto lsn = intended_.rbegin(); lsn != intended_.rend(); ++lsn) {
      Buffer commit;
      TRY(journal.read(*lsn - 1, *lsn, [&commit](const JournalRecord& record) -> Status {
        TRY_ASSIGN(commit, decode_commit_intent(record.payload));
        return {};
      }));
      TRY(remote_->look_for_intended(std::move(commit), context_));
      if (remote_->published().lsn > published) return remote_->published().lsn;
    }
    return published;
  }

  static Result<uint64_t> changes_behind(Journal& journal, Lsn published) {
    uint64_t changes = 0;
    TRY(journal.read(published, journal.appended(),
                     [&changes](const JournalRecord& record) -> Status {
                       if (record.type == kRecordChange) ++changes;
                       return {};
                     }));
    return changes;
  }

  tl::unexpected<Error> passed_by(uint64_t changes) const {
    return fail(Errc::kFenced,
                "the cache " + dir_.path() + " holds " + std::to_string(changes) +
                    " changes that are not in the store, and another node (" +
                    remote_->state().head.host +
                    ") wrote to the volume since; take them out with 'cairn recover " +
                    dir_.path() + " --to DIR', or mount with --discard-local to give them up",
                EROFS);
  }

  CacheDir& dir_;
  const MountEnvironment& e_;
  const MountOptions& options_;
  Context context_;
  const MemoryPlan memory_ = MemoryPlan::of(options_.memory_bytes_max);
  std::unique_ptr<Space> space_ = make_space();
  std::unique_ptr<LiveTables> tables_;
  LiveState::CheckpointMarks marks_;
  Buffer last_commit_;
  std::vector<Lsn> intended_;  // records of commits that are not known to be in the store
  bool is_of_store_ = false;  // what is under way reads the store, not the cache
  TreeRemote* remote_ = nullptr;
  BucketRemote* bucket_ = nullptr;
  std::unique_ptr<Remote> owned_remote_;
  std::unique_ptr<Segments> segments_;
};

}  // namespace

Result<CacheTables> open_cache_tables(const MountEnvironment& environment,
                                      const MountOptions& options, const std::string& where) {
  TRY(environment.env.make_dirs(where));
  TRY_ASSIGN(auto store, environment.open_meta_store(
                             where, Space::meta_store_share(options.cache_bytes_max)));
  CacheTables found;
  found.tables = std::make_unique<LiveTables>(std::move(store));
  LiveState state(*found.tables, 4096);  // the chunk size does not matter for these rows
  TRY_ASSIGN(found.marks, state.checkpoint_marks());
  TRY_ASSIGN(const auto commit, state.state(Engine::kBookmarkKey));
  if (commit) found.last_commit = Buffer::copy(*commit);
  return found;
}

Journal::Options journal_options_of(const CacheDir& dir, const MountOptions& options) {
  Journal::Options out;
  out.dir = dir.sub("journal");
  out.cache_id = dir.identity().cache_id;
  out.file_bytes_max = options.journal_file_bytes;
  return out;
}

Result<OpenedMount> open_mount(CacheDir& dir, const MountEnvironment& environment,
                               const MountOptions& options, Context context) {
  return Opening(dir, environment, options, std::move(context)).run();
}

}  // namespace cairn
