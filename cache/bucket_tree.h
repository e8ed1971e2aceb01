// BucketTree: what is known of a bucket's objects as a tree of names, in tables of its own.
//
// A row for each name of a directory (inode number, when it was last seen), one for each inode
// (what its object or directory is), one for each directory that was listed. An inode stands for
// one version of one object: when somebody else replaces the object, its name gets another inode.
// Versions that this cache made itself keep the inode they were written through. A version has a
// name of its own, which leaves carry, so content that was read is never a mixture.
// Numbers are never used twice by one cache, not even when the tables were thrown away.
// What this cache changes (`place` and the like) is newer than a listing that was asked for
// before; and of inodes that are `held` (something of theirs waits to be published) a listing
// changes nothing: that is for the publication to find out.
//
// Threads: all methods are thread-safe; changes are made one after the other under one mutex, in
// memory; `checkpoint` brings them to the disk. What was listed is not durable by promise: losing
// it costs requests. Which object an inode with unpublished changes is must be durable: who
// publishes calls `checkpoint`. Listings are hostile input: what cannot be addressed is logged and
// left out. Owner: BucketRemote and its requests under way. Errors: kCorruption, kIo of the tables;
// ESTALE for an inode that is not there any more.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cache/base/digest.h"
#include "cache/base/mutex.h"
#include "cache/journal.h"
#include "cache/live_tables.h"
#include "cache/object_store.h"
#include "cache/remote.h"

namespace cairn {

// New inodes of this cache have numbers of this slot (cache/format/records.h), those that listings
// find have lower ones.
inline constexpr uint16_t kOwnSlot = 0xfff0;
constexpr bool is_own_ino(uint64_t ino) {
  return ino >> 48 == kOwnSlot;
}

struct BucketNode {
  enum class Kind : uint8_t { kFile = 1, kDirectory = 2, kMarker = 3 };
  Kind kind = Kind::kFile;
  uint64_t parent = 0;
  uint64_t size = 0;
  int64_t mtime_ns = 0;                  // of a directory: when it was first seen, or changed here
  std::string etag;                      // of a directory: which version of its own object
  std::string part;                      // of the key; empty for the root and a marker
  Digest version{};                      // its first half: names the version
  Lsn lsn = 0;                           // of this cache's records that the object contains
  bool has_marker = false;               // a directory with an object of its own
  std::optional<ObjectHeaders> headers;  // when they are known
  bool headers_asked = false;            // by a look at the object, and not because we wrote it
  std::string target;                    // of a symbolic link
  // What else is known of the object, and was not set otherwise since.
  std::optional<std::string> storage_class;  // empty: the store's standard
  std::optional<std::string> version_id;     // empty: there is one version only
  bool has_tags = false;                     // a look at the object said so
  std::optional<ObjectTags> tags;
  int64_t tags_seen_ns = 0;  // as BucketTree::now_ns
};

struct BucketEntry {
  uint64_t ino = 0;
  bool is_dir = false;
  bool is_link = false;
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

  // `has_buckets`: the first part of each key is a bucket's name, and the rules for keys are for
  // what follows it. `only_utf8`: the store takes no other keys.
  BucketTree(std::unique_ptr<MetaStore> store, Clock& clock, bool has_buckets = false,
             bool only_utf8 = false);

  bool has_buckets() const { return has_buckets_; }
  // As the functions of these names, of a key in its bucket.
  Status check_key(std::string_view key) const;
  Status check_any_key(std::string_view key) const;
  // What the keys of its bucket begin with: nothing, or "bucket/".
  std::string_view bucket_of(std::string_view key) const;
  // The root, or a bucket in it: a directory that no object stands for.
  bool is_bucket(uint64_t ino, const BucketNode& node) const {
    return ino == kRoot || (has_buckets_ && node.parent == kRoot);
  }

  // The wall clock as it was at the beginning, and the time since: what is compared with stamps of
  // this mount must not step.
  int64_t now_ns() const;

