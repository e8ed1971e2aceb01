// BucketRemote: the objects of a bucket behind the port Remote, where a volume has TreeRemote.
//
// It answers for tree keys as a volume does: directories, files and xattrs are rows that it makes
// of what BucketTree knows; a content is a version of an object, a leaf a range of it. What the
// engine and the volume do with them is the same. README.md ("Object view") has states and costs.
// `publish` makes objects of a batch (bucket_publish.h), one by one: what was done counts even when
// not all could be.
//
// Threads: as the port says. Owner: the engine. `store`, clock and executors must outlive it.
// Errors: ESTALE for what was replaced or removed under a reader.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "cache/bucket_filters.h"
#include "cache/bucket_heads.h"
#include "cache/bucket_lister.h"
#include "cache/format/records.h"
#include "cache/get_limiter.h"
#include "cache/remote.h"

namespace cairn {

// Of an error: may the same request be answered otherwise when it is made again?
inline bool is_passing(const Error& error) {
  return error.code() == Errc::kTransient || error.code() == Errc::kTimeout ||
         error.code() == Errc::kCancelled;
}

// How objects look.
struct ObjectView {
  uint32_t uid = 0;
  uint32_t gid = 0;
  Duration metadata_ttl = std::chrono::seconds(60);
  bool probe_names = true;  // see BucketLister, as of deep_pages
  bool deep_pages = true;
  bool full_attrs = false;   // mode, owner and time as the objects say
  bool all_buckets = false;  // the directories of the root are buckets
  bool only_utf8 = false;    // the store takes no other keys
  bool past = false;         // the store shows what is past (s3/history_store.h)
  std::string reserved;      // a name in the root that the store keeps for itself
  FilterScope filters;
};

class BucketRemote final : public Remote {
 public:
  struct Parts {
    ObjectStore& store;
    Clock& clock;
    Executor& executor;
    Executor& background;  // see BucketLister
    Rng& rng;
  };
  struct Options {
    Uuid cache_id{};
    std::string host;  // for the names of conflict copies
    uint64_t publish_memory_bytes = 48ULL << 20;
    ObjectView view;
    uint64_t read_memory_bytes = 16ULL << 20;  // on their way
    uint64_t name_memory_bytes = 8ULL << 20;   // names that are not on the disk yet
    Duration io_timeout = std::chrono::seconds(60);
  };
  // `names` is the tables' place; what is in them is taken over.
  static Result<std::unique_ptr<BucketRemote>> open(const Parts& parts,
                                                    std::unique_ptr<MetaStore> names,
                                                    const Options& options);
  ~BucketRemote() override;
  // What a writer's cache says.
  struct LocalState {
    Lsn published = 0;                       // everything up to it is
    Lsn appended = 0;                        // the last record of the journal
    bool keeps_back = false;                 // files that are not to go to the bucket
    bool tables_are_new = false;             // they know nothing of what is gone from the journal
    std::function<bool(uint64_t ino)> held;  // does something of the inode wait?
  };
  // Would somebody miss the inode if its name were forgotten? Before anything else.
  void set_in_use(std::function<bool(uint64_t ino)> in_use) {
    tree_->set_in_use(std::move(in_use));
  }
  void set_stillness(Stillness stillness) override { tree_->set_stillness(std::move(stillness)); }
  // What is known here, without a request: for who takes out what is not published, and begins
  // neither of the two below.
  struct Known {
    uint64_t ino = 0;
    uint64_t dir = 0;
    std::string name;
    bool is_dir = false;
    uint64_t size = 0;
  };
  Result<std::optional<Known>> known(uint64_t ino) const;
  Result<std::optional<Known>> known_at(uint64_t dir, std::string_view name) const;
  void begin_recovery(Lsn published);
  // One of them next.
  Status begin_reading();
  Status begin_writing(LocalState local);
  // Files that are somewhere else than they were written to, since the mount.
  uint64_t conflicts() const { return conflicts_; }
  // Nullopt: not known yet. Nothing was written, or the store did not let us find out.
  std::optional<bool> honours_if_match() const;

