// Remote: the port between the engine and what a mount shows: the state last published in the
// store, and the way to publish the next one. TreeRemote (a volume) and BucketRemote (a bucket's
// own objects) implement it.
//
// The published state is read by tree key (cache/format/records.h). Reads never touch the
// network: what is not here is added to `missing` and the answer is kNotLocal; the caller lets go
// of its locks, calls `fetch`, and runs again from the start. Every operation of the engine is
// therefore written so that it can be run again until it succeeds.
// All methods are thread-safe. Every block that is returned was verified against its digest; a leaf
// that is only named by it came from the version of the object that the name stands for.
// Owner: the engine, for the life of a mount.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "cache/base/random.h"
#include "cache/extents.h"
#include "cache/format/cid.h"
#include "cache/object_store.h"

namespace cairn {

// What an operation needed and did not find here: metadata blocks, or names of a directory that
// has to be listed.
class Missing {
 public:
  struct Name {
    uint64_t dir = 0;
    std::string name;  // empty: all names of the directory
    bool operator==(const Name&) const = default;
  };
  void add(const Digest& digest);
  void add_name(uint64_t dir, std::string_view name);
  // What an object says beside its bytes.
  void add_object(uint64_t ino);
  bool empty() const { return digests_.empty() && names_.empty() && objects_.empty(); }
  const std::vector<Digest>& digests() const { return digests_; }
  const std::vector<Name>& names() const { return names_; }
  const std::vector<uint64_t>& objects() const { return objects_; }
  void clear();

 private:
  std::vector<Digest> digests_;  // in the order they were asked for, without repetition
  std::unordered_set<Digest> seen_;
  std::vector<Name> names_;  // likewise; a few
  std::vector<uint64_t> objects_;
};

struct TreeEntry {
  std::string key;
  Cid value;
};

// One leaf (chunk) of a file's published content.
struct Leaf {
  Digest digest;
  uint32_t length = 0;
  bool zero = false;   // all zero bytes: never fetched
  bool named = false;  // the digest names the bytes (a part of a version) without being theirs
};

// Takes the bytes of a leaf by its place among those asked for.
using EachLeaf = std::function<void(size_t leaf, const Buffer& bytes)>;

// What the store holds and this mount shows.
struct PublishedState {
  uint64_t seq = 0;  // number of the commit
  uint64_t epoch = 0;
  Lsn lsn = 0;  // this cache's records up to it are contained (writers)
  Cid root;
  int64_t time_ns = 0;      // of the commit
  uint64_t live_bytes = 0;  // that the files have allocated
  uint64_t inodes = 0;
  uint64_t stored_bytes = 0;     // of all packs that are not condemned
  uint64_t condemned_bytes = 0;  // of packs that wait to be deleted
};

// A new value for a tree key, or its removal. The value of a regular file's inode leaves `body`
// empty: the remote fills in what the file's content is at that commit.
struct TreeEdit {
  std::string key;
  std::optional<Cid> value;
  Lsn lsn = 0;  // of the record that said so
};

// Unpublished content of one file, frozen at the batch's LSN: nothing it refers to changes.
struct FrozenFile {
  uint64_t inode = 0;
  uint64_t size = 0;        // at the batch's LSN
  uint64_t base_limit = 0;  // bytes of the published content that still count
  struct Chunk {
    uint64_t index = 0;
    Extents extents;
  };
  std::vector<Chunk> chunks;  // by index, only those written to
};

struct PublishBatch {
  Lsn lsn = 0;                                    // the batch is the fold of (published, lsn]
  std::vector<TreeEdit> edits;                    // by key, one a key
  std::vector<FrozenFile> files;                  // by inode; each has an edit of its inode
  std::vector<std::pair<Digest, Buffer>> blocks;  // small blocks that values refer to
  std::vector<uint32_t> groups;                   // inode groups opened by these records (own slot)
  bool close = false;  // the writer leaves: the commit says closed and clean
};

// What a follower's step to a newer commit changed.
struct Changes {
  bool moved = false;             // there was a newer commit
  bool everything = false;        // too much to name: forget all that is cached
  std::vector<std::string> keys;  // tree keys whose values differ, in order
};

// What the remote needs from the engine while it publishes. Called from the publishing thread
// and from executor tasks; thread-safe.
class PublishHost {
 public:
  virtual ~PublishHost() = default;
  // The file that holds `ref`, for positional reads at ref.offset.
  virtual Result<std::shared_ptr<File>> open_data(const DataRef& ref) = 0;
  // Clean content that is here already (for a chunk of which only a part was rewritten), or
  // nullopt; never touches the network.
  virtual Result<std::optional<Buffer>> resident(uint64_t inode, uint64_t chunk,
                                                 const Leaf& leaf) = 0;
  // A chunk was hashed: from the commit on its content is `leaf`. `bytes` is set when it was
  // assembled from parts, and empty when it lies in one piece at the extent's place.
  virtual void chunk_staged(uint64_t inode, uint64_t chunk, const Leaf& leaf, Buffer bytes) = 0;
  // All that was written in the batch is staged. True when more came meanwhile that should be in
  // the same commit: the batch that `publish` was given is longer now, in its place, and what
  // pointed into it points nowhere, nor does it after an error.
  virtual Result<bool> extend_batch() { return false; }
  // The commit record is about to be sent: keep it durably, so that after a crash an ambiguous
  // outcome can be decided.
  virtual Status commit_intended(uint64_t seq, Bytes record) = 0;
  // Bytes of packs sent since the last call, for progress and status.
  virtual void uploaded(uint64_t bytes) = 0;
  // The store took something that is not of a publish.
  virtual void progressed() {}
};

struct VolumeParams {
  uint32_t chunk_bytes = 256 * 1024;
  uint32_t links_per_node = 174;
  uint32_t fanout_bits = 2;
  uint64_t quota_bytes = 0;  // 0: none
  bool content_ids = true;   // contents have CIDs, and commits hold them
  // Files and directories are objects: each has one name, no xattrs of its user's, and a directory
  // that moves is published alone.
  bool only_objects = false;
  // What the root holds is not ours to change, and nothing moves from one of its directories to
  // another: they are buckets.
  bool top_is_buckets = false;
  Uuid volume_id{};
};

// What is to become of a file's content here.
struct ContentPolicy {
  bool keep = true;    // in the cache, after it was read
  bool pin = false;    // there for good
  bool whole = false;  // fetched as a whole when the file is opened
};

// A file of which a batch has something to publish, or that is kept back.
struct KeepCandidate {
  uint64_t inode = 0;
  uint64_t dir = 0;  // where it is; 0: where it is published
  std::string name;
  uint64_t size = 0;
  bool is_link = false;
  bool has_content = false;  // that the store does not have
  // Of unpublished changes: set, or taken away.
  std::vector<std::pair<std::string, std::optional<std::string>>> xattrs;
};
struct Keep {
  bool keeps = false;
  bool is_stored = false;  // the store has an older version, or the same, of this size
  uint64_t stored_size = 0;
};

class Remote {
 public:
  virtual ~Remote() = default;
  // Ends what it does by itself; afterwards it may only be destroyed.
  virtual void stop() {}
  // Runs what it gets while no operation is between looking and committing. Given by who runs
  // operations, and taken back (empty) before that one goes.
  using Stillness = std::function<void(const std::function<void()>& work)>;
  virtual void set_stillness(Stillness) {}
  virtual VolumeParams params() const = 0;
  virtual PublishedState published() const = 0;
  // What is known of published names goes to the disk: a change may refer to it then. Quick when
  // there is nothing to do; never with a lock held.
  virtual Status settle() { return {}; }
  // Can something new in the directory be called so? EINVAL, with a sentence, when it cannot.
  virtual Status check_name(uint64_t /*dir*/, std::string_view /*name*/) const { return {}; }

