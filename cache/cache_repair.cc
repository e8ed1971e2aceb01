#include "cache/cache_repair.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "cache/base/log.h"
#include "cache/format/records.h"
#include "cache/journal_recovery.h"

namespace cairn {

namespace {

constexpr size_t kIntentsMax = 64;  // that are asked for, the newest first
constexpr size_t kRowsAtOnce = 4096;
constexpr size_t kLinesMax = 200;  // of what is lost

// The first so many records of a run.
struct KeptPiece {
  JournalRun run;
  Lsn from = 0, upto = 0;
  uint64_t end = 0;  // in the file, behind `upto`
  bool is_cut() const { return upto < run.last; }
};

// Records in a row, from the one that was wanted on.
struct Chain {
  std::vector<KeptPiece> pieces;
  Lsn last = 0;     // the one before the wanted one when there is none
  std::string why;  // it ends here, when that is the data's fault
  // Its files can stay as they are, so that places in them stay right.
  bool keeps_places() const {
    return pieces.empty() || pieces.front().run.begin == kJournalHeaderBytes;
  }
};

class Repair {
 public:
  Repair(CacheDir& dir, const MountEnvironment& environment, const MountOptions& options,
         Context context)
      : dir_(dir), e_(environment), options_(options), context_(std::move(context)) {}

  Result<RepairReport> run() {
    TRY(look());
    const Lsn settled = std::min(base_.published, marks_.checkpointed);
    Chain chain;
    if (tables_good_) {
      TRY_ASSIGN(chain, follow(settled + 1));
    }
    keep_tables_ = tables_good_ && chain.keeps_places() &&
                   chain.last >= std::max(marks_.checkpointed, base_.published);
    const Lsn needed = std::max(survey_.durable, marks_.checkpointed);
    const bool journal_good = keep_tables_ && survey_.is_whole() && chain.last >= needed &&
                              survey_.first() <= settled + 1;
    if (journal_good && dir_.identity_damage().empty()) return std::move(report_);
    if (!keep_tables_) {
      TRY_ASSIGN(chain, follow(base_.published + 1));
    }
    survey_.tell(marks_.checkpointed, report_.damage);
    if (!chain.why.empty()) report_.damage.push_back(chain.why);
    if (report_.damage.empty())
      report_.damage.push_back(dir_.path() + ": the tables and the journal do not fit each other");
    TRY(say_lost(chain, needed));
    TRY(put_aside(chain));
    if (!keep_tables_) TRY(put_tables());  // reads the journal
    TRY(put_journal(chain));
    if (!dir_.identity_damage().empty()) {
      TRY(CacheDir::put_identity(e_.env, dir_.path(), dir_.identity()));
      report_.done.push_back("the identity was made anew from the journal");
    }
    return std::move(report_);
  }

 private:
  // ---- what is there

  Status look() {
    if (!dir_.identity_damage().empty()) report_.damage.push_back(dir_.identity_damage());
    TRY_ASSIGN(survey_, survey_journal(e_.env, journal_options()));
    TRY(e_.env.make_dirs(dir_.sub("journal")));
    TRY(e_.env.make_dirs(dir_.sub("segments")));
    Buffer last_commit;
    {
      auto found = open_cache_tables(e_, options_, dir_.sub("meta"));
      tables_good_ = found.has_value();
      if (!found && !is_damage(found.error())) return tl::unexpected<Error>(found.error());
      if (!found) report_.damage.push_back(found.error().message());
      if (found) marks_ = found->marks;
      if (found) last_commit = std::move(found->last_commit);
    }
    TRY_ASSIGN(base_, find_stored_base(dir_, e_, survey_, last_commit, context_));
    if (tables_good_ && marks_.published >= base_.published) {
      base_.published = marks_.published;
      if (!base_.known && !last_commit.empty()) base_.commit = last_commit;
      base_.known = true;
    }
    Segments::Options segments;
    segments.dir = dir_.sub("segments");
    TRY_ASSIGN(segments_, Segments::open(e_.env, segments, 0));
    return {};
  }

