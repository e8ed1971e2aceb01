// Engine: one mount's write-back core. It joins journal, live tables, segments, chunk cache and
// remote into: a tree of keys that reads as the newest state, file content on top of what the
// store holds, and changes that are durable here first and in the store later.
//
//   commit ── journal ── live tables ──(checkpoint)── MetaStore
//                │
//                └─(fold)── Remote.publish ── new published tree; what it contains is dropped here
//
// Invariants (asserted where they move): published <= durable <= appended, checkpointed <= durable.
// Reads never touch the network: what is missing is noted in a Need and the answer is kNotLocal;
// `satisfy` the need without holding a lock and run the operation again.
//
// Threads: all methods are thread-safe. `commit` must be called in the order in which the caller's
// namespace changes (the Volume holds its lock over read-decide-commit). No method blocks on the
// network except `flush`, `close` and `publish_once`.
// Owner: the composition root; destroy after `close`.
// Errors: kNotLocal (see above), kNoSpace, kFenced (another writer took over), kIo (the journal
// failed: nothing more is acknowledged).
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "cache/base/clock.h"
#include "cache/base/env.h"
#include "cache/base/executor.h"
#include "cache/base/trouble.h"
#include "cache/chunk_cache.h"
#include "cache/chunk_fetches.h"
#include "cache/collect.h"
#include "cache/fold.h"
#include "cache/journal.h"
#include "cache/line_pace.h"
#include "cache/live_state.h"
#include "cache/need.h"
#include "cache/protected_segments.h"
#include "cache/remote.h"
#include "cache/segments.h"
#include "cache/space.h"

namespace cairn {

// A file's content in the store, and which of our records it contains.
struct ContentBase {
  std::optional<Cid> content;
  uint64_t size = 0;
  Lsn lsn = 0;
};

struct EngineSettings {
  bool read_only = false;
  bool leaves_cache = false;  // what is fetched stays in memory: the cache is only looked at
  uint32_t inline_bytes_max = 8 * 1024;  // smaller writes travel inside the journal record
  Duration publish_interval = std::chrono::seconds(5);
  // Commits that upload much more than was written come up to this far apart.
  Duration publish_interval_max = std::chrono::minutes(5);
  Duration sync_interval = std::chrono::seconds(1);
  uint64_t publish_bytes = 64ULL << 20;  // this much waiting is published without the interval
  uint64_t pending_bytes_max = 5ULL << 30;
  uint64_t pending_files_max = 1'000'000;
  Duration pending_age_max = std::chrono::hours(1);
  Duration stall_timeout = std::chrono::minutes(5);
  Duration io_timeout = std::chrono::seconds(60);
  uint64_t memtable_bytes = 8ULL << 20;  // a checkpoint starts behind it
  Duration checkpoint_interval = std::chrono::seconds(30);
  Duration poll_interval = std::chrono::seconds(5);  // followers
  uint64_t chunk_memory_bytes = 16ULL << 20;         // leaves kept in memory
  uint64_t read_ahead_bytes = 32ULL << 20;           // on their way unasked, of all files together
  uint64_t idle_ahead_bytes = 32ULL << 20;           // and more while nothing waits to be published
  FoldLimits fold;
};

// What a rule keeps back from the store.
struct KeptStatus {
  uint64_t files = 0;
  uint64_t bytes = 0;
};

struct LsnStatus {
  Lsn appended = 0, durable = 0, checkpointed = 0, published = 0;
};
struct PendingStatus {
  uint64_t bytes = 0;
  uint64_t files = 0;
  int64_t oldest_age_ms = 0;
};

// Bytes of a file that were acknowledged and cannot be read any more.
struct LostData {
  uint64_t inode = 0;
  uint64_t offset = 0;
  uint64_t length = 0;
  Lsn lsn = 0;  // of the record that wrote them
};

// Where the newest change of a file or directory is.
struct FileStatus {
  enum class State : uint8_t {
    kLocal,      // in the journal, not yet synced to the local disk
    kQueued,     // on the local disk
    kUploading,  // part of the commit that is being made
    kStored,     // in the store
    kHeld,       // on the local disk, and kept back from the store
  };
  State state = State::kStored;
  unsigned percent = 0;       // kUploading: of the commit's bytes
  uint64_t commit = 0;        // the newest here; kStored: it holds the file
  uint64_t cached_bytes = 0;  // of clean content here
  bool pinned = false;
};
const char* name_of(FileStatus::State state);

// How the store last answered, for status.
struct RemoteHealth {
  bool fenced = false;
  bool failing = false;
  std::string last_error;
  std::string publish_error;  // why the last publication failed, until one works
  Errc last_code = Errc::kIo;
  MonotonicTime said_at{};  // in the log
};

class Engine final : private PublishHost {
 public:
  struct Components {
    Clock& clock;
    Executor& executor;     // completions
    Executor& maintenance;  // one thread: sync, checkpoint, publish may block it
    Executor& publishing;   // one thread: publish blocks it
    std::unique_ptr<LiveTables> tables;
    std::unique_ptr<Segments> segments;
    std::unique_ptr<Remote> remote;
    std::unique_ptr<Space> space;  // that segments and journal take their disk from
    // What the remote wants to be given when it is opened next; kept with each checkpoint.
    std::function<Buffer()> bookmark;
  };
  static constexpr const char* kBookmarkKey = "bookmark";  // its row in kState
  static constexpr const char* kOrphanPrefix = "orphan/";  // of rows in kState, see orphan_row

