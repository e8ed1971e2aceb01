// Volume: a mounted volume as a POSIX filesystem, without FUSE: what the FUSE session, property
// tests and simulations drive.
//
// Every operation takes a Need. When it answers kNotLocal, nothing happened yet: satisfy the need
// (Engine::satisfy) without holding anything and call the operation again with a fresh Need.
// Permissions are the kernel's business (default_permissions); rules that only the filesystem can
// keep (emptiness, types, names, link counts) are kept here.
// Threads: all methods are thread-safe. One shared mutex orders the namespace: operations that
// change it hold it over read, decide, commit, and never across the network, a sync or a reply.
// Durability: an operation that succeeded survives the death of the process; `sync` makes
// everything acknowledged before it survive power loss. SEMANTICS.md is the authority.
// Errors carry the errno of the POSIX rule; fs/errno_map.h turns the rest into one.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "cache/base/mutex.h"
#include "cache/engine.h"
#include "cache/format/records.h"
#include "fs/acl.h"
#include "fs/dir_cookies.h"
#include "fs/inode_numbers.h"
#include "fs/read_ahead.h"
#include "fs/usage.h"

namespace cairn {

struct Attr {
  Ino ino = 0;
  uint32_t mode = 0;  // type and permissions
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 0;
  uint64_t size = 0;
  uint64_t allocated = 0;  // bytes
  uint64_t rdev = 0;
  int64_t mtime = 0, ctime = 0, atime = 0, btime = 0;  // nanoseconds since 1970
};

struct Caller {
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t umask = 0;            // of what it creates
  std::vector<uint32_t> groups;  // besides gid; only asked for where a rule needs them
};

// What setattr changes; unset fields stay.
struct AttrChange {
  std::optional<uint32_t> mode;  // permission bits
  std::optional<uint32_t> uid, gid;
  std::optional<uint64_t> size;
  std::optional<int64_t> atime, mtime, ctime;
  bool kills_bits = false;  // suid and sgid go, of what is no directory
};

// What Linux leaves of a mode when it takes suid and sgid away: sgid without group execute stays.
uint32_t mode_without_bits(uint32_t mode);

struct DirEntry {
  std::string name;
  Ino ino = 0;
  FileType type = FileType::kRegular;
  uint64_t cookie = 0;       // pass as `after` to go on behind this entry
  std::optional<Attr> attr;  // with `plus`, except for "." and ".."
};

struct VolumeSpace {
  uint64_t total_bytes = 0, free_bytes = 0;
  uint64_t total_inodes = 0, free_inodes = 0;
};

using HandleId = uint64_t;

class Volume {
 public:
  static constexpr uint64_t kMaxFileBytes = 16ULL << 40;  // 16 TiB
  // Room in the journal that an operation may take besides the data it writes.
  static constexpr uint64_t kChangeBytes = 4096;

  // `slot` and `next_group` number new inodes; a read-only mount gives none. The engine outlives
  // the volume.
  static Result<std::unique_ptr<Volume>> open(Engine& engine, uint16_t slot, uint32_t next_group);
  ~Volume() { engine_.remote().set_stillness({}); }

  // --- namespace
  // The names "." and ".." are the inode itself and the directory it is in: the kernel asks for
  // them when it opens a file handle whose inode it forgot.
  Result<Attr> lookup(Ino parent, std::string_view name, Need& need);
  // mode holds the type: regular, fifo, socket, device.
  Result<Attr> mknod(Ino parent, std::string_view name, uint32_t mode, uint64_t rdev,
                     const Caller& caller, Need& need);
  Result<Attr> mkdir(Ino parent, std::string_view name, uint32_t mode, const Caller& caller,
                     Need& need);
  Result<Attr> symlink(Ino parent, std::string_view name, std::string_view target,
                       const Caller& caller, Need& need);
  Result<Attr> link(Ino ino, Ino new_parent, std::string_view new_name, Need& need);
  Status unlink(Ino parent, std::string_view name, Need& need);
  Status rmdir(Ino parent, std::string_view name, Need& need);
  // flags: RENAME_NOREPLACE, RENAME_EXCHANGE.
  Status rename(Ino parent, std::string_view name, Ino new_parent, std::string_view new_name,
                unsigned flags, Need& need);
  Result<std::string> readlink(Ino ino, Need& need);

  // The kernel knows the inode no more: an inode without a name is kept until then.
  void forget(Ino ino);

  // --- attributes
  Result<Attr> getattr(Ino ino, Need& need);
  Result<Attr> setattr(Ino ino, const AttrChange& change, Need& need);
  Result<VolumeSpace> statfs();

  // --- extended attributes; errors ENODATA, EEXIST, ENOTSUP, E2BIG/ENOSPC as setxattr(2)
  // POSIX ACLs are the two xattrs system.posix_acl_*: setting one sets the mode, setattr of a mode
  // changes the list, and what is created in a directory inherits its default list.
  Result<Buffer> getxattr(Ino ino, std::string_view name, Need& need);
  Status setxattr(Ino ino, std::string_view name, Bytes value, int flags, const Caller& caller,
                  Need& need);
  Status removexattr(Ino ino, std::string_view name, Need& need);
  // Only root sees the names of trusted ones.
  Result<std::vector<std::string>> listxattr(Ino ino, const Caller& caller, Need& need);