  // Forgets all names when there is no room for more, or they are in another form than this one.
  // Only while nobody uses them and nothing waits to be published.
  Status thin_out();
  // All of them. `fills`: because there are too many.
  Status forget_all(bool fills);
  // The newest record of this cache's journal that an object contains. Where the journal is of
  // another time, what is known here of records and of our own inodes is not true.
  void note_published(Lsn lsn);
  Result<Lsn> published() const;
  // Is something of the inode to be published? Given once, before anything else.
  void set_held(std::function<bool(uint64_t ino)> held) { held_ = std::move(held); }
  bool is_held(uint64_t ino) const { return held_ && held_(ino); }
  // Would somebody miss the inode? Given once, before anything else; asked in the stillness,
  // before the lock of names.
  void set_in_use(std::function<bool(uint64_t ino)> in_use) { in_use_ = std::move(in_use); }

  // An operation must not find a name and lose it before it commits: names are forgotten in here.
  void set_stillness(Remote::Stillness stillness) {
    const std::lock_guard lock(stillness_mutex_);
    stillness_ = std::move(stillness);
  }

  // nullopt: there is no such inode any more.
  Result<std::optional<BucketNode>> node(uint64_t ino) const;
  Result<std::optional<BucketEntry>> entry(uint64_t dir, std::string_view name) const;
  // The directory of what is past in this one (cache/bucket_past.h).
  Result<BucketEntry> past_entry(uint64_t dir);
  struct Named {
    std::string name;
    BucketEntry entry;
  };
  // Names >= `from`, at most `limit`, in order; without the directory of what is past.
  Result<std::vector<Named>> entries(uint64_t dir, std::string_view from, size_t limit) const;
  Result<std::optional<BucketListing>> listing(uint64_t dir) const;
  // What the keys of the directory's objects begin with: "" or "a/b/".
  Result<std::string> prefix_of(uint64_t dir) const;
  Result<std::string> key_of(const BucketNode& node) const;

  // The changes return the tree keys (cache/format/records.h) whose values are others now.
  using Keys = std::vector<std::string>;
  // A page of a listing that was asked for at `asked_ns`.
  Result<Keys> note_page(uint64_t dir, const std::string& prefix, const ListPage& page,
                         int64_t asked_ns);
  // The listing that began at `started_ns` is complete: what it did not see is gone. It counts as
  // `older_ns` old.
  Result<Keys> finish_listing(uint64_t dir, int64_t started_ns, uint64_t pages,
                              int64_t older_ns = 0);
  // Did this cache change the name since? Then what was asked for is of something else.
  bool changed_since(uint64_t dir, std::string_view name, int64_t asked_ns) const;
  // It was left after its first page.
  void leave_listing(uint64_t dir);
  // What was there under one part at `asked_ns`.
  Result<Keys> settle(uint64_t dir, std::string_view part, const std::optional<ObjectInfo>& object,
                      bool is_dir, int64_t asked_ns);
  // Of an object that turned out to be another: nothing is known of its name any more.
  Result<Keys> expire(uint64_t ino);

  // What this cache did. The inode is an object or a directory under this name from now on,
  // whatever had the name, and wherever the inode was before. A new directory is listed: it is
  // empty.
  Result<Keys> place(uint64_t dir, const std::string& name, uint64_t ino, BucketNode node);
  // The same, for an inode that is there: it knows something else of it.
  Status update(uint64_t ino, const BucketNode& node);
  // What the object says of itself, and what a link points to, unless it is another one by now than
  // when it was `asked`, or we wrote it.
  Result<Keys> learn(uint64_t ino, const BucketNode& asked, const ObjectHead& head,
                     std::string target);
  // Its tags, as they were when they were asked for at `asked_ns`.
  Status learn_tags(uint64_t ino, const BucketNode& asked, ObjectTags tags, int64_t asked_ns);
  // It is not in the bucket any more.
  Result<Keys> drop(uint64_t ino);
  // The name under which the inode is shown where its node says that it is; empty: under none.
  Result<std::string> shown_as(uint64_t ino, const BucketNode& node) const;
  // The inode under a key; a directory's key ends with '/'.
  Result<std::optional<uint64_t>> ino_of(std::string_view key) const;
  // What moved and may be left at its old place: a key and its etag; of a directory the prefixes,
  // old and new.
  void note_leftover(const std::string& from, const std::string& what);
  void forget_leftover(const std::string& from);
  Result<std::vector<std::pair<std::string, std::string>>> leftovers() const;  // some of them