  Engine(EngineSettings settings, Components components);
  ~Engine() override;
  // The journal calls back into the engine while it opens (replay), so it is given afterwards;
  // readers have none. Then `start` begins the background work, unless what is kept back cannot be
  // told from what may be evicted.
  void attach(std::unique_ptr<Journal> journal, Lsn checkpointed, Lsn published);
  Status start();

  // --- reading
  // The newest value of a tree key.
  Result<std::optional<Cid>> get(std::string_view key, Need& need);
  // The newest entries with from <= key < to, at most `limit`, in order. `more` says whether the
  // range goes on behind the last one.
  struct Range {
    std::vector<TreeEntry> entries;
    bool more = false;
    std::string last_seen;  // with more: go on behind this key (it may be a removed one)
  };
  Result<Range> scan(std::string_view from, std::string_view to, size_t limit, Need& need);
  // The bytes a value stands for: inside the CID, or in a small block.
  Result<Buffer> value_bytes(const Cid& value, Need& need);
  Result<ContentBase> base_of(uint64_t inode, Need& need);
  // Content of a file of `size` bytes; clipped at its end.
  // `pinned` is the base of a file that was removed while open; others are looked up.
  Result<Buffer> read(uint64_t inode, const std::optional<ContentBase>& pinned, uint64_t size,
                      uint64_t offset, uint64_t length, Need& need);
  // Starts to bring chunks here that a read of the range would need, as many as may be on their way
  // unasked. Returns where it stopped: everything before is here, or on its way, or cannot be had
  // ahead of time. Errors only cost time later.
  uint64_t prefetch(uint64_t inode, const std::optional<ContentBase>& pinned, uint64_t offset,
                    uint64_t length);
  // Somebody opens the file, of which `policy` says what becomes of its content; `closed` when
  // nobody has it open any more, never while somebody opens it. When that is true, `drop_passing`
  // drops what was read of it, at any time. kNotLocal when it is to be pinned, and what is pinned
  // has to be counted.
  Status opened(uint64_t inode, uint64_t size, const ContentPolicy& policy, Need& need);
  bool closed(uint64_t inode);
  // Is it open, or pinned?
  bool is_in_use(uint64_t inode) const;
  void drop_passing(uint64_t inode);
  // First offset >= `offset` that lies in data (or in a hole); nullopt when there is none.
  Result<std::optional<uint64_t>> seek(uint64_t inode, const std::optional<ContentBase>& pinned,
                                       uint64_t size, uint64_t offset, bool want_data, Need& need);
  // What the 4 KiB blocks of a range take that hold data: written ones, and of published content
  // those that are not zero as far as it is here (what is not here counts as data, and so do chunks
  // with any data when there are many). For counting only; it never fails nor waits.
  uint64_t stored_bytes(uint64_t inode, const std::optional<ContentBase>& pinned, uint64_t offset,
                        uint64_t length);