  Result<std::unique_ptr<LiveTables>> open_tables(const std::string& where) const {
    TRY_ASSIGN(CacheTables found, open_cache_tables(e_, options_, where));
    return std::move(found.tables);
  }

  Journal::Options journal_options() const { return journal_options_of(dir_, options_); }

  // ---- what can be kept

  Result<Chain> follow(Lsn wanted) {
    Chain chain;
    chain.last = wanted - 1;
    for (const JournalRun& run : survey_.runs) {
      if (run.last < chain.last + 1) continue;
      if (run.first > chain.last + 1) break;
      KeptPiece piece{run, std::max(run.first, wanted), run.last, run.end};
      const auto whole = check_data(piece, chain.why);
      if (!whole) return tl::unexpected<Error>(whole.error());
      if (piece.upto >= piece.from) {
        chain.last = piece.upto;
        chain.pieces.push_back(std::move(piece));
      }
      if (!*whole) break;
    }
    return chain;
  }

  // Ends the piece before the first unpublished record whose data is not there; false then.
  Result<bool> check_data(KeptPiece& piece, std::string& why) {
    bool whole = true;
    const Lsn from = std::max(piece.from, base_.published + 1);
    TRY(each_record(piece.run, from, [&](const JournalRecord& record, Lsn) -> Status {
      if (!whole || record.type != kRecordChange) return {};
      std::string bad = damaged_data(dir_, *segments_, record);
      if (bad.empty()) return {};
      why = std::move(bad);
      whole = false;
      piece.upto = record.lsn - 1;
      piece.end = record.payload_offset - kFrameHeaderBytes;
      return {};
    }));
    return whole;
  }

  Status each_record(const JournalRun& run, Lsn from,
                     const std::function<Status(const JournalRecord&, Lsn)>& visit) const {
    return visit_run(e_.env, run, from, journal_options().record_bytes_max, visit);
  }

  // ---- what is lost

  Status say_lost(const Chain& chain, Lsn needed) {
    kept_ = std::max(chain.last, base_.published);
    const Lsn last = std::max(survey_.last(), needed);
    if (!base_.known && survey_.last() > base_.published) report_.lost.push_back(base_.text);
    if (last <= kept_) return {};
    std::map<uint64_t, std::string> names;
    uint64_t readable = 0;
    std::vector<std::string> lines;
    for (const JournalRun& run : survey_.runs)
      TRY(each_record(run, 0, [&](const JournalRecord& record, Lsn) -> Status {
        const auto change = decode_change(record);
        if (record.type != kRecordChange || !change) return {};
        if (record.lsn > kept_) ++readable;
        note_change(*change, record.lsn, names, lines);
        return {};
      }));
    report_.lost.push_back(fmt::format(
        "the cache holds everything up to record {}; records {} to {} are not in it any more, of "
        "which {} can be read",
        kept_, kept_ + 1, last, readable));
    if (lines.size() > kLinesMax) {
      lines.resize(kLinesMax);
      lines.push_back("and more");
    }
    for (std::string& line : lines) report_.lost.push_back(std::move(line));
    return {};
  }

