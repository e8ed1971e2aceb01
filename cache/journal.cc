#include "cache/journal.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <optional>
#include <vector>

#include "cache/base/failpoint.h"
#include "cache/base/log.h"
#include "cache/base/mutex.h"
#include "cache/file_cache.h"
#include "cache/journal_format.h"
#include "cache/journal_recovery.h"

namespace cairn {

namespace {

// Growing a file in steps keeps its size out of most syncs; the zeroes behind the last record are
// its clean end.
constexpr uint64_t kGrowBytes = 1 << 20;
// A sync of a file in which space was used for the first time, though it was reserved, makes the
// filesystem commit its own journal; one of space that was written before does not. So where syncs
// come often, so many bytes are written ahead of the records; where not, that would be for nothing.
constexpr uint64_t kAheadBytes = 256 << 10;
constexpr unsigned kOften = 4;  // rounds while so much was appended
// Disk is counted in blocks: a file has one from its header on.
constexpr uint64_t kFirstBytes = 4096;

uint64_t whole_steps(uint64_t bytes) {
  return (bytes + kFirstBytes - 1) / kFirstBytes * kFirstBytes;
}

tl::unexpected<Error> no_room() {
  return fail(Errc::kNoSpace, "the cache has reached its size");
}

class DiskJournal final : public Journal {
 public:
  DiskJournal(Env& env, Options options, RecoveredJournal&& found)
      : env_(env),
        options_(std::move(options)),
        files_(std::move(found.files)),
        appended_(found.next - 1),
        trimmed_(files_.empty() ? appended_ : files_.begin()->first - 1) {
    for (auto& [first, file] : files_) {
      file.bytes = whole_steps(file.bytes);
      bytes_ += file.bytes;
    }
    if (options_.space != nullptr) options_.space->take_existing(bytes_);
  }
  // Makes everything found durable, and ready to be appended to.
  Status start(Lsn durable);

  Result<Appended> append(uint8_t type, std::span<const Bytes> parts, Space::Use use) override;
  Status sync(Lsn upto) override;
  Status trim(Lsn through) override;
  Status read(Lsn after, Lsn upto,
              const std::function<Status(const JournalRecord&)>& visit) override;
  Result<std::shared_ptr<File>> file(uint64_t file) override;

  Status health() const override {
    const Lock lock(mutex_);
    return check_healthy();
  }
  Lsn appended() const override { return locked(appended_); }
  Lsn durable() const override { return locked(durable_); }
  Lsn trimmed() const override { return locked(trimmed_); }
  uint64_t bytes() const override { return locked(bytes_); }

 private:
  using Lock = std::unique_lock<RankedMutex<Rank::kJournal>>;
  struct Span {  // of one file, for a read
    Lsn first;
    uint32_t seed;
    Lsn lsn;
    uint64_t offset;
    uint64_t end;
  };

  uint64_t locked(const uint64_t& value) const {
    const Lock lock(mutex_);
    return value;
  }
  Status check_healthy() const;
  Status poison(const Error& error);
  Status begin_file(Space::Use use);
  Status make_file(const JournalHeader& header);
  Status make_room(uint64_t frame_bytes, Space::Use use);
  Status grow(JournalFile& file, uint64_t size, Space::Use use);
  void shrink(JournalFile& file, uint64_t size);
  Status write_ahead(const JournalFile& file, uint64_t frame_bytes);
  Status write_frame(uint64_t offset);
  Result<std::vector<Span>> spans_of(Lsn after, Lsn upto) const;