  // --- changing
  // Room for `bytes` more? Otherwise need.space is set and the answer is kNotLocal. Ask before
  // taking any lock.
  Status admit(uint64_t bytes, Need& need);
  // Puts written bytes where the journal may refer to them; no lock is held meanwhile. kNotLocal
  // with need.space when others took the room since `admit`.
  Result<WriteData> place(uint64_t inode, uint64_t offset, Bytes data, Need& need);
  // What makes bytes of one file those of another (or of another place in it), as effects of the
  // caller's change: data that lies in a segment and whole leaves of the store are named again,
  // holes stay holes, and only the rest is moved. It may be less than was asked for. Leaves need
  // the same place in their chunk on both sides.
  struct CopyFrom {
    uint64_t inode = 0;
    std::optional<ContentBase> pinned;  // as for `read`
    uint64_t size = 0;                  // of the file
    uint64_t offset = 0;                // below the size
    uint64_t length = 0;
    bool share = true;  // false: all of it is moved
  };
  struct Copy {
    std::vector<Effect> effects;
    uint64_t length = 0;
    std::vector<Buffer> moved;  // what the effects point into
  };
  Result<Copy> copy(const CopyFrom& from, uint64_t to_inode, uint64_t to, Need& need);
  // Journals the change and makes it visible. When it returned, the change survives the death of
  // the process. kTransient: data that the change shares moves into the store just now; build the
  // change anew.
  Result<Lsn> commit(const Change& change);
  // An inode whose last name goes while it is open: the content of an inode stays until
  // `release_orphan` when the change that removes it carries this row, by which the next mount
  // finds what a crash left behind.
  static Effect orphan_row(uint64_t inode);
  void release_orphan(uint64_t inode);
  // Everything up to `lsn` is in the store? Otherwise need.stored is set and the answer is
  // kNotLocal.
  Status stored(Lsn lsn, Need& need);
  // Durable against power loss up to `lsn`.
  Status sync(Lsn lsn);
  Lsn appended() const;

  // --- publishing
  // Everything acknowledged before the call is in the store when it returns.
  Status flush(Context context, const std::function<void(PendingStatus)>& progress);
  // One step: folds and publishes what is waiting. False when nothing was. One at a time.
  Result<bool> publish_once(bool close, Context context);
  // Flushes, writes the closing commit, ends the background work. The journal keeps what could
  // not be published, and the error says how much that is.
  Status close(Context context, const std::function<void(PendingStatus)>& progress);
  // A garbage collection, with this engine as the host of its commits. Blocks; not after `close`.
  Result<CollectReport> collect(const std::function<Result<CollectReport>(PublishHost&)>& work);
  // Ends the background work and leaves everything as it is (as a crash would). Needs that wait are
  // cancelled, and answered when it returns; those that come later are cancelled at once.
  void abandon();
  Status checkpoint();

  // Fetches what `need` names, or waits until there is room; `done` runs on the executor.
  void satisfy(Need need, Context context, Callback<void> done);

  Remote& remote() { return *remote_; }
  Clock& clock() { return clock_; }
  Executor& executor() { return executor_; }
  LiveState& live() { return live_; }
  const EngineSettings& settings() const { return settings_; }
  // Keeps the file's content here once it is here; kNoSpace when too much would be.
  Status pin(uint64_t inode, uint64_t size, Need& need);
  void unpin(uint64_t inode);
  Status evict(uint64_t inode);  // lets the file's clean content go
  // Drops what an earlier life or this one left in the cache and nobody can ask for: segments
  // without rows, rows without segments. Before `start`, and at the end.
  void tidy_up();
  // kStored unless something of the inode, or a name in the directory, waits.
  Result<FileStatus> file_status(uint64_t inode) const;
  uint64_t pinnable_bytes() const { return space_->data_limit() / 4; }
  LsnStatus lsn_status() const;
  PendingStatus pending() const;
  KeptStatus kept_back() const;
  RemoteHealth health() const;
  // The local disk failed: nothing more is acknowledged until the next mount.
  Status local_health() const;
  uint64_t uploaded_bytes() const { return uploaded_bytes_; }
  uint64_t read_ahead_bytes() const;  // not here yet; what has come may count a moment longer
  Duration commit_interval() const;  // at the moment
  uint64_t cache_bytes() const;
  uint64_t cache_bytes_max() const { return space_->limit(); }
  Segments& segments() { return *segments_; }
  Space& space() { return *space_; }
  // Followers: what changed in the store; called on the publishing thread.
  void on_followed(std::function<void(const Changes&)> listener);