  // Lines for a change that is not kept. Names are those that the journal itself tells.
  void note_change(const Change& change, Lsn lsn, std::map<uint64_t, std::string>& names,
                   std::vector<std::string>& lines) {
    const auto text_of = [&names](uint64_t inode) {
      const auto it = names.find(inode);
      return it == names.end() ? fmt::format("inode {}", inode)
                               : fmt::format("{} (inode {})", it->second, inode);
    };
    for (const Effect& effect : change.effects) {
      const bool is_lost = lsn > kept_;
      if (const auto* put = std::get_if<PutKey>(&effect)) {
        const auto key = parse_key(put->key);
        if (!key || key->kind != KeyKind::kDirent) continue;
        const std::string name = printable(key->name);
        if (put->value && put->value->is_identity())
          if (const auto dirent = Dirent::decode(put->value->payload())) names[dirent->ino] = name;
        if (is_lost) last_ = {};
        if (is_lost && lines.size() <= kLinesMax)
          lines.push_back(fmt::format("record {}: the name {} in {}{}", lsn, name,
                                      text_of(key->ino), put->value ? "" : " removed"));
      } else if (const auto* write = std::get_if<WriteData>(&effect); write != nullptr && is_lost) {
        const bool goes_on = !lines.empty() && last_.inode == write->inode &&
                             last_.offset + last_.length == write->offset;
        if (goes_on) lines.pop_back();
        if (!goes_on) last_ = {write->inode, write->offset, 0, lsn};
        last_.length += write->length;
        if (lines.size() <= kLinesMax)
          lines.push_back(fmt::format("from record {} on: bytes {} to {} of {}", last_.lsn,
                                      last_.offset, last_.offset + last_.length,
                                      text_of(write->inode)));
      } else if (const auto* cut = std::get_if<CutContent>(&effect); cut != nullptr && is_lost) {
        last_ = {};
        if (lines.size() <= kLinesMax)
          lines.push_back(
              fmt::format("record {}: {} cut to {} bytes", lsn, text_of(cut->inode), cut->limit));
      }
    }
  }

  static std::string printable(std::string_view name) {
    std::string out;
    for (const char c : name) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte < 0x20 || byte == 0x7f)
        out += fmt::format("\\x{:02x}", byte);
      else
        out.push_back(c);
    }
    return out;
  }

  // ---- the damaged cache, kept

  Status put_aside(const Chain& chain) {
    Env& env = e_.env;
    for (unsigned n = 1;; ++n) {
      report_.aside = fmt::format("{}/damaged-{}", dir_.path(), n);
      if (!env.stat(report_.aside)) break;
    }
    for (const char* part : {"", "/journal", "/meta", "/segments"})
      TRY(env.make_dirs(report_.aside + part));
    if (!dir_.identity_damage().empty() && env.stat(dir_.sub("identity")))
      TRY(env.link(dir_.sub("identity"), report_.aside + "/identity.damaged"));
    // What goes on in the cache must not go on there: files that stay in use are copied.
    std::string last;  // it is appended to
    if (!chain.pieces.empty() && !is_made_anew(chain.pieces.back()))
      last = chain.pieces.back().run.path;
    for (const std::string& path : survey_.paths)
      TRY(keep(path, report_.aside + "/journal" + path.substr(path.rfind('/')), path == last));
    if (env.stat(table_file()) && (!keep_tables_ || !report_.lost.empty()))
      TRY(keep(table_file(), report_.aside + "/meta/data.mdb", keep_tables_));
    if (!report_.lost.empty()) {  // else everything that can be read is in the cache itself
      TRY(CacheDir::put_identity(env, report_.aside, dir_.identity()));
      TRY(keep_segments());
    }
    for (const char* part : {"/journal", "/meta", "/segments", ""})
      TRY(env.sync_dir(report_.aside + part));
    return env.sync_dir(dir_.path());
  }

  Status keep(const std::string& from, const std::string& to, bool as_copy) const {
    if (!as_copy) return e_.env.link(from, to);
    constexpr size_t kCopyBytes = 1U << 20;
    TRY_ASSIGN(const auto in, e_.env.open(from, OpenMode::kRead));
    TRY_ASSIGN(const auto out, e_.env.open(to, OpenMode::kCreateNew));
    ByteVec part(kCopyBytes);
    for (uint64_t at = 0;;) {
      TRY_ASSIGN(const size_t got, in->read_at(at, part));
      if (got == 0) return out->sync_data();
      TRY(out->write_at(at, Bytes(part).first(got)));
      at += got;
    }
  }

