#include "cache/journal_survey.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "cache/base/mutex.h"
#include "cache/journal_recovery.h"

namespace cairn {

namespace {

constexpr size_t kPiece = 64 << 10;
constexpr size_t kSector = 4096;
constexpr uint64_t kCheckBudget = 256ULL << 20;  // of bytes of a file that turn out to be no record

// A file's bytes. What the disk does not give back reads as zeroes and is added to `damage`.
Result<ByteVec> read_what_is_there(File& file, const std::string& path, uint64_t size,
                                   std::vector<JournalDamage>& damage) {
  ByteVec bytes(static_cast<size_t>(size));
  const MutableBytes all(bytes);
  for (size_t at = 0; at < bytes.size(); at += kPiece) {
    const size_t count = std::min(kPiece, bytes.size() - at);
    if (file.read_at(at, all.subspan(at, count))) continue;
    for (size_t sector = at; sector < at + count; sector += kSector) {
      const MutableBytes part = all.subspan(sector, std::min(kSector, at + count - sector));
      const auto got = file.read_at(sector, part);
      if (got) continue;
      std::fill(part.begin(), part.end(), std::byte{0});
      damage.push_back({path, sector, sector + part.size(), got.error().message()});
    }
  }
  return bytes;
}

class Survey {
 public:
  Survey(Env& env, const Journal::Options& options) : env_(env), options_(options) {}

  Result<JournalSurvey> run() {
    if (!env_.stat(options_.dir)) return std::move(found_);
    TRY_ASSIGN(const std::vector<Lsn> firsts, find_journal_files(env_, options_.dir));
    if (!firsts.empty()) found_.first_file = firsts.front();
    for (size_t i = 0; i < firsts.size(); ++i) {
      const bool is_last = i + 1 == firsts.size();
      TRY(take_file(firsts[i], is_last ? std::nullopt : std::optional(firsts[i + 1])));
    }
    return std::move(found_);
  }

 private:
  void add_damage(const std::string& path, uint64_t begin, uint64_t end, std::string what) {
    found_.damage.push_back({path, begin, end, std::move(what)});
  }

  Status take_file(Lsn first, std::optional<Lsn> next_file) {
    const std::string path = journal_path(options_.dir, first);
    found_.paths.push_back(path);
    TRY_ASSIGN(const auto file, env_.open(path, OpenMode::kRead));
    TRY_ASSIGN(const uint64_t size, file->size());
    if (size > journal_file_limit(options_)) {
      add_damage(path, 0, size, "it is far larger than a journal file");
      return {};
    }
    TRY_ASSIGN(const ByteVec bytes, read_what_is_there(*file, path, size, found_.damage));
    TRY_ASSIGN(const auto header, header_of(path, first, bytes, !next_file));
    if (header) take_records(path, *header, bytes, next_file);
    return {};
  }

  // The header, which the checksums of the file's frames begin with; nullopt when nothing in the
  // file can be read without it.
  Result<std::optional<JournalHeader>> header_of(const std::string& path, Lsn first, Bytes bytes,
                                                 bool is_last) {
    std::optional<JournalHeader> none;
    auto header = decode_journal_header(bytes.first(std::min(bytes.size(), kJournalHeaderBytes)));
    if (header && header->cache_id == options_.cache_id && header->first == first) {
      found_.durable = std::max(found_.durable, header->durable);
      return std::optional(*header);
    }
    if (!header && header.error().code() == Errc::kUnsupported)
      return tl::unexpected(std::move(header).error().wrap(path));
    if (!header && is_last && bytes.size() <= kJournalHeaderBytes) return none;  // was being made
    const std::string why =
        header ? "its header is that of another file" : header.error().message();
    const auto guessed = guess_header(first, bytes);
    add_damage(path, 0, guessed ? kJournalHeaderBytes : bytes.size(), why);
    return guessed;
  }

