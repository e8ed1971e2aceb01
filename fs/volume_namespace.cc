// Names: lookup, making, linking, removing, renaming.
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "fs/volume.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE (1 << 0)
#define RENAME_EXCHANGE (1 << 1)
#endif

namespace cairn {

namespace {

constexpr uint32_t kMaxLinks = 65000;  // of a file, as ext4

bool is_dir(const Dirent& dirent) {
  return dirent.type == FileType::kDirectory;
}

}  // namespace

bool Volume::only_objects() const {
  return engine_.remote().params().only_objects;
}

Status Volume::check_may_change(Ino dir) const {
  if (dir != kRootIno || !engine_.remote().params().top_is_buckets) return {};
  return fail_errno(EPERM, "buckets are not made, renamed or removed through a mount");
}

// The directory of the root that it is in.
Result<Ino> Volume::bucket_of(Ino dir, Need& need) {
  while (true) {
    TRY_ASSIGN(const InodeRecord record, load_dir(dir, need));
    const Ino parent = parent_of(dir, record);
    if (parent == kRootIno || parent == dir) return dir;
    dir = parent;
  }
}

Status Volume::check_same_bucket(Ino dir, Ino other, Need& need) {
  TRY(check_may_change(dir));
  TRY(check_may_change(other));
  if (dir == other || !engine_.remote().params().top_is_buckets) return {};
  TRY_ASSIGN(const Ino bucket, bucket_of(dir, need));
  TRY_ASSIGN(const Ino other_bucket, bucket_of(other, need));
  if (bucket == other_bucket) return {};
  return fail_errno(EXDEV, "nothing is renamed from one bucket into another");
}

// Where directories are only what keys have in common nobody counts them.
void Volume::count_subdirectory(InodeRecord& dir, int more) const {
  if (only_objects()) return;
  dir.nlink = more > 0 ? dir.nlink + 1 : dir.nlink - 1;
}

Result<Attr> Volume::lookup(Ino parent, std::string_view name, Need& need) {
  const std::shared_lock lock(mutex_);
  Ino ino = parent;
  if (name == "..") {
    TRY_ASSIGN(const InodeRecord dir, load_dir(parent, need));
    ino = parent_of(parent, dir);
  } else if (name != ".") {
    TRY_ASSIGN(const auto dirent, find_dirent(parent, name, need));
    if (!dirent) return fail_errno(ENOENT, std::string(name));
    ino = dirent->ino;
  }
  TRY_ASSIGN(const InodeRecord record, load(ino, need));
  return attr_of(ino, record);
}

Result<std::string> Volume::readlink(Ino ino, Need& need) {
  const std::shared_lock lock(mutex_);
  TRY_ASSIGN(const InodeRecord record, load(ino, need));
  if (record.type() != FileType::kSymlink) return fail_errno(EINVAL, "not a symbolic link");
  if (const auto* target = std::get_if<ByteVec>(&record.body)) return to_string(*target);
  const auto* block = std::get_if<Cid>(&record.body);
  if (block == nullptr) return fail(Errc::kCorruption, "a symbolic link without a target");
  TRY_ASSIGN(const Buffer bytes, engine_.value_bytes(*block, need));
  return to_string(bytes);
}

Result<Attr> Volume::make_node(Ino parent, std::string_view name, InodeRecord record,
                               const Caller& caller, std::vector<Effect> extra, Need& need) {
  TRY(check_may_change(parent));
  TRY_ASSIGN(InodeRecord dir, load_dir(parent, need));
  if (dir.nlink == 0) return fail_errno(ENOENT, "the directory was removed");
  TRY(engine_.remote().check_name(parent, name));
  TRY(expect_absent(parent, name, need));
  const bool makes_dir = record.type() == FileType::kDirectory;
  TRY(check_place(parent, name, makes_dir, need));

  Draft change;
  change.time_ns = engine_.clock().wall_ns();
  TRY_ASSIGN(const Ino ino, numbers_.next(parent, makes_dir, change.effects));
  record.uid = caller.uid;
  record.gid = caller.gid;
  if ((dir.mode & S_ISGID) != 0) {
    record.gid = dir.gid;
    if (makes_dir) record.mode |= S_ISGID;
  }
  record.nlink = makes_dir && !only_objects() ? 2 : 1;
  record.mtime = record.ctime = record.atime = record.btime = change.time_ns;
  if (makes_dir) {
    record.body = uint64_t{parent};
    count_subdirectory(dir, 1);
  }
  TRY(inherit(change, parent, dir, ino, record, caller, need));
  put_inode(change, ino, record);
  put_dirent(change, parent, name, ino, *record.type());
  touch_dir(change, parent, dir, change.time_ns);
  for (Effect& effect : extra) change.effects.push_back(std::move(effect));
  TRY(commit(change, {0, 1}));
  if (makes_dir) note_name(ino, parent, name);
  return attr_of(ino, record);
}

Result<Attr> Volume::mknod(Ino parent, std::string_view name, uint32_t mode, uint64_t rdev,
                           const Caller& caller, Need& need) {
  InodeRecord record;
  record.mode = (mode & S_IFMT) == 0 ? mode | S_IFREG : mode;
  const auto type = record.type();
  if (!type || *type == FileType::kDirectory || *type == FileType::kSymlink)
    return fail_errno(EINVAL, "mknod of such a type");
  if (*type != FileType::kRegular && only_objects())
    return fail_errno(EPERM, "an object is a file, a directory or a symbolic link");
  if (*type == FileType::kCharDevice || *type == FileType::kBlockDevice) record.body = rdev;
  TRY(engine_.admit(kChangeBytes, need));
  const std::lock_guard lock(mutex_);
  return make_node(parent, name, std::move(record), caller, {}, need);
}

Result<Attr> Volume::mkdir(Ino parent, std::string_view name, uint32_t mode, const Caller& caller,
                           Need& need) {
  InodeRecord record;
  record.mode = S_IFDIR | (mode & 07777);
  TRY(engine_.admit(kChangeBytes, need));
  const std::lock_guard lock(mutex_);
  return make_node(parent, name, std::move(record), caller, {}, need);
}

Result<Attr> Volume::symlink(Ino parent, std::string_view name, std::string_view target,
                             const Caller& caller, Need& need) {
  if (target.empty()) return fail_errno(ENOENT, "a symbolic link to nothing");
  if (target.size() > InodeRecord::kMaxTarget)
    return fail_errno(ENAMETOOLONG, "the target of a symbolic link");
  InodeRecord record;
  record.mode = S_IFLNK | 0777;
  record.size = target.size();
  std::vector<Effect> extra;
  if (target.size() <= InodeRecord::kMaxInlineTarget) {
    record.body = to_vec(as_bytes(target));
  } else {
    const Cid block = Cid::make(Codec::kRaw, as_bytes(target));
    record.body = block;
    extra.emplace_back(AddBlock{block.digest(), as_bytes(target)});
  }
  TRY(engine_.admit(kChangeBytes + target.size(), need));
  const std::lock_guard lock(mutex_);
  return make_node(parent, name, std::move(record), caller, std::move(extra), need);
}

Result<Volume::Created> Volume::create(Ino parent, std::string_view name, uint32_t mode,
                                       const Caller& caller, Need& need) {
  InodeRecord record;
  record.mode = S_IFREG | (mode & 07777);
  TRY(engine_.admit(kChangeBytes, need));
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(const Attr attr, make_node(parent, name, std::move(record), caller, {}, need));
  return Created{attr, add_handle(attr.ino)};
}

Result<Attr> Volume::link(Ino ino, Ino new_parent, std::string_view new_name, Need& need) {
  if (only_objects()) return fail_errno(EPERM, "an object has one name");
  TRY(engine_.admit(kChangeBytes, need));
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(InodeRecord record, load(ino, need));
  if (record.type() == FileType::kDirectory) return fail_errno(EPERM, "a directory has one name");
  if (record.nlink == 0) return fail_errno(ENOENT, "the file was removed");
  if (record.nlink >= kMaxLinks) return fail_errno(EMLINK, std::string(new_name));
  TRY_ASSIGN(InodeRecord dir, load_dir(new_parent, need));
  TRY(expect_absent(new_parent, new_name, need));
  Draft change;
  change.time_ns = engine_.clock().wall_ns();
  ++record.nlink;
  record.ctime = change.time_ns;
  put_inode(change, ino, record);
  put_dirent(change, new_parent, new_name, ino, *record.type());
  touch_dir(change, new_parent, dir, change.time_ns);
  TRY(commit(change, {}));
  return attr_of(ino, record);
}

Status Volume::drop_link(Draft& change, UsageChange& usage, Ino ino, InodeRecord record,
                         Need& need) {
  record.ctime = change.time_ns;
  const bool is_directory = record.type() == FileType::kDirectory;
  if (!is_directory && record.nlink > 1) {
    --record.nlink;
    put_inode(change, ino, record);
    return {};
  }
  record.nlink = 0;
  usage.bytes -= static_cast<int64_t>(record.allocated);
  --usage.inodes;
  change.effects.emplace_back(PutKey{inode_key(ino), std::nullopt});
  const std::string prefix = xattr_prefix(ino);
  std::string from = prefix;
  while (true) {
    TRY_ASSIGN(const auto range, engine_.scan(from, prefix_end(prefix), 64, need));
    for (const TreeEntry& entry : range.entries)
      change.effects.emplace_back(PutKey{entry.key, std::nullopt});
    if (!range.more) break;
    from = range.last_seen + '\0';
  }
  if (is_directory) change.effects.push_back(InodeNumbers::forget(ino));
  if (record.type() == FileType::kRegular) change.effects.emplace_back(ForgetContent{ino});
  change.removal = Removal{ino, std::move(record), std::nullopt};
  if (!is_open(ino)) return {};
  TRY_ASSIGN(change.removal->base, engine_.base_of(ino, need));
  change.effects.push_back(Engine::orphan_row(ino));
  return {};
}

Status Volume::unlink(Ino parent, std::string_view name, Need& need) {
  TRY(engine_.admit(kChangeBytes, need));
  const std::lock_guard lock(mutex_);
  TRY(check_may_change(parent));
  TRY_ASSIGN(InodeRecord dir, load_dir(parent, need));
  TRY_ASSIGN(const auto dirent, find_dirent(parent, name, need));
  if (!dirent) return fail_errno(ENOENT, std::string(name));
  if (is_dir(*dirent)) return fail_errno(EISDIR, std::string(name));
  TRY_ASSIGN(InodeRecord record, load(dirent->ino, need));
  Draft change;
  change.time_ns = engine_.clock().wall_ns();
  change.effects.emplace_back(PutKey{dirent_key(parent, name), std::nullopt});
  touch_dir(change, parent, dir, change.time_ns);
  UsageChange usage;
  TRY(drop_link(change, usage, dirent->ino, std::move(record), need));
  TRY(commit(change, usage));
  return {};
}

Status Volume::rmdir(Ino parent, std::string_view name, Need& need) {
  TRY(engine_.admit(kChangeBytes, need));
  const std::lock_guard lock(mutex_);
  TRY(check_may_change(parent));
  TRY_ASSIGN(InodeRecord dir, load_dir(parent, need));
  TRY_ASSIGN(const auto dirent, find_dirent(parent, name, need));
  if (!dirent) return fail_errno(ENOENT, std::string(name));
  if (!is_dir(*dirent)) return fail_errno(ENOTDIR, std::string(name));
  TRY_ASSIGN(const bool empty, is_empty_dir(dirent->ino, need));
  if (!empty) return fail_errno(ENOTEMPTY, std::string(name));
  TRY_ASSIGN(InodeRecord record, load(dirent->ino, need));
  Draft change;
  change.time_ns = engine_.clock().wall_ns();
  change.effects.emplace_back(PutKey{dirent_key(parent, name), std::nullopt});
  count_subdirectory(dir, -1);
  touch_dir(change, parent, dir, change.time_ns);
  UsageChange usage;
  TRY(drop_link(change, usage, dirent->ino, std::move(record), need));
  TRY(commit(change, usage));
  return {};
}

namespace {

// The directories that a rename touches, each loaded once: they may be the same one.
struct RenameDirs {
  Ino from = 0;
  Ino to = 0;
  InodeRecord from_record;
  InodeRecord to_record;  // unused when they are the same
  InodeRecord& target() { return from == to ? from_record : to_record; }
};

}  // namespace

Status Volume::rename(Ino parent, std::string_view name, Ino new_parent, std::string_view new_name,
                      unsigned flags, Need& need) {
  const bool exchange = (flags & RENAME_EXCHANGE) != 0;
  if ((flags & ~unsigned{RENAME_NOREPLACE | RENAME_EXCHANGE}) != 0 ||
      (exchange && (flags & RENAME_NOREPLACE) != 0))
    return fail_errno(EINVAL, "rename flags");
  if (exchange && only_objects()) return fail_errno(EINVAL, "objects cannot exchange their names");
  TRY(engine_.remote().check_name(new_parent, new_name));
  TRY(engine_.admit(kChangeBytes, need));
  const std::lock_guard lock(mutex_);
  TRY(check_same_bucket(parent, new_parent, need));
  RenameDirs dirs{parent, new_parent, {}, {}};
  TRY_ASSIGN(dirs.from_record, load_dir(parent, need));
  if (new_parent != parent) {
    TRY_ASSIGN(dirs.to_record, load_dir(new_parent, need));
  }
  TRY_ASSIGN(const auto source, find_dirent(parent, name, need));
  TRY_ASSIGN(const auto target, find_dirent(new_parent, new_name, need));
  if (!source) return fail_errno(ENOENT, std::string(name));
  if (exchange && !target) return fail_errno(ENOENT, std::string(new_name));
  if ((flags & RENAME_NOREPLACE) != 0 && target) return fail_errno(EEXIST, std::string(new_name));
  if (target && target->ino == source->ino) return {};  // two names of one file stay
  TRY_ASSIGN(InodeRecord moved, load(source->ino, need));
  TRY(check_place(new_parent, new_name, is_dir(*source), need));

  Draft change;
  UsageChange usage;
  const int64_t now = change.time_ns = engine_.clock().wall_ns();
  const auto move = [&](const Dirent& dirent, InodeRecord& record, Ino to, InodeRecord& out,
                        InodeRecord& in) {
    record.ctime = now;
    if (is_dir(dirent)) {
      record.body = uint64_t{to};
      count_subdirectory(out, -1);
      count_subdirectory(in, 1);
    }
    put_inode(change, dirent.ino, record);
  };

  if (exchange) {
    TRY_ASSIGN(InodeRecord other, load(target->ino, need));
    move(*source, moved, new_parent, dirs.from_record, dirs.target());
    move(*target, other, parent, dirs.target(), dirs.from_record);
    put_dirent(change, parent, name, target->ino, target->type);
  } else {
    if (target) {
      if (is_dir(*target) && !is_dir(*source)) return fail_errno(EISDIR, std::string(new_name));
      if (!is_dir(*target) && is_dir(*source)) return fail_errno(ENOTDIR, std::string(new_name));
      if (is_dir(*target)) {
        TRY_ASSIGN(const bool empty, is_empty_dir(target->ino, need));
        if (!empty) return fail_errno(ENOTEMPTY, std::string(new_name));
        count_subdirectory(dirs.target(), -1);
      }
    }
    move(*source, moved, new_parent, dirs.from_record, dirs.target());
    change.effects.emplace_back(PutKey{dirent_key(parent, name), std::nullopt});
    if (target) {
      TRY_ASSIGN(InodeRecord replaced, load(target->ino, need));
      TRY(drop_link(change, usage, target->ino, std::move(replaced), need));
    }
  }
  put_dirent(change, new_parent, new_name, source->ino, source->type);
  touch_dir(change, parent, dirs.from_record, now);
  if (new_parent != parent) touch_dir(change, new_parent, dirs.to_record, now);
  TRY(commit(change, usage));
  if (is_dir(*source)) note_name(source->ino, new_parent, new_name);
  return {};
}

}  // namespace cairn
