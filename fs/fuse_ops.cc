// The kernel's requests: unpack, run on the Volume, reply. No rules live here.
#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "cache/base/log.h"
#include "fs/fuse_request.h"
#include "fs/fuse_wire.h"

namespace cairn {

namespace {

timespec to_timespec(int64_t ns) {
  constexpr int64_t kSecond = 1'000'000'000;
  int64_t seconds = ns / kSecond;
  int64_t rest = ns % kSecond;
  if (rest < 0) {
    rest += kSecond;
    --seconds;
  }
  return {seconds, rest};
}

int64_t to_ns(const timespec& t) {
  return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

struct stat to_stat(const Attr& attr) {
  struct stat st{};
  st.st_ino = attr.ino;
  st.st_mode = attr.mode;
  st.st_nlink = attr.nlink;
  st.st_uid = attr.uid;
  st.st_gid = attr.gid;
  st.st_rdev = attr.rdev;
  st.st_size = static_cast<off_t>(attr.size);
  st.st_blksize = 4096;
  st.st_blocks = static_cast<blkcnt_t>((attr.allocated + 511) / 512);
  st.st_atim = to_timespec(attr.atime);
  st.st_mtim = to_timespec(attr.mtime);
  st.st_ctim = to_timespec(attr.ctime);
  return st;
}

fuse_entry_param to_entry(const FuseContext& context, const Attr& attr) {
  fuse_entry_param entry{};
  entry.ino = attr.ino;
  entry.generation = 1;  // numbers are never used again
  entry.attr = to_stat(attr);
  entry.attr_timeout = context.cache_seconds;
  entry.entry_timeout = context.cache_seconds;
  return entry;
}

void reply_entry(fuse_req_t req, const Attr& attr) {
  const fuse_entry_param entry = to_entry(context_of(req), attr);
  fuse_reply_entry(req, &entry);
}

void reply_attr(fuse_req_t req, const Attr& attr) {
  const struct stat st = to_stat(attr);
  fuse_reply_attr(req, &st, context_of(req).cache_seconds);
}

void reply_ok(fuse_req_t req) {
  fuse_reply_err(req, 0);
}

Caller caller_of(fuse_req_t req) {
  const fuse_ctx* ctx = fuse_req_ctx(req);
  return Caller{ctx->uid, ctx->gid, ctx->umask, {}};
}

// With the caller's other groups: read from /proc, so only where a rule asks for them.
Caller caller_with_groups(fuse_req_t req) {
  Caller caller = caller_of(req);
  const int count = fuse_req_getgroups(req, 0, nullptr);
  if (count <= 0) return caller;
  std::vector<gid_t> groups(static_cast<size_t>(count));
  const int got = fuse_req_getgroups(req, count, groups.data());
  groups.resize(static_cast<size_t>(std::clamp(got, 0, count)));
  caller.groups.assign(groups.begin(), groups.end());
  return caller;
}

Volume& volume_of(fuse_req_t req) {
  return context_of(req).volume;
}

// ---- names

// That a name is missing is kept as long as one that is there, where nobody else makes names: as an
// entry without an inode.
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  serve(
      req,
      [&volume = volume_of(req), parent, name = std::string(name),
       keeps = context_of(req).changed_here_only](Need& need) -> Result<Attr> {
        Result<Attr> found = volume.lookup(parent, name, need);
        if (!found && keeps && found.error().sys_errno() == ENOENT) return Attr();
        return found;
      },
      reply_entry);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) {
  serve(
      req,
      [&volume = volume_of(req), parent, name = std::string(name), mode, rdev,
       caller = caller_of(req)](Need& need) {
        return volume.mknod(parent, name, mode, rdev, caller, need);
      },
      reply_entry);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  serve(
      req,
      [&volume = volume_of(req), parent, name = std::string(name), mode, caller = caller_of(req)](
          Need& need) { return volume.mkdir(parent, name, mode, caller, need); },
      reply_entry);
}

void op_symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
  serve(
      req,
      [&volume = volume_of(req), parent, name = std::string(name), target = std::string(target),
       caller = caller_of(req)](Need& need) {
        return volume.symlink(parent, name, target, caller, need);
      },
      reply_entry);
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char* name) {
  serve(
      req,
      [&volume = volume_of(req), ino, parent, name = std::string(name)](Need& need) {
        return volume.link(ino, parent, name, need);
      },
      reply_entry);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  serve(
      req,
      [&volume = volume_of(req), parent, name = std::string(name)](Need& need) {
        return volume.unlink(parent, name, need);
      },
      reply_ok);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char* name) {
  serve(
      req,
      [&volume = volume_of(req), parent, name = std::string(name)](Need& need) {
        return volume.rmdir(parent, name, need);
      },
      reply_ok);
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
               const char* new_name, unsigned flags) {
  serve(
      req,
      [&volume = volume_of(req), parent, name = std::string(name), new_parent,
       new_name = std::string(new_name), flags](Need& need) {
        return volume.rename(parent, name, new_parent, new_name, flags, need);
      },
      reply_ok);
}

void op_readlink(fuse_req_t req, fuse_ino_t ino) {
  serve(
      req, [&volume = volume_of(req), ino](Need& need) { return volume.readlink(ino, need); },
      [](fuse_req_t r, const std::string& target) { fuse_reply_readlink(r, target.c_str()); });
}

// ---- attributes

void op_getattr(fuse_req_t req, fuse_ino_t ino, fuse_file_info*) {
  serve(
      req, [&volume = volume_of(req), ino](Need& need) { return volume.getattr(ino, need); },
      reply_attr);
}

AttrChange to_change(const struct stat& st, int to_set, int64_t now) {
  AttrChange change;
  if (to_set & FUSE_SET_ATTR_MODE) change.mode = st.st_mode & 07777;
  if (to_set & FUSE_SET_ATTR_UID) change.uid = st.st_uid;
  if (to_set & FUSE_SET_ATTR_GID) change.gid = st.st_gid;
  if (to_set & FUSE_SET_ATTR_SIZE) change.size = static_cast<uint64_t>(st.st_size);
  if (to_set & FUSE_SET_ATTR_ATIME) change.atime = to_ns(st.st_atim);
  if (to_set & FUSE_SET_ATTR_ATIME_NOW) change.atime = now;
  if (to_set & FUSE_SET_ATTR_MTIME) change.mtime = to_ns(st.st_mtim);
  if (to_set & FUSE_SET_ATTR_MTIME_NOW) change.mtime = now;
  if (to_set & FUSE_SET_ATTR_CTIME) change.ctime = to_ns(st.st_ctim);
  return change;
}

// CAP_FSETID, in the first user namespace, and root: the NFS server asks for others with
// capabilities of its own. What cannot be seen is not there.
bool may_set_bits(fuse_req_t req) {
  constexpr ino_t kFirstNamespace = 0xEFFFFFFD;
  const fuse_ctx* caller = fuse_req_ctx(req);
  if (caller->uid != 0 || caller->pid == 0) return false;
  const std::string space = "/proc/" + std::to_string(caller->pid) + "/ns/user";
  struct stat st{};
  if (::stat(space.c_str(), &st) != 0 || st.st_ino != kFirstNamespace) return false;
  __user_cap_header_struct whose{_LINUX_CAPABILITY_VERSION_3, caller->pid};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
  if (::syscall(SYS_capget, &whose, sets.data()) != 0) return false;
  return (sets[CAP_TO_INDEX(CAP_FSETID)].effective & CAP_TO_MASK(CAP_FSETID)) != 0;
}

// Whether suid and sgid go. Of chown and truncate the request says it. Before a write, an
// allocation or a copy Linux asks for a change of nothing: for the bits, unless the caller may set
// them, or when it removed security.capability. So does a chown that changes nothing.
bool kills_bits(fuse_req_t req, int to_set) {
  return (to_set & FUSE_SET_ATTR_KILL_SUID) != 0 || (to_set == 0 && !may_set_bits(req));
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat* st, int to_set, fuse_file_info*) {
  Volume& volume = volume_of(req);
  AttrChange change = to_change(*st, to_set, volume.engine().clock().wall_ns());
  change.kills_bits = kills_bits(req, to_set);
  serve(
      req, [&volume, ino, change](Need& need) { return volume.setattr(ino, change, need); },
      reply_attr);
}

void op_statfs(fuse_req_t req, fuse_ino_t) {
  const auto space = volume_of(req).statfs();
  if (!space) return reply_error(req, space.error());
  struct statvfs st{};
  constexpr uint64_t kBlock = 4096;
  st.f_bsize = kBlock;
  st.f_frsize = kBlock;
  st.f_blocks = space->total_bytes / kBlock;
  st.f_bfree = st.f_bavail = space->free_bytes / kBlock;
  st.f_files = space->total_inodes;
  st.f_ffree = st.f_favail = space->free_inodes;
  st.f_namemax = kMaxName;
  fuse_reply_statfs(req, &st);
}

// ---- extended attributes

// The kernel asks for the size first (size 0), then for the bytes.
void reply_sized(fuse_req_t req, Bytes value, size_t size) {
  if (size == 0) {
    fuse_reply_xattr(req, value.size());
  } else if (value.size() > size) {
    fuse_reply_err(req, ERANGE);
  } else {
    fuse_reply_buf(req, as_chars(value).data(), value.size());
  }
}

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char* name, size_t size) {
  serve(
      req,
      [&volume = volume_of(req), ino, name = std::string(name)](Need& need) {
        return volume.getxattr(ino, name, need);
      },
      [size](fuse_req_t r, const Buffer& value) { reply_sized(r, value, size); });
}

