// BucketTree: what is known of a bucket's objects as a tree of names, in tables of its own.
//
// A row for each name of a directory (inode number, when it was last seen), one for each inode
// (what its object or directory is), one for each directory that was listed. An inode stands for
// one version of one object: when the object is replaced, its name gets another inode. So what is
// known of an inode never changes, and content that was read by it is never a mixture.
// Numbers are never used twice by one cache, not even when the tables were thrown away.
//
// Threads: all methods are thread-safe; changes are made one after the other under one mutex, in
// memory; `checkpoint` brings them to the disk. Nothing here is durable by promise: losing it costs
// requests. Listings are hostile input: what cannot be addressed is logged and left out.
// Owner: BucketRemote and its requests under way.
// Errors: kCorruption, kIo of the tables; ESTALE for an inode that is not there any more.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/base/mutex.h"
#include "cache/live_tables.h"
#include "cache/object_store.h"

namespace cairn {

struct BucketNode {
  enum class Kind : uint8_t { kFile = 1, kDirectory = 2, kMarker = 3 };
  Kind kind = Kind::kFile;
  uint64_t parent = 0;
  uint64_t size = 0;
  int64_t mtime_ns = 0;  // of a directory: when it was first seen
  std::string etag;
  std::string part;  // of the key; empty for the root and a marker
};

struct BucketEntry {
  uint64_t ino = 0;
  bool is_dir = false;
  int64_t seen_ns = 0;  // as BucketTree::now_ns
};

struct BucketListing {
  bool complete = false;  // false: there are too many names to list them for one
  int64_t listed_ns = 0;  // when it was finished
  uint64_t pages = 0;
};

class BucketTree {
 public:
  static constexpr uint64_t kRoot = 1;

  BucketTree(std::unique_ptr<MetaStore> store, Clock& clock);

  // The wall clock as it was at the beginning, and the time since: what is compared with stamps of
  // this mount must not step.
  int64_t now_ns() const;

  // Forgets all names when they fill more than half of the place. Only while nobody uses them.
  Status thin_out();

  // nullopt: there is no such inode any more.
  Result<std::optional<BucketNode>> node(uint64_t ino) const;
  Result<std::optional<BucketEntry>> entry(uint64_t dir, std::string_view name) const;
  struct Named {
    std::string name;
    BucketEntry entry;
  };
  // Names >= `from`, at most `limit`, in order.
  Result<std::vector<Named>> entries(uint64_t dir, std::string_view from, size_t limit) const;
  Result<std::optional<BucketListing>> listing(uint64_t dir) const;
  // What the keys of the directory's objects begin with: "" or "a/b/".
  Result<std::string> prefix_of(uint64_t dir) const;
  Result<std::string> key_of(const BucketNode& node) const;

  // The changes return the tree keys (cache/format/records.h) whose values are others now.
  using Keys = std::vector<std::string>;
  // A page of a listing.
  Result<Keys> note_page(uint64_t dir, const std::string& prefix, const ListPage& page);
  // The listing that began at `started_ns` is complete: what it did not see is gone.
  Result<Keys> finish_listing(uint64_t dir, int64_t started_ns, uint64_t pages);
  // It was left after its first page.
  void leave_listing(uint64_t dir);
  // What is there under one part.
  Result<Keys> settle(uint64_t dir, std::string_view part, const std::optional<ObjectInfo>& object,
                      bool is_dir);
  // Of an object that turned out to be another: nothing is known of its name any more.
  Result<Keys> expire(uint64_t ino);

  // Room for more names?
  bool has_room();
  uint64_t memory_bytes() const { return tables_.memory_bytes(); }
  Status checkpoint() { return tables_.checkpoint(); }

 private:
  // The caller of these holds mutex_.
  Result<uint64_t> next_ino();
  Status note_object(uint64_t dir, std::string_view part, const ObjectInfo& info, Keys& keys);
  Status note_dir(uint64_t dir, std::string_view part, Keys& keys);
  Status put_file(uint64_t dir, const std::string& name, BucketNode node, Keys& keys);
  Status move_entry(uint64_t dir, const std::string& from, const std::string& to, Keys& keys);
  Status remove(uint64_t dir, const std::string& name, Keys& keys);
  Status remove_below(uint64_t dir);
  void put_entry(uint64_t dir, std::string_view name, const BucketEntry& entry);
  void put_node(uint64_t ino, const BucketNode& node);

  Clock& clock_;
  const int64_t begun_wall_ns_;
  const MonotonicTime begun_;
  LiveTables tables_;
  RankedMutex<Rank::kNames> mutex_;
  uint64_t next_ino_ = 0;  // 0: not looked up yet
  uint64_t reserved_ino_ = 0;
};

}  // namespace cairn