  Env& env_;
  const Options options_;
  mutable RankedMutex<Rank::kJournal> mutex_;
  ConditionVariable round_ended_;
  // Everything below is protected by mutex_. Syncs run without it, appends write under it: their
  // order in the file is their order.
  std::map<Lsn, JournalFile> files_;
  std::shared_ptr<File> active_;                 // of the last of files_
  std::vector<std::shared_ptr<File>> unsynced_;  // earlier ones that no round has synced
  FileCache open_files_;
  ByteVec frame_;
  Lsn appended_;
  Lsn durable_ = 0;
  Lsn trimmed_;
  uint64_t bytes_ = 0;
  uint64_t ahead_until_ = 0;  // in the active file; behind it write_ahead looks again
  unsigned rounds_ = 0;       // since it last looked
  bool is_syncing_ = false;
  std::optional<Error> poisoned_;
};

Status DiskJournal::check_healthy() const {
  if (!poisoned_) return {};
  return fail(Errc::kIo, "the journal failed before: " + poisoned_->message());
}

Status DiskJournal::poison(const Error& error) {
  if (!poisoned_) log_error("{}; nothing more is accepted until the next mount", error.message());
  if (!poisoned_) poisoned_ = error;
  return fail(Errc::kIo, "journal: " + error.message());
}

Status DiskJournal::start(Lsn durable) {
  {
    const Lock lock(mutex_);
    durable_ = std::min(durable, appended_);
    if (files_.empty()) {
      durable_ = appended_;
      return begin_file(Space::Use::kPublish);
    }
    for (auto it = files_.begin(); it != files_.end(); ++it) {
      const auto next = std::next(it);
      const bool is_last = next == files_.end();
      if (!is_last && next->first - 1 <= durable_) continue;
      TRY_ASSIGN(std::shared_ptr<File> file,
                 env_.open(journal_path(options_.dir, it->first), OpenMode::kReadWrite));
      open_files_.put(it->first, file);
      if (is_last) {
        active_ = std::move(file);
      } else {
        unsynced_.push_back(std::move(file));
      }
    }
  }
  // The process before may have died between its writes and its syncs.
  return sync(appended());
}

// Makes the file of the next record. Its header and name are durable before it holds a record, so
// only a file without records can have a torn header, and no file in the middle can be missing.
Status DiskJournal::begin_file(Space::Use use) {
  const JournalHeader header{options_.cache_id, appended_ + 1, durable_};
  if (options_.space != nullptr && !options_.space->take(kFirstBytes, use)) return no_room();
  const Status begun = make_file(header);
  if (!begun && options_.space != nullptr) options_.space->give(kFirstBytes);
  return begun;
}

Status DiskJournal::make_file(const JournalHeader& header) {
  const std::string path = journal_path(options_.dir, header.first);
  TRY_ASSIGN(std::shared_ptr<File> file, env_.open(path, OpenMode::kCreate));
  const ByteVec bytes = encode_journal_header(header);
  Status made = file->truncate(0);
  if (made) made = file->write_at(0, bytes);
  if (!made) {
    if (const Status removed = env_.remove(path); !removed)
      log_warn("{}", removed.error().message());
    if (made.error().code() == Errc::kNoSpace) return made;
    return poison(made.error());
  }
  CAIRN_FAILPOINT("journal.file_made");
  Status synced = file->sync_data();
  if (synced) synced = env_.sync_dir(options_.dir);
  if (!synced) return poison(synced.error());

  if (active_) {
    auto& [first, last] = *files_.rbegin();
    if (const Status cut = active_->truncate(last.end)) {
      shrink(last, last.end);
    } else {
      log_warn("{}; its unused end stays allocated", cut.error().message());
    }
    unsynced_.push_back(active_);
  }
  JournalFile& next = files_[header.first];
  next.seed = frame_seed(header);
  next.end = bytes.size();
  next.bytes = kFirstBytes;
  bytes_ += next.bytes;
  ahead_until_ = 0;
  active_ = open_files_.put(header.first, std::move(file));
  return {};
}

Status DiskJournal::make_room(uint64_t frame_bytes, Space::Use use) {
  const auto& [first, last] = *files_.rbegin();
  if (first <= appended_ && last.end + frame_bytes > options_.file_bytes_max) TRY(begin_file(use));
  JournalFile& file = files_.rbegin()->second;
  const uint64_t needed = whole_steps(file.end + frame_bytes);
  if (needed <= file.bytes) return {};
  const uint64_t size =
      std::max(needed, std::min(file.bytes + kGrowBytes, whole_steps(options_.file_bytes_max)));
  const Status grown = grow(file, size, use);
  // Where a whole step does not fit any more, what is needed may.
  if (grown || grown.error().code() != Errc::kNoSpace || size == needed) return grown;
  return grow(file, needed, use);
}

Status DiskJournal::grow(JournalFile& file, uint64_t size, Space::Use use) {
  const uint64_t more = size - file.bytes;
  if (options_.space != nullptr && !options_.space->take(more, use)) return no_room();
  if (Status allocated = active_->allocate(file.bytes, more); !allocated) {
    if (options_.space != nullptr) options_.space->give(more);
    return allocated;
  }
  bytes_ += more;
  file.bytes = size;
  return {};
}

Status DiskJournal::write_ahead(const JournalFile& file, uint64_t frame_bytes) {
  static std::array<std::byte, 64 << 10> zeroes;
  if (file.end + frame_bytes <= ahead_until_) return {};
  ahead_until_ = std::min(file.bytes, whole_steps(file.end + frame_bytes) + kAheadBytes);
  if (std::exchange(rounds_, 0) < kOften) return {};
  for (uint64_t at = whole_steps(file.end); at < ahead_until_; at += zeroes.size()) {
    const uint64_t size = std::min<uint64_t>(zeroes.size(), ahead_until_ - at);
    const Status written = active_->write_at(at, Bytes(zeroes).first(size));
    if (written) continue;
    // Only time is lost.
    if (written.error().code() == Errc::kNoSpace) return {};
    return poison(written.error());
  }
  return {};
}

// The file was cut to `size`.
void DiskJournal::shrink(JournalFile& file, uint64_t size) {
  const uint64_t kept = std::min(whole_steps(size), file.bytes);
  if (options_.space != nullptr) options_.space->give(file.bytes - kept);
  bytes_ -= file.bytes - kept;
  file.bytes = kept;
}

// Writes frame_. A disk that is full has not lost anything: what arrived of the frame is removed,
// so that nothing of it can be read behind a shorter one.
Status DiskJournal::write_frame(uint64_t offset) {
  Status written = active_->write_at(offset, frame_);
  if (written) return {};
  if (written.error().code() != Errc::kNoSpace) return poison(written.error());
  if (const Status cut = active_->truncate(offset); !cut) return poison(cut.error());
  shrink(files_.rbegin()->second, offset);
  return written;
}

Result<Journal::Appended> DiskJournal::append(uint8_t type, std::span<const Bytes> parts,
                                              Space::Use use) {
  uint64_t payload_bytes = 0;
  for (const Bytes part : parts) payload_bytes += part.size();
  if (payload_bytes > options_.record_bytes_max)
    return fail(Errc::kInvalid, fmt::format("a journal record of {} bytes; {} are allowed",
                                            payload_bytes, options_.record_bytes_max));
  const Lock lock(mutex_);
  TRY(check_healthy());
  TRY(make_room(kFrameHeaderBytes + payload_bytes, use));
  auto& [first, file] = *files_.rbegin();
  TRY(write_ahead(file, kFrameHeaderBytes + payload_bytes));
  frame_.clear();
  encode_frame(frame_, file.seed, appended_ + 1, durable_, type, parts);
  TRY(write_frame(file.end));
  CAIRN_FAILPOINT("journal.appended");
  const Appended done{++appended_, first, file.end + kFrameHeaderBytes};
  file.note_record(done.lsn, file.end);
  file.end += frame_.size();
  return done;
}

Status DiskJournal::sync(Lsn upto) {
  Lock lock(mutex_);
  if (upto > appended_) return fail(Errc::kInvalid, "sync of a journal record that is not there");
  while (true) {
    TRY(check_healthy());
    if (durable_ >= upto) return {};
    if (!is_syncing_) break;
    round_ended_.wait(lock);
  }
  const Lsn target = appended_;
  std::vector<std::shared_ptr<File>> files = std::exchange(unsynced_, {});
  files.push_back(active_);
  is_syncing_ = true;
  ++rounds_;
  lock.unlock();
  // The data first: no record may outlive what it refers to.
  Status synced = options_.sync_data ? options_.sync_data() : Status();
  CAIRN_FAILPOINT("journal.data_synced");
  for (size_t i = 0; synced && i < files.size(); ++i) synced = files[i]->sync_data();
  lock.lock();
  is_syncing_ = false;
  if (synced) {
    durable_ = std::max(durable_, target);
  } else {
    synced = poison(synced.error());
  }
  round_ended_.notify_all();
  return synced;
}

Status DiskJournal::trim(Lsn through) {
  while (true) {
    Lsn first = 0;
    uint64_t bytes = 0;
    {
      const Lock lock(mutex_);
      if (files_.size() < 2) return {};
      const Lsn last = std::next(files_.begin())->first - 1;
      if (last > std::min(through, durable_)) return {};
      first = files_.begin()->first;
      bytes = files_.begin()->second.bytes;
      bytes_ -= bytes;
      files_.erase(files_.begin());
      open_files_.erase(first);
      trimmed_ = last;
    }
    // One after the other, oldest first: a power cut leaves no hole between the files that remain.
    TRY(env_.remove(journal_path(options_.dir, first)));
    if (options_.space != nullptr) options_.space->give(bytes);
    CAIRN_FAILPOINT("journal.trimmed");
    TRY(env_.sync_dir(options_.dir));
  }
}

Result<std::vector<DiskJournal::Span>> DiskJournal::spans_of(Lsn after, Lsn upto) const {
  const Lock lock(mutex_);
  if (upto > appended_) return fail(Errc::kInvalid, "read of a journal record that is not there");
  if (after < trimmed_) return fail(Errc::kInvalid, "read of a journal record that was trimmed");
  std::vector<Span> spans;
  for (auto it = std::prev(files_.upper_bound(after + 1)); it != files_.end(); ++it) {
    if (it->first > upto) break;
    const auto [lsn, offset] = it->second.start_for(after + 1, it->first);
    spans.push_back({it->first, it->second.seed, lsn, offset, it->second.end});
  }
  return spans;
}

Status DiskJournal::read(Lsn after, Lsn upto,
                         const std::function<Status(const JournalRecord&)>& visit) {
  if (upto <= after) return {};
  TRY_ASSIGN(const std::vector<Span> spans, spans_of(after, upto));
  for (const Span& span : spans) {
    TRY_ASSIGN(const auto opened, file(span.first));
    FrameReader reader(*opened, span.seed, span.offset, span.end, options_.record_bytes_max);
    for (Lsn lsn = span.lsn; lsn <= upto && reader.offset() < span.end; ++lsn) {
      TRY_ASSIGN(const auto frame, reader.next(lsn));
      if (!frame)
        return fail(Errc::kCorruption,
                    fmt::format("{} at byte {}: record {} is damaged",
                                journal_path(options_.dir, span.first), reader.offset(), lsn));
      if (lsn <= after) continue;
      TRY(visit({lsn, frame->type, frame->payload, span.first, frame->payload_offset()}));
    }
  }
  return {};
}

Result<std::shared_ptr<File>> DiskJournal::file(uint64_t first) {
  const auto trimmed = [first] {
    return fail(Errc::kNotFound, fmt::format("journal file {:016x} was trimmed", first));
  };
  {
    const Lock lock(mutex_);
    if (!files_.contains(first)) return trimmed();
    if (auto file = open_files_.find(first)) return file;
  }
  TRY_ASSIGN(std::shared_ptr<File> file,
             env_.open(journal_path(options_.dir, first), OpenMode::kRead));
  const Lock lock(mutex_);
  if (!files_.contains(first)) return trimmed();
  return open_files_.put(first, std::move(file));
}

}  // namespace

Result<std::unique_ptr<Journal>> Journal::open(Env& env, Options options, Lsn replay_after,
                                               Lsn durable_at_least, const Replay& replay) {
  TRY(env.make_dirs(options.dir));
  TRY_ASSIGN(RecoveredJournal found,
             recover_journal(env, options, replay_after, durable_at_least, replay));
  TRY(cut_journal(env, options, found));
  // Who made the last file may have died before its name was durable.
  TRY(env.sync_dir(options.dir));
  auto journal = std::make_unique<DiskJournal>(env, std::move(options), std::move(found));
  TRY(journal->start(std::max(replay_after, durable_at_least)));
  return std::unique_ptr<Journal>(std::move(journal));
}

}  // namespace cairn
