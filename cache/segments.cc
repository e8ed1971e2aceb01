#include "cache/segments.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <map>
#include <mutex>
#include <optional>
#include <set>

#include "cache/base/coding.h"
#include "cache/base/failpoint.h"
#include "cache/base/log.h"
#include "cache/base/mutex.h"
#include "cache/file_cache.h"

namespace cairn {

namespace {

constexpr uint64_t kAlignment = 4096;
constexpr std::string_view kSegmentSuffix = ".seg";

uint64_t align_up(uint64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

std::optional<uint64_t> number_of(std::string_view name) {
  if (!name.ends_with(kSegmentSuffix)) return std::nullopt;
  name.remove_suffix(kSegmentSuffix.size());
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number, 16);
  const bool is_name = error == std::errc() && end == name.data() + name.size() &&
                       name == fmt::format("{:08x}", number);
  return is_name ? std::optional(number) : std::nullopt;
}

struct Segment {
  SegmentInfo info;
  uint64_t appends_in_flight = 0;
  uint64_t holds = 0;
  bool ending = false;           // takes no more appends; sealed when none is in flight
  bool unsynced = false;         // holds completed appends that no sync covered
  std::shared_ptr<File> writer;  // while open, or unsynced by this life
};

// What appends of one class share.
struct Stream {
  uint64_t open_number = 0;   // 0: none
  bool is_beginning = false;  // somebody makes the next segment; the others wait for it
  bool is_syncing = false;
  std::set<uint64_t> unsynced;
  bool has_new_names = false;
};

class DiskSegments final : public Segments {
 public:
  DiskSegments(Env& env, Options options) : env_(env), options_(std::move(options)) {}
  ~DiskSegments() override;
  Status load(uint64_t known_numbers_end);

  Result<DataRef> append(SegmentClass kind, Bytes data) override {
    return append(kind, data, false);
  }
  Result<DataRef> append_held(Bytes data) override {
    return append(SegmentClass::kWritten, data, true);
  }
  void release(uint64_t number) override;
  void note_lsn(uint64_t number, Lsn lsn) override;
  Result<std::shared_ptr<File>> file(uint64_t number) override;
  Status sync() override;
  Status sync_written() override { return sync(SegmentClass::kWritten); }
  Status seal() override;
  Status remove(uint64_t number) override;
  Status health() const override {
    const Lock lock(mutex_);
    return check_healthy();
  }
  std::vector<SegmentInfo> list() const override;
  uint64_t allocated_bytes() const override;
  uint64_t numbers_end() const override;

 private:
  using Lock = std::unique_lock<RankedMutex<Rank::kSegments>>;

  Stream& stream(SegmentClass kind) { return streams_[static_cast<size_t>(kind)]; }
  std::string path(uint64_t number) const {
    return fmt::format("{}/{:08x}{}", options_.dir, number, kSegmentSuffix);
  }
  Status check_healthy() const;
  void poison(const Error& error);
  void give_back(uint64_t bytes) {
    if (options_.space != nullptr) options_.space->give(bytes);
  }
  Result<DataRef> append(SegmentClass kind, Bytes data, bool hold);
  Status sync(SegmentClass kind);
  Result<uint64_t> begin_segment(Lock& lock, SegmentClass kind, uint64_t bytes);
  Result<std::shared_ptr<File>> make_file(uint64_t number, uint64_t bytes);
  void end_segment(Lock& lock, uint64_t number);
  void finish_append(Lock& lock, SegmentClass kind, uint64_t number, const Status& written);
  void give_back_tail(Lock& lock, uint64_t number);

