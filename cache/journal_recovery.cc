#include "cache/journal_recovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "cache/base/log.h"

namespace cairn {

namespace {

constexpr std::string_view kSuffix = ".log";
constexpr uint64_t kIndexStepBytes = 64 << 10;

std::optional<Lsn> first_lsn_of(std::string_view name) {
  if (!name.ends_with(kSuffix)) return std::nullopt;
  name.remove_suffix(kSuffix.size());
  Lsn first = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), first, 16);
  const bool is_name = error == std::errc() && end == name.data() + name.size() && first > 0 &&
                       name == fmt::format("{:016x}", first);
  return is_name ? std::optional(first) : std::nullopt;
}

class Recovery {
 public:
  Recovery(Env& env, const Journal::Options& options, Lsn replay_after, Lsn durable_at_least,
           const Journal::Replay& replay)
      : env_(env),
        options_(options),
        replay_after_(replay_after),
        durable_(std::max(durable_at_least, replay_after)),
        replay_(replay) {}

  Result<RecoveredJournal> run() {
    TRY_ASSIGN(const std::vector<Lsn> firsts, find_journal_files(env_, options_.dir));
    next_ = replay_after_ + 1;
    for (size_t i = 0; i < firsts.size() && !ended_; ++i) TRY(take_file(firsts, i));
    if (next_ <= durable_) {
      if (where_.empty()) where_ = options_.dir + " holds no journal";
      return fail(Errc::kCorruption,
                  fmt::format("{}: the log ends before record {}, but records up to {} were made "
                              "durable",
                              where_, next_, durable_));
    }
    found_.next = next_;
    return std::move(found_);
  }

 private:
  std::string path(Lsn first) const { return journal_path(options_.dir, first); }

  // Reads and checks the header; nullopt for a file that was being made when power was lost.
  Result<std::optional<JournalHeader>> take_header(File& file, Lsn first, uint64_t size) {
    if (size > journal_file_limit(options_))
      return fail(Errc::kCorruption, path(first) + " is far larger than a journal file");
    ByteVec bytes(kJournalHeaderBytes);
    TRY_ASSIGN(const size_t got, file.read_at(0, bytes));
    bytes.resize(got);
    auto header = decode_journal_header(bytes);
    if (!header) {
      // The header is synced before the file grows behind it.
      if (size <= kJournalHeaderBytes && header.error().code() == Errc::kCorruption)
        return std::optional<JournalHeader>();
      return tl::unexpected(std::move(header).error().wrap(path(first)));
    }
    if (header->cache_id != options_.cache_id)
      return fail(
          Errc::kInvalid,
          fmt::format("{} belongs to the cache {}, not to {}; do not mix cache directories",
                      path(first), uuid_text(header->cache_id), uuid_text(options_.cache_id)));
    if (header->first != first)
      return fail(Errc::kCorruption, fmt::format("{}: its header says it begins with record {}",
                                                 path(first), header->first));
    return std::optional(*header);
  }

  Status take_file(const std::vector<Lsn>& firsts, size_t i) {
    const Lsn first = firsts[i];
    const bool is_last = i + 1 == firsts.size();
    TRY_ASSIGN(const auto file, env_.open(path(first), OpenMode::kRead));
    TRY_ASSIGN(const uint64_t size, file->size());
    TRY_ASSIGN(const auto header, take_header(*file, first, size));
    if (!header) {
      if (!is_last) return fail(Errc::kCorruption, path(first) + " has lost its header");
      found_.dead.push_back(path(first));
      return found_.files.empty() ? Status() : look_behind_last();
    }
    if (found_.files.empty()) {
      if (first > replay_after_ + 1)
        return fail(Errc::kCorruption,
                    fmt::format("{}: the journal begins with record {}, but {} is needed",
                                options_.dir, first, replay_after_ + 1));
      next_ = first;
    }
    const uint32_t seed = frame_seed(*header);
    JournalFile& kept = found_.files[first];
    kept.seed = seed;
    kept.bytes = size;
    FrameReader reader(*file, seed, kJournalHeaderBytes, size, options_.record_bytes_max);
    TRY(take_records(reader, first, kept));
    where_ = fmt::format("{} at byte {}", path(first), kept.end);
    if (!is_last && firsts[i + 1] < next_)
      return fail(Errc::kCorruption, fmt::format("{}: record {} is in two files, this one and {}",
                                                 path(first), firsts[i + 1], path(firsts[i + 1])));
    if (!is_last && !ended_ && firsts[i + 1] == next_) return {};
    ended_ = true;
    TRY(look_behind_last());
    return look_into_dead(firsts, i + 1);
  }

