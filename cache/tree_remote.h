// TreeRemote: a volume in an object store, as the engine's Remote port.
//
// It joins the parts: the commit log (which state is the newest), the metadata blocks (the tree's
// nodes, packed, kept on disk here), the pack store (where leaves lie) and the stager (how new
// content gets into packs). A published state is immutable, so readers take a snapshot of it and
// never see half of a commit; only `publish`, `follow` and `begin_writing` move it, as a whole.
//
// Owner: the engine, for the life of a mount; the components must outlive it. Thread-safe, except
// that `publish`, `follow` and `begin_writing` are called one at a time. These three block and
// must not run on a task of the executor.
// Ordering: packs, then index segments, then the commit are durable in the store, in that order.
// A publish that failed leaves nothing but packs that no commit names; they are remembered, and
// the next one does not send them again.
// Errors: kFenced for ever once another writer created a commit of a higher epoch; kTransient and
// kTimeout when the store cannot be reached; kCorruption for blocks that are not what their names
// say; kUnsupported for volumes of a later format.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/base/clock.h"
#include "cache/base/env.h"
#include "cache/base/executor.h"
#include "cache/base/random.h"
#include "cache/collect.h"
#include "cache/index_writer.h"
#include "cache/meta_tiers.h"
#include "cache/object_store.h"
#include "cache/remote.h"
#include "cache/snapshots.h"

namespace cairn {

class TreeRemote final : public Remote {
 public:
  struct Components {
    ObjectStore& store;
    Env& env;
    Clock& clock;
    Rng& rng;
    Executor& executor;
    // Where a reader asks for the newest commit when a block is not where it was; `executor` when
    // it is not given. Its tasks wait for the store.
    Executor* background = nullptr;
  };
  enum class Mode : uint8_t { kWriter, kFollower };
  struct Options {
    Mode mode = Mode::kWriter;
    Uuid cache_id{};                               // of this cache directory
    std::string host;                              // for people, in the commits
    std::string metadata_dir;                      // cached metadata packs and windows live here
    uint64_t metadata_cache_bytes = 256ULL << 20;  // of disk
    uint64_t metadata_memory_bytes = 16ULL << 20;  // decoded and raw blocks kept in memory
    uint64_t index_memory_bytes = 4ULL << 20;      // of where local metadata lies
    uint64_t tail_memory_bytes = 16ULL << 20;      // tails of packs
    uint64_t page_memory_bytes = 8ULL << 20;       // pages of index segments
    uint64_t around_memory_bytes = 8ULL << 20;     // what came with small blocks
    uint64_t read_memory_bytes = 32ULL << 20;      // asked of the store at once
    uint64_t prefetch_bytes = 64ULL << 20;         // a tree up to this size is fetched at once
    // So few tails of data packs are fetched with the head, for the first read to find them here.
    size_t tails_ahead = 0;
    uint64_t index_ahead_bytes = 0;  // and at most so much of the newest index segments
    std::shared_ptr<HeadLook> head_look;  // begun by who looked whether there is a volume
    bool takeover = false;  // begin_writing fences a writer that has not left
    // The commit record last seen here, if any. A store whose head is older is refused as rolled
    // back; a store that cannot be reached opens offline with it.
    Buffer last_commit_record;
    // The store is known to be out of reach: opens with last_commit_record at once.
    bool offline = false;
    // Show last_commit_record and look for nothing newer: what this cache was based on, whoever
    // wrote since. begin_writing is refused.
    bool pinned = false;
    // Show this point of the history and never move; only followers. Where the content lies is
    // read from the newest commit.
    std::optional<HistoryPoint> at;
    IndexLimits index;
    MetadataLimits metadata;
    uint64_t pack_bytes = 32ULL << 20;
    unsigned packs_in_flight_max = 3;  // where the line takes so many
    unsigned hash_threads = 2;
    uint64_t publish_memory_bytes = 48ULL << 20;     // assembled chunks, whatever the batch's size
    Duration io_timeout = std::chrono::seconds(60);  // of one request
  };
  // What the head says about who writes.
  struct WriterState {
    bool ours = false;  // the head was made by this cache
    bool open = false;  // its writer has not left
    std::string host;
    int64_t time_ns = 0;
  };
  struct State {
    bool offline = false;    // opened from last_commit_record; nothing newer was looked for
    bool read_only = false;  // the volume has a feature that this version must not write with
    bool fenced = false;
    bool writing = false;  // begin_writing succeeded
    WriterState head;
  };
  // What this cache may number new inodes with.
  struct Slot {
    uint16_t slot = 0;
    uint32_t next_group = 1;  // no inode was ever published with this group or a higher one
    uint64_t epoch = 0;
  };

  static Result<std::unique_ptr<TreeRemote>> open(Components components, Options options,
                                                  Context context);
  ~TreeRemote() override;

  // Makes this cache the volume's writer by a commit with a higher epoch. kPrecondition when
  // another cache has it open (the message names it) and `takeover` was not said; kUnsupported on
  // a read-only volume; goes online first when the remote was opened offline.
  // Until then published().lsn is what the head contains of this cache's journal.
  Result<Slot> begin_writing(PublishHost& host, Context context);
  // The same for a remote that was opened offline, without the store: possible when the last
  // commit seen here is this cache's own. The first publish that reaches the store then does what
  // begin_writing does; when another cache wrote meanwhile it is kFenced.
  Result<Slot> begin_writing_offline();
  // Gives back what the volume's store holds and nothing needs any more; see collector.h. Not on a
  // task of the executor; one at a time; publishing goes on meanwhile. A dry run needs no writer.
  Result<CollectReport> collect(const CollectOptions& how, PublishHost& host, Context context);
  // Makes the block index anew from the packs that are in the store, when segments are damaged or
  // gone, and names it in a commit. Only for a writer; returns the packs that cannot be read.
  Result<std::vector<std::string>> rebuild_index(PublishHost& host, Context context);
  // When this commit, which this cache meant to make (PublishHost::commit_intended), is in the
  // store, published().lsn says so from now on, whoever made the head since.
  Status look_for_intended(Buffer record, Context context);
  State state() const;
  // The record of the newest commit known, to be given as last_commit_record next time.
  Buffer commit_record() const;
  // The record of the commit that is shown.
  Buffer shown_commit() const;

  VolumeParams params() const override;
  PublishedState published() const override;
  Result<std::optional<Cid>> find(std::string_view key, Missing& missing) override;
  Result<std::vector<TreeEntry>> scan(std::string_view from, std::string_view to, size_t limit,
                                      Missing& missing) override;
  Result<Buffer> block(const Digest& digest, Missing& missing) override;
  Result<std::vector<Leaf>> leaves(const Cid& content, uint64_t size, uint64_t first,
                                   uint64_t count, Missing& missing) override;
  Result<std::optional<uint64_t>> next_data(const Cid& content, uint64_t size, uint64_t first,
                                            Missing& missing) override;
  void fetch(const Missing& missing, Context context, Callback<void> done) override;
  void fetch_leaves(std::vector<Leaf> leaves, Context context, EachLeaf each,
                    Callback<std::vector<Buffer>> done) override;
  Result<PublishedState> publish(const PublishBatch& batch, PublishHost& host,
                                 Context context) override;
  Result<Changes> follow(Context context) override;

  class Impl;  // cache/tree_remote_impl.h

 private:
  explicit TreeRemote(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cairn