  // --- files
  Result<HandleId> open_file(Ino ino, Need& need);
  struct Created {
    Attr attr;
    HandleId handle = 0;
  };
  Result<Created> create(Ino parent, std::string_view name, uint32_t mode, const Caller& caller,
                         Need& need);
  void release_file(HandleId handle);
  Result<Buffer> read(HandleId handle, uint64_t offset, uint64_t length, Need& need);
  // With `kills_bits` suid and sgid go.
  Status write(HandleId handle, uint64_t offset, Bytes data, Need& need, bool kills_bits = false);
  // mode as fallocate(2): 0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE (| KEEP_SIZE).
  Status fallocate(HandleId handle, int mode, uint64_t offset, uint64_t length, Need& need);
  // whence SEEK_DATA or SEEK_HOLE; ENXIO as lseek(2).
  Result<uint64_t> seek(HandleId handle, uint64_t offset, int whence, Need& need);
  // Makes bytes of `to` those of `from` without moving them where that is possible; returns how
  // many, which may be fewer than asked for and is 0 at the end of the source. EINVAL when the
  // ranges overlap in one file.
  Result<uint64_t> copy_range(HandleId from, uint64_t from_offset, HandleId to, uint64_t to_offset,
                              uint64_t length, Need& need);
  // Everything acknowledged so far survives power loss (and, when the mount was told
  // --durability=remote, the loss of this node).
  Status sync();

  // --- directories
  Result<HandleId> open_dir(Ino ino, Need& need);
  void release_dir(HandleId handle);
  // At most `limit` entries behind the cookie `after` (0: from the start). Cookies stay good while
  // the handle is open, whatever is created or removed meanwhile.
  Result<std::vector<DirEntry>> readdir(HandleId handle, uint64_t after, size_t limit, bool plus,
                                        Need& need);

  Engine& engine() { return engine_; }
  // Contents of files that were removed while they are open: nothing else names them.
  std::vector<UnixfsRoot> open_removed() const;

 private:
  struct Orphan {
    InodeRecord record;
    ContentBase base;
  };
  struct OpenInode {
    uint64_t handles = 0;
    std::optional<Orphan> orphan;  // removed while open
    // What a mount that changes nothing showed last: it hears that a file is gone when it is.
    std::optional<InodeRecord> shown;
  };
  struct OpenFile {
    Ino ino = 0;
    ReadAhead ahead;
  };
  struct OpenDir {
    Ino ino = 0;
    Ino parent = 0;
    DirCookies cookies;
  };
  // The last name of an inode goes.
  struct Removal {
    Ino ino = 0;
    InodeRecord record;
    std::optional<ContentBase> base;  // when it is open: what its content was made from
  };
  // A change together with bytes that its effects refer to and nobody else keeps, and what else is
  // true once it is committed.
  struct Draft : Change {
    std::deque<ByteVec> kept;
    std::optional<Removal> removal;
  };
  // What a change does to the sums that statfs shows.
  struct UsageChange {
    int64_t bytes = 0;
    int64_t inodes = 0;
  };

  Volume(Engine& engine, InodeNumbers numbers, Usage usage)
      : engine_(engine), numbers_(std::move(numbers)), usage_(usage) {
    engine_.remote().set_stillness([this](const std::function<void()>& work) {
      const std::lock_guard lock(mutex_);
      work();
    });
  }

