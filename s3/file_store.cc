#include "s3/file_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <set>

#include "cache/base/digest.h"
#include "cache/base/log.h"
#include "cache/base/mutex.h"
#include "s3/file_headers.h"
#include "s3/file_names.h"
#include "s3/file_walk.h"
#include "s3/request.h"

namespace cairn {

namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;   // read or written between two looks at the clock
constexpr size_t kReserveMax = size_t{64} << 20;  // a larger answer grows as it is read
constexpr size_t kKnownDirsMax = 65'536;          // remembered as durable
constexpr size_t kSweepMax = 10'000;              // temporaries looked at by one open
constexpr int64_t kTemporaryAgeNs = 86'400'000'000'000;  // a day
constexpr int kReadTries = 10;
constexpr Duration kLockPatience = std::chrono::seconds(10);
constexpr Duration kLockStep = std::chrono::milliseconds(1);

// From what the system said to what the port says.
Error to_port(Error error, const std::string& what) {
  Errc code = error.code();
  std::string hint;
  switch (error.sys_errno()) {
    case ENOTDIR:
    case EISDIR:
    case ENOTEMPTY:
      code = Errc::kUnsupported;
      hint = "; in a directory a key cannot be both an object and a folder of others";
      break;
    case ELOOP:
      code = Errc::kUnsupported;
      hint = "; the file store does not follow symbolic links";
      break;
    case ENAMETOOLONG:
      break;
    default:
      if (code == Errc::kInvalid || code == Errc::kExists) code = Errc::kIo;
  }
  return Error(code, what + ": " + error.message() + hint, error.sys_errno());
}

tl::unexpected<Error> not_done(Error error, const std::string& what) {
  return tl::unexpected<Error>(to_port(std::move(error), what).with_no_effect());
}

}  // namespace

class FileStore::Directory {
 public:
  Directory(const Parts& parts, std::string root)
      : env_(parts.env), clock_(parts.clock), rng_(parts.rng), root_(std::move(root)) {}

  std::string say(const char* operation, const std::string& key) const {
    return fmt::format("file://{}: {} '{}'", root_, operation, key);
  }
  const std::string& root() const { return root_; }
  Status prepare(Create create);

  Result<GetResult> get(const std::string& key, const GetRange& range, const Context& context);
  Result<ObjectHead> head(const std::string& key);
  Result<std::string> put(const std::string& key, const Body& body, const PutHow& how,
                          const Context& context);
  Status remove(const std::string& key);
  Result<ListPage> list(const ListScope& scope, const std::string& after, uint32_t limit,
                        const Context& context);

 private:
  struct Temporary {
    std::string path;
    std::string etag;
  };

  Status check_root(const std::string& what);
  Result<std::string> make_directory(const std::string& key, const Body& body);
  void sweep();
  Status read_into(File& file, ByteRange part, ByteVec& out, const Context& context,
                   const std::string& what);
  Result<std::unique_ptr<File>> create_temporary(const std::string& path);
  Result<ObjectTags> tags_for(const Body& body, const PutHow& how);
  Result<std::string> write_temporary(const std::string& path, const Body& body, const PutHow& how,
                                      const Context& context, const std::string& what);
  Status write_own(File& to, const Body& body, ByteRange at, const Context& context,
                   const std::string& what);
  Status copy_range(File& to, uint64_t offset, const ObjectRange& source, const Context& context,
                    const std::string& what);
  Result<FileInfo> object_info(const std::string& key, const std::string& what);
  Status check_version(const std::string& key, const std::string& etag, const std::string& what);
  Result<std::unique_ptr<FileLock>> lock_key(const std::string& key, const Context& context,
                                             const std::string& what);
  Status publish(const Temporary& temporary, const std::string& key, PutCondition condition,
                 const std::string& what);
  Status replace_version(const Temporary& temporary, const std::string& key,
                         const std::string& etag, const Context& context, const std::string& what);
  Status give_name(const Temporary& temporary, const std::string& path, PutCondition condition,
                   const std::string& what);
  Status ensure_durable_dir(const std::string& relative);
  void forget_dirs();