  // Used while the engine is being opened (cache/cache_dir.cc), before `start`: decides and applies
  // one replayed record; then drops what was published or belongs to nobody. Unpublished data that
  // a checkpoint vouches for and that is not what was written is kCorruption.
  Result<bool> replay(const JournalRecord& record, Lsn checkpointed, Lsn published);
  // The same for a damaged cache: what can be read of a record is applied, wherever it stands in
  // the log; data that is damaged or gone is noted in `lost`.
  Status salvage(const JournalRecord& record, Lsn checkpointed, std::vector<LostData>& lost);
  Status drop_leftovers(Lsn published);
  // What changes that are given up said about this cache (which numbers it has handed out, what the
  // volume takes) is forgotten with them.
  Status forget_changes();
  // Does a change of the inode wait to be published, or does a directory hold what is kept back?
  bool has_unpublished(uint64_t inode) const;
  // What was kept back when the tables were written last.
  static Result<bool> keeps_back_any(const LiveTables& tables);
  // More of ours is in the store than `attach` was told.
  Status found_published(Lsn published);
  PublishHost& publish_host() { return *this; }

 private:
  // PublishHost
  Result<std::shared_ptr<File>> open_data(const DataRef& ref) override;
  Result<std::optional<Buffer>> resident(uint64_t inode, uint64_t chunk, const Leaf& leaf) override;
  void chunk_staged(uint64_t inode, uint64_t chunk, const Leaf& leaf, Buffer bytes) override;
  Result<bool> extend_batch() override;
  Status commit_intended(uint64_t seq, Bytes record) override;
  void uploaded(uint64_t bytes) override;
  void progressed() override;

