// BucketRemote: the objects of a bucket behind the port Remote, where a volume has TreeRemote.
//
// It answers for tree keys as a volume does: directories, files and xattrs are rows that it makes
// of what BucketTree knows; a content is a version of an object, a leaf a range of it. What the
// engine and the volume do with them is the same. README.md ("Object view") has states and costs.
// It is read-only: `publish` refuses.
//
// Threads: as the port says. Owner: the engine. `store`, clock and executors must outlive it.
// Errors: ESTALE for what was replaced or removed under a reader.
#pragma once

#include <deque>
#include <memory>

#include "cache/bucket_lister.h"
#include "cache/get_limiter.h"
#include "cache/remote.h"

namespace cairn {

// How objects look.
struct ObjectView {
  uint32_t uid = 0;
  uint32_t gid = 0;
  Duration metadata_ttl = std::chrono::seconds(60);
  bool probe_names = true;  // see BucketLister
};

class BucketRemote final : public Remote {
 public:
  struct Parts {
    ObjectStore& store;
    Clock& clock;
    Executor& executor;
    Executor& background;  // see BucketLister
  };
  struct Options {
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

  VolumeParams params() const override;
  PublishedState published() const override { return {}; }
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
  Result<std::optional<Cid>> inode_value(uint64_t ino);
  Result<Cid> content_of(uint64_t ino, const BucketNode& node);
  Result<std::optional<Cid>> xattr_value(uint64_t ino, std::string_view name);
  Result<std::vector<TreeEntry>> scan_names(uint64_t dir, std::string_view from, size_t limit,
                                            Missing& missing);
  Result<std::vector<TreeEntry>> scan_xattrs(uint64_t ino, std::string_view from);
  Result<Run> run_of(const std::vector<Leaf>& leaves, std::vector<size_t> places);
  void get(const Run& run, const std::shared_ptr<Fetch>& fetch, const Context& context);
  static Result<Buffer> check(const Run& run, Result<GetResult> got);
  static void finish(Fetch& fetch, Status status);

  const Parts parts_;
  const Options options_;
  const std::shared_ptr<BucketTree> tree_;
  const std::shared_ptr<BucketLister> lister_;
  const std::shared_ptr<GetLimiter> gets_;

  // Values of xattrs that were too large for their rows, for who asks for them next.
  RankedMutex<Rank::kRemote> mutex_;
  std::deque<std::pair<Digest, Buffer>> blocks_;
};

}  // namespace cairn
