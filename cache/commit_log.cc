#include "cache/commit_log.h"

#include <fmt/format.h>

#include <algorithm>

#include "cache/await.h"
#include "cache/base/log.h"
#include "cache/commit_parts.h"
#include "cache/format/commit.h"
#include "cache/store_keys.h"
#include "cache/wait.h"

namespace cairn {
namespace {
constexpr std::string_view kWentBack =
    "the store went back in time or is another volume. Nothing was changed. With another "
    "--cache-dir a mount shows what is there now; 'cairn recover CACHE-DIR --to DIR' takes out "
    "what this cache had not sent yet (what was sent is only where it was sent to)";
constexpr int kSearchAttemptsMax = 8;  // while a collector moves the boundary under the search
constexpr int kOpenAttemptsMax = 8;    // while other writers open the volume at the same time
constexpr int kReadsMax = 3;           // of a record that does not come whole
constexpr uint64_t kHintDistanceMax = 4;
constexpr Duration kHintTimeout = std::chrono::seconds(30);
constexpr Duration kLastHintTimeout = std::chrono::seconds(10);

std::string ago(int64_t then_ns, int64_t now_ns) {
  const int64_t seconds = std::max<int64_t>(0, (now_ns - then_ns) / 1'000'000'000);
  if (seconds < 120) return fmt::format("{} s ago", seconds);
  if (seconds < 7200) return fmt::format("{} min ago", seconds / 60);
  if (seconds < 172800) return fmt::format("{} h ago", seconds / 3600);
  return fmt::format("{} days ago", seconds / 86400);
}

bool done_with(const Context& context, Clock& clock) {
  return context.cancel.cancelled() || context.deadline.passed(clock);
}

// Records hold UTF-8; a host name that is anything but ASCII is for people anyway.
std::string host_text(std::string_view host) {
  std::string text(host.substr(0, CommitRecord::kMaxHost));
  for (char& c : text)
    if (c < ' ' || c > '~') c = '?';
  return text;
}

// What a failed create means for the next step.
enum class Outcome : uint8_t { kDecideByReading, kNothingHappened, kFinal };

GetRange whole_record() {
  return GetRange::from(0, CommitRecord::kMaxBytes + 1);
}

Outcome outcome_of(const Error& error) {
  if (error.code() == Errc::kPrecondition) return Outcome::kDecideByReading;
  if (outcome_unknown(error)) return Outcome::kDecideByReading;
  const bool again = error.code() == Errc::kTransient || error.code() == Errc::kTimeout;
  return again ? Outcome::kNothingHappened : Outcome::kFinal;
}
}  // namespace

CommitLog::CommitLog(ObjectStore& store, Executor& executor, Clock& clock, Rng& rng,
                     Options options)
    : store_(store), executor_(executor), clock_(clock), rng_(rng), options_(options) {}

// ---- reading

Result<uint64_t> CommitLog::read_boundary(const Context& context) {
  return boundary_of(store_, get_sync(store_, std::string(kBoundaryKey),
                                      GetRange::from(0, kNumberBytesMax), context));
}

Result<uint64_t> CommitLog::oldest(Context context) {
  TRY_ASSIGN(const uint64_t once, read_boundary(context));
  TRY_ASSIGN(const uint64_t twice, read_boundary(context));
  const std::lock_guard lock(mutex_);
  if (once != twice)
    return fail(Errc::kTransient, fmt::format("{}: {} was read as {} and as {}",
                                              store_.description(), kBoundaryKey, once, twice));
  oldest_known_ = std::max(oldest_known_, once);
  return oldest_known_;
}

Status CommitLog::raise_oldest(uint64_t seq, Context context) {
  TRY_ASSIGN(const uint64_t before, oldest(context));
  if (seq <= before) return {};
  TRY(put_sync(store_, std::string(kBoundaryKey), Body(Buffer::copy(number_text(seq))),
               PutCondition::kAlways, std::move(context)));
  const std::lock_guard lock(mutex_);
  oldest_known_ = std::max(oldest_known_, seq);
  return {};
}

Result<bool> CommitLog::exists(uint64_t seq, Context context) {
  auto got = get_sync(store_, commit_key(seq), GetRange::from(0, 1), std::move(context));
  if (got) return true;
  if (got.error().code() == Errc::kNotFound) return false;
  return tl::unexpected<Error>(std::move(got).error());
}

// Nothing but its form says whether a record came whole. What broke on the way comes right the next
// time; what is wrong three times is wrong in the store.
Result<std::optional<StoredCommit>> CommitLog::try_read(uint64_t seq, Context context) {
  for (int reads = 1;; ++reads) {
    auto there = take_record(seq, get_sync(store_, commit_key(seq), whole_record(), context));
    if (there || there.error().code() != Errc::kCorruption || reads == kReadsMax) return there;
  }
}

CommitLog::Neighbours CommitLog::read_with_next(uint64_t seq, const Context& context) {
  Awaited<GetResult> answer;
  store_.get(commit_key(seq + 1), whole_record(), context, answer.callback());
  Neighbours read{try_read(seq, context), take_record(seq + 1, answer.get())};
  if (!read.next && read.next.error().code() == Errc::kCorruption)
    read.next = try_read(seq + 1, context);
  return read;
}

Result<std::optional<StoredCommit>> CommitLog::take_record(uint64_t seq, Result<GetResult> got) {
  if (!got && got.error().code() == Errc::kNotFound) return std::nullopt;
  if (!got) return tl::unexpected<Error>(std::move(got).error());
  const auto where = [&] { return store_.description() + ": " + commit_key(seq); };
  if (got->bytes.size() > CommitRecord::kMaxBytes)
    return fail(Errc::kCorruption, where() + " is too large for a commit record");
  auto commit = stored_commit(std::move(got->bytes));
  if (!commit) return tl::unexpected<Error>(std::move(commit).error().wrap(where()));
  if (commit->record->seq != seq)
    return fail(Errc::kCorruption, fmt::format("{} holds commit {}", where(), commit->record->seq));
  return *std::move(commit);
}

Result<StoredCommit> CommitLog::read(uint64_t seq, Context context) {
  TRY_ASSIGN(auto commit, try_read(seq, std::move(context)));
  if (!commit)
    return fail(Errc::kNotFound,
                fmt::format("{}: there is no commit {}", store_.description(), seq));
  return *std::move(commit);
}

// Commit numbers exist without a gap from the boundary to the head, so a search by doubling steps
// and then by halves finds the end.
Result<StoredCommit> CommitLog::gallop(StoredCommit known, std::optional<StoredCommit> next,
                                       Context context) {
  if (!next) return known;
  uint64_t there = next->record->seq;  // exists
  uint64_t gone = 0;                   // does not exist, once it is not 0
  for (uint64_t step = 1; gone == 0; step *= 2) {
    TRY_ASSIGN(const bool found, exists(there + step, context));
    if (found)
      there += step;
    else
      gone = there + step;
  }
  while (gone - there > 1) {
    const uint64_t middle = there + (gone - there) / 2;
    TRY_ASSIGN(const bool found, exists(middle, context));
    (found ? there : gone) = middle;
  }
  if (there == next->record->seq) return *std::move(next);
  return read(there, std::move(context));
}

Status CommitLog::check_not_rolled_back(const StoredCommit& head, const LastSeen& last_seen,
                                        uint64_t boundary, Context context) {
  const auto refuse = [&](const std::string& what) {
    return fail(Errc::kCorruption,
                fmt::format("{}: commit {} was seen here before, and now {}; {}",
                            store_.description(), last_seen.seq, what, kWentBack));
  };
  if (head.record->seq < last_seen.seq)
    return refuse(fmt::format("the newest is commit {}", head.record->seq));
  if (head.record->seq == last_seen.seq)
    return head.record->root == last_seen.root ? Status() : refuse("it names another tree");
  if (last_seen.seq < std::max<uint64_t>(boundary, 1)) return {};
  TRY_ASSIGN(const auto seen, try_read(last_seen.seq, std::move(context)));
  if (!seen) return refuse("it is missing");
  return seen->record->root == last_seen.root ? Status() : refuse("it names another tree");
}

Result<StoredCommit> CommitLog::find_head(const std::optional<LastSeen>& last_seen, Context context,
                                          std::shared_ptr<HeadLook> look) {
  std::optional<HeadLook::Found> early;
  if (look) early = look->take();
  for (int attempt = 0; attempt < kSearchAttemptsMax; ++attempt) {
    const bool use_early = attempt == 0 && early && early->boundary;
    auto [hint, boundary] = use_early ? *std::move(early) : HeadLook(store_, context).take();
    if (!boundary) return tl::unexpected<Error>(std::move(boundary).error());
    const uint64_t sure = std::max(*boundary, last_seen ? last_seen->seq : 0);
    // The hint may be missing, old or damaged: only what it leads to counts.
    const uint64_t hinted = hint.value_or(0);
    Neighbours start = read_with_next(std::max(hinted, sure), context);
    if (hinted > sure && (!start.here || !*start.here)) start = read_with_next(sure, context);
    if (!start.here) return tl::unexpected<Error>(std::move(start.here).error());
    if (*start.here) {
      TRY_ASSIGN(auto next, std::move(start.next));
      TRY_ASSIGN(auto head, gallop(**std::move(start.here), std::move(next), context));
      if (last_seen) TRY(check_not_rolled_back(head, *last_seen, *boundary, context));
      note_head_seen();
      {
        const std::lock_guard lock(mutex_);
        found_ = head;
        seen_there_ = head;
      }
      // A hint that leads here in a step or two needs no new one for a while.
      if (hinted + kHintDistanceMax >= head.record->seq) {
        const std::lock_guard lock(mutex_);
        hinted_at_ = clock_.now();
      }
      return head;
    }
    // Nothing at a number that must exist: the collector may have moved on meanwhile.
    TRY_ASSIGN(const uint64_t moved, read_boundary(context));
    if (moved != *boundary) continue;
    if (last_seen && sure == last_seen->seq)
      return fail(Errc::kCorruption, fmt::format("{}: commit {}, seen here before, is missing; {}",
                                                 store_.description(), sure, kWentBack));
    return fail(sure == 1 ? Errc::kNotFound : Errc::kCorruption,
                fmt::format("{}: there is no commit {}; {}", store_.description(), sure,
                            sure == 1 ? "no volume was made here, or making it was interrupted"
                                      : "the volume's history is damaged"));
  }
  return fail(Errc::kTransient, fmt::format("{}: commits are removed faster than the newest can be "
                                            "found; try again",
                                            store_.description()));
}

Result<std::optional<StoredCommit>> CommitLog::find_newer(const StoredCommit& seen,
                                                          Context context) {
  TRY_ASSIGN(auto next, try_read(seen.record->seq + 1, context));
  if (next) {
    TRY_ASSIGN(auto after, try_read(next->record->seq + 1, context));
    TRY_ASSIGN(auto head, gallop(*std::move(next), std::move(after), std::move(context)));
    note_head_seen();
    return head;
  }
  if (!head_is_fresh(options_.boundary_fresh)) {
    TRY_ASSIGN(const uint64_t boundary, read_boundary(context));
    if (boundary > seen.record->seq + 1) {
      TRY_ASSIGN(auto head, find_head(std::nullopt, std::move(context)));
      return head;
    }
  }
  note_head_seen();
  return std::nullopt;
}

// ---- looking back

CommitLog::LookBack CommitLog::look_back(const StoredCommit& newest, const Context& context) {
  LookBack look;
  look.newest = newest;
  {
    const std::lock_guard lock(mutex_);
    if (seen_there_ && seen_there_->digest != newest.digest) look.older = seen_there_;
  }
  const auto ask = [&](const StoredCommit& commit, Callback<GetResult> done) {
    store_.get(commit_key(commit.record->seq), whole_record(), attempt_context(context),
               std::move(done));
  };
  ask(newest, look.newest_answer.callback());
  if (look.older) ask(*look.older, look.older_answer.callback());
  return look;
}

// A store may forget an object for a moment, and bytes may break on the way.
Result<bool> CommitLog::is_there(const StoredCommit& commit, Result<GetResult> got,
                                 const Context& context) {
  constexpr Duration kLookAgain = std::chrono::seconds(1);
  const uint64_t seq = commit.record->seq;
  auto there = take_record(seq, std::move(got));
  for (int looks = 1;; ++looks) {
    if (!there && there.error().code() != Errc::kCorruption)
      return tl::unexpected<Error>(std::move(there).error());
    if (there && *there && (*there)->digest == commit.digest) return true;
    if (looks == kReadsMax) return false;
    TRY(pause(executor_, clock_, kLookAgain, context));
    there = try_read(seq, attempt_context(context));
  }
}

Status CommitLog::check_back(LookBack& look, const Context& context) {
  // Where one cannot be asked, the commit itself will say more.
  const auto newest = is_there(look.newest, look.newest_answer.get(), context);
  if (!newest) return {};
  bool older = true;
  if (look.older) {
    const auto there = is_there(*look.older, look.older_answer.get(), context);
    if (!there) return {};
    older = *there;
  }
  if (!*newest || !older) {
    TRY_ASSIGN(const uint64_t boundary, read_boundary(attempt_context(context)));
    const uint64_t seq = look.newest.record->seq;
    if (!*newest && boundary > seq)
      return fail(Errc::kFenced, fmt::format("{}: commit {} is long past (the oldest kept is {})",
                                             store_.description(), seq, boundary));
    const bool collected = look.older && boundary > look.older->record->seq;
    if (!*newest || !collected)
      return fail(Errc::kCorruption,
                  fmt::format("{}: commit {} is not there as it was: the store was emptied, or is "
                              "another one. Nothing more is sent, and what waits stays in the "
                              "cache; it goes on when the store is as it was",
                              store_.description(), *newest ? look.older->record->seq : seq));
  }
  const std::lock_guard lock(mutex_);
  seen_there_ = look.newest;
  return {};
}

// ---- creating

Result<std::optional<StoredCommit>> CommitLog::decide(uint64_t seq, const Buffer& record,
                                                      const Context& context) {
  TRY_ASSIGN(auto there, try_read(seq, attempt_context(context)));
  if (!there || equal(there->bytes, record)) return there;
  // Nothing but the name says what a commit's bytes must be: only what is read twice is believed.
  // One wrong bit on the way must not make us give the volume up.
  TRY_ASSIGN(const auto again, try_read(seq, attempt_context(context)));
  if (!again || !equal(again->bytes, there->bytes))
    return fail(Errc::kTransient, fmt::format("{}: commit {} was read as two different things",
                                              store_.description(), seq));
  return fail(Errc::kPrecondition,
              fmt::format("{}: commit {} was made by {} (epoch {})", store_.description(), seq,
                          there->record->writer.host, there->record->epoch));
}

Context CommitLog::attempt_context(const Context& context) {
  Context attempt = context;
  const Deadline limit = Deadline::after(clock_, options_.attempt_timeout);
  if (limit.at() < attempt.deadline.at()) attempt.deadline = limit;
  return attempt;
}

// Sends the record once. Without conditional creates: only when nobody is seen there.
Result<std::string> CommitLog::send(uint64_t seq, const Buffer& record, const Context& context) {
  PutCondition condition = PutCondition::kIfAbsent;
  if (options_.unsafe_single_writer) {
    TRY_ASSIGN(const auto there, decide(seq, record, context));
    if (there) return std::string();
    condition = PutCondition::kAlways;
  }
  return put_sync(store_, commit_key(seq), Body(record), condition, attempt_context(context));
}

Status CommitLog::create_once(uint64_t seq, const Buffer& record, const Context& context) {
  Duration backoff = options_.backoff_first;
  bool must_read = options_.unsafe_single_writer;  // then a success is only believed when read back
  while (true) {
    auto sent = send(seq, record, context);
    if (sent && !must_read) return {};
    Error error(Errc::kTransient, "the commit that was written is not there");
    if (!sent) error = std::move(sent).error();
    Outcome outcome = sent ? Outcome::kDecideByReading : outcome_of(error);
    Duration wait = std::max<Duration>(error.retry_after(), backoff);
    // Until it is known whether the record is there, nothing is sent again.
    while (outcome == Outcome::kDecideByReading) {
      if (done_with(context, clock_)) return tl::unexpected<Error>(std::move(error));
      auto there = decide(seq, record, context);
      if (there && *there) return {};
      if (there) {
        outcome = Outcome::kNothingHappened;
      } else if (outcome_of(there.error()) == Outcome::kFinal ||
                 there.error().code() == Errc::kPrecondition) {
        return tl::unexpected<Error>(std::move(there).error());
      } else {
        TRY(pause(executor_, clock_, wait, context));
        wait = backoff = std::min(backoff * 2, options_.backoff_max);
      }
    }
    if (outcome == Outcome::kFinal || done_with(context, clock_))
      return tl::unexpected<Error>(std::move(error));
    log_debug("commit {} is not there yet ({}); sending it again", seq, error.message());
    const Duration jitter(
        static_cast<int64_t>(rng_.below(static_cast<uint64_t>(backoff.count()) / 2 + 1)));
    TRY(pause(executor_, clock_, wait + jitter, context));
    backoff = std::min(backoff * 2, options_.backoff_max);
  }
}

Result<StoredCommit> CommitLog::create(uint64_t seq, Buffer record, Context context) {
  auto decoded = CommitRecord::decode(record);
  if (!decoded) return tl::unexpected<Error>(std::move(decoded).error().wrap("a record to create"));
  if (decoded->seq != seq)
    return fail(Errc::kInvalid,
                fmt::format("commit {} cannot be created as {}", decoded->seq, seq));
  auto created = create_once(seq, record, context);
  if (!created)
    return tl::unexpected<Error>(
        std::move(created).error().wrap(fmt::format("creating commit {}", seq)));
  TRY(check_boundary(seq, context));
  note_head_seen();
  StoredCommit commit;
  commit.digest = sha256(record);
  commit.bytes = std::move(record);
  commit.record = std::make_shared<const CommitRecord>(*std::move(decoded));
  return commit;
}

// A writer that slept for longer than commits are kept may have made a number anew that had been
// used and removed. Then the boundary is above it, and the commit before it was removed, too: what
// the boundary says is not enough, for a collection of ours that slept may just have written it.
Status CommitLog::check_boundary(uint64_t seq, const Context& context) {
  if (head_is_fresh(options_.boundary_fresh)) return {};
  TRY_ASSIGN(const uint64_t boundary, read_boundary(context));
  bool removed = boundary > seq;
  if (!removed && seq > 1) {
    TRY_ASSIGN(const bool before, exists(seq - 1, context));
    removed = !before;
  }
  if (!removed) return {};
  return fail(Errc::kFenced,
              fmt::format("{}: commit {} is long past (the oldest kept is {}); another writer took "
                          "the volume over while this one slept",
                          store_.description(), seq, std::max(boundary, seq + 1)));
}

bool CommitLog::head_is_fresh(Duration within) {
  const MonotonicTime now = clock_.now();
  const int64_t wall = clock_.wall_ns();
  const std::lock_guard lock(mutex_);
  if (!head_seen_at_) return false;
  // The monotonic clock stands still while the machine sleeps, the wall clock may jump: both must
  // agree that little time passed.
  const int64_t wall_passed = wall - head_seen_at_->second;
  return now - head_seen_at_->first < within && wall_passed >= 0 && wall_passed < within.count();
}

void CommitLog::note_head_seen() {
  const auto now = std::make_pair(clock_.now(), clock_.wall_ns());
  const std::lock_guard lock(mutex_);
  head_seen_at_ = now;
}

// The head as it was found, where it was seen to be the newest a moment ago.
std::optional<StoredCommit> CommitLog::head_known(const std::optional<LastSeen>& last_seen) {
  if (!head_is_fresh(options_.head_known)) return std::nullopt;
  const std::lock_guard lock(mutex_);
  if (!found_) return std::nullopt;
  const CommitRecord& record = *found_->record;
  if (last_seen && (last_seen->seq != record.seq || last_seen->root != record.root))
    return std::nullopt;
  return found_;
}

Error CommitLog::lost_to(uint64_t seq, Context context) {
  auto head = find_head(std::nullopt, context);
  if (!head)
    return Error(Errc::kFenced,
                 fmt::format("{}: another writer made commit {}", store_.description(), seq));
  const CommitRecord& record = *head->record;
  return Error(Errc::kFenced, fmt::format("{}: {} took the volume over (epoch {}, commit {}, {})",
                                          store_.description(), record.writer.host, record.epoch,
                                          record.seq, ago(record.time_ns, clock_.wall_ns())));
}

// ---- opening

// The state of the head under a new epoch and this writer.
Result<CommitRecord> CommitLog::opening_record(const StoredCommit& before,
                                               const WriterOptions& options) {
  CommitRecord next = *before.record;
  next.seq += 1;
  next.epoch += 1;
  next.previous = CommitRecord::Previous{before.record->seq, before.digest};
  for (size_t i = 0; i < next.nonce.size(); i += sizeof(uint64_t))
    put_be64(&next.nonce[i], rng_.next());
  next.time_ns = clock_.wall_ns();
  const bool ours = before.record->writer.cache_id == options.cache_id;
  next.writer.cache_id = options.cache_id;
  next.writer.host = host_text(options.host);
  next.writer.open = true;
  next.writer.lsn = ours ? before.record->writer.lsn : 0;
  // A cache keeps the slot it has; slot 0 is that of the commit that made the volume.
  for (const auto& [number, slot] : next.slots) {
    if (slot.cache_id != options.cache_id || number == 0) continue;
    next.writer.slot = number;
    return next;
  }
  const uint32_t number = next.slots.empty() ? 1 : uint32_t{next.slots.rbegin()->first} + 1;
  if (number > UINT16_MAX)
    return fail(
        Errc::kNoSpace,
        fmt::format("{}: every one of the 65535 slots for caches is given out; mount from a "
                    "cache directory that wrote to this volume before",
                    store_.description()));
  next.writer.slot = static_cast<uint16_t>(number);
  next.slots[next.writer.slot] = CommitRecord::Slot{options.cache_id, 0};
  return next;
}

Result<OpenedWriter> CommitLog::open_writer(const WriterOptions& options, Context context) {
  const auto is_of_others = [&](const StoredCommit& commit) {
    return commit.record->writer.open && commit.record->writer.cache_id != options.cache_id;
  };
  for (int attempt = 0; attempt < kOpenAttemptsMax; ++attempt) {
    OpenedWriter opened;
    std::optional<StoredCommit> head;
    if (attempt == 0) head = head_known(options.last_seen);
    // Who is told that another has the volume open is told what is so now.
    if (!head || is_of_others(*head)) {
      TRY_ASSIGN(head, find_head(options.last_seen, context));
    }
    opened.before = *std::move(head);
    const CommitRecord& before = *opened.before.record;
    TRY_ASSIGN(const Access access, check_features(before.features));
    if (access == Access::kReadOnly)
      return fail(Errc::kUnsupported,
                  fmt::format("{}: the volume has a feature that this version cannot write; mount "
                              "it with --read-only",
                              store_.description()));
    const bool others = is_of_others(opened.before);
    if (others && !options.takeover)
      return fail(Errc::kPrecondition,
                  fmt::format("{} is open for writing on {}, last commit {} (number {}); mount it "
                              "with --read-only to follow it, or with --takeover to become its "
                              "writer, after which the other one cannot publish any more",
                              store_.description(), before.writer.host,
                              ago(before.time_ns, clock_.wall_ns()), before.seq));
    TRY_ASSIGN(const CommitRecord opening, opening_record(opened.before, options));
    opened.slot = opening.writer.slot;
    opened.took_over = others;
    TRY_ASSIGN(ByteVec encoded, opening.encode());
    const Buffer bytes(std::move(encoded));
    if (options.intended) TRY(options.intended(opening.seq, bytes));
    auto created = create(opening.seq, bytes, context);
    if (created) {
      opened.opening = *std::move(created);
      hint_head(opening.seq);
      return opened;
    }
    // Somebody else was first; look again who it was.
    if (created.error().code() != Errc::kPrecondition)
      return tl::unexpected<Error>(std::move(created).error());
  }
  return fail(Errc::kTransient,
              fmt::format("{}: several writers open the volume at the same time; try again",
                          store_.description()));
}

namespace {
void note_hint(uint64_t seq, const Result<std::string>& put) {
  if (!put) log_debug("hint that the head is {}: {}", seq, put.error().message());
}
}  // namespace

void CommitLog::hint_head(uint64_t seq) {
  const MonotonicTime time = clock_.now();
  {
    const std::lock_guard lock(mutex_);
    if (hinted_at_ && time - *hinted_at_ < options_.head_hint_interval) return;
    hinted_at_ = time;
  }
  Context context;
  context.deadline = Deadline(time + kHintTimeout);
  store_.put(std::string(kHeadKey), Body(Buffer::copy(number_text(seq))), PutCondition::kAlways,
             context, [seq](const Result<std::string>& put) { note_hint(seq, put); });
}

void CommitLog::leave_hint(uint64_t seq, Context context) {
  const MonotonicTime time = clock_.now();
  context.deadline = Deadline(std::min(context.deadline.at(), time + kLastHintTimeout));
  note_hint(seq, put_sync(store_, std::string(kHeadKey), Body(Buffer::copy(number_text(seq))),
                          PutCondition::kAlways, context));
  const std::lock_guard lock(mutex_);
  hinted_at_ = time;
}

}  // namespace cairn