  // Where something new would be: the nearest directory that is published, and the names of those
  // below it that are not.
  struct NewPlace {
    uint64_t dir = 0;
    std::vector<std::string> below;
    std::string name;
    bool is_dir = false;
  };
  // May something be there? EPERM when its name would not be shown. Only asked when names are
  // hidden at all.
  virtual bool hides_names() const { return false; }
  virtual Status check_place(const NewPlace& /*place*/) const { return {}; }
  // Is there something in the directory that is not shown?
  virtual Result<bool> hides_some(uint64_t /*dir*/, Missing& /*missing*/) { return false; }
  // Asked when the file is opened.
  virtual Result<ContentPolicy> policy_of(uint64_t /*inode*/, Missing& /*missing*/) {
    return ContentPolicy();
  }

  // Which content is not to be published but kept here (--filter-upload)? One answer each, in
  // order. Directories that the batch makes may not be there yet. Blocks; of who publishes only.
  virtual bool keeps_back_any() const { return false; }
  virtual Result<std::vector<Keep>> keep_back(const std::vector<KeepCandidate>& candidates,
                                              const PublishBatch& /*batch*/, Context /*context*/) {
    return std::vector<Keep>(candidates.size());
  }

  virtual Result<std::optional<Cid>> find(std::string_view key, Missing& missing) = 0;
  // Entries with from <= key < to, at most `limit`, in order.
  virtual Result<std::vector<TreeEntry>> scan(std::string_view from, std::string_view to,
                                              size_t limit, Missing& missing) = 0;
  // A small block that a value refers to (long symlink, large xattr).
  virtual Result<Buffer> block(const Digest& digest, Missing& missing) = 0;
  // Leaves [first, first + count) of a content of `size` bytes, clipped at its end.
  virtual Result<std::vector<Leaf>> leaves(const Cid& content, uint64_t size, uint64_t first,
                                           uint64_t count, Missing& missing) = 0;

  // The first chunk >= `first` of a content that is not all zeroes; nullopt: there is none. Long
  // runs of zeroes cost nothing.
  virtual Result<std::optional<uint64_t>> next_data(const Cid& content, uint64_t size,
                                                    uint64_t first, Missing& missing) = 0;

  // Brings metadata blocks here (with what lies around them), or names. A listing that is long
  // may answer before it is complete, when it got further: the operation then asks again.
  virtual void fetch(const Missing& missing, Context context, Callback<void> done) = 0;
  // Bytes of leaves, in the order asked for; neighbours in the store come with one request.
  // `each` (may be empty) has every leaf but zeroes as soon as it is here, from several threads,
  // never after `done`. Who asks for one twice gets it twice (ChunkFetches does not).
  virtual void fetch_leaves(std::vector<Leaf> leaves, Context context, EachLeaf each,
                            Callback<std::vector<Buffer>> done) = 0;

  // Makes the batch durable in the store and published, and returns the new state. Blocks; one
  // call at a time; safe to repeat with the same or a later batch after an error.
  // kFenced: another writer took over; nothing of this batch is in the tree.
  virtual Result<PublishedState> publish(const PublishBatch& batch, PublishHost& host,
                                         Context context) = 0;
  // Followers: looks for newer commits and moves to the newest. Blocks.
  virtual Result<Changes> follow(Context context) = 0;
  // After publish(): is all that a batch up to `lsn` had of a file in the store? Asked before what
  // was kept back is let go.
  virtual Result<bool> has_stored(uint64_t /*inode*/, Lsn /*lsn*/) const { return true; }
};

}  // namespace cairn