  struct Mark {  // a point in the journal, for pending bytes and age
    Lsn lsn = 0;
    uint64_t bytes_before = 0;
    MonotonicTime time;
  };
  struct Staged {
    uint64_t inode = 0;
    uint64_t chunk = 0;
    Leaf leaf;
    std::optional<DataRef> ref;  // where its assembled bytes were put
  };
  struct Waiter {  // for room, or for everything up to `stored` to be in the store
    uint64_t bytes = 0;
    Lsn stored = 0;
    Context context;
    Callback<void> done;
  };
  // What one read needs of a chunk, taken before the base is looked at (see `get`).
  struct ChunkView {
    uint64_t chunk = 0;
    uint32_t offset = 0;  // the part of the chunk that is looked at
    uint32_t length = 0;
    Extents extents;  // of the whole chunk
    std::vector<Piece> pieces;
  };
  // What a range of a file is made of. Bytes of the base count up to base_end.
  struct RangeView {
    std::vector<ChunkView> views;
    std::vector<Leaf> leaves;  // of the base, from the first view's chunk on, as far as it shows
    uint64_t base_end = 0;
    const Leaf* leaf_of(uint64_t chunk) const {
      const uint64_t index = chunk - views.front().chunk;
      return index < leaves.size() ? &leaves[index] : nullptr;
    }
  };
  struct CopyMode {
    bool data = false;    // may name data in segments
    bool leaves = false;  // may name leaves
  };
  struct CopyPart;
  static constexpr const char* kPinPrefix = "pin/";
  static constexpr std::string_view kPinnedByRule = "rule";  // instead of by somebody
  static constexpr const char* kKeptPrefix = "kept/";
  struct Kept {        // a file that is kept back
    uint64_t dir = 0;  // 0: it is where it is published
    std::string name;
    uint64_t bytes = 0;
    bool is_dirty = false;  // has rows of content: an empty one and a link have none
    std::set<uint64_t> segments;
  };
  // What a publication does to kept files.
  struct KeptChange {
    std::map<uint64_t, Kept> keep;
    std::map<uint64_t, Kept> release;  // their content is in the batch
    std::vector<uint64_t> gone;
    // Which of those that may have to go were looked at, when it comes to that.
    bool reconsidered = false;
    bool more = false;
    uint64_t next = 0;
    bool moved_directory = false;  // what is below has another name from now on
  };
  static std::string kept_key(uint64_t inode);
  static std::string dirent_of(const Kept& kept);
  Status load_kept();
  Result<KeptChange> split_kept(PublishBatch& batch, const Context& context);
  Result<std::vector<KeepCandidate>> keep_candidates(const PublishBatch& batch, KeptChange& change);
  Status add_xattrs(KeepCandidate& candidate) const;
  std::vector<uint64_t> reconsidered(KeptChange& change) const;
  void note_reconsidered(const KeptChange& change);
  Status take_out(PublishBatch& batch, const std::map<uint64_t, Kept>& keep,
                  const std::map<uint64_t, Keep>& stored);
  Result<bool> put_back(PublishBatch& batch, uint64_t inode, const Kept& kept) const;
  static void take_in(PublishBatch& batch, PublishBatch back,
                      const std::map<uint64_t, Kept>& released);
  Status add_live_rows(const std::string& prefix, PublishBatch& batch) const;
  // Adds what it protects to `segments`.
  Status keep_contents(std::map<uint64_t, Kept>& keep, Lsn upto, std::set<uint64_t>& segments);
  Status copy_out_of_journal(uint64_t inode, Lsn upto, Kept& kept,
                             std::map<uint64_t, MovedChunks>& moved, std::set<uint64_t>& segments);
  Status measure(uint64_t inode, Kept& kept) const;
  Status begin_measure(uint64_t inode, Kept& kept) const;
  static void note_place(const Extent& extent, Kept& kept);
  Result<std::set<Digest>> kept_blocks() const;
  void set_kept(uint64_t inode, std::optional<Kept> kept);
  static std::string orphan_state_key(uint64_t inode);
  static std::string pin_key(uint64_t inode);
  static Result<uint64_t> parse_orphan_state_key(std::string_view key);