  Env& env_;
  const Options options_;
  mutable RankedMutex<Rank::kSegments> mutex_;
  ConditionVariable moved_;
  // Everything below is protected by mutex_. No file is read, written or synced under it.
  std::map<uint64_t, Segment> segments_;
  std::array<Stream, kSegmentClasses> streams_;
  FileCache files_;
  uint64_t numbers_end_ = 1;
  uint64_t allocated_bytes_ = 0;
  std::optional<Error> poisoned_;
};

Status DiskSegments::check_healthy() const {
  if (!poisoned_) return {};
  return fail(Errc::kIo, "data segments failed before: " + poisoned_->message());
}

void DiskSegments::poison(const Error& error) {
  if (!poisoned_) poisoned_ = error;
  log_error("{}: {}; nothing more is accepted until the next mount", options_.dir, error.message());
}

Status DiskSegments::load(uint64_t known_numbers_end) {
  TRY(env_.make_dirs(options_.dir));
  numbers_end_ = std::max<uint64_t>(known_numbers_end, 1);
  TRY_ASSIGN(const auto names, env_.list_dir(options_.dir));
  for (const std::string& name : names) {
    const auto number = number_of(name);
    if (!number) continue;
    TRY_ASSIGN(const FileInfo info, env_.stat(options_.dir + "/" + name));
    if (!info.is_regular) continue;
    Segment& segment = segments_[*number];
    segment.info.number = *number;
    segment.info.used_bytes = info.size;
    segment.info.allocated_bytes = info.allocated_bytes;
    allocated_bytes_ += info.allocated_bytes;
    if (options_.space != nullptr) options_.space->take_existing(info.allocated_bytes);
    numbers_end_ = std::max(numbers_end_, *number + 1);
  }
  return {};
}

DiskSegments::~DiskSegments() {
  // Only to give disk back: nobody waits for what is not synced.
  if (const Status sealed = seal(); !sealed) log_warn("{}", sealed.error().message());
}

Result<std::shared_ptr<File>> DiskSegments::make_file(uint64_t number, uint64_t bytes) {
  TRY_ASSIGN(std::shared_ptr<File> file, env_.open(path(number), OpenMode::kCreateNew));
  if (Status allocated = file->allocate(0, bytes); !allocated) {
    if (const Status removed = env_.remove(path(number)); !removed)
      log_warn("{}", removed.error().message());
    return tl::unexpected(std::move(allocated).error());
  }
  CAIRN_FAILPOINT("segment.made");
  return file;
}

// Makes a segment and hands it out. The lock is free meanwhile; the caller has set is_beginning
// when others must wait for this segment.
Result<uint64_t> DiskSegments::begin_segment(Lock& lock, SegmentClass kind, uint64_t bytes) {
  const bool is_kept = kind == SegmentClass::kKept;
  const Space::Use use = is_kept ? Space::Use::kPublish : Space::Use::kOrdinary;
  if (options_.space != nullptr && !options_.space->take(bytes, use))
    return fail(Errc::kNoSpace, "the cache has reached its size");
  const uint64_t number = numbers_end_++;
  lock.unlock();
  auto file = make_file(number, bytes);
  lock.lock();
  if (!file) {
    give_back(bytes);
    // A full disk is an everyday matter; whoever writes only hears the number of anything else.
    if (file.error().code() != Errc::kNoSpace)
      log_once_per(std::chrono::seconds(10), "segment", file.error().message());
    return tl::unexpected(std::move(file).error());
  }
  Segment& segment = segments_[number];
  segment.info = {.number = number,
                  .allocated_bytes = bytes,
                  .open = true,
                  .kept = is_kept,
                  .passing = kind == SegmentClass::kPassing};
  segment.writer = *file;
  files_.put(number, *file);
  allocated_bytes_ += bytes;
  stream(kind).has_new_names = true;
  return number;
}

Result<DataRef> DiskSegments::append(SegmentClass kind, Bytes data, bool hold) {
  const uint64_t room = align_up(data.size());
  Lock lock(mutex_);
  TRY(check_healthy());
  uint64_t number = 0;
  if (room > options_.segment_bytes) {
    TRY_ASSIGN(number, begin_segment(lock, kind, room));
    segments_.at(number).ending = true;
  } else {
    Stream& mine = stream(kind);
    while (true) {
      TRY(check_healthy());
      if (mine.is_beginning) {
        moved_.wait(lock);
        continue;
      }
      number = mine.open_number;
      if (number != 0 && segments_.at(number).info.used_bytes + room <= options_.segment_bytes)
        break;
      mine.open_number = 0;
      mine.is_beginning = true;
      if (number != 0) end_segment(lock, number);
      auto begun = begin_segment(lock, kind, options_.segment_bytes);
      mine.is_beginning = false;
      moved_.notify_all();
      if (!begun) return tl::unexpected(std::move(begun).error());
      mine.open_number = *begun;
    }
  }
  Segment& segment = segments_.at(number);
  const DataRef ref{DataRef::Kind::kSegment, number, segment.info.used_bytes};
  segment.info.used_bytes += room;
  ++segment.appends_in_flight;
  const std::shared_ptr<File> file = segment.writer;
  lock.unlock();
  Status written = file->write_at(ref.offset, data);
  CAIRN_FAILPOINT("segment.appended");
  lock.lock();
  // While the append was in flight the segment was open; from here on the hold keeps it.
  if (hold && written) ++segments_.at(number).holds;
  finish_append(lock, kind, number, written);
  if (!written) return tl::unexpected(std::move(written).error().wrap("data segment"));
  TRY(check_healthy());
  return ref;
}

void DiskSegments::release(uint64_t number) {
  const Lock lock(mutex_);
  const auto it = segments_.find(number);
  if (it != segments_.end() && it->second.holds > 0) --it->second.holds;
}

void DiskSegments::finish_append(Lock& lock, SegmentClass kind, uint64_t number,
                                 const Status& written) {
  Segment& segment = segments_.at(number);
  --segment.appends_in_flight;
  if (written) {
    segment.unsynced = true;
    stream(kind).unsynced.insert(number);
  } else if (written.error().code() != Errc::kNoSpace) {
    poison(written.error());
  }
  if (segment.ending && segment.appends_in_flight == 0) give_back_tail(lock, number);
}

void DiskSegments::end_segment(Lock& lock, uint64_t number) {
  Segment& segment = segments_.at(number);
  segment.ending = true;
  if (segment.appends_in_flight == 0) give_back_tail(lock, number);
}

// The last act of an open segment; afterwards it is sealed.
void DiskSegments::give_back_tail(Lock& lock, uint64_t number) {
  Segment& segment = segments_.at(number);
  const std::shared_ptr<File> file = segment.writer;
  const uint64_t used = segment.info.used_bytes;
  bool is_cut = false;
  if (used < segment.info.allocated_bytes) {
    lock.unlock();
    const Status cut = file->truncate(used);
    lock.lock();
    is_cut = cut.has_value();
    if (!cut) log_warn("{}; its unused end stays allocated", cut.error().message());
  }
  // It is open until here, so nobody removed it.
  if (is_cut) {
    allocated_bytes_ -= segment.info.allocated_bytes - used;
    give_back(segment.info.allocated_bytes - used);
    segment.info.allocated_bytes = used;
  }
  segment.info.open = false;
  if (!segment.unsynced) segment.writer = nullptr;
  moved_.notify_all();
}

void DiskSegments::note_lsn(uint64_t number, Lsn lsn) {
  const Lock lock(mutex_);
  const auto it = segments_.find(number);
  if (it == segments_.end()) return;
  SegmentInfo& info = it->second.info;
  const bool is_from_earlier_life = !info.open && info.last_lsn == 0 && !it->second.writer;
  info.last_lsn = std::max(info.last_lsn, lsn);
  if (!is_from_earlier_life) return;
  it->second.unsynced = true;
  stream(SegmentClass::kWritten).unsynced.insert(number);
  stream(SegmentClass::kWritten).has_new_names = true;
}

Result<std::shared_ptr<File>> DiskSegments::file(uint64_t number) {
  {
    const Lock lock(mutex_);
    if (!segments_.contains(number))
      return fail(Errc::kNotFound, fmt::format("segment {:08x} was removed", number));
    if (auto file = files_.find(number)) return file;
  }
  TRY_ASSIGN(std::shared_ptr<File> file, env_.open(path(number), OpenMode::kReadWrite));
  const Lock lock(mutex_);
  if (!segments_.contains(number)) return file;  // removed meanwhile; the bytes are still there
  return files_.put(number, std::move(file));
}

Status DiskSegments::sync() {
  TRY(sync(SegmentClass::kWritten));
  TRY(sync(SegmentClass::kClean));
  TRY(sync(SegmentClass::kPassing));
  return sync(SegmentClass::kKept);
}

Status DiskSegments::sync(SegmentClass kind) {
  Lock lock(mutex_);
  Stream& mine = stream(kind);
  // A round under way may cover the caller's appends only in part: wait for its end.
  moved_.wait(lock, [&] { return !mine.is_syncing; });
  TRY(check_healthy());
  const std::set<uint64_t> numbers = std::exchange(mine.unsynced, {});
  const bool has_new_names = std::exchange(mine.has_new_names, false);
  if (numbers.empty() && !has_new_names) return {};
  std::vector<std::pair<uint64_t, std::shared_ptr<File>>> files;
  for (const uint64_t number : numbers) {
    Segment& segment = segments_.at(number);
    segment.unsynced = false;
    files.emplace_back(number, segment.writer);
    if (!segment.info.open) segment.writer = nullptr;
  }
  mine.is_syncing = true;
  lock.unlock();
  Status synced;
  for (auto& [number, writer] : files) {
    if (!writer) {  // of an earlier life
      auto opened = file(number);
      if (!opened && opened.error().code() == Errc::kNotFound) continue;
      if (!opened) {
        synced = tl::unexpected(std::move(opened).error());
        break;
      }
      writer = *opened;
    }
    synced = writer->sync_data();
    if (!synced) break;
  }
  if (synced && has_new_names) synced = env_.sync_dir(options_.dir);
  lock.lock();
  mine.is_syncing = false;
  if (!synced) poison(synced.error());
  moved_.notify_all();
  return synced;
}

Status DiskSegments::seal() {
  Lock lock(mutex_);
  std::array<uint64_t, kSegmentClasses> ended{};
  for (size_t i = 0; i < streams_.size(); ++i) {
    Stream& mine = streams_[i];
    moved_.wait(lock, [&] { return !mine.is_beginning; });
    ended[i] = std::exchange(mine.open_number, 0);
    if (ended[i] != 0) end_segment(lock, ended[i]);
  }
  // Appends that had their room already are finishing; their writers seal the segment.
  moved_.wait(lock, [&] {
    for (const uint64_t number : ended)
      if (const auto it = segments_.find(number); it != segments_.end() && it->second.info.open)
        return false;
    return true;
  });
  return {};
}

Status DiskSegments::remove(uint64_t number) {
  Lock lock(mutex_);
  const auto it = segments_.find(number);
  if (it == segments_.end()) return {};
  if (it->second.info.open)
    return fail(Errc::kInvalid, fmt::format("segment {:08x} is still open", number));
  if (it->second.holds > 0)
    return fail(Errc::kInvalid, fmt::format("segment {:08x} is held", number));
  Segment segment = std::move(it->second);
  segments_.erase(it);
  files_.erase(number);
  for (Stream& each : streams_) each.unsynced.erase(number);
  lock.unlock();
  Status removed = env_.remove(path(number));
  if (!removed && removed.error().code() == Errc::kNotFound) removed = {};
  lock.lock();
  if (removed) {
    allocated_bytes_ -= segment.info.allocated_bytes;
    give_back(segment.info.allocated_bytes);
  } else {
    if (segment.unsynced) streams_[0].unsynced.insert(number);
    segments_.emplace(number, std::move(segment));
  }
  return removed;
}

std::vector<SegmentInfo> DiskSegments::list() const {
  const Lock lock(mutex_);
  std::vector<SegmentInfo> out;
  out.reserve(segments_.size());
  for (const auto& [number, segment] : segments_) {
    out.push_back(segment.info);
    out.back().held = segment.holds > 0;
  }
  return out;
}

uint64_t DiskSegments::allocated_bytes() const {
  const Lock lock(mutex_);
  return allocated_bytes_;
}

uint64_t DiskSegments::numbers_end() const {
  const Lock lock(mutex_);
  return numbers_end_;
}

}  // namespace

Result<std::unique_ptr<Segments>> Segments::open(Env& env, Options options,
                                                 uint64_t known_numbers_end) {
  options.segment_bytes = std::max(align_up(options.segment_bytes), kAlignment);
  auto segments = std::make_unique<DiskSegments>(env, std::move(options));
  TRY(segments->load(known_numbers_end));
  return std::unique_ptr<Segments>(std::move(segments));
}

bool holds_bytes(Segments& segments, const DataRef& ref, uint32_t length, uint32_t crc) {
  if (ref.kind == DataRef::Kind::kJournal) return true;
  const auto file = segments.file(ref.file);
  if (!file) return false;
  ByteVec bytes(length);
  const auto n = (*file)->read_at(ref.offset, bytes);
  return n && *n == bytes.size() && crc32c(bytes) == crc;
}

}  // namespace cairn