  Env& env_;
  Clock& clock_;
  Rng& rng_;
  const std::string root_;  // constant after construction; no '/' at its end unless it is "/"

  RankedMutex<Rank::kStore> mutex_;
  std::set<std::string> durable_dirs_;  // relative to the root; protected by mutex_
  std::once_flag swept_;
};

Status FileStore::Directory::prepare(Create create) {
  auto info = env_.stat(root_);
  if (!info && info.error().code() == Errc::kNotFound && create == Create::kIfMissing) {
    TRY(make_dirs_durably(env_, root_));
    info = env_.stat(root_);
  }
  if (!info) {
    if (info.error().code() == Errc::kNotFound)
      return fail(Errc::kNotFound, "the directory " + root_ + " does not exist", ENOENT);
    return tl::unexpected<Error>(std::move(info).error());
  }
  if (!info->is_directory) return fail(Errc::kInvalid, root_ + " is not a directory", ENOTDIR);
  return {};
}

// Removes what crashed puts left. Failing at it is no reason to refuse the store: it may be
// read-only, or another process may be sweeping too.
void FileStore::Directory::sweep() {
  const std::string dir = root_ + "/" + std::string(kTemporaryDir);
  const auto names = env_.list_dir(dir);
  if (!names) return;
  size_t removed = 0;
  for (size_t i = 0; i < std::min(names->size(), kSweepMax); ++i) {
    if (!is_temporary_name((*names)[i])) continue;
    const std::string path = dir + "/" + (*names)[i];
    const auto info = env_.stat(path);
    if (!info || !info->is_regular) continue;
    if (clock_.wall_ns() - info->mtime_ns < kTemporaryAgeNs) continue;
    if (env_.remove(path)) ++removed;
  }
  if (removed > 0) log_debug("file://{}: removed {} stale temporary files", root_, removed);
}

// A root that is gone, with its disk perhaps, is no empty store, and none is made in its place.
Status FileStore::Directory::check_root(const std::string& what) {
  const auto info = env_.stat(root_);
  if (info) return {};
  if (!is_missing(info.error())) return not_done(info.error(), what);
  const std::string gone = "the directory " + root_ + " is gone; is its disk mounted?";
  return not_done(Error(Errc::kTransient, gone), what);
}

Result<FileInfo> FileStore::Directory::object_info(const std::string& key,
                                                   const std::string& what) {
  const auto info = env_.stat(root_ + "/" + key);
  if (!info && !is_missing(info.error())) return tl::unexpected<Error>(to_port(info.error(), what));
  if (!info) TRY(check_root(what));
  if (info && info->is_symlink)
    return fail(Errc::kUnsupported, what + ": it is a symbolic link, which is not followed");
  if (!info || !info->is_regular) return fail(Errc::kNotFound, what + ": no such object");
  return info;
}

// A directory's own object is the directory, and has no headers.
Result<std::string> FileStore::Directory::make_directory(const std::string& key, const Body& body) {
  const std::string what = say("put", key);
  if (body.size() > 0) return fail(Errc::kInvalid, what + ": a directory holds no bytes");
  const std::string path = root_ + "/" + key.substr(0, key.size() - 1);
  if (auto made = make_dirs_durably(env_, path); !made)
    return tl::unexpected<Error>(to_port(std::move(made).error(), what));
  return std::string(kDirectoryEtag);
}

