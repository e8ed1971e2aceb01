// The inside of TreeRemote: its parts and the published state, shared by reading, writing and
// following. See tree_remote.h for threads and promises.
//
// `mutex_` guards the pointer to the published state and the flags and is held for a copy only.
// Everything else is immutable after `open` or thread-safe itself. publish, follow and
// begin_writing never overlap (the caller's promise), so what only they touch needs no lock.
#pragma once

#include <memory>
#include <optional>
#include <string>
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
  // Makes `commit` what is shown.
  void show(StoredCommit commit);
  State state() const;
  void set_fenced();
  void stop_writing();
  // True when the tree that is shown changed a short time ago.
  bool moved_recently() const;

  Result<Changes> follow(const Context& context);

  Components parts;
  const Options options;
  std::unique_ptr<PackStore> packs;
  std::unique_ptr<MetaBlocks> blocks;
  std::unique_ptr<NodeCache> nodes;
  std::unique_ptr<CommitLog> log;
  std::optional<UnixfsShape> shape;
  VolumeParams params;

  // ---- of the publisher only
  struct Undecided {
    uint64_t seq = 0;
    Buffer record;
  };
  std::optional<Undecided> undecided;   // a commit that was sent, with unknown outcome
  std::vector<PackName> unnamed_packs;  // sent, and named by no commit yet
  uint64_t metadata_live_bytes = 0;     // about, of all blocks in the tree; 0: not known

 private:
  std::optional<LastSeen> last_seen() const;
  Status find_head(const Context& context);
  Status show_pinned();
  Status read_superblock(const Context& context);
  Result<std::optional<Superblock>> try_superblock(unsigned fanout_bits, const Context& context);
  Result<Lsn> own_lsn(const Context& context);

  std::optional<StoredCommit> last_commit_;  // of Options::last_commit_record
  Lsn own_lsn_ = 0;                          // of this cache's newest commit, whoever came after
  bool read_only_ = false;

  mutable RankedMutex<Rank::kRemote> mutex_;
  std::shared_ptr<const Published> published_;
  std::optional<MonotonicTime> moved_at_;
  bool offline_ = false;
  bool writes_offline_ = false;  // begin_writing was put off
  bool fenced_ = false;
  bool writing_ = false;
};

}  // namespace cairn