  // All unpublished data: the next mount gives away what only records that are not kept refer to.
  Status keep_segments() {
    std::set<uint64_t> numbers;
    for (const JournalRun& run : survey_.runs)
      TRY(each_record(run, base_.published + 1, [&](const JournalRecord& record, Lsn) -> Status {
        note_segments(record, numbers);
        return {};
      }));
    if (tables_good_) TRY(note_dirty_segments(numbers));
    for (const uint64_t number : numbers) {
      const std::string name = fmt::format("/segments/{:08x}.seg", number);
      if (!e_.env.stat(dir_.path() + name)) continue;
      TRY(e_.env.link(dir_.path() + name, report_.aside + name));
    }
    return {};
  }

  Status note_dirty_segments(std::set<uint64_t>& numbers) {
    TRY_ASSIGN(const auto tables, open_tables(dir_.sub("meta")));
    return each_row(*tables, Table::kDirty, [&](const LiveTables::Row& row) -> Status {
      TRY_ASSIGN(const Extents extents, decode_extents(row.value));
      for (const Extent& extent : extents)
        if (extent.has_ref() && extent.ref.kind == DataRef::Kind::kSegment)
          numbers.insert(extent.ref.file);
      return {};
    });
  }

  std::string table_file() const { return dir_.sub("meta") + "/data.mdb"; }

  static void note_segments(const JournalRecord& record, std::set<uint64_t>& numbers) {
    if (record.type != kRecordChange) return;
    const auto change = decode_change(record);
    if (!change) return;
    for (const Effect& effect : change->effects) {
      if (const auto* write = std::get_if<WriteData>(&effect);
          write != nullptr && write->ref.kind == DataRef::Kind::kSegment)
        numbers.insert(write->ref.file);
      if (const auto* shared = std::get_if<ShareData>(&effect)) numbers.insert(shared->ref.file);
    }
  }

  static Status each_row(const LiveTables& tables, Table table,
                         const std::function<Status(const LiveTables::Row&)>& visit) {
    std::string from(1, '\0');
    while (true) {
      TRY_ASSIGN(const auto rows, tables.scan(table, from, "", kRowsAtOnce));
      for (const auto& row : rows) TRY(visit(row));
      if (rows.size() < kRowsAtOnce) return {};
      from = rows.back().key + '\0';
    }
  }

  // ---- what is kept, made whole

  Status put_journal(const Chain& chain) {
    std::set<std::string> kept;
    for (const KeptPiece& piece : chain.pieces) {
      TRY_ASSIGN(const bool anew, put_file(piece));
      if (anew) report_.done.push_back(fmt::format("{} was made anew, with records {} to {}",
                                                   target_of(piece), piece.from, piece.upto));
      kept.insert(target_of(piece));
    }
    // The last one first: what is left is always a log with nothing missing inside.
    for (auto path = survey_.paths.rbegin(); path != survey_.paths.rend(); ++path)
      if (!kept.contains(*path)) TRY(e_.env.remove(*path));
    return e_.env.sync_dir(dir_.sub("journal"));
  }

  static bool is_moved(const KeptPiece& piece) { return piece.run.begin > kJournalHeaderBytes; }
  std::string target_of(const KeptPiece& piece) const {
    return is_moved(piece) ? journal_path(dir_.sub("journal"), piece.from) : piece.run.path;
  }

  bool is_made_anew(const KeptPiece& piece) const {
    const auto damaged = [&](const JournalDamage& bad) { return bad.path == piece.run.path; };
    return is_moved(piece) || piece.is_cut() ||
           std::any_of(survey_.damage.begin(), survey_.damage.end(), damaged);
  }

  // Makes the file hold exactly the piece; false when it does already.
  Result<bool> put_file(const KeptPiece& piece) {
    if (!is_made_anew(piece)) return false;
    JournalHeader header = piece.run.header;
    if (is_moved(piece)) header = {header.cache_id, piece.from, piece.from - 1};
    ByteVec bytes = encode_journal_header(header);
    const uint32_t seed = frame_seed(header);
    TRY(each_record(piece.run, is_moved(piece) ? piece.from : piece.run.first,
                    [&](const JournalRecord& record, Lsn durable) -> Status {
                      if (record.lsn > piece.upto) return {};
                      const Bytes payload[] = {record.payload};
                      encode_frame(bytes, seed, record.lsn, durable, record.type, payload);
                      return {};
                    }));
    TRY(replace_file(e_.env, target_of(piece), bytes));
    return true;
  }

