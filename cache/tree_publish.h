// TreePublisher: makes one batch the newest commit of a volume. The steps, in order:
//
//   inodes    what each changed inode is in the published tree
//   chunks    assemble, hash and pack what was written; packs go off while hashing goes on. What
//             was written meanwhile is taken in (PublishHost::extend_batch), from the first step on
//   contents  the new dag-pb nodes and content CIDs
//   tree      the edits, with content CIDs filled in, applied to the MST
//   metadata  tiers of metadata packs that became too many are merged
//   index     the young packs become an index segment when there are many, beside the last packs
//   commit    after everything above is durable
//
// Owner: one call of TreeRemote::publish, on its thread. Whatever step fails, the published state
// is as before; packs that got into the store by then are noted in the remote (`unnamed_packs`)
// and named by the next commit that succeeds.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "cache/format/records.h"
#include "cache/meta_stager.h"
#include "cache/meta_tiers.h"
#include "cache/pack_uploader.h"
#include "cache/staging.h"
#include "cache/tree_remote_impl.h"

namespace cairn {

// What a collection changes with one commit: the tree stays.
struct CollectionStep {
  std::vector<PackName> moved;         // new data packs that are in the store
  std::vector<CondemnedPack> condemn;  // packs nothing needs any more; `since` is filled in
  std::set<Digest> deleted;            // condemned ones that are about to be deleted
  std::set<Digest> forget;             // deleted ones that no segment lists
  bool rewrite_index = false;          // all segments anew, without what is condemned
  bool rewrite_metadata = false;       // the whole tree into new packs
  std::optional<std::vector<SegmentName>> index;  // a new one, in place of all segments
  uint64_t metadata_live_bytes = 0;    // of the tree
};

class TreePublisher {
 public:
  // Everything must outlive it.
  TreePublisher(TreeRemote::Impl& remote, Remote& port, const PublishBatch& batch,
                PublishHost& host, Context context);
  Result<PublishedState> run();
  Result<PublishedState> run(const CollectionStep& step);

 private:
  // An inode whose record changes.
  struct Inode {
    size_t edit = 0;  // in the batch
    uint64_t number = 0;
    // As it is published; nullopt: not looked up yet.
    struct Published {
      bool exists = false;
      uint64_t size = 0;       // of a regular file, else 0
      uint64_t allocated = 0;  // the same
      std::optional<UnixfsRoot> base;
    };
    std::optional<Published> published;
    std::optional<InodeRecord> record;  // nullopt: removed
    const FrozenFile* frozen = nullptr;
    std::vector<UnixfsChange> changes;
  };
  class ContentSink;

  Status check_batch() const;
  Status prepare();
  Status stage_batch();
  Status collect_inodes();
  void take_known(std::vector<Inode> known);
  Status find_frozen();
  Status find_published();
  Status find_published(Inode& inode, Missing& missing);
  Result<Buffer> value_bytes(const Cid& value, Missing& missing);
  Status stage_chunks();
  Status update_contents();
  Status update_content(Inode& inode);
  Status keep_cut_nodes(const Digest& digest, const ContentSink& cut);
  Status add_value_blocks();
  Status apply_edits();
  Result<Cid> filled_in(const Inode& inode);
  void count(const Inode& inode);

  // tree_commit.cc
  Status write_metadata();
  Status merge_metadata(const std::vector<TieredPack>& old);
  Status add_first_ways();
  Status add_way(std::string_view key);
  Status rewrite_metadata();
  Status write_index();
  void change_condemned(CommitRecord& next) const;
  Result<CommitRecord> record();
  Status commit();

  TreeRemote::Impl& remote_;
  const PublishBatch& batch_;
  PublishHost& host_;
  const Context context_;
  const std::shared_ptr<const TreeRemote::Impl::Published> before_;
  const CollectionStep* collection_ = nullptr;
  PackUploader uploader_;
  MetaStager meta_;
  ChunkStager chunks_;
  std::vector<Inode> inodes_;                         // by number
  std::vector<std::unique_ptr<FrozenFile>> resized_;  // files that only changed their size
  std::unordered_map<Digest, Buffer> blocks_;         // of the batch
  Digest root_;
  int64_t live_bytes_change_ = 0;
  int64_t inodes_change_ = 0;
  // What the commit will name.
  MetadataPlan metadata_;
  uint64_t live_metadata_bytes_ = 0;  // when all of it was rewritten
  std::vector<PackName> young_;
  std::vector<SegmentName> segments_;
};

// TreeRemote::publish.
Result<PublishedState> publish_tree(TreeRemote::Impl& remote, Remote& port,
                                    const PublishBatch& batch, PublishHost& host, Context context);
// One commit of a collection. Takes Impl::moving; waits for a publish that runs.
Result<PublishedState> commit_collection(TreeRemote::Impl& remote, Remote& port, PublishHost& host,
                                         const CollectionStep& step, Context context);
// Finds out what became of the last commit that was sent, by sending it again; nothing when that
// is known. On success it is the published state.
Status settle_commit(TreeRemote::Impl& remote, const Context& context);
// Whether the store still has the volume, by the answer to `look`. When it has not, packs that no
// commit names are sent again.
Status check_store(TreeRemote::Impl& remote, CommitLog::LookBack& look, const Context& context);

}  // namespace cairn