  // Room for more names? Those that are published from here may take more of it.
  bool has_room(bool own = false);
  // Forgets names of files until half of the place is free, first those that were seen before
  // `fresh_from_ns`: but in directories that are `busy` (a listing is under way), and but what is
  // held, in use, or as it was set here. Their directories are unknown then. Blocks.
  Status make_room(const std::set<uint64_t>& busy, int64_t fresh_from_ns, Keys& keys);
  // Of a listing that has no room: what it found first, whose numbers are not below `first_ino`.
  // Names are asked for alone then. Blocks.
  Status forget_new_names(uint64_t dir, uint64_t first_ino, Keys& keys);
  // Numbers that are given out from now on are not below it.
  Result<uint64_t> first_new_ino();
  uint64_t memory_bytes() const { return tables_.memory_bytes(); }
  Status checkpoint() { return tables_.checkpoint(); }
  // The same, unless no name has changed since.
  Status settle_names();

 private:
  // The caller of these holds mutex_.
  Result<uint64_t> next_ino();
  Result<uint64_t> next_ino_in(uint64_t dir);
  Result<std::vector<Named>> all_entries(uint64_t dir, std::string_view from, size_t limit) const;
  static std::string stamp_of(const ObjectInfo& info);
  Status note_marker(uint64_t dir, const ObjectInfo& info, Keys& keys);
  Status note_object(uint64_t dir, std::string_view part, const ObjectInfo& info, Keys& keys);
  Status note_dir(uint64_t dir, std::string_view part, Keys& keys);
  Status put_file(uint64_t dir, const std::string& name, BucketNode node, Keys& keys);
  bool is_own_since(uint64_t dir, std::string_view name, int64_t asked_ns) const;
  void note_own(uint64_t dir, std::string_view name);
  void note_own(uint64_t dir, std::string_view name, int64_t now);
  Result<bool> holds(const BucketEntry& entry) const;
  Status move_entry(uint64_t dir, const std::string& from, const std::string& to, Keys& keys);
  Status remove(uint64_t dir, const std::string& name, Keys& keys);
  Status remove_below(uint64_t dir);
  void note_forgotten(uint64_t dir);
  bool was_forgotten(uint64_t dir, int64_t since_ns) const;
  Result<bool> can_be_forgotten(const BucketEntry& entry) const;
  void put_entry(uint64_t dir, std::string_view name, const BucketEntry& entry);
  void put_node(uint64_t ino, const BucketNode& node);

  bool is_half_empty();
  Status forget_entry(uint64_t dir, const std::string& name, uint64_t ino, Keys& keys);
  struct Forgettable {
    uint64_t dir = 0;
    std::string name;
    uint64_t ino = 0;
  };
  Status forget_names(const std::vector<Forgettable>& names, Keys& keys);
  Status forget_seen_before(int64_t seen_before_ns, const std::set<uint64_t>& busy, Keys& keys);

  std::string_view inside_bucket(std::string_view key) const;
  bool is_usable(const std::string& key, uint64_t size) const;

  Clock& clock_;
  const bool has_buckets_;
  const bool only_utf8_;
  const int64_t begun_wall_ns_;
  const MonotonicTime begun_;
  LiveTables tables_;
  mutable RankedMutex<Rank::kNames> mutex_;
  uint64_t next_ino_ = 0;  // 0: not looked up yet
  uint64_t reserved_ino_ = 0;
  int64_t asked_ns_ = 0;  // when what is being noted was asked for
  std::function<bool(uint64_t)> held_;
  std::function<bool(uint64_t)> in_use_;
  RankedMutex<Rank::kStillness> stillness_mutex_;  // held while names are forgotten
  Remote::Stillness stillness_;
  int64_t fruitless_until_ns_ = 0;         // nothing much is to be forgotten until then
  std::map<uint64_t, int64_t> forgotten_;  // directories of which names were forgotten, and when
  int64_t all_forgotten_ns_ = 0;           // some names of any
  std::atomic<uint64_t> named_{0};                           // changes of names
  std::atomic<uint64_t> settled_{0};                         // of those, on the disk
  std::map<std::pair<uint64_t, std::string>, int64_t> own_;  // names changed here, and when
  size_t own_max_ = 0;                                       // then old ones are forgotten
};

}  // namespace cairn
