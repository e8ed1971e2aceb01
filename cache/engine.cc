#include "cache/engine.h"

#include <fmt/format.h>

#include <algorithm>

#include "cache/base/failpoint.h"
#include "cache/base/log.h"
#include "cache/format/records.h"

namespace cairn {

Engine::Engine(EngineSettings settings, Components components)
    : settings_(settings),
      clock_(components.clock),
      executor_(components.executor),
      maintenance_(components.maintenance),
      publishing_(components.publishing),
      space_(std::move(components.space)),
      tables_(std::move(components.tables)),
      segments_(std::move(components.segments)),
      remote_(std::move(components.remote)),
      bookmark_(std::move(components.bookmark)),
      live_(*tables_, remote_->params().chunk_bytes),
      chunks_(live_, *segments_, settings.chunk_memory_bytes),
      fetches_(
          chunks_, executor_, clock_,
          [this](const Need::Chunk& chunk, const Buffer& bytes) { keep_fetched(chunk, bytes); }),
      last_progress_(clock_.now()),
      last_checkpoint_(clock_.now()),
      retry_at_(clock_.now()),
      commit_interval_(settings_.publish_interval) {
  ahead_bytes_now_ = first_ahead_bytes(ahead_pace());
}

Engine::~Engine() {
  abandon();
  // What it still does asks this engine; the tables go before it.
  remote_->stop();
}

void Engine::attach(std::unique_ptr<Journal> journal, Lsn checkpointed, Lsn published) {
  journal_ = std::move(journal);
  checkpointed_ = checkpointed;
  published_ = published;
  settled_ = std::min(checkpointed, published);
}

const char* name_of(FileStatus::State state) {
  switch (state) {
    case FileStatus::State::kLocal:
      return "local";
    case FileStatus::State::kQueued:
      return "queued";
    case FileStatus::State::kUploading:
      return "uploading";
    case FileStatus::State::kStored:
      return "stored";
    case FileStatus::State::kHeld:
      return "held";
  }
  return "stored";
}

Status Engine::start() {
  TRY(load_kept());  // before anything is evicted
  load_pins();
  make_room(0);  // the cache may have been larger in an earlier life
  if (journal_) set_published(published_);
  next_poll_ = clock_.now() + settings_.poll_interval;  // the head was just looked for
  schedule_background();
  return {};
}

// ---- changing

Status Engine::admit(uint64_t bytes, Need& need) {
  TRY(refuse_when_stopped());
  TRY(remote_->settle());
  const PendingStatus waiting = pending();
  const uint64_t unstored = waiting.bytes + kept_back().bytes;
  // What is larger than the limit itself may go alone.
  const bool over = (unstored > 0 && unstored + bytes > settings_.pending_bytes_max) ||
                    waiting.files >= settings_.pending_files_max;
  if (!over && !memory_is_full() && !tables_are_full() && make_room(bytes)) return {};
  return no_room(bytes, need);
}

tl::unexpected<Error> Engine::no_room(uint64_t bytes, Need& need) const {
  need.space = true;
  need.space_bytes = bytes;
  return fail(Errc::kNotLocal, "the cache has no room until more is in the store");
}

// A checkpoint writes every page it touches anew before it lets go of the old one; were there no
// room for that, not even removing rows would work.
bool Engine::tables_are_full() const {
  constexpr uint64_t kPage = 4096;
  constexpr uint64_t kSmallRow = 128;
  const MetaStore& store = tables_->store();
  const uint64_t used = store.used_bytes();
  const uint64_t waiting = tables_->memory_bytes() + settings_.memtable_bytes;
  const uint64_t rewritten = std::min(used, waiting / kSmallRow * kPage);
  return used + rewritten + 2 * waiting > store.bytes_max();
}

bool Engine::memory_is_full() const {
  return tables_->memory_bytes() > 3 * settings_.memtable_bytes;
}

Status Engine::stored(Lsn lsn, Need& need) {
  if (settings_.read_only || published_ >= lsn) return {};
  need.stored = lsn;
  return fail(Errc::kNotLocal, "not everything is in the store yet");
}

Status Engine::refuse_when_stopped() const {
  if (settings_.read_only) return fail(Errc::kInvalid, "the mount is read-only", EROFS);
  const std::lock_guard lock(state_mutex_);
  if (!health_.fenced) return {};
  return fail(Errc::kFenced, "another writer took this volume over; this mount only reads", EROFS);
}

Result<WriteData> Engine::place(uint64_t inode, uint64_t offset, Bytes data, Need& need) {
  WriteData write;
  write.inode = inode;
  write.offset = offset;
  write.length = static_cast<uint32_t>(data.size());
  write.crc = crc32c(data);
  if (data.size() <= settings_.inline_bytes_max) {
    write.ref.kind = DataRef::Kind::kJournal;
    write.inline_bytes = data;
    return write;
  }
  // Others may take the room that was made before this one gets it: then the writer waits again.
  constexpr int kTries = 3;
  auto placed = segments_->append_held(data);
  for (int i = 1; i < kTries && !placed && placed.error().code() == Errc::kNoSpace; ++i) {
    if (!make_room(data.size())) break;
    placed = segments_->append_held(data);
  }
  if (!placed && placed.error().code() == Errc::kNoSpace) return no_room(data.size(), need);
  if (!placed) return tl::unexpected<Error>(std::move(placed).error());
  write.ref = *placed;
  write.hold =
      std::shared_ptr<const void>(this, [segments = segments_.get(), number = placed->file](
                                            const void*) { segments->release(number); });
  return write;
}

Result<Lsn> Engine::commit(const Change& change) {
  const ByteVec payload = encode_change(change);
  auto lsn = commit_payload(change, payload);
  // The room that was there when the operation was admitted went to others meanwhile.
  if (!lsn && lsn.error().code() == Errc::kNoSpace && make_room(payload.size()))
    lsn = commit_payload(change, payload);
  if (lsn) start_what_is_due();
  return lsn;
}

Result<Lsn> Engine::commit_payload(const Change& change, const ByteVec& payload) {
  const Bytes parts[] = {payload};
  const std::lock_guard lock(commit_mutex_);
  TRY(refuse_when_stopped());
  TRY(check_shared(change));
  TRY_ASSIGN(LiveState::Step step, live_.prepare(change));
  TRY_ASSIGN(const Journal::Appended at, journal_->append(kRecordChange, parts));
  CAIRN_FAILPOINT("commit.journalled");
  // What is applied is what a replay of the record would apply.
  const JournalRecord record{at.lsn, kRecordChange, payload, at.file, at.payload_offset};
  TRY_ASSIGN(const Change placed, decode_change(record));
  note_record(placed, at.lsn, payload.size());
  note_orphans(placed);
  live_.apply(std::move(step), placed, at.lsn, [this](uint64_t inode) { return is_orphan(inode); });
  return at.lsn;
}

void Engine::note_record(const Change& change, Lsn lsn, uint64_t payload_bytes) {
  for (const Effect& effect : change.effects) {
    if (const auto* shared = std::get_if<ShareData>(&effect))
      segments_->note_lsn(shared->ref.file, lsn);
    const auto* write = std::get_if<WriteData>(&effect);
    if (write != nullptr && write->ref.kind == DataRef::Kind::kSegment)
      segments_->note_lsn(write->ref.file, lsn);
  }
  const uint64_t bytes = local_bytes(change, payload_bytes);
  last_change_ = lsn;
  const std::lock_guard lock(state_mutex_);
  const uint64_t before = written_bytes_.fetch_add(bytes);
  const MonotonicTime now = clock_.now();
  if (marks_.empty()) last_progress_ = now;  // until here there was nothing to be done
  constexpr uint64_t kMarkBytes = 1U << 20;
  constexpr Duration kMarkTime = std::chrono::milliseconds(100);
  if (marks_.empty() || before - marks_.back().bytes_before >= kMarkBytes ||
      now - marks_.back().time >= kMarkTime)
    marks_.push_back({lsn, before, now});
}

void Engine::note_orphans(const Change& change) {
  for (const Effect& effect : change.effects) {
    const auto* row = std::get_if<PutState>(&effect);
    if (row == nullptr || !row->key.starts_with(kOrphanPrefix)) continue;
    const auto inode = parse_orphan_state_key(row->key);
    const std::lock_guard lock(state_mutex_);
    if (inode) orphans_.insert(*inode);
  }
}

Effect Engine::orphan_row(uint64_t inode) {
  return PutState{orphan_state_key(inode), "1"};
}

void Engine::release_orphan(uint64_t inode) {
  const std::lock_guard lock(commit_mutex_);
  {
    const std::lock_guard state_lock(state_mutex_);
    if (orphans_.erase(inode) == 0) return;
  }
  live_.remove_state(orphan_state_key(inode));
  const Status forgotten = live_.forget_content(inode);
  if (!forgotten) log_warn("content of a removed file stays: {}", forgotten.error().message());
}

bool Engine::is_orphan(uint64_t inode) const {
  const std::lock_guard lock(state_mutex_);
  return orphans_.contains(inode);
}

Status Engine::sync(Lsn lsn) {
  if (settings_.read_only) return {};
  {
    const std::lock_guard lock(state_mutex_);
    if (health_.fenced)
      return fail(Errc::kFenced, "another writer took this volume over: not published", EIO);
  }
  return journal_->sync(lsn);
}

Lsn Engine::appended() const {
  return journal_ ? journal_->appended() : 0;
}

// ---- status

LsnStatus Engine::lsn_status() const {
  // Read in the order that keeps the inequalities true while they all grow.
  LsnStatus status;
  status.published = published_;
  status.checkpointed = checkpointed_;
  if (journal_) {
    status.durable = journal_->durable();
    status.appended = journal_->appended();
  }
  return status;
}

PendingStatus Engine::pending() const {
  PendingStatus status;
  const Lsn appended = this->appended();
  if (appended <= published_) return status;
  const uint64_t kept = kept_dirty_;
  const uint64_t dirty = live_.dirty_files();
  status.files = dirty > kept ? dirty - kept : 0;
  const std::lock_guard lock(state_mutex_);
  status.bytes = written_bytes_ - published_bytes_;
  if (!marks_.empty()) {
    const Duration age = clock_.now() - marks_.front().time;
    status.oldest_age_ms = std::chrono::duration_cast<std::chrono::milliseconds>(age).count();
  }
  return status;
}

RemoteHealth Engine::health() const {
  const std::lock_guard lock(state_mutex_);
  RemoteHealth health = health_;
  health.publish_error = publish_error_;
  return health;
}

Status Engine::local_health() const {
  if (!journal_) return {};
  TRY(journal_->health());
  return segments_->health();
}

uint64_t Engine::cache_bytes() const {
  return segments_->allocated_bytes() + (journal_ ? journal_->bytes() : 0) +
         tables_->store().bytes();
}

void Engine::on_followed(std::function<void(const Changes&)> listener) {
  const std::lock_guard lock(state_mutex_);
  follow_listener_ = std::move(listener);
}

// ---- replay

Result<bool> Engine::replay(const JournalRecord& record, Lsn checkpointed, Lsn published) {
  if (record.type != kRecordChange || record.lsn <= std::min(published, checkpointed)) return true;
  TRY_ASSIGN(Change change, decode_change(record));
  if (record.lsn <= published) {
    // The store has all of it, but for what it says of this cache (numbers that were handed out).
    std::erase_if(change.effects,
                  [](const Effect& effect) { return !std::holds_alternative<PutState>(effect); });
    TRY(apply_again(change, record.lsn));
    return true;
  }
  for (const Effect& effect : change.effects) {
    const auto* write = std::get_if<WriteData>(&effect);
    if (write == nullptr || holds_bytes(*segments_, write->ref, write->length, write->crc))
      continue;
    if (record.lsn > checkpointed) return false;
    return fail(Errc::kCorruption,
                fmt::format("data segment {:08x}, bytes {} to {}: not what record {} wrote",
                            write->ref.file, write->ref.offset,
                            write->ref.offset + write->length, record.lsn));
  }
  note_record(change, record.lsn, record.payload.size());
  if (record.lsn > checkpointed) TRY(apply_again(change, record.lsn));
  return true;
}

Status Engine::salvage(const JournalRecord& record, Lsn checkpointed,
                       std::vector<LostData>& lost) {
  if (record.type != kRecordChange) return {};
  TRY_ASSIGN(Change change, decode_change(record));
  std::erase_if(change.effects, [&](const Effect& effect) {
    const auto* write = std::get_if<WriteData>(&effect);
    if (write == nullptr || holds_bytes(*segments_, write->ref, write->length, write->crc))
      return false;
    lost.push_back({write->inode, write->offset, write->length, record.lsn});
    return true;
  });
  return record.lsn > checkpointed ? apply_again(change, record.lsn) : Status();
}

Status Engine::apply_again(const Change& change, Lsn lsn) {
  TRY_ASSIGN(LiveState::Step step, live_.prepare(change));
  live_.apply(std::move(step), change, lsn, [](uint64_t) { return false; });
  return {};
}

Status Engine::drop_leftovers(Lsn published) {
  // Content of files that were removed while open: nobody has them open any more.
  std::vector<uint64_t> inodes;
  TRY_ASSIGN(const auto orphans,
             tables_->scan(Table::kState, kOrphanPrefix, prefix_end(kOrphanPrefix), SIZE_MAX));
  for (const auto& row : orphans) {
    TRY_ASSIGN(const auto inode, parse_orphan_state_key(row.key));
    TRY(live_.forget_content(inode));
    live_.remove_state(row.key);
  }
  TRY(live_.drop_published(published));
  return live_.count_dirty_files();
}

bool Engine::has_unpublished(uint64_t inode) const {
  const auto row = live_.tree_row(inode_key(inode));
  if (!row || row->has_value()) return true;
  const std::lock_guard lock(kept_mutex_);
  return kept_dirs_.contains(inode);
}

Status Engine::forget_changes() {
  TRY_ASSIGN(const auto rows, tables_->scan(Table::kState, "", "", SIZE_MAX));
  for (const auto& row : rows)
    if (!row.key.starts_with(kPinPrefix) && !row.key.starts_with(kOrphanPrefix) &&
        !row.key.starts_with(kKeptPrefix))
      live_.remove_state(row.key);
  return {};
}

Status Engine::found_published(Lsn published) {
  if (published <= published_) return {};
  TRY(drop_leftovers(published));
  published_ = published;
  return {};
}

std::string Engine::orphan_state_key(uint64_t inode) {
  return std::string(kOrphanPrefix) + file_key(inode);
}

Result<uint64_t> Engine::parse_orphan_state_key(std::string_view key) {
  const size_t prefix = std::string_view(kOrphanPrefix).size();
  if (key.size() != prefix + 8) return fail(Errc::kCorruption, "a damaged row of a removed file");
  return get_be64(as_bytes(key).data() + prefix);
}

}  // namespace cairn
