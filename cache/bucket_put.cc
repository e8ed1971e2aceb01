// One object: what it is put over, and what is done when somebody else was there.
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <mutex>

#include "cache/base/log.h"
#include "cache/bucket_content.h"
#include "cache/bucket_names.h"
#include "cache/bucket_publish.h"

namespace cairn {

namespace {

constexpr int kAttempts = 5;
constexpr uint64_t kKeptBytesMax = 32ULL << 20;  // of one object, assembled once more for the cache

// "a.conflict-20260102T030405Z-node.txt": what opens the one opens the other.
std::string name_beside(const std::string& name, int64_t now_ns, const std::string& host) {
  const std::time_t seconds = now_ns / 1'000'000'000;
  std::string from;
  for (const char c : host)
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-') from.push_back(c);
  std::string mark =
      fmt::format(".conflict-{:%Y%m%dT%H%M%SZ}-{}", fmt::gmtime(seconds), from.substr(0, 32));
  size_t point = name.rfind('.');
  if (point == std::string::npos || point == 0 || name.size() - point > 16) point = name.size();
  const size_t room = kMaxName - mark.size() - (name.size() - point);
  return std::string(utf8_prefix(name.substr(0, point), room)) + mark + name.substr(point);
}

}  // namespace

Result<BucketPublisher::Source> BucketPublisher::source_of(File& file) {
  Source source;
  if (!file.before) {
    source.headers.content_type = content_type_of(file.to.name);
    return source;
  }
  source.base = BodyBase{file.from_key, file.before->etag, file.before->size};
  if (file.before->headers && !file.before->headers_asked && options_.honours_if_match) {
    source.headers = *file.before->headers;
    return source;
  }
  // What others keep in the metadata stays there.
  auto head = head_sync(parts_.store, file.from_key, request());
  if (!head && head.error().code() == Errc::kNotFound) {
    source.gone = true;
    return source;
  }
  TRY(head);
  source.headers = head->headers;
  source.storage_class = head->storage_class;
  head->info.key = file.from_key;
  if (bare_etag(head->info.etag) != bare_etag(file.before->etag)) source.changed = *std::move(head);
  return source;
}

// Was what the object says of itself what people saw here?
bool BucketPublisher::was_shown(const BucketNode& node) const {
  return node.headers && (options_.full_attrs || !node.headers_asked);
}

// What the object has, and what was set here. Attributes that only stood in for what nobody asked
// for are not set.
ObjectHeaders BucketPublisher::headers_for(const File& file, const Source& source) const {
  ObjectHeaders headers = source.headers;
  if (file.before && !was_shown(*file.before)) {
    InodeRecord shown;
    shown.mode = S_IFREG | 0644;
    shown.uid = options_.uid;
    shown.gid = options_.gid;
    shown.mtime = file.before->mtime_ns;
    set_changed_attrs(headers, file.record, shown);
  } else {
    set_attrs(headers, file.record);
  }
  const auto xattrs = xattrs_.find(file.ino);
  if (xattrs == xattrs_.end()) return headers;
  for (const bool removing : {true, false})
    for (const auto& [name, value] : xattrs->second)
      if (is_header_xattr(name) && value.has_value() != removing &&
          !set_object_xattr(headers, name, value))
        log_warn("'{}' has more metadata than objects can have: {} is not kept", file.to.key, name);
  return headers;
}

Status BucketPublisher::publish_file(File& file) {
  find_target(file);
  TRY_ASSIGN(Source source, source_of(file));
  ObjectHeaders headers = headers_for(file, source);
  const bool only_attrs = file.before && !file.moves && file.frozen == nullptr &&
                          file.record.type() == FileType::kRegular;
  if (only_attrs) {
    const bool same = headers.metadata == source.headers.metadata &&
                      headers.content_type == source.headers.content_type && !class_set(file.ino);
    if (source.changed || source.gone) {
      log_info("'{}' was changed by somebody else before its attributes were: theirs stay",
               file.to.key);
      parts_.lister.expire(file.ino);
    }
    if (source.changed || source.gone || same) {
      BucketNode node = *file.before;
      node.lsn = file.lsn;
      if (same && !source.changed && !source.gone && changes_tags(file.ino))
        TRY(put_tags(file, node));
      return parts_.tree.update(file.ino, node);
    }
  }
  if (source.gone && file.frozen == nullptr && file.record.type() == FileType::kRegular) {
    log_info("'{}' was removed by somebody else before it was renamed here", file.from_key);
    TRY_ASSIGN(auto keys, parts_.tree.drop(file.ino));
    noted(std::move(keys));
    file.moves = false;
    return {};
  }
  TRY(choose_labels(file, source));
  set_writer(headers, {options_.cache_id, file.ino, file.lsn});
  fit_metadata(headers);
  TRY_ASSIGN(std::string etag, put_file(file, source, headers));
  return note_put(file, source, std::move(etag), std::move(headers));
}

// Of a symbolic link.
void BucketPublisher::find_target(File& file) const {
  if (file.record.type() != FileType::kSymlink) return;
  if (const auto* target = std::get_if<ByteVec>(&file.record.body)) {
    file.target = to_string(*target);
  } else if (const auto* block = std::get_if<Cid>(&file.record.body)) {
    for (const auto& [digest, bytes] : batch_.blocks)
      if (digest == block->digest()) file.target = to_string(bytes);
  }
  if (file.target.empty() && file.before) file.target = file.before->target;
}

// The record of an object that we put and did not hear of. What we know of is not that: who keeps
// metadata when he writes an object keeps our name, too.
std::optional<Lsn> BucketPublisher::own_lsn(const File& file, const ObjectHead& head) const {
  const auto writer = writer_of(head.headers);
  const Lsn known = file.before ? file.before->lsn : 0;
  const bool ours = writer && writer->cache == options_.cache_id && writer->ino == file.ino;
  if (!ours || writer->lsn <= known) return std::nullopt;
  return writer->lsn;
}

// How the names of passing objects of a file go on: no other tool has one that is called so.
std::string BucketPublisher::mark_beside(const File& file) const {
  ByteVec in(options_.cache_id.begin(), options_.cache_id.end());
  put_le(in, file.ino);
  put_le(in, file.lsn);
  return ".cairn-" + sha256(in).hex().substr(0, 16);
}

// An object that we put before, and did not hear of.
std::string BucketPublisher::taken(File& file, const ObjectInfo& object) {
  file.stored_size = object.size;
  return object.etag;
}

// Until the object is there, under its key or beside it.
Result<std::string> BucketPublisher::put_file(File& file, Source& source, ObjectHeaders& headers) {
  for (int attempt = 1;; ++attempt) {
    const bool in_place = file.before && !file.moves && !file.aside;
    if (source.changed || source.gone) {
      const ObjectHead* theirs = source.changed ? &*source.changed : nullptr;
      const auto written = theirs != nullptr ? own_lsn(file, *theirs) : std::nullopt;
      const bool ours = written.has_value();
      if (ours && in_place && *written == file.lsn) return taken(file, theirs->info);
      if (in_place && theirs != nullptr && !ours) TRY(stand_aside(file, *theirs));
      // What was not written here shows the version that is there now.
      source.base.reset();
      if (theirs != nullptr)
        source.base = BodyBase{theirs->info.key, theirs->info.etag, theirs->info.size};
      if (source.gone && in_place)
        log_info("'{}' was removed by somebody else while it was changed here", file.to.key);
      source.changed.reset();
      source.gone = false;
    }
    const bool stays = file.before && !file.moves && !file.aside && source.base;
    const std::string& expected = stays ? source.base->etag : file.expected_etag;
    PutHow how = expected.empty() ? PutHow(PutCondition::kIfAbsent) : PutHow::over(expected);
    how.headers = headers;
    how.tags = file.tags;
    how.storage_class = file.storage_class;
    auto etag = put_once(file, source, how);
    if (!etag && etag.error().code() == Errc::kInvalid && !file.storage_class.empty()) {
      log_warn("'{}' is not of storage class {}: {}", file.to.key, file.storage_class,
               etag.error().message());
      file.storage_class.clear();
      continue;
    }
    if (etag || etag.error().code() != Errc::kPrecondition || attempt == kAttempts) return etag;

    // Somebody was there: at the target, at the source, or we were and did not hear of it.
    if (source.base) {
      auto head = head_sync(parts_.store, source.base->key, request());
      if (!head && head.error().code() == Errc::kNotFound) {
        source.gone = true;
      } else {
        TRY(head);
        head->info.key = source.base->key;
        if (bare_etag(head->info.etag) != bare_etag(source.base->etag))
          source.changed = *std::move(head);
      }
    }
    if (stays && (source.changed || source.gone)) continue;
    auto there = head_sync(parts_.store, file.to.key, request());
    if (!there && there.error().code() == Errc::kNotFound) {
      file.expected_etag.clear();
      continue;
    }
    TRY(there);
    if (bare_etag(there->info.etag) == bare_etag(file.expected_etag)) continue;
    if (const auto written = own_lsn(file, *there)) {
      if (*written == file.lsn) return taken(file, there->info);
      file.expected_etag = there->info.etag;
      continue;
    }
    TRY(stand_aside(file, *there));
  }
}

Result<Body> BucketPublisher::body_of(File& file, const Source& source,
                                      std::vector<std::string>& beside) {
  Body body;
  if (file.record.type() == FileType::kSymlink) {
    body.add(Buffer::copy(file.target));
    return body;
  }
  if (file.frozen == nullptr) {
    // The store copies the object itself.
    if (source.base && source.base->size > 0)
      body.add(ObjectRange{
          source.base->key, source.base->etag, source.base->size, {0, source.base->size}});
    return body;
  }
  return file.body->make(file.to.key, beside);
}

Result<std::string> BucketPublisher::put_once(File& file, const Source& source, const PutHow& how) {
  uint64_t memory = 0;
  if (file.frozen != nullptr) {
    BucketBody::Parts parts{parts_.store,
                            parts_.host,
                            options_.chunk_bytes,
                            options_.memory_bytes / 2,
                            mark_beside(file) + "-",
                            [this](uint64_t bytes) { return request(bytes); },
                            {}};
    if (file.before && source.base && source.base->etag == file.before->etag)
      parts.leaf = [&file](uint64_t chunk, uint32_t length) {
        return std::optional<Leaf>(
            Leaf{name_of_chunk(file.before->version, file.ino, chunk), length, false, true});
      };
    file.body = std::make_unique<BucketBody>(std::move(parts), *file.frozen, source.base);
    TRY_ASSIGN(memory, file.body->memory_needed());
  }
  const MemoryShare share(*this, memory);
  std::vector<std::string> beside;
  auto body = body_of(file, source, beside);
  Result<std::string> etag = std::string();
  if (!body) {
    etag = tl::unexpected<Error>(body.error());
  } else {
    etag = put_checked(file, *body, how);
  }
  for (const std::string& key : beside) (void)remove_sync(parts_.store, key, request());
  if (etag && file.frozen != nullptr && beside.empty()) stage_chunks(file, *body);
  return etag;
}

// A store may ignore the condition, and to put one on the copy of a whole object costs its tags and
// its etag. Then it is looked at first.
Result<std::string> BucketPublisher::put_checked(File& file, const Body& body, const PutHow& how) {
  PutHow sent = how;
  const uint64_t bytes = body.size();
  const bool copies_whole = file.frozen == nullptr && body.has_object_ranges();
  if (copies_whole || !options_.honours_if_match) {
    const auto there = head_sync(parts_.store, file.to.key, request());
    const bool absent = !there && there.error().code() == Errc::kNotFound;
    if (!absent) TRY(there);
    const bool holds = how.condition == PutCondition::kIfAbsent
                           ? absent
                           : !absent && bare_etag(there->info.etag) == bare_etag(how.if_match);
    if (!holds) return fail(Errc::kPrecondition, "another version is there");
    sent.condition = PutCondition::kAlways;
  }
  auto etag = put_sync(parts_.store, file.to.key, body, sent, request(bytes));
  if (etag) parts_.host.uploaded(bytes);
  return etag;
}

// Ours goes beside theirs.
Status BucketPublisher::stand_aside(File& file, const ObjectHead& theirs) {
  const std::string before = file.to.key;
  const std::string name = name_beside(file.to.part, parts_.clock.wall_ns(), options_.host);
  if (!file.aside) {
    file.theirs = theirs;
    file.theirs.info.key = before;
    file.theirs_dir = file.to.dir;
    ++conflicts_;
  }
  TRY_ASSIGN(file.to, place_of(file.ino, file.to.dir, name));
  file.expected_etag.clear();
  file.aside = true;
  log_warn("'{}' was changed by somebody else, too: theirs stays, what was written here is '{}'",
           before, file.to.key);
  return {};
}

Status BucketPublisher::note_put(File& file, const Source& source, std::string etag,
                                 ObjectHeaders headers) {
  BucketNode node;
  node.kind = BucketNode::Kind::kFile;
  node.size = file.record.size;
  node.mtime_ns = file.record.mtime;
  node.etag = std::move(etag);
  node.part = file.to.part;
  node.lsn = file.lsn;
  node.headers = std::move(headers);
  node.target = file.target;
  node.tags = file.tags;
  node.tags_seen_ns = file.tags ? parts_.tree.now_ns() : 0;
  if (!file.storage_class.empty()) node.storage_class = file.storage_class;
  const bool same_content = file.frozen == nullptr && file.before && source.base &&
                            source.base->etag == file.before->etag;
  node.version = same_content ? file.before->version : own_version(file.ino, file.lsn);
  if (file.frozen == nullptr && source.base) node.size = source.base->size;
  if (file.stored_size) node.size = *file.stored_size;
  parts_.tree.forget_leftover(file.to.key);
  if (file.moves) parts_.tree.note_leftover(file.from_key, file.before->etag);
  TRY_ASSIGN(auto keys, parts_.tree.place(file.to.dir, file.to.name, file.ino, std::move(node)));
  if (!file.aside) return {};
  // The kernel does not know yet.
  noted(std::move(keys));
  const ObjectInfo& theirs = file.theirs.info;
  const std::string part = theirs.key.substr(theirs.key.rfind('/') + 1);
  TRY_ASSIGN(auto others, parts_.tree.settle(file.theirs_dir, part, theirs, false, INT64_MAX));
  noted(std::move(others));
  return {};
}

// What was just sent is clean content of the new version.
void BucketPublisher::stage_chunks(const File& file, const Body& body) {
  const Digest version = own_version(file.ino, file.lsn);
  uint64_t assembled = 0;
  for (const ChunkPlan& plan : file.body->plans()) {
    const Leaf leaf{name_of_chunk(version, file.ino, plan.index), plan.length, false, true};
    if (plan.whole()) {
      parts_.host.chunk_staged(file.ino, plan.index, leaf, Buffer());
      continue;
    }
    if (plan.zero() || (assembled += plan.length) > kKeptBytesMax) continue;
    auto bytes = body.slice({plan.index * options_.chunk_bytes, plan.length}).to_buffer();
    if (bytes) parts_.host.chunk_staged(file.ino, plan.index, leaf, *std::move(bytes));
  }
}

Status BucketPublisher::remove_if_same(const std::string& key, const std::string& etag) {
  if (!parts_.tree.check_key(key)) {
    log_warn("'{}' has a key that is only read: it is not removed", key);
    return {};
  }
  const auto there = head_sync(parts_.store, key, request());
  if (!there && there.error().code() == Errc::kNotFound) return {};
  TRY(there);
  if (bare_etag(there->info.etag) != bare_etag(etag)) {
    log_info("'{}' was changed by somebody else and is not removed", key);
    return {};
  }
  return remove_sync(parts_.store, key, request());
}

// ---- memory

BucketPublisher::MemoryShare::MemoryShare(BucketPublisher& publisher, uint64_t bytes)
    : publisher_(publisher), bytes_(bytes) {
  if (bytes_ == 0) return;
  std::unique_lock lock(publisher_.mutex_);
  publisher_.memory_freed_.wait(lock, [this] {
    return publisher_.memory_used_ == 0 ||
           publisher_.memory_used_ + bytes_ <= publisher_.options_.memory_bytes;
  });
  publisher_.memory_used_ += bytes_;
}

BucketPublisher::MemoryShare::~MemoryShare() {
  if (bytes_ == 0) return;
  const std::lock_guard lock(publisher_.mutex_);
  publisher_.memory_used_ -= bytes_;
  publisher_.memory_freed_.notify_all();
}

}  // namespace cairn