  Result<Lsn> commit_payload(const Change& change, const ByteVec& payload);
  Status refuse_when_stopped() const;
  void note_record(const Change& change, Lsn lsn, uint64_t payload_bytes);
  void start_what_is_due();
  bool is_orphan(uint64_t inode) const;
  Result<Buffer> read_once(uint64_t inode, const std::optional<ContentBase>& pinned,
                           uint64_t offset, uint64_t length, Need& need);
  Result<RangeView> look(uint64_t inode, const std::optional<ContentBase>& pinned, uint64_t offset,
                         uint64_t length, Need& need);
  Status fill(uint64_t inode, const ChunkView& view, const Leaf* leaf, uint64_t base_end,
              MutableBytes out, Need& need);
  Result<bool> fill_from_leaf(uint64_t inode, uint64_t chunk, const Leaf& leaf, uint32_t offset,
                              MutableBytes out, Need& need);
  uint64_t data_in(const RangeView& range, const ChunkView& view, const Piece& piece) const;
  Result<std::optional<uint64_t>> next_used_chunk(uint64_t inode,
                                                  const std::optional<ContentBase>& pinned,
                                                  uint64_t chunk, Need& need);
  std::optional<SharedLeaf> leaf_of_chunk(const RangeView& range, const ChunkView& view,
                                          uint64_t size) const;
  void add_copy_parts(const RangeView& range, const ChunkView& view, uint64_t size, CopyMode mode,
                      std::vector<CopyPart>& parts) const;
  static void bound_copy_parts(std::vector<CopyPart>& parts);
  void keep_copied_leaf(uint64_t from_inode, const CopyPart& part, uint64_t to_inode,
                        uint64_t to_chunk);
  Status check_shared(const Change& change) const;
  void note_orphans(const Change& change);
  Status apply_again(const Change& change, Lsn lsn);
  Result<bool> publish_batch(bool close, Context context);
  bool more_goes_with(const Fold& fold) const;
  Status settle();  // behind a publication: gives back what the store holds now
  Status write_checkpoint();
  Status after_publish(const Fold& fold, const KeptChange& kept);
  Status settle_kept(const Fold& fold, const KeptChange& kept);
  // Everything up to `lsn` is in the store; so is what follows it when that is no change.
  void set_published(Lsn lsn);
  void keep_staged(const FrozenFile& file);
  void adapt_interval(uint64_t uploaded_bytes, uint64_t written_bytes);
  // Evicts until `bytes` more fit; false when what is left may not go.
  bool make_room(uint64_t bytes);
  bool tables_are_full() const;  // they have no room for more rows until some are published
  // Changes come faster than checkpoints: a short wait, which the store has no part in.
  bool memory_is_full() const;
  Status checkpoint_when_large();
  tl::unexpected<Error> no_room(uint64_t bytes, Need& need) const;
  std::vector<SegmentInfo> eviction_order() const;
  Status drop_unused_segments();
  bool keep_what_is_wanted(const SegmentInfo& segment, const std::set<uint64_t>& pins);
  void load_pins();
  Status check_pinnable(uint64_t inode, uint64_t size, Need& need);
  void put_pin(uint64_t inode, std::string_view why);
  Status pin_by_rule(uint64_t inode, uint64_t size, Need& need);
  SegmentClass class_of(uint64_t inode) const;
  void keep_fetched(const Need::Chunk& chunk, const Buffer& bytes);
  Status try_drop_passing(uint64_t inode);
  // What `prefetch` does; `then` is told when what was asked for is here.
  struct Ahead {
    uint64_t until = 0;
    bool asked = false;
  };
  Ahead ask_ahead(uint64_t inode, const std::optional<ContentBase>& pinned, uint64_t offset,
                  uint64_t length, Callback<void> then);
  void fetch_ahead(Need need, uint64_t bytes, Callback<void> then);
  uint64_t ahead_bytes_max() const;  // with the state mutex
  AheadPace ahead_pace() const;
  uint64_t ahead_part_bytes() const;
  struct Whole {
    uint64_t inode = 0;
    uint64_t size = 0;
    uint64_t offset = 0;
    unsigned failures = 0;
    unsigned tries = 0;  // of the part
  };
  void fetch_whole(uint64_t inode, uint64_t size);
  void start_wholes();
  void go_on(Whole whole);
  void go_on_later(Whole whole, Duration pause);
  void end_whole();
  bool is_pinned(uint64_t inode) const;
  std::set<uint64_t> pinned_inodes() const;
  std::set<uint64_t> orphan_segments() const;
  Lsn orphan_floor() const;
  bool publish_due() const;
  void schedule_background();
  void in_background(std::function<void()> work);  // unless the mount ends
  void background();
  void sync_behind();
  Status settle_behind();
  void keep_local_state();
  void keep_clean_rows();
  static void tell_local(const Status& written);
  void follow();
  void tell_changes();
  void tell(const Changes& changes);
  void publish_loop();
  void kick_publisher();
  void wake_waiters();
  std::optional<Status> answer_to(const Waiter& waiter, Duration stalled);  // nullopt: it waits on
  void note_remote(const Status& status);
  void note_unpublished(const Error& error);
  void note_trouble();
  bool note_failing(const Error& error);  // with the state mutex: does the log say it?
  void tell_failing(const Error& error) const;

  const EngineSettings settings_;
  Clock& clock_;
  Executor& executor_;
  Executor& maintenance_;
  Executor& publishing_;
  std::unique_ptr<Space> space_;
  std::unique_ptr<LiveTables> tables_;
  std::unique_ptr<Segments> segments_;
  std::unique_ptr<Remote> remote_;
  std::function<Buffer()> bookmark_;
  LiveState live_;
  ChunkCache chunks_;
  ChunkFetches fetches_;
  std::unique_ptr<Journal> journal_;