Result<ObjectHead> FileStore::Directory::head(const std::string& key) {
  TRY(check_file_key(key, say("use", key)));
  if (is_directory_key(key)) {
    const auto info = env_.stat(root_ + "/" + key.substr(0, key.size() - 1));
    if (!info || !info->is_directory)
      return fail(Errc::kNotFound, say("head", key) + ": there is no such directory");
    return ObjectHead{{key, 0, std::string(kDirectoryEtag), info->mtime_ns}, {}};
  }
  const std::string path = root_ + "/" + key;
  const std::string what = say("head", key);
  for (int tries = 0; tries < kReadTries; ++tries) {
    TRY_ASSIGN(const FileInfo before, object_info(key, what));
    auto headers = read_file_headers(env_, path);
    if (!headers && is_missing(headers.error())) continue;
    if (!headers) return tl::unexpected<Error>(to_port(std::move(headers).error(), what));
    const auto after = env_.stat(path);
    if (!after || file_etag(*after) != file_etag(before)) continue;
    return ObjectHead{{key, before.size, file_etag(before), before.mtime_ns}, *std::move(headers)};
  }
  return fail(Errc::kTransient, what + ": it keeps changing while it is read");
}

Result<GetResult> FileStore::Directory::get(const std::string& key, const GetRange& range,
                                            const Context& context) {
  TRY(check_file_key(key, say("use", key)));
  const std::string path = root_ + "/" + key;
  const std::string what = say("get", key);
  if (!range.version.empty() && range.version != kOnlyVersion)
    return fail(Errc::kNotFound, what + ": there is no such version");
  // The etag comes from the path, the bytes from the open file: read again when another put came
  // in between.
  for (int tries = 0; tries < kReadTries; ++tries) {
    const auto before = object_info(key, what);
    if (!before) return tl::unexpected<Error>(before.error());
    if (!range.if_match.empty() && range.if_match != file_etag(*before))
      return fail(Errc::kPrecondition, what + ": the object is another version now");
    auto file = env_.open(path, OpenMode::kRead);
    if (!file) {
      if (is_missing(file.error())) continue;
      return tl::unexpected<Error>(to_port(std::move(file).error(), what));
    }
    ByteVec bytes;
    TRY(read_into(**file, resolve_range(range, before->size), bytes, context, what));
    const auto after = env_.stat(path);
    if (!after || file_etag(*after) != file_etag(*before)) continue;
    return GetResult{Buffer(std::move(bytes)), before->size, file_etag(*before)};
  }
  return fail(Errc::kTransient, what + ": it keeps changing while it is read");
}

Status FileStore::Directory::read_into(File& file, ByteRange part, ByteVec& out,
                                       const Context& context, const std::string& what) {
  out.reserve(static_cast<size_t>(std::min<uint64_t>(part.length, kReserveMax)));
  while (out.size() < part.length) {
    if (auto over = gave_up(context, clock_, what)) return tl::unexpected<Error>(std::move(*over));
    const size_t begin = out.size();
    const auto piece = static_cast<size_t>(std::min<uint64_t>(part.length - begin, kPieceBytes));
    out.resize(begin + piece);
    const auto n = file.read_at(part.offset + begin, MutableBytes(out).subspan(begin));
    if (!n) return tl::unexpected<Error>(to_port(n.error(), what));
    if (*n < piece) {  // replaced or cut meanwhile: the caller sees the other etag
      out.resize(begin + *n);
      break;
    }
  }
  return {};
}

Result<std::unique_ptr<File>> FileStore::Directory::create_temporary(const std::string& path) {
  auto file = env_.open(path, OpenMode::kCreateNew);
  if (file || file.error().code() != Errc::kNotFound) return file;
  // The first put, or somebody tidied up. Temporaries need no durable name.
  TRY(env_.make_dirs(parent_of(path)));
  return env_.open(path, OpenMode::kCreateNew);
}

