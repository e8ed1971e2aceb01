#include "fs/volume.h"

#include <algorithm>
#include <cerrno>
#include <variant>

#include "cache/bucket_past.h"

namespace cairn {

Attr attr_of(Ino ino, const InodeRecord& record) {
  Attr attr;
  attr.ino = ino;
  attr.mode = record.mode;
  attr.uid = record.uid;
  attr.gid = record.gid;
  attr.nlink = record.nlink;
  attr.size = record.size;
  attr.allocated = record.allocated;
  if (const auto type = record.type();
      type == FileType::kCharDevice || type == FileType::kBlockDevice) {
    if (const auto* rdev = std::get_if<uint64_t>(&record.body)) attr.rdev = *rdev;
  }
  attr.mtime = record.mtime;
  attr.ctime = record.ctime;
  attr.atime = record.atime;
  attr.btime = record.btime;
  return attr;
}

Ino parent_of(Ino ino, const InodeRecord& record) {
  const auto* parent = std::get_if<uint64_t>(&record.body);
  return parent != nullptr && *parent != 0 ? *parent : ino;
}

Result<std::unique_ptr<Volume>> Volume::open(Engine& engine, uint16_t slot, uint32_t next_group) {
  TRY_ASSIGN(auto numbers, InodeNumbers::open(engine.live(), slot, next_group));
  TRY_ASSIGN(const Usage usage, Usage::open(engine));
  return std::unique_ptr<Volume>(new Volume(engine, std::move(numbers), usage));
}

// ---- what operations are made of

Result<InodeRecord> Volume::load(Ino ino, Need& need) {
  if (auto removed = removed_record(ino)) return *std::move(removed);
  TRY_ASSIGN(const auto value, engine_.get(inode_key(ino), need));
  if (!value) {
    if (auto shown = keep_shown(ino)) return *std::move(shown);
    return fail_errno(ENOENT, "inode " + std::to_string(ino));
  }
  TRY_ASSIGN(const Buffer bytes, engine_.value_bytes(*value, need));
  TRY_ASSIGN(InodeRecord record, InodeRecord::decode(bytes));
  if (engine_.settings().read_only) note_shown(ino, record);
  return record;
}

Result<InodeRecord> Volume::load_dir(Ino ino, Need& need) {
  TRY_ASSIGN(InodeRecord record, load(ino, need));
  if (record.type() != FileType::kDirectory)
    return fail_errno(ENOTDIR, "inode " + std::to_string(ino));
  return record;
}

Result<std::optional<Dirent>> Volume::find_dirent(Ino parent, std::string_view name, Need& need) {
  if (name.size() > kMaxName) return fail_errno(ENAMETOOLONG, "a name of more than 255 bytes");
  if (!valid_name(name)) return fail_errno(EINVAL, "a name that cannot stand in a directory");
  TRY_ASSIGN(const auto value, engine_.get(dirent_key(parent, name), need));
  if (!value) return std::optional<Dirent>();
  TRY_ASSIGN(const Buffer bytes, engine_.value_bytes(*value, need));
  TRY_ASSIGN(Dirent dirent, Dirent::decode(bytes));
  return std::optional<Dirent>(std::move(dirent));
}

Status Volume::expect_absent(Ino parent, std::string_view name, Need& need) {
  TRY_ASSIGN(const auto dirent, find_dirent(parent, name, need));
  if (dirent) return fail_errno(EEXIST, std::string(name));
  return {};
}

Result<bool> Volume::is_empty_dir(Ino ino, Need& need) {
  const std::string prefix = dirent_prefix(ino);
  const std::string end = prefix_end(prefix);
  std::string from = prefix;
  while (true) {
    TRY_ASSIGN(const auto range, engine_.scan(from, end, 16, need));
    if (!range.entries.empty()) return false;
    if (!range.more) break;
    from = range.last_seen + '\0';
  }
  // What rules hide is there all the same.
  TRY_ASSIGN(const bool hides, engine_.remote().hides_some(ino, need.blocks));
  return !hides;
}

void Volume::put_inode(Change& change, Ino ino, const InodeRecord& record) {
  InodeRecord stored = record;
  // The content of a regular file is the publisher's to say.
  if (stored.type() == FileType::kRegular) stored.body = std::monostate{};
  change.effects.emplace_back(
      PutKey{inode_key(ino), Cid::identity(Codec::kDagCbor, stored.encode())});
}

void Volume::put_dirent(Change& change, Ino parent, std::string_view name, Ino ino, FileType type) {
  Dirent dirent;
  dirent.ino = ino;
  dirent.type = type;
  change.effects.emplace_back(
      PutKey{dirent_key(parent, name), Cid::identity(Codec::kDagCbor, dirent.encode())});
}

void Volume::touch_dir(Change& change, Ino ino, InodeRecord& record, int64_t now) {
  record.mtime = now;
  record.ctime = now;
  put_inode(change, ino, record);
}

// ---- handles

HandleId Volume::add_handle(Ino ino) {
  const std::lock_guard lock(handles_mutex_);
  const HandleId id = next_handle_++;
  files_[id].ino = ino;
  ++open_inodes_[ino].handles;
  return id;
}

Result<Volume::OpenFile> Volume::file_of(HandleId handle) {
  const std::lock_guard lock(handles_mutex_);
  const auto it = files_.find(handle);
  if (it == files_.end()) return fail_errno(EBADF, "file handle " + std::to_string(handle));
  return it->second;
}

bool Volume::is_open(Ino ino) const {
  const std::lock_guard lock(handles_mutex_);
  return open_inodes_.contains(ino);
}

std::vector<UnixfsRoot> Volume::open_removed() const {
  std::vector<UnixfsRoot> contents;
  const std::lock_guard lock(handles_mutex_);
  for (const auto& [ino, open] : open_inodes_)
    if (open.orphan && open.orphan->base.content)
      contents.push_back({*open.orphan->base.content, open.orphan->base.size});
  return contents;
}

std::optional<Volume::Orphan> Volume::orphan_of(Ino ino) const {
  const std::lock_guard lock(handles_mutex_);
  const auto it = open_inodes_.find(ino);
  if (it == open_inodes_.end()) return std::nullopt;
  return it->second.orphan;
}

namespace {
ContentBase base_in(const InodeRecord& record) {
  ContentBase base;
  base.size = record.size;
  if (const auto* content = std::get_if<Cid>(&record.body)) base.content = *content;
  return base;
}
}  // namespace

std::optional<ContentBase> Volume::pinned(Ino ino, const InodeRecord& record) const {
  if (const auto orphan = orphan_of(ino)) return orphan->base;
  // A record without content may be one of this cache that is not published yet.
  if (!engine_.settings().read_only || !std::holds_alternative<Cid>(record.body))
    return std::nullopt;
  return base_in(record);
}

std::optional<InodeRecord> Volume::removed_record(Ino ino) const {
  const std::lock_guard lock(handles_mutex_);
  const auto open = open_inodes_.find(ino);
  if (open != open_inodes_.end() && open->second.orphan) return open->second.orphan->record;
  const auto removed = removed_.find(ino);
  if (removed != removed_.end()) return removed->second;
  return std::nullopt;
}

void Volume::set_removed_record(Ino ino, const InodeRecord& record) {
  const std::lock_guard lock(handles_mutex_);
  const auto open = open_inodes_.find(ino);
  if (open != open_inodes_.end() && open->second.orphan) open->second.orphan->record = record;
  const auto removed = removed_.find(ino);
  if (removed != removed_.end()) removed->second = record;
}

void Volume::note_shown(Ino ino, const InodeRecord& record) {
  const std::lock_guard lock(handles_mutex_);
  const auto open = open_inodes_.find(ino);
  if (open != open_inodes_.end()) open->second.shown = record;
}

std::optional<InodeRecord> Volume::keep_shown(Ino ino) {
  const std::lock_guard lock(handles_mutex_);
  const auto open = open_inodes_.find(ino);
  if (open == open_inodes_.end() || !open->second.shown) return std::nullopt;
  InodeRecord& record = *open->second.shown;
  record.nlink = 0;
  open->second.orphan = Orphan{record, base_in(record)};
  return record;
}

void Volume::note_removal(Removal removal) {
  {
    const std::lock_guard lock(handles_mutex_);
    const auto open = open_inodes_.find(removal.ino);
    if (removal.base && open != open_inodes_.end()) {
      open->second.orphan = Orphan{std::move(removal.record), *std::move(removal.base)};
      return;
    }
    removed_.insert_or_assign(removal.ino, std::move(removal.record));
  }
  // The last handle was closed while the change was made.
  if (removal.base) engine_.release_orphan(removal.ino);
}

void Volume::forget(Ino ino) {
  const std::lock_guard lock(handles_mutex_);
  removed_.erase(ino);
}

Result<HandleId> Volume::open_file(Ino ino, Need& need) {
  // Exclusive: an unlink must see the handle or come before it.
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(const InodeRecord record, load(ino, need));
  if (record.type() == FileType::kDirectory)
    return fail_errno(EISDIR, "inode " + std::to_string(ino));
  // Its content went with its last name, unless another handle keeps it.
  if (removed_record(ino) && !orphan_of(ino))
    return fail_errno(ENOENT, "inode " + std::to_string(ino));
  if (!removed_record(ino)) {
    TRY_ASSIGN(const ContentPolicy policy, engine_.remote().policy_of(ino, need.blocks));
    TRY(engine_.opened(ino, record.size, policy, need));
  }
  const HandleId handle = add_handle(ino);
  if (engine_.settings().read_only) note_shown(ino, record);
  return handle;
}

void Volume::release_file(HandleId handle) {
  bool orphan_gone = false;
  bool passes = false;
  Ino ino = 0;
  {
    // Who opens it has a handle by now, or has not asked yet what is to become of its content.
    const std::shared_lock no_open(mutex_);
    const std::lock_guard lock(handles_mutex_);
    const auto file = files_.find(handle);
    if (file == files_.end()) return;
    ino = file->second.ino;
    files_.erase(file);
    const auto open = open_inodes_.find(ino);
    if (--open->second.handles > 0) return;
    orphan_gone = open->second.orphan.has_value();
    open_inodes_.erase(open);
    passes = engine_.closed(ino);
  }
  if (passes) engine_.drop_passing(ino);
  if (orphan_gone) engine_.release_orphan(ino);
}

Status Volume::sync() {
  return engine_.sync(engine_.appended());
}

Result<VolumeSpace> Volume::statfs() {
  constexpr uint64_t kUnlimited = 1ULL << 50;  // 1 PiB: what df shows when there is no quota
  constexpr uint64_t kInodes = 1ULL << 40;
  const Usage used = [this] {
    const std::shared_lock lock(mutex_);
    return engine_.settings().read_only ? Usage::published(engine_) : usage_;
  }();
  VolumeSpace space;
  const uint64_t quota = engine_.remote().params().quota_bytes;
  space.total_bytes = quota > 0 ? quota : kUnlimited;
  space.free_bytes = space.total_bytes - std::min(space.total_bytes, used.bytes);
  space.total_inodes = kInodes;
  space.free_inodes = kInodes - std::min(kInodes, used.inodes);
  return space;
}

Status Volume::check_quota(int64_t more_bytes) const {
  const uint64_t quota = engine_.remote().params().quota_bytes;
  Usage next = usage_;
  next.add(more_bytes, 0);
  if (quota == 0 || more_bytes <= 0 || next.bytes <= quota) return {};
  return fail(Errc::kNoSpace,
              "the volume's quota of " + std::to_string(quota) + " bytes is used up", ENOSPC);
}

namespace {

// Every change of something has a new value of its inode, or of a name in it.
bool changes_past(const Change& change) {
  return std::any_of(change.effects.begin(), change.effects.end(), [](const Effect& effect) {
    const auto* put = std::get_if<PutKey>(&effect);
    if (put == nullptr) return false;
    const auto key = parse_key(put->key);
    return key && is_past_ino(key->ino);
  });
}

}  // namespace

Status Volume::commit(Draft& change, const UsageChange& more) {
  if (only_objects() && changes_past(change))
    return fail_errno(EROFS, "what is past cannot be changed");
  TRY(check_quota(more.bytes));
  Usage next = usage_;
  next.add(more.bytes, more.inodes);
  // Also in the first change of a mount: the row there may be of another time.
  if (next != usage_ || !usage_noted_) change.effects.push_back(next.effect());
  TRY(engine_.commit(change));
  usage_ = next;
  usage_noted_ = true;
  if (change.removal) note_removal(*std::move(change.removal));
  return {};
}

Status Volume::commit_record(Draft& change, Ino ino, const InodeRecord& record,
                             uint64_t allocated_before) {
  if (removed_record(ino)) {
    TRY(commit(change, {}));
    set_removed_record(ino, record);
    return {};
  }
  put_inode(change, ino, record);
  return commit(change, {static_cast<int64_t>(record.allocated - allocated_before), 0});
}

}  // namespace cairn