  // Serialises commit, cleanup and the freezing part of a checkpoint.
  RankedMutex<Rank::kCommit> commit_mutex_;
  std::atomic<Lsn> checkpointed_{0};
  std::atomic<Lsn> published_{0};
  std::atomic<Lsn> last_change_{0};  // newest record that is a change; others need no publishing
  // Published and said so in a finished checkpoint: the journal and the segments up to it are
  // needed by nobody, not even after a crash.
  std::atomic<Lsn> settled_{0};
  std::atomic<uint64_t> written_bytes_{0};    // by all records since the mount (and replay)
  std::atomic<uint64_t> published_bytes_{0};  // of those, by published ones
  std::atomic<uint64_t> uploaded_bytes_{0};
  RankedMutex<Rank::kEviction> eviction_mutex_;
  ProtectedSegments kept_segments_;  // in which kept files lie; protected by eviction_mutex_

  // Asked under locks of the names of objects, so below everything.
  mutable RankedMutex<Rank::kLeaf> kept_mutex_;
  std::map<uint64_t, Kept> kept_;           // protected by kept_mutex_, as the next
  std::map<uint64_t, uint64_t> kept_dirs_;  // directories, and how many of them they hold
  std::atomic<uint64_t> kept_files_{0};     // of kept_: sums are asked for by each write
  std::atomic<uint64_t> kept_bytes_{0};
  std::atomic<uint64_t> kept_dirty_{0};
  std::atomic<bool> reconsiders_{false};  // whether they are still to be kept back
  uint64_t reconsider_from_ = 0;          // of who publishes

  mutable RankedMutex<Rank::kEngineState> state_mutex_;
  std::deque<Mark> marks_;
  std::set<uint64_t> orphans_;
  std::set<uint64_t> pinned_;
  std::set<uint64_t> pinned_by_rule_;
  std::optional<uint64_t> pinned_bytes_;  // as they were counted last, and what came since
  MonotonicTime pins_full_until_ = MonotonicTime::min();
  std::unordered_set<uint64_t> open_;
  std::set<uint64_t> passing_;  // open, and not to stay in the cache
  std::deque<Whole> wholes_;    // wait to be fetched
  unsigned wholes_running_ = 0;
  unsigned wholes_paused_ = 0;
  struct Uploading {
    Lsn lsn = 0;
    uint64_t bytes = 0;
    uint64_t sent_before = 0;
    MonotonicTime began{};
  };
  Uploading uploading_;                                     // the publish that runs
  std::map<std::pair<uint64_t, uint64_t>, Staged> staged_;  // of the publish that runs
  RemoteHealth health_;
  bool failing_told_ = false;        // the log says that the store fails, and not that it is back
  bool failing_of_trouble_ = false;  // a request that still goes on; it may work
  const std::shared_ptr<Trouble> trouble_ = std::make_shared<Trouble>(std::chrono::seconds(10));
  std::vector<Waiter> waiters_;
  size_t asked_waiters_ = 0;       // taken out of them, to see what each is answered
  uint64_t read_ahead_bytes_ = 0;  // under way
  uint64_t ahead_bytes_now_;       // that may be, on this line
  size_t satisfying_ = 0;          // needs that are not answered yet
  std::function<void(const Changes&)> follow_listener_;
  MonotonicTime last_progress_;
  MonotonicTime last_sync_;
  MonotonicTime last_checkpoint_;
  MonotonicTime retry_at_;
  MonotonicTime next_poll_;
  unsigned failures_ = 0;      // of publications, since one worked
  std::string publish_error_;  // of the last of them
  Duration commit_interval_;
  Lsn flush_target_ = 0;
  std::atomic<uint64_t> looked_at_bytes_{0};  // written_bytes_ when start_what_is_due last looked
  bool sync_queued_ = false, settle_queued_ = false;
  Status settled_behind_;  // how the last one that nobody waited for ended
  bool publish_queued_ = false;
  bool stopping_ = false;
  unsigned background_running_ = 0;
  ConditionVariable idle_;
  CancelToken stop_token_;

  // Held across disk and network by design, so never taken while another lock is held.
  LongMutex publish_mutex_;     // one publish at a time
  bool split_failed_ = false;   // the last look at what is held; protected by publish_mutex_
  Fold* growing_ = nullptr;     // what is published, when more may go with it; likewise
  std::atomic<bool> failed_here_{false};  // what is published, and not for the store
  LongMutex checkpoint_mutex_;  // one checkpoint at a time
};

}  // namespace cairn