Status FileStore::Directory::write_own(File& to, const Body& body, ByteRange at,
                                       const Context& context, const std::string& what) {
  ByteVec piece(static_cast<size_t>(std::min<uint64_t>(at.length, kPieceBytes)));
  for (uint64_t offset = at.offset; offset < at.end();) {
    if (auto over = gave_up(context, clock_, what))
      return tl::unexpected<Error>(std::move(*over).with_no_effect());
    const MutableBytes step = MutableBytes(piece).first(
        static_cast<size_t>(std::min<uint64_t>(piece.size(), at.end() - offset)));
    auto n = body.read_at(offset, step);
    if (!n) return tl::unexpected<Error>(std::move(n).error().wrap(what).with_no_effect());
    if (auto status = to.write_at(offset, step.first(*n)); !status)
      return not_done(std::move(status).error(), what);
    offset += *n;
  }
  return {};
}

// The etag comes from the path, the bytes from the open file: both before and behind the copy the
// path has to be the version asked for.
Status FileStore::Directory::copy_range(File& to, uint64_t offset, const ObjectRange& source,
                                        const Context& context, const std::string& what) {
  TRY(check_file_key(source.key, what));
  TRY(check_version(source.key, source.etag, what));
  auto file = env_.open(root_ + "/" + source.key, OpenMode::kRead);
  if (!file) {
    if (is_missing(file.error())) return check_version(source.key, source.etag, what);
    return not_done(std::move(file).error(), what);
  }
  ByteVec piece(static_cast<size_t>(std::min<uint64_t>(source.range.length, kPieceBytes)));
  for (uint64_t done = 0; done < source.range.length;) {
    if (auto over = gave_up(context, clock_, what))
      return tl::unexpected<Error>(std::move(*over).with_no_effect());
    const MutableBytes step = MutableBytes(piece).first(
        static_cast<size_t>(std::min<uint64_t>(piece.size(), source.range.length - done)));
    const auto n = (*file)->read_at(source.range.offset + done, step);
    if (!n) return not_done(n.error(), what);
    if (*n == 0) break;  // another version
    if (auto status = to.write_at(offset + done, step.first(*n)); !status)
      return not_done(std::move(status).error(), what);
    done += *n;
  }
  return check_version(source.key, source.etag, what);
}

// kPrecondition unless the object is that version.
Status FileStore::Directory::check_version(const std::string& key, const std::string& etag,
                                           const std::string& what) {
  const auto info = env_.stat(root_ + "/" + key);
  if (!info && !is_missing(info.error())) return not_done(info.error(), what);
  if (info && info->is_regular && !info->is_symlink && file_etag(*info) == etag) return {};
  return fail(Errc::kPrecondition, what + ": '" + key + "' is another version now");
}

// Those of a whole object go with its copy.
Result<ObjectTags> FileStore::Directory::tags_for(const Body& body, const PutHow& how) {
  if (how.tags) return *how.tags;
  const ObjectRange* source = copied_object(body);
  if (source == nullptr) return ObjectTags();
  auto tags = read_file_tags(env_, root_ + "/" + source->key);
  if (!tags && is_missing(tags.error())) return ObjectTags();  // the copy finds it out
  return tags;
}

// Writes and syncs body, headers and tags; returns the etag. Headers first: then they are as
// durable as the bytes.
Result<std::string> FileStore::Directory::write_temporary(const std::string& path, const Body& body,
                                                          const PutHow& how, const Context& context,
                                                          const std::string& what) {
  auto file = create_temporary(path);
  if (!file) return not_done(std::move(file).error(), what);
  if (auto status = write_file_headers(env_, path, how.headers); !status)
    return not_done(std::move(status).error(), what);
  auto tags = tags_for(body, how);
  if (!tags) return not_done(std::move(tags).error(), what);
  Status tagged;
  if (!tags->empty()) tagged = write_file_tags(env_, path, *tags);
  if (!tagged) return not_done(std::move(tagged).error(), what);
  for (const Body::Section& section : body.sections()) {
    if (section.object != nullptr) {
      TRY(copy_range(**file, section.at.offset, *section.object, context, what));
    } else {
      TRY(write_own(**file, body, section.at, context, what));
    }
  }
  if (auto status = (*file)->sync_data(); !status) return not_done(std::move(status).error(), what);
  const auto info = env_.stat(path);
  if (!info) return not_done(info.error(), what);
  return file_etag(*info);
}

