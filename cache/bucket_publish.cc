#include "cache/bucket_publish.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <mutex>

#include "cache/base/coding.h"
#include "cache/base/failpoint.h"
#include "cache/base/log.h"
#include "cache/bucket_names.h"

namespace cairn {

namespace {

constexpr uint64_t kLeastBytesPerSecond = 256 * 1024;  // who is slower than that has given up

// Says which object it is. With all buckets the key says which of them takes nothing.
Status about(const std::string& key, Status done) {
  if (!done) return tl::unexpected<Error>(std::move(done).error().wrap("'" + key + "'"));
  return done;
}

}  // namespace

BucketPublisher::BucketPublisher(const Parts& parts, Options options, const PublishBatch& batch,
                                 Context context)
    : parts_(parts), options_(std::move(options)), batch_(batch), context_(std::move(context)) {}

Status BucketPublisher::run() {
  if (!parts_.tree.has_room(true)) TRY(parts_.lister.make_room());
  if (!parts_.tree.has_room(true))
    return fail(Errc::kNoSpace,
                "the cache has no room for the names of more objects; mount with a larger "
                "--cache-size",
                ENOSPC);
  TRY(finish_leftovers());
  TRY(collect_names());
  if (!moved_.empty()) {
    TRY(move_directory());
    CAIRN_FAILPOINT("bucket.moved");
    parts_.tree.note_published(batch_.lsn);
    return parts_.tree.checkpoint();
  }
  TRY(collect());
  Status first = remove_in_the_way();
  std::set<std::string> unmade;
  if (first) first = make_directories(unmade);
  CAIRN_FAILPOINT("bucket.directories");
  if (!first && unmade.empty()) {
    TRY(parts_.tree.checkpoint());
    return first;
  }
  if (Status put = in_order(files_without(unmade)); first) first = std::move(put);
  // What could not be copied stays where it is. What was is noted before its old key goes.
  if (Status kept = parts_.tree.checkpoint(); first) first = std::move(kept);
  CAIRN_FAILPOINT("bucket.put");
  if (first) first = remove_objects();
  CAIRN_FAILPOINT("bucket.removed");
  if (first) first = mark_empty_directories();
  parts_.tree.note_published(batch_.lsn);
  // Which object an inode is must be known for as long as the journal says nothing of it.
  if (Status kept = parts_.tree.checkpoint(); first) first = std::move(kept);
  return first;
}

Context BucketPublisher::request(uint64_t bytes) const {
  Context context;
  context.cancel = context_.cancel;
  context.trouble = context_.trouble;
  const auto slowly = std::chrono::seconds(bytes / kLeastBytesPerSecond);
  context.deadline = Deadline::after(parts_.clock, options_.io_timeout + slowly);
  return context;
}

void BucketPublisher::noted(BucketTree::Keys keys) {
  parts_.lister.note_changes(std::move(keys));
}

// Several at once, on threads that may wait. All are tried; the first error is the answer.
Status BucketPublisher::each(size_t count, const std::function<Status(size_t)>& work) {
  RankedMutex<Rank::kLeaf> mutex;
  Status first;
  parallel_for(parts_.waiting, options_.threads, count, [&](size_t i) {
    if (context_.cancel.cancelled()) return;
    Status done = work(i);
    const std::lock_guard lock(mutex);
    if (!done && first) first = std::move(done);
  });
  if (context_.cancel.cancelled()) return fail(Errc::kCancelled, "the mount is ending", EIO);
  return first;
}

// ---- what has to be done

Result<Buffer> BucketPublisher::block_of(const Cid& value) const {
  if (value.is_identity()) return Buffer::copy(to_string(value.payload()));
  for (const auto& [digest, bytes] : batch_.blocks)
    if (digest == value.digest()) return bytes;
  return fail(Errc::kCorruption, "a block is missing in its batch");
}

Result<InodeRecord> BucketPublisher::decode(const Cid& value) const {
  TRY_ASSIGN(const Buffer bytes, block_of(value));
  return InodeRecord::decode(bytes);
}

Result<std::optional<std::string>> BucketPublisher::xattr_of(
    const std::optional<Cid>& value) const {
  if (!value) return std::optional<std::string>();
  TRY_ASSIGN(const Buffer bytes, block_of(*value));
  TRY_ASSIGN(const XattrValue xattr, XattrValue::decode(bytes));
  if (const auto* text = std::get_if<ByteVec>(&xattr.value)) return to_string(*text);
  TRY_ASSIGN(const Buffer block, block_of(std::get<Cid>(xattr.value)));
  return to_string(block);
}

Status BucketPublisher::collect_names() {
  for (const TreeEdit& edit : batch_.edits) {
    TRY_ASSIGN(const RecordKey key, parse_key(edit.key));
    if (key.kind == KeyKind::kInode && !edit.value) removed_inodes_.insert(key.ino);
    if (key.kind == KeyKind::kXattr) {
      TRY_ASSIGN(auto value, xattr_of(edit.value));
      xattrs_[key.ino].emplace_back(key.name, std::move(value));
    }
    if (key.kind != KeyKind::kDirent || !edit.value) continue;
    TRY_ASSIGN(const Dirent dirent, Dirent::decode(edit.value->payload()));
    placed_.insert_or_assign(dirent.ino, std::pair(key.ino, std::string(key.name)));
    if (dirent.type != FileType::kDirectory) continue;
    TRY_ASSIGN(const auto node, parts_.tree.node(dirent.ino));
    if (!node) {
      directories_[dirent.ino].ino = dirent.ino;
      continue;
    }
    const std::pair to(key.ino, std::string(key.name));
    if (node->parent == to.first && shown_name(node->part) == to.second) continue;
    moved_.emplace(dirent.ino, to);
    emptied_.insert({node->parent, dirent.ino});
  }
  return {};
}

Status BucketPublisher::collect() {
  // Directories first: where files go is known by them.
  for (bool more = true; more;) {
    more = false;
    for (const TreeEdit& edit : batch_.edits) {
      TRY_ASSIGN(const RecordKey key, parse_key(edit.key));
      if (key.kind != KeyKind::kInode || !edit.value) continue;
      const auto directory = directories_.find(key.ino);
      if (directory == directories_.end() || directory->second.has_record) continue;
      const auto [parent, name] = placed_.at(key.ino);
      const auto above = directories_.find(parent);
      if (above != directories_.end() && !above->second.has_record) continue;
      TRY_ASSIGN(directory->second.record, decode(*edit.value));
      TRY_ASSIGN(directory->second.to, place_of(key.ino, parent, name));
      directory->second.has_record = more = true;
    }
  }
  for (const TreeEdit& edit : batch_.edits) {
    TRY_ASSIGN(const RecordKey key, parse_key(edit.key));
    if (key.kind != KeyKind::kDirent) continue;
    if (!edit.value) emptied_.insert(key.ino);
    TRY_ASSIGN(const auto there, parts_.tree.entry(key.ino, key.name));
    if (!there) continue;
    // Whose name it was, if that is gone. Another one under the name is somebody else's.
    if (!removed_inodes_.contains(there->ino)) continue;
    TRY_ASSIGN(const auto node, parts_.tree.node(there->ino));
    if (!node) continue;
    TRY_ASSIGN(std::string object, parts_.tree.key_of(*node));
    if (there->is_dir) object += "/";
    removed_keys_[object] = node->etag;
    removals_.push_back({there->ino, std::move(object), node->etag, there->is_dir});
  }
  return collect_inodes();
}

Status BucketPublisher::collect_inodes() {
  for (const TreeEdit& edit : batch_.edits) {
    TRY_ASSIGN(const RecordKey key, parse_key(edit.key));
    if (key.kind != KeyKind::kInode || !edit.value) continue;
    if (directories_.contains(key.ino)) continue;
    TRY_ASSIGN(const InodeRecord record, decode(*edit.value));
    if (record.type() == FileType::kDirectory) {
      TRY(note_directory(key.ino, record));
    } else {
      TRY(plan_file(key.ino, record, edit.lsn));
    }
  }
  // Under the key of something that goes in this batch, or goes elsewhere.
  for (const auto& file : files_)
    if (file->moves) removed_keys_.emplace(file->from_key, file->before->etag);
  for (const auto& file : files_) {
    const auto gone = removed_keys_.find(file->to.key);
    const bool stays = file->before && !file->moves;
    if (!stays && gone != removed_keys_.end()) file->expected_etag = gone->second;
  }
  return {};
}

// Those of a batch in which one moved.
Status BucketPublisher::collect_directory_records() {
  for (const TreeEdit& edit : batch_.edits) {
    TRY_ASSIGN(const RecordKey key, parse_key(edit.key));
    if (key.kind != KeyKind::kInode || !edit.value) continue;
    TRY_ASSIGN(const InodeRecord record, decode(*edit.value));
    if (record.type() == FileType::kDirectory) TRY(note_directory(key.ino, record));
  }
  for (const uint64_t ino : removed_inodes_) TRY(parts_.tree.drop(ino));
  return mark_empty_directories();
}

// Of a directory's own object; nullopt: it has no such key, or is gone with what it was in.
Result<std::optional<std::string>> BucketPublisher::marker_key(uint64_t dir) const {
  auto key = parts_.tree.prefix_of(dir);
  if (!key && key.error().sys_errno() == ESTALE) return std::optional<std::string>();
  TRY(key);
  if (!parts_.tree.check_key(*key)) return std::optional<std::string>();
  return std::optional(*std::move(key));
}

// Of the directory's own object; nullopt: there is none.
Result<std::optional<ObjectHeaders>> BucketPublisher::marker_headers(const BucketNode& node,
                                                                     const std::string& key) const {
  if (node.headers && !node.headers_asked) return node.headers;
  const auto head = head_sync(parts_.store, key, request());
  if (!head && head.error().code() == Errc::kNotFound) return std::optional<ObjectHeaders>();
  TRY(head);
  return std::optional(head->headers);
}

// Of a directory that is there: its times are only known here, mode and owner go to its object.
Status BucketPublisher::note_directory(uint64_t ino, const InodeRecord& record) {
  TRY_ASSIGN(auto node, parts_.tree.node(ino));
  if (!node) return {};
  ObjectAttrs known;
  if (was_shown(*node)) known = attrs_of(*node->headers);
  InodeRecord shown;
  shown.mode = S_IFDIR | (known.mode.value_or(0755) & 07777);
  shown.uid = known.uid.value_or(options_.uid);
  shown.gid = known.gid.value_or(options_.gid);
  shown.mtime = record.mtime;  // of no directory is it kept
  const bool differs =
      shown.mode != record.mode || shown.uid != record.uid || shown.gid != record.gid;
  node->mtime_ns = record.mtime;
  if (!differs) return parts_.tree.update(ino, *node);
  if (parts_.tree.is_bucket(ino, *node)) {  // what it is stays in this cache
    if (!node->headers) node->headers.emplace();
    set_changed_attrs(*node->headers, record, shown);
    return parts_.tree.update(ino, *node);
  }
  TRY_ASSIGN(const auto key, marker_key(ino));
  if (key) {
    TRY_ASSIGN(auto headers, marker_headers(*node, *key));
    if (!headers) headers.emplace();
    set_changed_attrs(*headers, record, shown);
    fit_metadata(*headers);
    TRY(put_marker(*key, headers));
    node->headers = std::move(headers);
    node->headers_asked = false;
    node->has_marker = true;
  }
  return parts_.tree.update(ino, *node);
}

// A name stands for a key; where it cannot (its directory is not known any more, such keys are only
// read), the object gets a key at the top that can be recognised. That must not stop all else.
Result<BucketPublisher::Place> BucketPublisher::place_of(uint64_t ino, uint64_t dir,
                                                         const std::string& name) {
  const NameMeaning meaning = meaning_of(name);
  Place place{dir, name, meaning.part, ""};
  Result<std::string> prefix = std::string();
  const auto above = directories_.find(dir);
  if (above != directories_.end()) {
    prefix = above->second.to.key;
  } else {
    prefix = parts_.tree.prefix_of(dir);
    if (!prefix && prefix.error().sys_errno() != ESTALE)
      return tl::unexpected<Error>(prefix.error());
  }
  const bool is_dir = directories_.contains(ino);
  if (prefix) place.key = *prefix + place.part + (is_dir ? "/" : "");
  const bool plain = meaning.kind == NameMeaning::Kind::kPart && !place.part.empty();
  if (prefix && plain && parts_.tree.check_key(place.key)) return place;
  const std::string digest = sha256(as_bytes(prefix ? place.key : name)).hex().substr(0, 8);
  const std::string part(
      utf8_prefix(fmt::format("recovered-{:x}-{}-{}", ino, digest, as_utf8(name)), kMaxName));
  log_warn("'{}' cannot be an object under its own key ({}); it is '{}' instead", as_utf8(name),
           prefix ? "such a key is only read" : "its directory is gone", part);
  ++conflicts_;
  TRY_ASSIGN(const Place top, top_for(ino, prefix ? *prefix : std::string()));
  return Place{top.dir, shown_name(part), part, top.key + part + (is_dir ? "/" : "")};
}

// The top of the bucket that it is in, or was.
Result<BucketPublisher::Place> BucketPublisher::top_for(uint64_t ino, std::string prefix) const {
  if (!parts_.tree.has_buckets()) return Place{BucketTree::kRoot, "", "", ""};
  TRY_ASSIGN(const auto node, parts_.tree.node(ino));
  if (prefix.empty() && node) {
    TRY_ASSIGN(prefix, parts_.tree.key_of(*node));
  }
  std::string bucket(parts_.tree.bucket_of(prefix));
  TRY_ASSIGN(const auto dir, parts_.tree.ino_of(bucket));
  if (bucket.empty() || !dir)
    return fail(Errc::kIo, fmt::format("it is not known any more which bucket inode {:x} is of: "
                                       "it stays in the cache, and so does what came after it",
                                       ino));
  return Place{*dir, "", "", std::move(bucket)};
}

Status BucketPublisher::plan_file(uint64_t ino, const InodeRecord& record, Lsn lsn) {
  auto file = std::make_unique<File>();
  file->ino = ino;
  file->lsn = lsn;
  file->record = record;
  TRY_ASSIGN(file->before, parts_.tree.node(ino));
  if (file->before) {
    TRY_ASSIGN(file->from_key, parts_.tree.key_of(*file->before));
  }
  const auto placed = placed_.find(ino);
  if (placed != placed_.end()) {
    TRY_ASSIGN(file->to, place_of(ino, placed->second.first, placed->second.second));
  } else if (file->before) {
    TRY_ASSIGN(const std::string name, parts_.tree.shown_as(ino, *file->before));
    file->to = Place{file->before->parent, name, file->before->part, file->from_key};
    if (!parts_.tree.check_key(file->from_key)) {
      TRY_ASSIGN(file->to, place_of(ino, file->before->parent, name));
    }
  } else {
    // Only when the tables of names were lost.
    TRY_ASSIGN(file->to, place_of(ino, ino, fmt::format("{:x}", ino)));
  }
  file->moves = file->before && file->to.key != file->from_key;
  if (file->before && !file->moves && file->before->lsn >= lsn) return {};  // done before

  const auto frozen =
      std::lower_bound(batch_.files.begin(), batch_.files.end(), ino,
                       [](const FrozenFile& each, uint64_t number) { return each.inode < number; });
  const uint64_t old_size = file->before ? file->before->size : 0;
  const bool content_is_done = file->before && file->before->lsn >= lsn;
  if (record.type() == FileType::kSymlink || content_is_done) {
    // its target is its content
  } else if (frozen != batch_.files.end() && frozen->inode == ino) {
    file->frozen = &*frozen;
  } else if (record.size != old_size || !file->before) {
    file->resized = std::make_unique<FrozenFile>();
    file->resized->inode = ino;
    file->resized->size = file->resized->base_limit = record.size;
    file->frozen = file->resized.get();
  }
  TRY_ASSIGN(const auto there, parts_.tree.entry(file->to.dir, file->to.name));
  // Another one that got the name meanwhile is somebody else's.
  if (there && there->ino != ino && !there->is_dir && removed_inodes_.contains(there->ino)) {
    TRY_ASSIGN(const auto replaced, parts_.tree.node(there->ino));
    if (replaced) file->expected_etag = replaced->etag;
  }
  files_.push_back(std::move(file));
  return {};
}

// ---- doing it

Status BucketPublisher::put_marker(const std::string& key,
                                   const std::optional<ObjectHeaders>& headers) {
  PutHow how;
  if (headers) how.headers = *headers;
  how.headers.content_type = "application/x-directory";
  TRY(put_sync(parts_.store, key, Body(), how, request()));
  return {};
}

// Keys in order: what is above comes first. `unmade`: which the store did not take.
Status BucketPublisher::make_directories(std::set<std::string>& unmade) {
  std::vector<Directory*> made;
  for (auto& [ino, directory] : directories_)
    if (directory.has_record) made.push_back(&directory);
  std::sort(made.begin(), made.end(),
            [](const Directory* a, const Directory* b) { return a->to.key < b->to.key; });
  const auto headers_of = [](const Directory& directory) {
    ObjectHeaders headers;
    set_attrs(headers, directory.record);
    return headers;
  };
  std::vector<char> there(made.size(), 0);
  Status put = each(made.size(), [&](size_t i) -> Status {
    TRY(about(made[i]->to.key, put_marker(made[i]->to.key, headers_of(*made[i]))));
    there[i] = 1;
    return {};
  });
  for (size_t i = 0; i < made.size(); ++i) {
    if (there[i] == 0) continue;
    const Directory* directory = made[i];
    BucketNode node;
    node.kind = BucketNode::Kind::kDirectory;
    node.parent = directory->to.dir;
    node.part = directory->to.part;
    node.mtime_ns = directory->record.mtime;
    node.has_marker = true;
    node.headers = headers_of(*directory);
    TRY(parts_.tree.place(directory->to.dir, directory->to.name, directory->ino, std::move(node)));
    parts_.tree.forget_leftover(directory->to.key);
    removed_keys_.erase(directory->to.key);
  }
  for (size_t i = 0; i < made.size(); ++i)
    if (there[i] == 0) unmade.insert(made[i]->to.key);
  return put;
}

// What belongs below a directory that is not there yet waits for it, and what would take the key
// that something which waits is read from waits, too.
std::vector<BucketPublisher::File*> BucketPublisher::files_without(
    const std::set<std::string>& unmade) const {
  std::set<std::string> read;
  const auto waits = [&](const std::string& key) {
    for (size_t end = key.find('/'); end != std::string::npos; end = key.find('/', end + 1))
      if (unmade.contains(key.substr(0, end + 1))) return true;
    return read.contains(key);
  };
  std::vector<File*> files;
  for (const auto& file : files_) files.push_back(file.get());
  for (bool again = true; again;) {
    again = false;
    std::vector<File*> rest;
    for (File* file : files) {
      if (!waits(file->to.key)) {
        rest.push_back(file);
      } else if (file->moves) {
        again |= read.insert(file->from_key).second;
      }
    }
    files = std::move(rest);
  }
  return files;
}

// An object is written only when nobody reads it any more under its key. A ring of renames is
// broken by a copy beside.
Status BucketPublisher::in_order(std::vector<File*> files) {
  Status first;
  while (!files.empty()) {
    std::map<std::string, std::vector<File*>> readers;
    for (File* file : files)
      if (file->moves) readers[file->from_key].push_back(file);
    std::vector<File*> ready;
    std::vector<File*> later;
    for (File* file : files) {
      const auto reading = readers.find(file->to.key);
      const bool others =
          reading != readers.end() && std::any_of(reading->second.begin(), reading->second.end(),
                                                  [&](const File* each) { return each != file; });
      (others ? later : ready).push_back(file);
    }
    if (ready.empty()) {
      File& file = *later.front();
      const std::string beside = file.from_key + mark_beside(file);
      Body body;
      if (file.before->size > 0)
        body.add(ObjectRange{
            file.from_key, file.before->etag, file.before->size, {0, file.before->size}});
      PutHow how;
      TRY_ASSIGN(const Source source, source_of(file));
      how.headers = source.headers;  // whoever copies this one asks it for them
      TRY_ASSIGN(file.before->etag,
                 put_sync(parts_.store, beside, std::move(body), how, request(file.before->size)));
      file.from_key = beside;
      continue;
    }
    const auto publish = [&](size_t i) { return about(ready[i]->to.key, publish_file(*ready[i])); };
    if (Status done = each(ready.size(), publish); !done && first) first = std::move(done);
    if (!first && !later.empty()) return first;
    files = std::move(later);
  }
  return first;
}

Status BucketPublisher::remove_objects() {
  for (const auto& file : files_)
    if (file->moves) emptied_.insert(file->before->parent);
  // What was put under a key that was to go is there to stay.
  std::set<std::string> put;
  for (const auto& file : files_) put.insert(file->to.key);
  for (const auto& [ino, directory] : directories_) put.insert(directory.to.key);
  std::erase_if(removals_, [&put](const Removal& each) { return put.contains(each.key); });
  for (const std::string& key : put) parts_.tree.forget_leftover(key);
  TRY(finish_leftovers());
  return remove_all(std::move(removals_));
}

// Objects first, then directories from below: one that still holds something stays.
Status BucketPublisher::remove_all(std::vector<Removal> removals) {
  const auto objects_end = std::stable_partition(
      removals.begin(), removals.end(), [](const Removal& each) { return !each.is_directory; });
  std::sort(objects_end, removals.end(),
            [](const Removal& a, const Removal& b) { return a.key > b.key; });
  const auto objects = static_cast<size_t>(objects_end - removals.begin());
  const auto forget = [this](const Removal& removal) -> Status {
    TRY_ASSIGN(auto keys, parts_.tree.drop(removal.ino));
    noted(std::move(keys));
    return {};
  };
  const Status removed = each(objects, [&](size_t i) -> Status {
    TRY(about(removals[i].key, remove_if_same(removals[i].key, removals[i].etag)));
    return forget(removals[i]);
  });
  TRY(removed);
  for (auto directory = objects_end; directory != removals.end(); ++directory) {
    if (parts_.tree.check_key(directory->key))
      TRY(about(directory->key, remove_sync(parts_.store, directory->key, request())));
    TRY(forget(*directory));
  }
  return {};
}

// Some stores keep no object beside others that have its key as a directory. What is gone and would
// be in the way of what is put goes first.
Status BucketPublisher::remove_in_the_way() {
  std::set<std::string> put;
  for (const auto& file : files_) put.insert(file->to.key);
  for (const auto& [ino, directory] : directories_) put.insert(directory.to.key);
  const auto is_in_the_way = [&put](const Removal& removal) {
    const std::string& key = removal.key;
    const std::string dir = removal.is_directory ? key : key + "/";
    const auto below = put.lower_bound(dir);
    if (!removal.is_directory && below != put.end() && below->starts_with(dir)) return true;
    for (size_t slash = key.find('/'); slash != std::string::npos; slash = key.find('/', slash + 1))
      if (put.contains(key.substr(0, slash))) return true;
    return false;
  };
  std::vector<Removal> first;
  std::copy_if(removals_.begin(), removals_.end(), std::back_inserter(first), is_in_the_way);
  std::erase_if(removals_, is_in_the_way);
  for (const Removal& removal : first) removed_keys_.erase(removal.key);
  return remove_all(std::move(first));
}

// A directory that was only there because of its objects stays when the last one goes.
Status BucketPublisher::mark_empty_directories() {
  for (const uint64_t dir : emptied_) {
    if (dir == BucketTree::kRoot || removed_inodes_.contains(dir)) continue;
    TRY_ASSIGN(auto node, parts_.tree.node(dir));
    TRY_ASSIGN(const auto names, parts_.tree.entries(dir, "", 1));
    if (!node || node->has_marker || !names.empty()) continue;
    TRY_ASSIGN(const auto key, marker_key(dir));
    if (!key) continue;
    TRY_ASSIGN(const auto there, marker_headers(*node, *key));
    if (!there || (node->headers && !node->headers_asked)) TRY(put_marker(*key, there));
    node->has_marker = true;
    TRY(parts_.tree.update(dir, *node));
  }
  return {};
}

}  // namespace cairn