  // Tables that say: as of the last commit, and nothing since. What the old ones know besides
  // (numbers that were given out, pins, clean content that is here) is taken over when they can be
  // read; numbers else from the journal.
  Status put_tables() {
    const std::string anew = dir_.sub("meta.new");
    for (const char* name : {"/data.mdb", "/lock.mdb"})  // of a repair that was cut short
      if (e_.env.stat(anew + name)) TRY(e_.env.remove(anew + name));
    {
      TRY_ASSIGN(const auto tables, open_tables(anew));
      LiveState state(*tables, 4096);
      if (tables_good_) TRY(take_over_rows(*tables));
      uint64_t numbers_end = marks_.segment_numbers_end;
      for (const JournalRun& run : survey_.runs)
        TRY(each_record(run, 0, [&](const JournalRecord& record, Lsn) -> Status {
          std::set<uint64_t> numbers;
          note_segments(record, numbers);
          if (!numbers.empty()) numbers_end = std::max(numbers_end, *numbers.rbegin() + 1);
          if (!tables_good_ && record.lsn <= base_.published) take_over_state(record, state);
          return {};
        }));
      state.put_checkpoint_marks(base_.published, base_.published, numbers_end);
      state.put_state(Engine::kBookmarkKey, to_string(base_.commit));
      TRY(tables->checkpoint());
    }
    // The old tables are there until the new ones take their name.
    const std::string lock = dir_.sub("meta") + "/lock.mdb";
    if (e_.env.stat(lock)) TRY(e_.env.remove(lock));
    if (e_.env.stat(anew + "/data.mdb")) TRY(e_.env.rename(anew + "/data.mdb", table_file()));
    TRY(e_.env.sync_dir(dir_.sub("meta")));
    if (e_.env.stat(anew + "/lock.mdb")) TRY(e_.env.remove(anew + "/lock.mdb"));
    TRY(e_.env.remove_dir(anew));
    report_.done.push_back(fmt::format(
        "the tables were made anew, as of the commit that holds record {}{}", base_.published,
        tables_good_ ? "" : "; clean content that was here is fetched again, pins are gone"));
    return {};
  }

  Status take_over_rows(LiveTables& to) {
    TRY_ASSIGN(const auto from, open_tables(dir_.sub("meta")));
    for (const Table table : {Table::kState, Table::kResident, Table::kInSegment}) {
      size_t waiting = 0;
      TRY(each_row(*from, table, [&](const LiveTables::Row& row) -> Status {
        // What was open before a file's removal may have its name back in the prefix.
        if (table == Table::kState && row.key.starts_with(Engine::kOrphanPrefix)) return {};
        to.apply({{table, row.key, row.value}});
        if (++waiting % kRowsAtOnce != 0) return {};
        return to.checkpoint();
      }));
    }
    return {};
  }

  static void take_over_state(const JournalRecord& record, LiveState& state) {
    if (record.type != kRecordChange) return;
    const auto change = decode_change(record);
    if (!change) return;
    for (const Effect& effect : change->effects) {
      const auto* put = std::get_if<PutState>(&effect);
      if (put == nullptr || put->key.starts_with(Engine::kOrphanPrefix)) continue;
      if (put->value.empty())
        state.remove_state(put->key);
      else
        state.put_state(put->key, put->value);
    }
  }

  CacheDir& dir_;
  const MountEnvironment& e_;
  const MountOptions& options_;
  Context context_;
  RepairReport report_;
  JournalSurvey survey_;
  LiveState::CheckpointMarks marks_;  // zeroes when the tables are damaged
  bool tables_good_ = false;
  bool keep_tables_ = false;
  StoredBase base_;
  Lsn kept_ = 0;
  LostData last_;  // what the last line tells, when it tells of data
  std::unique_ptr<Segments> segments_;
};