Result<std::string> FileStore::Directory::put(const std::string& key, const Body& body,
                                              const PutHow& how, const Context& context) {
  TRY(check_file_key(key, say("use", key)));
  TRY(check_put(body, how));
  TRY(check_root(say("put", key)));
  if (is_directory_key(key)) return make_directory(key, body);
  // Not before: who only looks at a directory takes nothing out of it.
  std::call_once(swept_, [this] { sweep(); });
  const std::string what = say("put", key);
  if (how.condition == PutCondition::kIfMatch) {  // before all is written for nothing
    TRY(check_version(key, how.if_match, what));
  }
  Temporary temporary;
  temporary.path = fmt::format("{}/{}/{}", root_, kTemporaryDir, uuid_text(make_uuid(rng_)));
  Result<std::string> result = write_temporary(temporary.path, body, how, context, what);
  bool named = false;
  if (result) {
    temporary.etag = *result;
    Status status;
    if (auto over = gave_up(context, clock_, what)) {
      status = tl::unexpected<Error>(std::move(*over).with_no_effect());
    } else if (how.condition == PutCondition::kIfMatch) {
      status = replace_version(temporary, key, how.if_match, context, what);
    } else {
      status = publish(temporary, key, how.condition, what);
    }
    named = status.has_value();
    if (!status) result = tl::unexpected<Error>(std::move(status).error());
  }
  // After a rename there is nothing to remove. What cannot be removed is swept another day.
  if (!named || how.condition == PutCondition::kIfAbsent) (void)env_.remove(temporary.path);
  return result;
}

// Who replaces versions of one key does it one after the other, also in other processes.
Result<std::unique_ptr<FileLock>> FileStore::Directory::lock_key(const std::string& key,
                                                                 const Context& context,
                                                                 const std::string& what) {
  const std::string path =
      fmt::format("{}/{}/lock-{}", root_, kTemporaryDir, sha256(as_bytes(key)).hex().substr(0, 2));
  // Nobody holds it for longer than a look and a rename, but many may wait.
  const MonotonicTime until = clock_.now() + kLockPatience;
  RankedMutex<Rank::kLeaf> mutex;
  ConditionVariable never;
  do {
    auto lock = env_.lock_file(path);
    if (lock) return lock;
    if (lock.error().code() != Errc::kExists) return not_done(std::move(lock).error(), what);
    if (auto over = gave_up(context, clock_, what))
      return tl::unexpected<Error>(std::move(*over).with_no_effect());
    std::unique_lock waiting(mutex);
    never.wait_for(waiting, kLockStep);
  } while (clock_.now() < until);
  return tl::unexpected<Error>(
      Error(Errc::kTransient, what + ": others are replacing objects").with_no_effect());
}

Status FileStore::Directory::replace_version(const Temporary& temporary, const std::string& key,
                                             const std::string& etag, const Context& context,
                                             const std::string& what) {
  const std::string path = root_ + "/" + key;
  {
    TRY_ASSIGN(const auto lock, lock_key(key, context, what));
    TRY(check_version(key, etag, what));
    TRY(give_name(temporary, path, PutCondition::kAlways, what));
  }
  if (auto synced = env_.sync_dir(parent_of(path)); !synced)
    return fail(Errc::kIo, what + ": " + synced.error().message(), synced.error().sys_errno());
  return {};
}