  Status take_records(FrameReader& reader, Lsn first, JournalFile& kept) {
    kept.end = reader.offset();
    while (true) {
      TRY_ASSIGN(const auto frame, reader.next(next_));
      if (!frame) return {};
      if (frame->lsn > replay_after_) {
        const JournalRecord record{frame->lsn, frame->type, frame->payload, first,
                                   frame->payload_offset()};
        auto keep = replay_(record);
        if (!keep) return tl::unexpected(std::move(keep).error());
        if (!*keep) {
          ended_ = true;
          return {};
        }
      }
      kept.note_record(frame->lsn, frame->offset);
      kept.end = reader.offset();
      ++next_;
    }
  }

  // What lies behind the last record may tell that there was a durable one.
  Status look_behind_last() {
    auto& [first, last] = *found_.files.rbegin();
    TRY_ASSIGN(const auto file, env_.open(path(first), OpenMode::kRead));
    TRY_ASSIGN(const TailScan tail,
               scan_tail(*file, last.seed, last.end, next_, options_.record_bytes_max));
    found_.tail_must_go = !tail.all_zero;
    durable_ = std::max(durable_, tail.durable);
    return {};
  }

  // So may files that begin behind the end of the log.
  Status look_into_dead(const std::vector<Lsn>& firsts, size_t i) {
    for (; i < firsts.size(); ++i) {
      TRY_ASSIGN(const auto file, env_.open(path(firsts[i]), OpenMode::kRead));
      TRY_ASSIGN(const uint64_t size, file->size());
      TRY_ASSIGN(const auto header, take_header(*file, firsts[i], size));
      found_.dead.push_back(path(firsts[i]));
      if (!header) continue;
      TRY_ASSIGN(const TailScan scan, scan_tail(*file, frame_seed(*header), kJournalHeaderBytes,
                                                firsts[i] - 1, options_.record_bytes_max));
      durable_ = std::max({durable_, header->durable, scan.durable});
    }
    return {};
  }

  Env& env_;
  const Journal::Options& options_;
  const Lsn replay_after_;
  Lsn durable_;  // everything up to here must be found
  const Journal::Replay& replay_;
  RecoveredJournal found_;
  Lsn next_ = 1;
  bool ended_ = false;
  std::string where_;
};

}  // namespace

void JournalFile::note_record(Lsn lsn, uint64_t offset) {
  if (index.empty() || offset - index.back().second >= kIndexStepBytes)
    index.emplace_back(lsn, offset);
}

std::pair<Lsn, uint64_t> JournalFile::start_for(Lsn lsn, Lsn first) const {
  const auto behind = std::upper_bound(index.begin(), index.end(), std::pair{lsn, UINT64_MAX});
  if (behind == index.begin()) return {first, kJournalHeaderBytes};
  return *std::prev(behind);
}

Result<std::vector<Lsn>> find_journal_files(Env& env, const std::string& dir) {
  TRY_ASSIGN(const auto names, env.list_dir(dir));
  std::vector<Lsn> firsts;
  for (const std::string& name : names)
    if (const auto first = first_lsn_of(name)) firsts.push_back(*first);
  return firsts;  // sorted, as the names are
}

uint64_t journal_file_limit(const Journal::Options& options) {
  constexpr uint64_t kFileBytesLimit = 1ULL << 30;
  return std::max(kFileBytesLimit, 4 * options.file_bytes_max);
}

std::string journal_path(const std::string& dir, Lsn first) {
  return fmt::format("{}/{:016x}{}", dir, first, kSuffix);
}

Result<RecoveredJournal> recover_journal(Env& env, const Journal::Options& options,
                                         Lsn replay_after, Lsn durable_at_least,
                                         const Journal::Replay& replay) {
  return Recovery(env, options, replay_after, durable_at_least, replay).run();
}

Status cut_journal(Env& env, const Journal::Options& options, RecoveredJournal& journal) {
  // The last file goes first: what is left is always a log with nothing missing inside.
  for (auto path = journal.dead.rbegin(); path != journal.dead.rend(); ++path) {
    log_warn("{}: removed, the log ends before it (record {} is the next)", *path, journal.next);
    TRY(env.remove(*path));
    TRY(env.sync_dir(options.dir));
  }
  if (journal.files.empty()) return {};
  auto& [first, last] = *journal.files.rbegin();
  const std::string path = journal_path(options.dir, first);
  if (!journal.tail_must_go) {
    // Who made it may have died before its header was durable, and records are going to follow.
    TRY_ASSIGN(const auto file, env.open(path, OpenMode::kReadWrite));
    return file->sync_data();
  }
  log_warn("{}: {} bytes behind record {} were never acknowledged as durable; cut off", path,
           last.bytes - last.end, journal.next - 1);
  TRY_ASSIGN(const auto file, env.open(path, OpenMode::kReadWrite));
  TRY(file->truncate(last.end));
  TRY(file->sync_data());
  last.bytes = last.end;
  return {};
}

}  // namespace cairn