// The newest commits that this cache meant to make, the newest last.
Result<std::vector<Buffer>> intended_commits(Env& env, const JournalSurvey& survey) {
  std::vector<Buffer> commits;
  for (const JournalRun& run : survey.runs)
    TRY(visit_run(env, run, 0, Journal::Options().record_bytes_max,
                  [&](const JournalRecord& record, Lsn) -> Status {
                    if (record.type != kRecordCommitIntent) return {};
                    TRY_ASSIGN(Buffer commit, decode_commit_intent(record.payload));
                    commits.push_back(std::move(commit));
                    if (commits.size() > kIntentsMax) commits.erase(commits.begin());
                    return {};
                  }));
  return commits;
}

}  // namespace

Result<StoredBase> find_stored_base(const CacheDir& dir, const MountEnvironment& environment,
                                    const JournalSurvey& survey, Buffer last_commit,
                                    const Context& context) {
  TreeRemote::Options options;
  options.mode = TreeRemote::Mode::kFollower;
  options.cache_id = dir.identity().cache_id;
  options.metadata_dir = dir.sub("packs");
  options.last_commit_record = std::move(last_commit);
  TRY_ASSIGN(const auto remote,
             TreeRemote::open({environment.store, environment.env, environment.clock,
                               environment.rng, environment.executor, &environment.publishing},
                              options, context));
  StoredBase base;
  if (remote->state().offline)
    return fail(Errc::kTransient, "the store cannot be reached; a repair must know what it holds");
  base.published = remote->published().lsn;
  base.commit = remote->commit_record();
  base.known = remote->state().head.ours || survey.paths.empty();
  if (base.known) return base;
  TRY_ASSIGN(std::vector<Buffer> intended, intended_commits(environment.env, survey));
  for (auto commit = intended.rbegin(); commit != intended.rend(); ++commit) {
    const Buffer record = *commit;
    TRY(remote->look_for_intended(record, context));
    if (remote->published().lsn <= base.published) continue;
    base.published = remote->published().lsn;
    base.commit = record;
    base.known = true;
    return base;
  }
  base.published = std::max(base.published, survey.first() > 0 ? survey.first() - 1 : 0);
  base.text = fmt::format(
      "another node ({}) wrote to the volume since, and no commit of this cache is in the journal: "
      "some of its records may be in the store already",
      remote->state().head.host);
  return base;
}

Result<RepairReport> repair_cache(CacheDir& dir, const MountEnvironment& environment,
                                  const MountOptions& options, Context context) {
  return Repair(dir, environment, options, std::move(context)).run();
}

std::string damaged_data(const CacheDir& dir, Segments& segments, const JournalRecord& record) {
  const auto change = decode_change(record);
  if (!change) return change.error().message();
  for (const Effect& effect : change->effects) {
    const auto* write = std::get_if<WriteData>(&effect);
    if (write != nullptr && !holds_bytes(segments, write->ref, write->length, write->crc))
      return fmt::format("{}/{:08x}.seg, bytes {} to {}: not what record {} wrote",
                         dir.sub("segments"), write->ref.file, write->ref.offset,
                         write->ref.offset + write->length, record.lsn);
  }
  return "";
}

bool is_damage(const Error& error) {
  return error.code() == Errc::kCorruption || error.code() == Errc::kIo;
}

Error repair_advice(const CacheDir& dir, const Error& error, const std::string& remote) {
  const std::string command = "cairn recover " + dir.path();
  const std::string whose = remote.empty() ? "" : " --remote " + remote;
  return Error(Errc::kCorruption,
               fmt::format("the cache {} is damaged: {}; '{} --repair{}' keeps what is whole and "
                           "says what is lost, '{} --to DIR{}' takes unpublished files out",
                           dir.path(), error.message(), command, whose, command, whose),
               error.sys_errno());
}

}  // namespace cairn