Status FileStore::Directory::publish(const Temporary& temporary, const std::string& key,
                                     PutCondition condition, const std::string& what) {
  const std::string path = root_ + "/" + key;
  const std::string above = parent_of(key);
  if (auto status = ensure_durable_dir(above); !status)
    return not_done(std::move(status).error(), what);
  Status status = give_name(temporary, path, condition, what);
  if (!status && status.error().code() == Errc::kNotFound) {
    forget_dirs();  // a directory was removed behind our back
    if (auto again = ensure_durable_dir(above); !again)
      return not_done(std::move(again).error(), what);
    status = give_name(temporary, path, condition, what);
  }
  TRY(status);
  if (auto synced = env_.sync_dir(parent_of(path)); !synced)
    return fail(Errc::kIo, what + ": " + synced.error().message(), synced.error().sys_errno());
  return {};
}

// The step that makes the object visible. A network filesystem may fail a link or rename that it
// did, because the answer to the first request was lost: the temporary itself says what happened.
Status FileStore::Directory::give_name(const Temporary& temporary, const std::string& path,
                                       PutCondition condition, const std::string& what) {
  if (condition == PutCondition::kAlways) {
    auto status = env_.rename(temporary.path, path);
    if (status) return {};
    const auto left = env_.stat(temporary.path);
    if (left) return not_done(std::move(status).error(), what);
    const auto there = env_.stat(path);
    if (there && file_etag(*there) == temporary.etag) return {};
    return fail(Errc::kIo, what + ": " + status.error().message(), status.error().sys_errno());
  }
  auto status = env_.link(temporary.path, path);
  if (status) return {};
  const auto left = env_.stat(temporary.path);
  if (!left) {
    return fail(Errc::kIo, what + ": " + status.error().message() + "; its outcome is unknown",
                status.error().sys_errno());
  }
  if (left->link_count > 1) return {};
  if (status.error().code() == Errc::kExists) {
    const auto there = env_.stat(path);
    if (there && there->is_directory)
      return not_done(Error(Errc::kUnsupported, "a directory has this name", EISDIR), what);
    return fail(Errc::kPrecondition, what + ": it exists already", EEXIST);
  }
  if (const int e = status.error().sys_errno(); e == EPERM || e == EOPNOTSUPP || e == ENOSYS)
    return fail(Errc::kUnsupported,
                what + ": this filesystem makes no hard links, which a file: remote needs; " +
                    status.error().message(),
                e);
  return not_done(std::move(status).error(), what);
}

// Makes the directory and every name on the way to it durable, once in this store's life: that it
// exists does not say that whoever made it has synced it.
Status FileStore::Directory::ensure_durable_dir(const std::string& relative) {
  if (relative.empty()) return {};
  {
    const std::lock_guard lock(mutex_);
    if (durable_dirs_.contains(relative)) return {};
  }
  TRY(check_root("put"));  // it may have gone meanwhile
  TRY(env_.make_dirs(root_ + "/" + relative));
  std::vector<std::string> chain;
  for (std::string dir = relative; !dir.empty(); dir = parent_of(dir)) chain.push_back(dir);
  {
    const std::lock_guard lock(mutex_);
    while (!chain.empty() && durable_dirs_.contains(chain.back())) chain.pop_back();
  }
  for (const std::string& dir : chain) {
    const std::string above = parent_of(dir);
    TRY(env_.sync_dir(above.empty() ? root_ : root_ + "/" + above));
  }
  const std::lock_guard lock(mutex_);
  if (durable_dirs_.size() + chain.size() > kKnownDirsMax) durable_dirs_.clear();
  durable_dirs_.insert(chain.begin(), chain.end());
  return {};
}

void FileStore::Directory::forget_dirs() {
  const std::lock_guard lock(mutex_);
  durable_dirs_.clear();
}

