// CommitLog: the volume's history in the store, c/<n>, and the rules by which it grows.
//
// A commit record is created exactly once and never overwritten; that create is the only ordering
// of the whole system. Owner: the remote of one mount (or a tool). All methods block on the store
// and may be called by any thread, never by a task of the store's executor; `create` by one at a
// time. The log keeps no queue and no thread.
//
// Ordering: everything that a record names is durable before `create` is called; when it returned,
// the commit is durable and is the volume's new head.
// Errors: kNotFound (no volume there, no such commit), kCorruption (a record or the chain is not
// what it says; the store went back in time), kPrecondition (somebody else made this commit, or has
// the volume open), kFenced (another writer took the volume over), kTimeout, kCancelled and
// kTransient (outcome unknown: call again with the same bytes), kUnsupported. Format: FORMAT.md,
// "Commit records".
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "cache/await.h"
#include "cache/base/clock.h"
#include "cache/base/digest.h"
#include "cache/base/executor.h"
#include "cache/base/mutex.h"
#include "cache/base/random.h"
#include "cache/format/cid.h"
#include "cache/head_look.h"
#include "cache/object_store.h"

namespace cairn {

// Who reads many commits has so many requests under way.
constexpr size_t kCommitsAtOnce = 32;

struct CommitRecord;  // cache/format/commit.h

// A commit that is in the store, decoded and checked against its number.
struct StoredCommit {
  std::shared_ptr<const CommitRecord> record;
  Buffer bytes;   // the record as it is in the store
  Digest digest;  // of `bytes`: the next one's `previous`
};

// The newest commit that this cache has seen. Kept durably by the caller.
struct LastSeen {
  uint64_t seq = 0;
  Cid root;
};

struct WriterOptions {
  Uuid cache_id{};
  std::string host;       // for messages on other nodes
  bool takeover = false;  // fence a writer that has the volume open
  std::optional<LastSeen> last_seen;
  // Called with the opening record before it is sent, to keep it durably. May be empty.
  std::function<Status(uint64_t seq, Bytes record)> intended;
};

struct OpenedWriter {
  StoredCommit before;   // the head that was found
  StoredCommit opening;  // the commit that opened the volume for this cache; now the head
  uint16_t slot = 0;     // first 16 bits of the inode numbers this cache gives out
  bool took_over = false;
};

class CommitLog {
 public:
  struct Options {
    // The store does not honour conditional creates and the user said so: look, write, read back.
    bool unsafe_single_writer = false;
    Duration attempt_timeout = std::chrono::seconds(30);  // of one request of a create
    Duration head_hint_interval = std::chrono::seconds(60);
    Duration backoff_first = std::chrono::milliseconds(100);
    Duration backoff_max = std::chrono::seconds(5);
    // A create is known to be no re-creation of a removed number while the head was seen this
    // recently; after that gc.boundary is read. Far below the time commits are kept (24 h).
    Duration boundary_fresh = std::chrono::minutes(5);
    // Who opens for writing so soon after the head was found does not look for it again: where it
    // moved meanwhile the create fails and says so.
    Duration head_known = std::chrono::seconds(10);
  };
  // All references must outlive the log.
  CommitLog(ObjectStore& store, Executor& executor, Clock& clock, Rng& rng, Options options);

  // The newest commit. Starts from max(HEAD, `last_seen`, gc.boundary) and needs a number of
  // requests logarithmic in what was committed since. kCorruption when it is older than
  // `last_seen`, or the commit seen is another one now. `look`: a question that was asked before,
  // however long ago; none: it is asked now.
  Result<StoredCommit> find_head(const std::optional<LastSeen>& last_seen, Context context,
                                 std::shared_ptr<HeadLook> look = nullptr);
  // Commit `seq`, whether or not it is the head.
  Result<StoredCommit> read(uint64_t seq, Context context);
  // The oldest commit that is kept: gc.boundary, or 1. Read twice, and never below what was read or
  // written here before: commits are removed on its word.
  Result<uint64_t> oldest(Context context);
  // Announces that commits below `seq` may be gone; nothing when that was said already.
  Status raise_oldest(uint64_t seq, Context context);
  // The newest commit behind `seen`, or nullopt. One request when there is none.
  Result<std::optional<StoredCommit>> find_newer(const StoredCommit& seen, Context context);