  void stop() override;
  VolumeParams params() const override;
  PublishedState published() const override;
  Status settle() override { return tree_->settle_names(); }
  Status check_name(uint64_t dir, std::string_view name) const override;
  bool hides_names() const override { return filters_.hides_names(); }
  Status check_place(const NewPlace& place) const override;
  Result<bool> hides_some(uint64_t dir, Missing& missing) override;
  Result<ContentPolicy> policy_of(uint64_t ino, Missing& missing) override;
  bool keeps_back_any() const override { return filters_.keeps_back_any(); }
  Result<bool> has_stored(uint64_t ino, Lsn lsn) const override;
  Result<std::vector<Keep>> keep_back(const std::vector<KeepCandidate>& candidates,
                                      const PublishBatch& batch, Context context) override;
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

 private:
  struct Run;
  struct Fetch;

  BucketRemote(const Parts& parts, std::shared_ptr<BucketTree> tree, const Options& options);
  Result<std::optional<Cid>> past_directory(uint64_t dir, std::string_view name);
  Result<std::optional<Cid>> inode_value(uint64_t ino, Missing& missing);
  Result<bool> probe(const PublishBatch& batch, const Context& context);
  std::string bucket_of(const PublishBatch& batch) const;
  // The directories that a batch makes or moves: where each will be.
  using MadeDirs = std::map<uint64_t, std::pair<uint64_t, std::string>>;
  static Result<MadeDirs> made_dirs(const PublishBatch& batch);
  Result<std::optional<std::string>> key_in(const MadeDirs& made, uint64_t dir,
                                            const std::string& name) const;
  // What an object says of itself. Unset: not known.
  struct Labels {
    std::optional<ObjectHeaders> headers;
    std::optional<ObjectTags> tags;
    std::optional<ObjectTags> bucket_tags;
  };
  // What was told of buckets for one batch: also that it is not told.
  using BucketTags = std::map<uint64_t, std::optional<ObjectTags>>;
  Result<Keep> keeps(const KeepCandidate& candidate, const MadeDirs& made, BucketTags& told,
                     const Context& context);
  Filter::Answer uploads(const KeepCandidate& candidate, const std::string& key,
                         Labels labels) const;
  Status find_out(uint64_t ino, const BucketNode& node, const Filter::Needs& needs, Context context,
                  Labels& labels);
  Result<std::optional<ObjectTags>> tags_told(uint64_t ino, const BucketNode& node,
                                              Context context);
  bool is_to_be_asked(uint64_t ino, const BucketNode& node) const;
  Result<decltype(InodeRecord::body)> target_of(const std::string& target);
  void keep_block(const Digest& digest, std::string_view bytes);
  Result<std::optional<Cid>> xattr_value(uint64_t ino, std::string_view name, Missing& missing);
  Result<std::vector<TreeEntry>> scan_names(uint64_t dir, std::string_view from, size_t limit,
                                            Missing& missing);
  Result<std::vector<TreeEntry>> scan_xattrs(uint64_t ino, std::string_view from, Missing& missing);
  Result<Run> run_of(const std::vector<Leaf>& leaves, std::vector<size_t> places);
  void get(const Run& run, const std::shared_ptr<Fetch>& fetch, const Context& context);
  static Result<Buffer> check(const Run& run, Result<GetResult> got);
  static void finish(Fetch& fetch, Status status);
  static bool is_overtaken(const BucketTree& tree, const Run& run);

  const Parts parts_;
  const Options options_;
  const std::shared_ptr<BucketTree> tree_;
  const std::shared_ptr<BucketLister> lister_;
  const std::shared_ptr<BucketHeads> heads_;
  const std::shared_ptr<GetLimiter> gets_;
  const BucketFilters filters_;

  // Values of xattrs that were too large for their rows, for who asks for them next.
  mutable RankedMutex<Rank::kRemote> mutex_;
  PublishedState state_;  // as are all below
  std::optional<bool> honours_if_match_;
  std::atomic<uint64_t> conflicts_{0};
  // Of the publishing thread.
  struct Probing {
    std::string key;
    unsigned failed = 0;    // in a row
    MonotonicTime again{};  // not before, when it failed often
  };
  std::map<std::string, Probing> probing_;         // by bucket
  std::unique_ptr<ThreadExecutor> waiting_;        // where objects are put, once some are
  std::deque<std::pair<Digest, Buffer>> blocks_;
};

}  // namespace cairn