Status FileStore::Directory::remove(const std::string& key) {
  TRY(check_file_key(key, say("use", key)));
  const std::string path = root_ + "/" + key;
  const std::string what = say("remove", key);
  const bool is_directory = is_directory_key(key);
  auto status = is_directory ? env_.remove_dir(path) : env_.remove(path);
  if (!status && is_directory && status.error().sys_errno() == ENOTEMPTY) return {};
  if (!status) {
    if (is_missing(status.error())) return {};
    if (const auto info = env_.stat(path); info && info->is_directory) return {};  // no object
    return tl::unexpected<Error>(to_port(std::move(status).error(), what));
  }
  if (auto synced = env_.sync_dir(parent_of(path)); !synced && !is_missing(synced.error()))
    return fail(Errc::kIo, what + ": " + synced.error().message(), synced.error().sys_errno());
  return {};
}

Result<ListPage> FileStore::Directory::list(const ListScope& scope, const std::string& after,
                                            uint32_t limit, const Context& context) {
  TRY(check_list_limit(limit));
  const std::string what = say("list", scope.prefix);
  TRY(check_root(what));
  const auto check = [&]() -> Status {
    if (auto over = gave_up(context, clock_, what)) return tl::unexpected<Error>(std::move(*over));
    return {};
  };
  auto page = walk_objects(env_, root_, scope, after, limit, check);
  if (page) return page;
  const Errc code = page.error().code();
  if (code == Errc::kCancelled || code == Errc::kTimeout) return page;
  return tl::unexpected<Error>(to_port(std::move(page).error(), what));
}

FileStore::FileStore(const Parts& parts, std::shared_ptr<Directory> directory)
    : env_(parts.env),
      executor_(parts.executor),
      clock_(parts.clock),
      root_(directory->root()),
      directory_(std::move(directory)) {}

Result<std::shared_ptr<FileStore>> FileStore::open(const Parts& parts, std::string root,
                                                   Create create) {
  while (root.size() > 1 && root.ends_with('/')) root.pop_back();
  if (root.empty()) return fail(Errc::kInvalid, "the path of a file: remote is empty");
  auto directory = std::make_shared<Directory>(parts, std::move(root));
  TRY(directory->prepare(create));
  return std::shared_ptr<FileStore>(new FileStore(parts, std::move(directory)));
}

void FileStore::get(std::string key, GetRange range, Context context, Callback<GetResult> done) {
  std::string what = directory_->say("get", key);
  run_task<GetResult>(executor_, clock_, std::move(context), std::move(what), std::move(done),
                      [directory = directory_, key = std::move(key), range](
                          const Context& request) { return directory->get(key, range, request); });
}

void FileStore::head(std::string key, Context context, Callback<ObjectHead> done) {
  std::string what = directory_->say("head", key);
  run_task<ObjectHead>(executor_, clock_, std::move(context), std::move(what), std::move(done),
                       [directory = directory_, key = std::move(key)](const Context&) {
                         return directory->head(key);
                       });
}

void FileStore::put(std::string key, Body body, PutHow how, Context context,
                    Callback<std::string> done) {
  std::string what = directory_->say("put", key);
  run_task<std::string>(
      executor_, clock_, std::move(context), std::move(what), std::move(done),
      [directory = directory_, key = std::move(key), body = std::move(body), how = std::move(how)](
          const Context& request) { return directory->put(key, body, how, request); });
}

void FileStore::remove(std::string key, Context context, Callback<void> done) {
  std::string what = directory_->say("remove", key);
  run_task<void>(executor_, clock_, std::move(context), std::move(what), std::move(done),
                 [directory = directory_, key = std::move(key)](const Context&) {
                   return directory->remove(key);
                 });
}

void FileStore::list(ListScope scope, std::string after, uint32_t limit, Context context,
                     Callback<ListPage> done) {
  std::string what = directory_->say("list", scope.prefix);
  run_task<ListPage>(
      executor_, clock_, std::move(context), std::move(what), std::move(done),
      [directory = directory_, scope = std::move(scope), after = std::move(after),
       limit](const Context& request) { return directory->list(scope, after, limit, request); });
}

std::string FileStore::description() const {
  return "file://" + root_;
}

}  // namespace cairn