void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size) {
  serve(
      req,
      [&volume = volume_of(req), ino, caller = caller_of(req)](Need& need) {
        return volume.listxattr(ino, caller, need);
      },
      [size](fuse_req_t r, const std::vector<std::string>& names) {
        std::string list;
        for (const std::string& name : names) list.append(name).push_back('\0');
        reply_sized(r, as_bytes(list), size);
      });
}

void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char* name, const char* value, size_t size,
                 int flags) {
  const bool is_acl = name == kAccessAclName;
  const Caller caller = is_acl ? caller_with_groups(req) : caller_of(req);
  serve(
      req,
      [&volume = volume_of(req), ino, name = std::string(name), value = std::string(value, size),
       flags, caller](Need& need) {
        return volume.setxattr(ino, name, as_bytes(value), flags, caller, need);
      },
      reply_ok);
}

void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char* name) {
  serve(
      req,
      [&volume = volume_of(req), ino, name = std::string(name)](Need& need) {
        return volume.removexattr(ino, name, need);
      },
      reply_ok);
}

// ---- files

// When the reply does not reach the kernel (the caller was interrupted), no release will come.
void reply_open(fuse_req_t req, fuse_file_info fi, HandleId handle) {
  FuseContext& context = context_of(req);
  fi.fh = handle;
  fi.keep_cache = context.keep_cache ? 1 : 0;
  Volume& volume = context.volume;
  if (fuse_reply_open(req, &fi) == -ENOENT) volume.release_file(handle);
}

