// BucketPublisher: one batch of changes as changes of objects.
//
// What is new becomes objects, what is gone is removed, renamed files are copied by the store and
// then removed at their old keys. Directories that are new or would be empty get an object of
// their own ("dir/"). A directory that moves is a batch of its own (FoldLimits::moves_alone):
// README.md ("Object view") has the order and why.
//
// Every object is put on condition: over the version that this cache knows, or where there is
// none. When somebody else was there, theirs stays, and ours goes beside it under another name (a
// conflict copy). An object says who wrote it (object_attrs.h), so our own, of which the answer was
// lost, is no conflict. What was published is noted in the tree object by object, with the record
// it contains: a batch that is repeated does only what is left.
//
// Owner: one publish, on its thread; blocks. Objects go on up to `threads` threads at once.
// Errors: the first of any object; the others are done all the same.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cache/base/executor.h"
#include "cache/bucket_body.h"
#include "cache/bucket_lister.h"
#include "cache/format/records.h"
#include "cache/object_attrs.h"

namespace cairn {

class BucketPublisher {
 public:
  struct Options {
    uint32_t chunk_bytes = 256 * 1024;
    uint64_t memory_bytes = 48ULL << 20;  // of what shows through partly rewritten objects
    unsigned threads = 16;
    Duration io_timeout = std::chrono::seconds(60);
    Uuid cache_id{};
    std::string host;                   // for the names of conflict copies
    bool honours_if_match = true;       // else the store is asked before each put
    bool directories_are_real = false;  // they stay when their objects go
    uint32_t uid = 0, gid = 0;          // shown of what nobody said more of
    bool full_attrs = false;            // what objects say was shown
  };
  struct Parts {
    ObjectStore& store;
    Clock& clock;
    Executor& waiting;  // whose tasks may block; not the store's
    BucketTree& tree;
    BucketLister& lister;
    PublishHost& host;
  };
  BucketPublisher(const Parts& parts, Options options, const PublishBatch& batch, Context context);

  Status run();
  uint64_t conflicts() const { return conflicts_; }

 private:
  struct Place {
    uint64_t dir = 0;
    std::string name;
    std::string part;
    std::string key;
  };
  // What becomes of one file.
  struct File {
    uint64_t ino = 0;
    Lsn lsn = 0;
    InodeRecord record;
    const FrozenFile* frozen = nullptr;  // none: the content is what it was
    std::unique_ptr<FrozenFile> resized;
    std::optional<BucketNode> before;  // what the bucket has of it
    std::string from_key;
    Place to;
    std::string expected_etag;  // of another object under the new key; empty: there is none
    bool moves = false;
    // While it is put.
    std::unique_ptr<BucketBody> body;
    std::string target;                   // of a symbolic link
    std::optional<uint64_t> stored_size;  // of what was there already
    bool aside = false;                   // as a conflict copy
    std::optional<ObjectTags> tags;       // that go with it; none: those of what it is copied from
    std::string storage_class;            // empty: what the store usually takes
    ObjectHead theirs;                    // what is under the name instead
    uint64_t theirs_dir = 0;
  };
  struct Directory {
    uint64_t ino = 0;
    Place to;
    InodeRecord record;
    bool has_record = false;
  };
  struct Removal {
    uint64_t ino = 0;  // 0: only the object
    std::string key;
    std::string etag;
    bool is_directory = false;
  };
  using Xattrs = std::vector<std::pair<std::string, std::optional<std::string>>>;
  // What a file's new object is made of.
  struct Source {
    std::optional<BodyBase> base;              // the version that shows through
    ObjectHeaders headers;                     // of it
    std::optional<std::string> storage_class;  // likewise, when it was looked at
    std::optional<ObjectHead> changed;         // somebody else's is there instead
    bool gone = false;                         // somebody removed it
  };
  // A share of the memory for what shows through; waits for it.
  class MemoryShare {
   public:
    MemoryShare(BucketPublisher& publisher, uint64_t bytes);
    ~MemoryShare();

   private:
    BucketPublisher& publisher_;
    const uint64_t bytes_;
  };