  // Of a header only the durable LSN is not known from elsewhere. It was below that of the first
  // frame, mostly by little, and that frame's checksum tells the right one.
  std::optional<JournalHeader> guess_header(Lsn first, Bytes bytes) const {
    if (bytes.size() <= kJournalHeaderBytes) return std::nullopt;
    const Bytes frames = bytes.subspan(kJournalHeaderBytes);
    const auto claim = frame_claim(frames, options_.record_bytes_max);
    if (!claim || claim->lsn != first) return std::nullopt;
    const Bytes behind = frames.subspan(claim->bytes);
    const bool has_second = frame_claim(behind, options_.record_bytes_max).has_value();
    const Lsn highest = std::min(claim->durable, first - 1);
    uint64_t checked = 0;
    for (Lsn below = 0; below <= highest && checked < kCheckBudget; ++below) {
      const JournalHeader header{options_.cache_id, first, highest - below};
      const uint32_t seed = frame_seed(header);
      checked += kJournalHeaderBytes;
      if (!frame_at(frames, seed, options_.record_bytes_max, &checked)) continue;
      if (!has_second || frame_at(behind, seed, options_.record_bytes_max)) return header;
    }
    return std::nullopt;
  }

  void take_records(const std::string& path, const JournalHeader& header, Bytes bytes,
                    std::optional<Lsn> next_file) {
    const Lsn first = header.first;
    const uint32_t seed = frame_seed(header);
    uint64_t checked = 0;
    uint64_t behind = kJournalHeaderBytes;  // the last record
    Lsn next = first;                       // what has been there is not taken again
    const uint64_t size = bytes.size();
    for (uint64_t at = behind; at < size && checked < kCheckBudget;) {
      uint64_t cost = 0;
      const auto frame = frame_at(bytes.subspan(static_cast<size_t>(at)), seed,
                                  options_.record_bytes_max, &cost);
      if (!frame || frame->lsn < next || (next_file && frame->lsn >= *next_file)) {
        checked += cost;
        ++at;
        continue;
      }
      if (at > behind || frame->lsn > next) note_gap(path, behind, at, next, frame->lsn);
      const bool goes_on = at == behind && frame->lsn == next && next > first;
      if (!goes_on) found_.runs.push_back({path, header, frame->lsn, frame->lsn, at, at});
      JournalRun& run = found_.runs.back();
      at += frame->end();
      run.last = frame->lsn;
      run.end = behind = at;
      next = frame->lsn + 1;
      found_.durable = std::max(found_.durable, frame->durable);
    }
    const auto used = std::find_if(bytes.rbegin(), bytes.rend(),
                                   [](std::byte b) { return b != std::byte{0}; });
    const uint64_t used_end = static_cast<uint64_t>(bytes.rend() - used);
    if (next_file && next < *next_file) {
      note_gap(path, behind, size, next, *next_file);
    } else if (used_end > behind) {
      add_damage(path, behind, used_end, fmt::format("what follows record {} is none", next - 1));
    }
  }

  void note_gap(const std::string& path, uint64_t begin, uint64_t end, Lsn next, Lsn then) {
    add_damage(path, begin, end,
               then == next       ? fmt::format("no record between {} and {}", next - 1, then)
               : then == next + 1 ? fmt::format("record {} is lost", next)
                                  : fmt::format("records {} to {} are lost", next, then - 1));
  }

  Env& env_;
  const Journal::Options& options_;
  JournalSurvey found_;
};

// A file of which some bytes are refused.
class GuardedFile final : public File {
 public:
  GuardedFile(std::unique_ptr<File> file, std::vector<JournalDamage> damage)
      : file_(std::move(file)), damage_(std::move(damage)) {}
  Result<size_t> read_at(uint64_t offset, MutableBytes out) override {
    for (const JournalDamage& bad : damage_)
      if (offset < bad.end && bad.begin < offset + out.size())
        return fail(Errc::kCorruption, bad.text());
    return file_->read_at(offset, out);
  }
  Status write_at(uint64_t, Bytes) override { return refused(); }
  Status sync_data() override { return {}; }
  Result<uint64_t> size() override { return file_->size(); }
  Result<uint64_t> allocated_bytes() override { return file_->allocated_bytes(); }
  Status allocate(uint64_t, uint64_t) override { return refused(); }
  Status punch(uint64_t, uint64_t) override { return refused(); }
  Status truncate(uint64_t) override { return refused(); }

 private:
  static tl::unexpected<Error> refused() {
    return fail(Errc::kUnsupported, "this journal is only read");
  }
  const std::unique_ptr<File> file_;
  const std::vector<JournalDamage> damage_;
};

class SurveyedJournal final : public Journal {
 public:
  SurveyedJournal(Env& env, Options options, JournalSurvey survey)
      : env_(env), options_(std::move(options)), survey_(std::move(survey)) {}