void op_open(fuse_req_t req, fuse_ino_t ino, fuse_file_info* fi) {
  serve(
      req, [&volume = volume_of(req), ino](Need& need) { return volume.open_file(ino, need); },
      [fi = *fi](fuse_req_t r, HandleId handle) { reply_open(r, fi, handle); });
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode,
               fuse_file_info* fi) {
  serve(
      req,
      [&volume = volume_of(req), parent, name = std::string(name), mode, caller = caller_of(req)](
          Need& need) { return volume.create(parent, name, mode, caller, need); },
      [fi = *fi](fuse_req_t r, const Volume::Created& created) {
        FuseContext& context = context_of(r);
        fuse_file_info reply = fi;
        reply.fh = created.handle;
        reply.keep_cache = context.keep_cache ? 1 : 0;
        const fuse_entry_param entry = to_entry(context, created.attr);
        Volume& volume = context.volume;
        if (fuse_reply_create(r, &entry, &reply) == -ENOENT) volume.release_file(created.handle);
      });
}

void op_release(fuse_req_t req, fuse_ino_t, fuse_file_info* fi) {
  volume_of(req).release_file(fi->fh);
  fuse_reply_err(req, 0);
}

void op_read(fuse_req_t req, fuse_ino_t, size_t size, off_t offset, fuse_file_info* fi) {
  serve(
      req,
      [&volume = volume_of(req), handle = fi->fh, offset = static_cast<uint64_t>(offset),
       size](Need& need) { return volume.read(handle, offset, size, need); },
      [](fuse_req_t r, const Buffer& bytes) {
        fuse_reply_buf(r, as_chars(bytes).data(), bytes.size());
      });
}

void op_write(fuse_req_t req, fuse_ino_t, const char* data, size_t size, off_t offset,
              fuse_file_info* fi) {
  Volume& volume = volume_of(req);
  const HandleId handle = fi->fh;
  const auto at = static_cast<uint64_t>(offset);
  const bool kills = write_kills_bits(*fi);
  Need need;
  const Status written = volume.write(handle, at, as_bytes({data, size}), need, kills);
  if (written) {
    fuse_reply_write(req, size);
    return;
  }
  if (written.error().code() != Errc::kNotLocal) return reply_error(req, written.error());
  // The worker's buffer is gone when this returns: only now is the data copied.
  park(req, std::move(need),
       [&volume, handle, at, kills, copy = Buffer::copy(std::string_view(data, size))](
           fuse_req_t r, Need& again) -> std::optional<Error> {
         const Status status = volume.write(handle, at, copy, again, kills);
         if (status) {
           fuse_reply_write(r, copy.size());
           return std::nullopt;
         }
         if (status.error().code() == Errc::kNotLocal && again.any()) return status.error();
         reply_error(r, status.error());
         return std::nullopt;
       });
}