  // Does the store still have the volume? Asked beside the last packs of each commit. A store that
  // was emptied, or another one in its place, would take a commit that nobody can read. Asked for
  // are the newest and the one that was the newest at the last look: what was made since may have
  // gone into the other store, too.
  struct LookBack {
    StoredCommit newest;
    Awaited<GetResult> newest_answer;
    std::optional<StoredCommit> older;
    Awaited<GetResult> older_answer;
  };
  LookBack look_back(const StoredCommit& newest, const Context& context);
  // kCorruption when it does not, kFenced when `newest` was removed as long past; when it cannot be
  // asked that is no error.
  Status check_back(LookBack& look, const Context& context);

  // Makes c/<seq> out of `record` (an encoded CommitRecord with that number). An outcome that is
  // not clear is decided by reading the number back: ours is success, absent is sent again, and
  // another's is kPrecondition. Safe to repeat with the same bytes, also after a restart.
  Result<StoredCommit> create(uint64_t seq, Buffer record, Context context);
  // The error for a commit that `create` lost: kFenced with who has the volume now.
  Error lost_to(uint64_t seq, Context context);

  // Opens the volume for writing: creates a commit with the next epoch when the head is closed or
  // our own. kPrecondition when another cache has it open: the message names the host and how long
  // ago and what can be done.
  Result<OpenedWriter> open_writer(const WriterOptions& options, Context context);

  // Writes the hint where the head is when the last one is old enough, and returns at once.
  void hint_head(uint64_t seq);
  // The hint of who leaves: written however young the last one is, and waited for, though not long.
  // A request that is only under way ends with its process.
  void leave_hint(uint64_t seq, Context context);

 private:
  Result<uint64_t> read_boundary(const Context& context);
  Result<bool> exists(uint64_t seq, Context context);
  Result<std::optional<StoredCommit>> try_read(uint64_t seq, Context context);
  Result<std::optional<StoredCommit>> take_record(uint64_t seq, Result<GetResult> got);
  // An error when it cannot be asked.
  Result<bool> is_there(const StoredCommit& commit, Result<GetResult> got, const Context& context);
  // `next` is what was found at the number behind `known`.
  Result<StoredCommit> gallop(StoredCommit known, std::optional<StoredCommit> next,
                              Context context);
  // Two round trips of most mounts in one.
  struct Neighbours {
    Result<std::optional<StoredCommit>> here;
    Result<std::optional<StoredCommit>> next;
  };
  Neighbours read_with_next(uint64_t seq, const Context& context);
  Status check_not_rolled_back(const StoredCommit& head, const LastSeen& last_seen,
                               uint64_t boundary, Context context);

  Context attempt_context(const Context& context);
  Result<std::string> send(uint64_t seq, const Buffer& record, const Context& context);
  // Whether c/<seq> is there as `record`; kPrecondition when it is another one.
  Result<std::optional<StoredCommit>> decide(uint64_t seq, const Buffer& record,
                                             const Context& context);
  Status create_once(uint64_t seq, const Buffer& record, const Context& context);
  Status check_boundary(uint64_t seq, const Context& context);
  Result<CommitRecord> opening_record(const StoredCommit& before, const WriterOptions& options);
  bool head_is_fresh(Duration within);
  void note_head_seen();
  std::optional<StoredCommit> head_known(const std::optional<LastSeen>& last_seen);

  ObjectStore& store_;
  Executor& executor_;
  Clock& clock_;
  Rng& rng_;
  const Options options_;
  RankedMutex<Rank::kBlockCache> mutex_;
  // When the head was last known, by both clocks.
  std::optional<std::pair<MonotonicTime, int64_t>> head_seen_at_;
  std::optional<StoredCommit> found_;  // by find_head
  std::optional<MonotonicTime> hinted_at_;
  std::optional<StoredCommit> seen_there_;  // the newest commit at the last look at the store
  uint64_t oldest_known_ = 1;  // the highest boundary that was read or written here
};

}  // namespace cairn