  Result<Appended> append(uint8_t, std::span<const Bytes>, Space::Use) override {
    return refused();
  }
  Status sync(Lsn) override { return {}; }
  Status trim(Lsn) override { return refused(); }
  Status read(Lsn, Lsn, const std::function<Status(const JournalRecord&)>&) override {
    return refused();
  }
  Result<std::shared_ptr<File>> file(uint64_t first) override {
    const std::lock_guard lock(mutex_);
    auto& open = open_[first];
    if (open) return open;
    const std::string path = journal_path(options_.dir, first);
    TRY_ASSIGN(auto file, env_.open(path, OpenMode::kRead));
    std::vector<JournalDamage> damage;
    for (const JournalDamage& bad : survey_.damage)
      if (bad.path == path) damage.push_back(bad);
    open = std::make_shared<GuardedFile>(std::move(file), std::move(damage));
    return open;
  }
  Status health() const override { return {}; }
  Lsn appended() const override { return survey_.last(); }
  Lsn durable() const override { return survey_.last(); }
  Lsn trimmed() const override { return survey_.runs.empty() ? 0 : survey_.first() - 1; }
  uint64_t bytes() const override { return 0; }

 private:
  static tl::unexpected<Error> refused() {
    return fail(Errc::kUnsupported, "this journal is only read");
  }
  Env& env_;
  const Options options_;
  const JournalSurvey survey_;
  RankedMutex<Rank::kJournal> mutex_;
  std::map<uint64_t, std::shared_ptr<File>> open_;  // protected by mutex_; few, as files are large
};

}  // namespace

std::string JournalDamage::text() const {
  return fmt::format("{}, bytes {} to {}: {}", path, begin, end, what);
}

bool JournalSurvey::is_whole() const {
  if (durable > last() || (!runs.empty() && first() != first_file)) return false;
  for (size_t i = 1; i < runs.size(); ++i)
    if (runs[i].first != runs[i - 1].last + 1) return false;
  return std::all_of(damage.begin(), damage.end(), [this](const JournalDamage& bad) {
    const bool is_behind =
        runs.empty() || runs.back().path != bad.path ? bad.begin > 0 : bad.begin >= runs.back().end;
    return bad.path == paths.back() && is_behind;
  });
}

void JournalSurvey::tell(Lsn needed, std::vector<std::string>& out) const {
  if (!is_whole())
    for (const JournalDamage& bad : damage) out.push_back(bad.text());
  const Lsn expected = std::max(needed, durable);
  if (last() < expected)
    out.push_back(fmt::format("the journal ends with record {}, but there was a record {}", last(),
                              expected));
}

Result<JournalSurvey> survey_journal(Env& env, const Journal::Options& options) {
  return Survey(env, options).run();
}

Status visit_run(Env& env, const JournalRun& run, Lsn from, uint64_t record_bytes_max,
                 const std::function<Status(const JournalRecord&, Lsn durable)>& visit) {
  TRY_ASSIGN(const auto file, env.open(run.path, OpenMode::kRead));
  FrameReader reader(*file, frame_seed(run.header), run.begin, run.end, record_bytes_max);
  for (Lsn lsn = run.first; lsn <= run.last; ++lsn) {
    TRY_ASSIGN(const auto frame, reader.next(lsn));
    if (!frame) return fail(Errc::kCorruption, run.path + " changed while it was read");
    if (lsn < from) continue;
    TRY(visit({lsn, frame->type, frame->payload, run.header.first, frame->payload_offset()},
              frame->durable));
  }
  return {};
}

Result<std::optional<Uuid>> cache_id_of_journal(Env& env, const std::string& dir) {
  std::optional<Uuid> id;
  if (!env.stat(dir)) return id;
  TRY_ASSIGN(const std::vector<Lsn> firsts, find_journal_files(env, dir));
  for (const Lsn first : firsts) {
    TRY_ASSIGN(const auto file, env.open(journal_path(dir, first), OpenMode::kRead));
    ByteVec bytes(kJournalHeaderBytes);
    TRY_ASSIGN(const size_t got, file->read_at(0, bytes));
    bytes.resize(got);
    if (const auto header = decode_journal_header(bytes)) id = header->cache_id;
  }
  return id;
}

std::unique_ptr<Journal> open_surveyed_journal(Env& env, const Journal::Options& options,
                                               JournalSurvey survey) {
  return std::make_unique<SurveyedJournal>(env, options, std::move(survey));
}

}  // namespace cairn