void op_fsync(fuse_req_t req, fuse_ino_t, int, fuse_file_info*) {
  FuseContext& context = context_of(req);
  Engine& engine = context.volume.engine();
  const Lsn upto = engine.appended();
  if (const Status synced = context.volume.sync(); !synced) {
    log_once_per(std::chrono::minutes(1), "fsync", "fsync failed: " + synced.error().message());
    return fuse_reply_err(req, EIO), void();
  }
  if (!context.remote_durability) return fuse_reply_err(req, 0), void();
  serve(req, [&engine, upto](Need& need) { return engine.stored(upto, need); }, reply_ok);
}

void op_fallocate(fuse_req_t req, fuse_ino_t, int mode, off_t offset, off_t length,
                  fuse_file_info* fi) {
  serve(
      req,
      [&volume = volume_of(req), handle = fi->fh, mode, offset = static_cast<uint64_t>(offset),
       length = static_cast<uint64_t>(length)](Need& need) {
        return volume.fallocate(handle, mode, offset, length, need);
      },
      reply_ok);
}

void op_copy_file_range(fuse_req_t req, fuse_ino_t, off_t from_offset, fuse_file_info* from,
                        fuse_ino_t, off_t to_offset, fuse_file_info* to, size_t length, int) {
  serve(
      req,
      [&volume = volume_of(req), from = from->fh, from_offset = static_cast<uint64_t>(from_offset),
       to = to->fh, to_offset = static_cast<uint64_t>(to_offset), length](Need& need) {
        return volume.copy_range(from, from_offset, to, to_offset, length, need);
      },
      [](fuse_req_t r, uint64_t copied) { fuse_reply_write(r, copied); });
}

void op_lseek(fuse_req_t req, fuse_ino_t, off_t offset, int whence, fuse_file_info* fi) {
  serve(
      req,
      [&volume = volume_of(req), handle = fi->fh, offset = static_cast<uint64_t>(offset),
       whence](Need& need) { return volume.seek(handle, offset, whence, need); },
      [](fuse_req_t r, uint64_t found) { fuse_reply_lseek(r, static_cast<off_t>(found)); });
}

// ---- directories

void op_opendir(fuse_req_t req, fuse_ino_t ino, fuse_file_info* fi) {
  serve(
      req, [&volume = volume_of(req), ino](Need& need) { return volume.open_dir(ino, need); },
      [fi = *fi](fuse_req_t r, HandleId handle) {
        fuse_file_info reply = fi;
        reply.fh = handle;
        Volume& volume = volume_of(r);
        if (fuse_reply_open(r, &reply) == -ENOENT) volume.release_dir(handle);
      });
}

void op_releasedir(fuse_req_t req, fuse_ino_t, fuse_file_info* fi) {
  volume_of(req).release_dir(fi->fh);
  fuse_reply_err(req, 0);
}

// Packs as many entries as fit into what the kernel asked for.
std::string pack_entries(fuse_req_t req, const std::vector<DirEntry>& entries, size_t size,
                         bool plus) {
  const FuseContext& context = context_of(req);
  std::string out(size, '\0');
  size_t used = 0;
  for (const DirEntry& entry : entries) {
    char* at = out.data() + used;
    const size_t left = size - used;
    size_t needed = 0;
    if (plus) {
      fuse_entry_param param{};
      if (entry.attr) {
        param = to_entry(context, *entry.attr);
      } else {  // "." and "..": no look-up
        param.attr.st_ino = entry.ino;
        param.attr.st_mode = mode_of_type(entry.type);
      }
      needed = fuse_add_direntry_plus(req, at, left, entry.name.c_str(), &param,
                                      static_cast<off_t>(entry.cookie));
    } else {
      struct stat st{};
      st.st_ino = entry.ino;
      st.st_mode = mode_of_type(entry.type);
      needed = fuse_add_direntry(req, at, left, entry.name.c_str(), &st,
                                 static_cast<off_t>(entry.cookie));
    }
    if (needed > left) break;
    used += needed;
  }
  out.resize(used);
  return out;
}

void list_dir(fuse_req_t req, size_t size, off_t offset, const fuse_file_info* fi, bool plus) {
  // The smallest entries take 32 bytes, with attributes 160.
  const size_t limit = std::clamp<size_t>(size / (plus ? 160 : 32), 1, 4096);
  serve(
      req,
      [&volume = volume_of(req), handle = fi->fh, after = static_cast<uint64_t>(offset), limit,
       plus](Need& need) { return volume.readdir(handle, after, limit, plus, need); },
      [size, plus](fuse_req_t r, const std::vector<DirEntry>& entries) {
        const std::string out = pack_entries(r, entries, size, plus);
        fuse_reply_buf(r, out.data(), out.size());
      });
}

