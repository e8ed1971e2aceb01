// The inside of TreeRemote: its parts and the published state, shared by reading, writing and
// following. See tree_remote.h for threads and promises.
//
// `mutex_` guards the pointer to the published state, what the pack store was told of it, and the
// flags; it is never held across a request or a callback.
// Everything else is immutable after `open` or thread-safe itself. publish, follow,
// begin_writing and the commits of a collection take turns at `moving`, so what only they touch
// needs no other lock.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cache/await.h"
#include "cache/base/mutex.h"
#include "cache/commit_log.h"
#include "cache/format/commit.h"
#include "cache/format/superblock.h"
#include "cache/format/unixfs_file.h"
#include "cache/meta_blocks.h"
#include "cache/node_cache.h"
#include "cache/pack_store.h"
#include "cache/places_ahead.h"
#include "cache/tree_remote.h"

namespace cairn {

class TreeRemote::Impl {
 public:
  // A commit, and what the engine wants to know of it. Immutable.
  struct Published {
    StoredCommit commit;
    PublishedState state;
  };

  Impl(Components components, Options opened_with);
  ~Impl();
  Status open(Context context);

  // ---- reading
  std::shared_ptr<const Published> snapshot() const;
  Result<std::optional<Cid>> find(const Cid& root, std::string_view key, Missing& missing);
  // Runs `step` again, with what it misses fetched, until it misses nothing.
  template <class Step>
  auto with_fetch(const Context& context, const Step& step)
      -> decltype(step(std::declval<Missing&>())) {
    while (true) {
      Missing missing;
      auto result = step(missing);
      if (result || result.error().code() != Errc::kNotLocal || missing.empty()) return result;
      TRY(fetch_now(missing, context));
    }
  }
  Status fetch_now(const Missing& missing, const Context& context);

  // ---- who writes
  Result<Slot> begin_writing(PublishHost& host, const Context& context);
  Result<Slot> begin_writing_offline();
  // Makes good what begin_writing_offline put off.
  Status resume_writing(PublishHost& host, const Context& context);
  // Finds the head when the volume was opened without the store.
  Status go_online(const Context& context);
  Status look_for_intended(Buffer record, const Context& context);
  // Makes `commit` what is shown.
  void show(StoredCommit commit);
  // Asks for the newest commit, and where it says that blocks are. Blocks on the store.
  Status find_places(const Context& context);
  State state() const;
  StoredCommit newest_commit() const;
  void set_fenced();
  void stop_writing();
  // True when the tree that is shown changed a short time ago.
  bool moved_recently() const;

  Result<Changes> follow(const Context& context);
  // Takes `moving`, however long who has it waits for the store, unless the caller gives up.
  Result<std::unique_lock<LongMutex>> hold_still(const Context& context);

  Components parts;
  const Options options;
  std::unique_ptr<PackStore> packs;
  std::unique_ptr<MetaBlocks> blocks;
  std::unique_ptr<NodeCache> nodes;
  std::unique_ptr<LinkCache> links;
  std::unique_ptr<CommitLog> log;
  std::optional<UnixfsShape> shape;
  VolumeParams params;

  // One at a time: publish, follow, begin_writing, the commits of a collection. Held across the
  // store by design, so never taken while another lock is held.
  LongMutex moving;

  // ---- of the publisher only (under `moving`)
  struct Undecided {
    uint64_t seq = 0;
    Buffer record;
    bool doubtful = false;  // what it names may have gone into another store
  };
  std::optional<Undecided> undecided;   // a commit that was sent, with unknown outcome
  std::vector<PackName> unnamed_packs;  // sent, and named by no commit yet
  unsigned packs_in_flight = 0;         // that the line took last; 0: not known
  // Of the packs of the next commit: no two commits ever make a pack of the same name, so what the
  // collector deletes is never made again.
  uint64_t pack_salt = 0;
  uint64_t metadata_live_bytes = 0;     // about, of all blocks in the tree; 0: not known

  // ---- of the collector only: what it has read already
  // Metadata packs and segments, and the newest commit that names them, of the commits
  // [history_from, history_read].
  std::unordered_map<Digest, uint64_t> names_in_history;
  uint64_t history_from = 0;
  uint64_t history_read = 0;
  std::map<Digest, std::vector<Digest>> packs_of_segments;  // of the head

 private:
  Status make_stores();
  // Lets the pack store find the blocks of the tree that is shown, by what `newest` names. The
  // caller holds `mutex_`.
  void set_places(const CommitRecord& shown, const CommitRecord& newest);
  std::optional<LastSeen> last_seen() const;
  Status find_head(const Context& context, std::shared_ptr<HeadLook> look);
  Status show_pinned();
  Status show_point(const StoredCommit& head, const Context& context);
  Status read_superblock(const Context& context);
  Result<std::optional<Superblock>> try_superblock(unsigned fanout_bits, const Context& context);

  PlacesAhead places_ahead_;
  std::optional<StoredCommit> last_commit_;  // of Options::last_commit_record
  Lsn own_lsn_ = 0;                          // of this cache's newest commit, whoever came after
  bool read_only_ = false;

  // What a reader's question for the newest commit has to find alive. Its mutex is held while it
  // asks; the token ends that.
  struct Asker {
    LongMutex mutex;
    Impl* remote = nullptr;
    CancelToken over;
    // For whom the next question is, which is queued when there is anybody.
    RankedMutex<Rank::kLeaf> waiting_mutex;
    std::vector<Callback<void>> waiting;
  };
  std::shared_ptr<Asker> asker_;

  mutable RankedMutex<Rank::kRemote> mutex_;
  std::shared_ptr<const Published> published_;
  StoredCommit newest_;  // whose packs are looked into; what is shown, or newer
  std::optional<MonotonicTime> moved_at_;
  bool offline_ = false;
  bool writes_offline_ = false;  // begin_writing was put off
  bool fenced_ = false;
  bool writing_ = false;
};

}  // namespace cairn