  // bucket_publish.cc: what has to be done
  Status collect();
  Status collect_names();
  Status collect_inodes();
  Status collect_directory_records();
  Status note_directory(uint64_t ino, const InodeRecord& record);
  Result<InodeRecord> decode(const Cid& value) const;
  Result<Buffer> block_of(const Cid& value) const;
  Result<std::optional<std::string>> xattr_of(const std::optional<Cid>& value) const;
  Result<Place> place_of(uint64_t ino, uint64_t dir, const std::string& name);
  Result<Place> top_for(uint64_t ino, std::string prefix) const;
  Status plan_file(uint64_t ino, const InodeRecord& record, Lsn lsn);
  Status in_order(std::vector<File*> files);
  Status make_directories(std::set<std::string>& unmade);
  std::vector<File*> files_without(const std::set<std::string>& unmade) const;
  Status remove_objects();
  Status remove_all(std::vector<Removal> removals);
  Status remove_in_the_way();
  Status mark_empty_directories();
  Status each(size_t count, const std::function<Status(size_t)>& work);
  Context request(uint64_t bytes = 0) const;
  Status put_marker(const std::string& key, const std::optional<ObjectHeaders>& headers);
  void noted(BucketTree::Keys keys);
  Result<std::optional<std::string>> marker_key(uint64_t dir) const;
  Result<std::optional<ObjectHeaders>> marker_headers(const BucketNode& node,
                                                      const std::string& key) const;

  // bucket_put.cc: one object
  Status publish_file(File& file);
  Result<Source> source_of(File& file);
  ObjectHeaders headers_for(const File& file, const Source& source) const;
  bool was_shown(const BucketNode& node) const;
  void find_target(File& file) const;
  Result<std::string> put_file(File& file, Source& source, ObjectHeaders& headers);
  std::optional<Lsn> own_lsn(const File& file, const ObjectHead& head) const;
  std::string mark_beside(const File& file) const;
  static std::string taken(File& file, const ObjectInfo& object);
  Result<std::string> put_once(File& file, const Source& source, const PutHow& how);
  Result<std::string> put_checked(File& file, const Body& body, const PutHow& how);
  Status note_put(File& file, const Source& source, std::string etag, ObjectHeaders headers);
  Status stand_aside(File& file, const ObjectHead& theirs);
  Result<Body> body_of(File& file, const Source& source, std::vector<std::string>& beside);
  void stage_chunks(const File& file, const Body& body);
  Status remove_if_same(const std::string& key, const std::string& etag);

  // bucket_labels.cc: tags and storage class
  bool changes_tags(uint64_t ino) const;
  std::optional<std::string> class_set(uint64_t ino) const;
  Result<std::optional<ObjectTags>> tags_of(const std::string& key) const;
  ObjectTags with_changes(const File& file, ObjectTags tags) const;
  Status choose_labels(File& file, const Source& source) const;
  Status put_tags(const File& file, BucketNode& node);

  // bucket_move.cc: a directory
  Status finish_leftovers();
  Status move_directory();
  Status each_page(const std::string& prefix, const std::function<Status(const ListPage&)>& visit);
  Status note_copied(const std::string& from, const std::string& to);
  Status remove_below(const std::string& from, const std::string& to);
  Status copy_object(const ObjectInfo& object, const std::string& to);
  Result<std::string> put_copy(const ObjectHead& head, const std::string& from,
                               const std::string& to);

  const Parts parts_;
  const Options options_;
  const PublishBatch& batch_;
  const Context context_;

  std::map<uint64_t, std::pair<uint64_t, std::string>> placed_;  // inode: directory, name
  std::map<uint64_t, Xattrs> xattrs_;                            // set, or taken away
  std::set<uint64_t> removed_inodes_;
  std::map<uint64_t, Directory> directories_;  // new ones
  std::vector<std::unique_ptr<File>> files_;
  std::vector<Removal> removals_;
  std::map<std::string, std::string> removed_keys_;             // key: etag
  std::set<uint64_t> emptied_;                                  // directories that lost a name
  std::map<uint64_t, std::pair<uint64_t, std::string>> moved_;  // directories: where to
  struct Copied {
    std::string from_etag, to_etag;
  };
  std::map<std::string, Copied> copied_;  // by a move; protected by mutex_
  std::atomic<uint64_t> conflicts_{0};

  RankedMutex<Rank::kRemote> mutex_;
  ConditionVariable memory_freed_;
  uint64_t memory_used_ = 0;  // protected by mutex_
};

}  // namespace cairn