void op_readdir(fuse_req_t req, fuse_ino_t, size_t size, off_t offset, fuse_file_info* fi) {
  list_dir(req, size, offset, fi, false);
}
void op_readdirplus(fuse_req_t req, fuse_ino_t, size_t size, off_t offset, fuse_file_info* fi) {
  list_dir(req, size, offset, fi, true);
}

// Nothing is kept for an inode that is merely looked up, but for one that lost its last name.
void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t) {
  volume_of(req).forget(ino);
  fuse_reply_none(req);
}
void op_forget_multi(fuse_req_t req, size_t count, fuse_forget_data* forgets) {
  for (size_t i = 0; i < count; ++i) volume_of(req).forget(forgets[i].ino);
  fuse_reply_none(req);
}

void op_init(void* userdata, fuse_conn_info* conn) {
  unsigned wanted = FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_PARALLEL_DIROPS |
                    FUSE_CAP_ASYNC_READ | FUSE_CAP_EXPORT_SUPPORT;
  if (static_cast<const FuseContext*>(userdata)->changed_here_only)
    wanted |= FUSE_CAP_CACHE_SYMLINKS;
  conn->want |= conn->capable & wanted;
  // Lists need the umask unapplied: where a default list is inherited it does not count.
  const unsigned lists = FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK;
  if ((conn->capable & lists) == lists) conn->want |= lists;
  // The kernel knows the caller's capabilities: it removes security.capability itself, and says
  // when suid and sgid are to go (fuse_wire.h); before FUSE_HANDLE_KILLPRIV_V2 it sets the mode. An
  // open with O_TRUNC is a truncate, if it arrives as one.
  conn->want &= ~unsigned{FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_ATOMIC_O_TRUNC};
  conn->want |= wanted_of_library(conn->capable);
  // Data is read by us, not spliced: it is checked and goes on to the journal.
  conn->want &= ~unsigned{FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
                          FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_WRITEBACK_CACHE};
  // When an asynchronous direct write ends, Linux does not drop the pages that a reader brought
  // into its cache meanwhile: old data would be read for as long as they stay.
  conn->want &= ~unsigned{FUSE_CAP_ASYNC_DIO};
#ifdef FUSE_CAP_OVER_IO_URING
  // A parked request would keep one of the few places in a processor's ring: eight of them, and
  // nothing is served there until the store answers. INTERRUPT does not reach them either.
  conn->want &= ~unsigned{FUSE_CAP_OVER_IO_URING};
#endif
  conn->max_write = 1U << 20;
  conn->max_readahead = 1U << 20;
  conn->max_background = 512;
  conn->congestion_threshold = 384;
  conn->time_gran = 1;
}

fuse_lowlevel_ops make_ops() {
  fuse_lowlevel_ops ops{};
  ops.init = op_init;
  ops.lookup = op_lookup;
  ops.forget = op_forget;
  ops.forget_multi = op_forget_multi;
  ops.getattr = op_getattr;
  ops.setattr = op_setattr;
  ops.readlink = op_readlink;
  ops.mknod = op_mknod;
  ops.mkdir = op_mkdir;
  ops.unlink = op_unlink;
  ops.rmdir = op_rmdir;
  ops.symlink = op_symlink;
  ops.rename = op_rename;
  ops.link = op_link;
  ops.open = op_open;
  ops.create = op_create;
  ops.read = op_read;
  ops.write = op_write;
  // No flush: what was written is in the journal since `write`. The first close gets ENOSYS, which
  // Linux takes for success, and then none asks; pages of a mapping it writes before that (5.8 on).
  ops.release = op_release;
  ops.fsync = op_fsync;
  ops.fsyncdir = op_fsync;
  ops.opendir = op_opendir;
  ops.readdir = op_readdir;
  ops.readdirplus = op_readdirplus;
  ops.releasedir = op_releasedir;
  ops.statfs = op_statfs;
  ops.setxattr = op_setxattr;
  ops.getxattr = op_getxattr;
  ops.listxattr = op_listxattr;
  ops.removexattr = op_removexattr;
  ops.fallocate = op_fallocate;
  ops.copy_file_range = op_copy_file_range;
  ops.lseek = op_lseek;
  return ops;
}

}  // namespace

const fuse_lowlevel_ops kFuseOps = make_ops();

}  // namespace cairn