  // Helpers; the caller holds mutex_ (shared suffices for the reading ones).
  bool only_objects() const;
  // EPERM in the root when its names are those of buckets.
  Status check_may_change(Ino dir) const;
  // EXDEV when they are in different buckets.
  Status check_same_bucket(Ino dir, Ino other, Need& need);
  Result<Ino> bucket_of(Ino dir, Need& need);
  void count_subdirectory(InodeRecord& dir, int more) const;
  Result<InodeRecord> load(Ino ino, Need& need);
  Result<InodeRecord> load_dir(Ino ino, Need& need);
  Result<std::optional<Dirent>> find_dirent(Ino parent, std::string_view name, Need& need);
  Status expect_absent(Ino parent, std::string_view name, Need& need);
  // Where rules hide names: may something new be called so?
  Status check_place(Ino parent, std::string_view name, bool is_dir, Need& need);
  Result<std::optional<std::pair<Ino, std::string>>> new_name_of(Ino dir, Need& need);
  void note_name(Ino dir, Ino parent, std::string_view name);
  Result<bool> is_empty_dir(Ino ino, Need& need);
  Result<Attr> make_node(Ino parent, std::string_view name, InodeRecord record,
                         const Caller& caller, std::vector<Effect> extra, Need& need);
  // Takes one name of `ino` away; the inode goes with the last one.
  Status drop_link(Draft& change, UsageChange& usage, Ino ino, InodeRecord record, Need& need);
  // Every change of the tree goes this way: keeps the sums, and refuses what the quota does not
  // allow. The caller holds mutex_ exclusively.
  Status commit(Draft& change, const UsageChange& usage);
  // The same for a change of one inode that was there, whether it has a name or not.
  Status commit_record(Draft& change, Ino ino, const InodeRecord& record,
                       uint64_t allocated_before);
  Status check_quota(int64_t more_bytes) const;
  void put_inode(Change& change, Ino ino, const InodeRecord& record);
  void put_dirent(Change& change, Ino parent, std::string_view name, Ino ino, FileType type);
  void touch_dir(Change& change, Ino ino, InodeRecord& record, int64_t now);
  Result<Attr> resize(Ino ino, InodeRecord& record, uint64_t size, Change& change);
  struct DirPosition {
    Ino ino = 0;
    Ino parent = 0;
    DirCookies::Position names;  // where to go on among the names
  };
  Result<DirPosition> position_of(HandleId handle, uint64_t after);
  Result<std::vector<DirEntry>> list(const DirPosition& from, uint64_t after, size_t limit,
                                     bool plus, Need& need);
  Status add_attrs(std::vector<DirEntry>& entries, Need& need);
  Result<Buffer> virtual_xattr(Ino ino, std::string_view name, Need& need);
  Result<Buffer> stored_xattr(Ino ino, std::string_view name, Need& need);
  Status check_tag_room(Ino ino, std::string_view name, Need& need);
  Status check_metadata_room(Ino ino, std::string_view name, Bytes value, Need& need);
  static void put_xattr(Draft& change, Ino ino, std::string_view name, Bytes value);
  Status set_acl(Ino ino, std::string_view name, Bytes value, const Caller& caller, Need& need);
  // The list, empty when there is none.
  Result<Acl> acl_of(Ino ino, const InodeRecord& record, std::string_view name, Need& need);
  static void put_acl(Draft& change, Ino ino, InodeRecord& record, std::string_view name,
                      const Acl& acl);
  // The mode and the lists of something created in `parent`.
  Status inherit(Draft& change, Ino parent, const InodeRecord& dir, Ino ino, InodeRecord& record,
                 const Caller& caller, Need& need);
  Status punch(Ino ino, const InodeRecord& record, uint64_t offset, uint64_t end, Change& change,
               Need& need);
  // Storage of a file, in bytes of 4 KiB blocks. What [first, last) takes now; what all of it
  // takes with data (a copy) in a range, and without what lies in [offset, end).
  uint64_t stored_bytes(Ino ino, const InodeRecord& record, uint64_t first, uint64_t last);
  uint64_t allocated_with_data(Ino ino, const InodeRecord& record, uint64_t offset,
                               uint64_t length);
  uint64_t allocated_with_copy(Ino source_ino, const InodeRecord& source, uint64_t from_offset,
                               Ino target_ino, const InodeRecord& target, uint64_t to_offset,
                               uint64_t length);
  uint64_t allocated_without(Ino ino, const InodeRecord& record, uint64_t offset, uint64_t end);

  Result<OpenFile> file_of(HandleId handle);
  std::optional<Orphan> orphan_of(Ino ino) const;
  // What the content of the file is read from, where that is not what is published now: it was
  // removed while open, or others may remove it meanwhile, on a mount that changes nothing.
  std::optional<ContentBase> pinned(Ino ino, const InodeRecord& record) const;
  // Of an inode whose last name is gone.
  std::optional<InodeRecord> removed_record(Ino ino) const;
  void set_removed_record(Ino ino, const InodeRecord& record);
  // Of an open file, on a mount that changes nothing: it is like this, or was when others removed
  // it; then it stays so for who has it open.
  void note_shown(Ino ino, const InodeRecord& record);
  std::optional<InodeRecord> keep_shown(Ino ino);
  void note_removal(Removal removal);
  bool is_open(Ino ino) const;
  HandleId add_handle(Ino ino);
  void read_ahead(HandleId handle, Ino ino, uint64_t size, ByteRange read,
                  const std::optional<ContentBase>& base);

  Engine& engine_;
  RankedSharedMutex<Rank::kNamespace> mutex_;
  InodeNumbers numbers_;  // under mutex_, exclusively
  Usage usage_;           // under mutex_
  bool usage_noted_ = false;
  // Where directories are whose names are not published; nullopt: they are. Only where rules hide
  // names; under mutex_, exclusively.
  std::unordered_map<Ino, std::optional<std::pair<Ino, std::string>>> new_names_;

  mutable RankedMutex<Rank::kHandleTable> handles_mutex_;
  HandleId next_handle_ = 1;
  std::unordered_map<HandleId, OpenFile> files_;
  std::unordered_map<HandleId, OpenDir> dirs_;
  std::unordered_map<Ino, OpenInode> open_inodes_;
  // Without a name and without a handle of ours, but the kernel still knows them: somebody stands
  // in the directory, or has the fifo open.
  std::unordered_map<Ino, InodeRecord> removed_;
};

Attr attr_of(Ino ino, const InodeRecord& record);
// The directory that a directory is in; the root is in itself.
Ino parent_of(Ino ino, const InodeRecord& record);

}  // namespace cairn
