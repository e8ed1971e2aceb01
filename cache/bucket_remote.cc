#include "cache/bucket_remote.h"

#include <algorithm>
#include <cerrno>
#include <mutex>

#include <sys/stat.h>

#include "cache/base/coding.h"
#include "cache/base/log.h"
#include "cache/bucket_content.h"
#include "cache/bucket_names.h"
#include "cache/bucket_past.h"
#include "cache/bucket_publish.h"
#include "cache/format/records.h"
#include "cache/if_match_probe.h"
#include "cache/object_attrs.h"

namespace cairn {

namespace {

constexpr uint32_t kGetsMax = 32;
constexpr size_t kBlocksMax = 256;
constexpr size_t kAskedAtOnce = 64;
constexpr unsigned kFailedProbesMax = 3;
constexpr Duration kProbePause = std::chrono::seconds(1);  // then twice as long each time
constexpr unsigned kProbePauseDoubled = 8;                 // so often: some four minutes
constexpr Duration kTtlLeast = std::chrono::seconds(1);  // an operation must get through
constexpr uint32_t kFileMode = 0644;
constexpr uint32_t kDirMode = 0755;
constexpr uint32_t kModeBits = 07777;

Cid dirent_value(const BucketEntry& entry) {
  Dirent dirent;
  dirent.ino = entry.ino;
  dirent.type = entry.is_dir    ? FileType::kDirectory
                : entry.is_link ? FileType::kSymlink
                                : FileType::kRegular;
  return Cid::identity(Codec::kDagCbor, dirent.encode());
}

constexpr std::string_view kEtagXattr = "user.s3.etag";
constexpr std::string_view kKeyXattr = "user.s3.key";

tl::unexpected<Error> must_be_asked(uint64_t ino, Missing& missing) {
  missing.add_object(ino);
  return fail(Errc::kNotLocal, "an object's attributes have to be asked for");
}

}  // namespace

BucketRemote::BucketRemote(const Parts& parts, std::shared_ptr<BucketTree> tree,
                           const Options& options)
    : parts_(parts),
      options_(options),
      tree_(std::move(tree)),
      lister_(std::make_shared<BucketLister>(
          BucketLister::Parts{parts.store, parts.clock, parts.executor, parts.background},
          BucketLister::Options{std::max(options.view.metadata_ttl, kTtlLeast), options.io_timeout,
                                options.name_memory_bytes, options.view.probe_names,
                                options.view.deep_pages},
          tree_)),
      heads_(std::make_shared<BucketHeads>(
          BucketLister::Parts{parts.store, parts.clock, parts.executor, parts.background},
          BucketHeads::Options{options.io_timeout, options.view.full_attrs,
                               options.name_memory_bytes},
          tree_, lister_)),
      gets_(std::make_shared<GetLimiter>(parts.store, kGetsMax, options.read_memory_bytes)),
      filters_(*tree_, options.view.filters,
               BucketFilters::Asking{
                   [heads = heads_](uint64_t ino) { return heads->given_up(ino); },
                   [heads = heads_](uint64_t ino) { return heads->tags_given_up(ino); },
                   [heads = heads_](uint64_t ino) { heads->want(ino, BucketHeads::Want::kTags); },
                   [lister = lister_](int64_t seen_ns) { return lister->fresh(seen_ns); }}) {}

void BucketRemote::stop() {
  heads_->stop();
  lister_->stop();
}

BucketRemote::~BucketRemote() {
  stop();
}

Result<std::unique_ptr<BucketRemote>> BucketRemote::open(const Parts& parts,
                                                         std::unique_ptr<MetaStore> names,
                                                         const Options& options) {
  auto tree = std::make_shared<BucketTree>(std::move(names), parts.clock, options.view.all_buckets,
                                           options.view.only_utf8);
  return std::unique_ptr<BucketRemote>(new BucketRemote(parts, std::move(tree), options));
}

VolumeParams BucketRemote::params() const {
  VolumeParams params;
  params.chunk_bytes = kObjectChunkBytes;
  params.content_ids = false;
  params.only_objects = true;
  params.top_is_buckets = options_.view.all_buckets;
  return params;
}

// ---- keys of the tree

Result<std::optional<Cid>> BucketRemote::find(std::string_view key, Missing& missing) {
  TRY_ASSIGN(const RecordKey parsed, parse_key(key));
  switch (parsed.kind) {
    case KeyKind::kSuperblock:
      return std::optional<Cid>();
    case KeyKind::kInode:
      return inode_value(parsed.ino, missing);
    case KeyKind::kXattr:
      return xattr_value(parsed.ino, parsed.name, missing);
    case KeyKind::kDirent:
      break;
  }
  // Nothing is called so, and the store may not even understand the question.
  if (options_.view.only_utf8 && !is_utf8(parsed.name)) return std::optional<Cid>();
  const auto entry = lister_->look_up(parsed.ino, parsed.name);
  if (!entry) {
    if (entry.error().code() == Errc::kNotLocal) missing.add_name(parsed.ino, parsed.name);
    return tl::unexpected<Error>(entry.error());
  }
  if (!*entry) return past_directory(parsed.ino, parsed.name);
  TRY_ASSIGN(const bool shown, filters_.shows(**entry, missing));
  if (!shown) return std::optional<Cid>();
  return std::optional<Cid>(dirent_value(**entry));
}

// Where nothing else is called so. What is past has no past.
Result<std::optional<Cid>> BucketRemote::past_directory(uint64_t dir, std::string_view name) {
  if (!options_.view.past || name != kPastName || is_past_ino(dir) || filters_.hides_names())
    return std::optional<Cid>();
  TRY_ASSIGN(const auto node, tree_->node(dir));
  if (!node && dir != BucketTree::kRoot) return std::optional<Cid>();
  TRY_ASSIGN(const BucketEntry entry, tree_->past_entry(dir));
  return std::optional<Cid>(dirent_value(entry));
}

Result<std::optional<Cid>> BucketRemote::inode_value(uint64_t ino, Missing& missing) {
  TRY_ASSIGN(const auto node, tree_->node(ino));
  // What was made here and is not in the bucket yet.
  if (!node && is_own_ino(ino)) return std::optional<Cid>();
  if (!node) return object_replaced();
  const bool full = options_.view.full_attrs && !tree_->is_bucket(ino, *node);
  if (full && is_to_be_asked(ino, *node)) return must_be_asked(ino, missing);
  ObjectAttrs attrs;
  // What was only looked up for an xattr shows no other attributes all of a sudden.
  if (node->headers && (full || !node->headers_asked)) attrs = attrs_of(*node->headers);
  InodeRecord record;
  record.uid = attrs.uid.value_or(options_.view.uid);
  record.gid = attrs.gid.value_or(options_.view.gid);
  record.nlink = 1;
  if (node->kind == BucketNode::Kind::kDirectory) {
    record.mode = S_IFDIR | (attrs.mode.value_or(kDirMode) & kModeBits);
    record.body = node->parent;
  } else if (!node->target.empty()) {
    record.mode = S_IFLNK | 0777;
    record.size = node->target.size();
    TRY_ASSIGN(record.body, target_of(node->target));
  } else {
    constexpr uint64_t kBlock = 4096;
    record.mode = S_IFREG | (attrs.mode.value_or(kFileMode) & kModeBits);
    record.size = node->size;
    record.allocated = std::min(node->size, uint64_t{INT64_MAX} - kBlock) / kBlock * kBlock +
                       (node->size % kBlock != 0 ? kBlock : 0);
    if (node->size > 0)
      record.body = Cid::from_digest(Codec::kRaw, name_of_chunk(node->version, ino, kWholeContent));
  }
  if (is_past_ino(ino)) record.mode &= ~uint32_t{0222};
  // Of no directory is it kept.
  const bool is_dir = node->kind == BucketNode::Kind::kDirectory;
  const int64_t time = attrs.mtime_ns && !is_dir ? *attrs.mtime_ns : node->mtime_ns;
  record.mtime = record.ctime = record.atime = record.btime = time;
  return std::optional<Cid>(record_cid(record.encode()));
}

// Not of what was changed here while something else stood in for it: that is what people saw.
bool BucketRemote::is_to_be_asked(uint64_t ino, const BucketNode& node) const {
  return !heads_->knows(node) && !tree_->is_held(ino) && !heads_->given_up(ino);
}

// In the record, or in a block of its own.
Result<decltype(InodeRecord::body)> BucketRemote::target_of(const std::string& target) {
  if (target.size() <= InodeRecord::kMaxInlineTarget) return to_vec(as_bytes(target));
  const Cid block = Cid::make(Codec::kRaw, as_bytes(target));
  keep_block(block.digest(), target);
  return block;
}

void BucketRemote::keep_block(const Digest& digest, std::string_view bytes) {
  const std::lock_guard lock(mutex_);
  blocks_.emplace_back(digest, Buffer::copy(bytes));
  if (blocks_.size() > kBlocksMax) blocks_.pop_front();
}

Result<std::optional<Cid>> BucketRemote::xattr_value(uint64_t ino, std::string_view name,
                                                     Missing& missing) {
  if (!name.starts_with("user.s3.")) return std::optional<Cid>();
  TRY_ASSIGN(const auto node, tree_->node(ino));
  if (!node && is_own_ino(ino)) return std::optional<Cid>();
  if (!node) return object_replaced();
  if (node->kind == BucketNode::Kind::kDirectory) return std::optional<Cid>();
  // The store names the version behind an '@' where it is not the newest one.
  std::string value(bare_etag(node->etag).substr(0, bare_etag(node->etag).find('@')));
  if (name == kKeyXattr) {
    TRY_ASSIGN(value, tree_->key_of(*node));
    if (const size_t at = value.find(kPastPart); is_past_ino(ino) && at != std::string::npos)
      value.replace(at, kPastPart.size(), kPastName);
  } else if (name == kTypeXattr || name.starts_with(kMetaXattr)) {
    if (!node->headers && heads_->given_up(ino))
      return fail_errno(EIO, "the store does not say what metadata the object has");
    if (!node->headers) return must_be_asked(ino, missing);
    const auto there = object_xattr(*node->headers, name);
    if (!there) return std::optional<Cid>();
    value = *there;
  } else if (name.starts_with(kTagXattr)) {
    const bool asks = !node->tags || !lister_->fresh(node->tags_seen_ns);
    if (asks && !heads_->tags_given_up(ino)) {
      heads_->want(ino, BucketHeads::Want::kTags);
      return must_be_asked(ino, missing);
    }
    if (!node->tags) return fail_errno(EIO, "the store does not say what tags the object has");
    const std::string* there = find_tag(*node->tags, name.substr(kTagXattr.size()));
    if (there == nullptr) return std::optional<Cid>();
    value = *there;
  } else if (name == kClassXattr || name == kVersionXattr) {
    const auto& known = name == kClassXattr ? node->storage_class : node->version_id;
    if (!known && heads_->given_up(ino))
      return fail_errno(EIO, "the store does not say where the object is kept");
    if (!known) {
      heads_->want(ino, BucketHeads::Want::kPlace);
      return must_be_asked(ino, missing);
    }
    if (known->empty() && name == kVersionXattr) return std::optional<Cid>();
    value = known->empty() ? kStandardClass : std::string_view(*known);
  } else if (name != kEtagXattr) {
    return std::optional<Cid>();
  }
  const XattrValue xattr = XattrValue::of(as_bytes(value));
  if (const auto* block = std::get_if<Cid>(&xattr.value)) keep_block(block->digest(), value);
  return std::optional<Cid>(record_cid(xattr.encode()));
}

Result<Buffer> BucketRemote::block(const Digest& digest, Missing&) {
  const std::lock_guard lock(mutex_);
  for (const auto& [there, bytes] : blocks_)
    if (there == digest) return bytes;
  return fail(Errc::kTransient, "an attribute that is not here any more: ask for it again");
}

Result<std::vector<TreeEntry>> BucketRemote::scan(std::string_view from, std::string_view to,
                                                  size_t limit, Missing& missing) {
  // Ranges are asked for by what all names of a directory, or all xattrs of an inode, begin with.
  const std::string start = std::string(from.substr(0, dirent_prefix(kRootIno).size())) + "x";
  TRY_ASSIGN(const RecordKey begin, parse_key(start));
  const bool of_xattrs = begin.kind == KeyKind::kXattr;
  const std::string prefix = of_xattrs ? xattr_prefix(begin.ino) : dirent_prefix(begin.ino);
  if (!from.starts_with(prefix) || to != prefix_end(prefix))
    return fail(Errc::kInvalid, "a range of keys that a bucket has none of");
  from.remove_prefix(prefix.size());
  if (of_xattrs) return scan_xattrs(begin.ino, from, missing);
  return scan_names(begin.ino, from, limit, missing);
}

Result<std::vector<TreeEntry>> BucketRemote::scan_names(uint64_t dir, std::string_view from,
                                                        size_t limit, Missing& missing) {
  // Who is in the middle of a listing goes on with what there is.
  TRY_ASSIGN(const bool here, lister_->has_names(dir, !from.empty()));
  if (!here) {
    missing.add_name(dir, "");
    return fail(Errc::kNotLocal, "a directory has to be listed");
  }
  // Who asks takes fewer than the limit for the end: what is not shown does not count.
  std::vector<TreeEntry> out;
  std::string next(from);
  for (bool more = true; more && out.size() < limit;) {
    const size_t wanted = limit - out.size();
    TRY_ASSIGN(const auto names, tree_->entries(dir, next, wanted));
    for (const auto& [name, entry] : names) {
      // Is it a symbolic link?
      if (options_.view.full_attrs && !entry.is_dir) {
        TRY_ASSIGN(const auto node, tree_->node(entry.ino));
        if (node && is_to_be_asked(entry.ino, *node)) return must_be_asked(entry.ino, missing);
      }
      const size_t asked = missing.objects().size();
      const auto shown = filters_.shows(entry, missing);
      // Some of what has to be asked for at once; of the bucket's tags nobody knows more before.
      const bool asks_more = !shown && shown.error().code() == Errc::kNotLocal &&
                             missing.objects().size() > asked;
      if (asks_more && missing.objects().size() < kAskedAtOnce) continue;
      TRY(shown);
      if (*shown) out.push_back({dirent_key(dir, name), dirent_value(entry)});
    }
    more = names.size() == wanted;
    if (more) next = names.back().name + '\0';
  }
  if (!missing.objects().empty())
    return fail(Errc::kNotLocal, "what is shown depends on what objects say of themselves");
  return out;
}

// A list is made by programs that look at every file (ls, rsync, cp), so it costs no request: what
// is not known has to be asked for by its name. But where every object is looked at in any case,
// the tags of those that have some are, too.
Result<std::vector<TreeEntry>> BucketRemote::scan_xattrs(uint64_t ino, std::string_view from,
                                                         Missing& missing) {
  std::vector<std::string> names{std::string(kEtagXattr), std::string(kKeyXattr)};
  TRY_ASSIGN(const auto node, tree_->node(ino));
  if (node && options_.view.full_attrs && node->has_tags && !node->tags &&
      !heads_->tags_given_up(ino)) {
    heads_->want(ino, BucketHeads::Want::kTags);
    return must_be_asked(ino, missing);
  }
  if (node && node->headers)
    for (std::string& name : object_xattrs(*node->headers)) names.push_back(std::move(name));
  if (node && node->storage_class) names.emplace_back(kClassXattr);
  if (node && node->version_id) names.emplace_back(kVersionXattr);
  if (node && node->tags)
    for (const auto& [tag, value] : *node->tags)
      if (std::string name = std::string(kTagXattr) + tag; valid_xattr_name(name))
        names.push_back(std::move(name));
  std::sort(names.begin(), names.end());
  std::vector<TreeEntry> out;
  for (const std::string& name : names) {
    if (name < from) continue;
    TRY_ASSIGN(const auto value, xattr_value(ino, name, missing));
    if (value) out.push_back({xattr_key(ino, name), *value});
  }
  return out;
}

// ---- content

void BucketRemote::fetch(const Missing& missing, Context context, Callback<void> done) {
  if (missing.objects().empty())
    return lister_->fetch(missing.names(), std::move(context), std::move(done));
  const Callback<void> both = all_of(2, std::move(done));
  heads_->fetch(missing.objects(), context, both);
  lister_->fetch(missing.names(), std::move(context), both);
}

// ---- the rest of the port

PublishedState BucketRemote::published() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

// What looks like one of our own forms stands for another key, or for none.
Status BucketRemote::check_name(uint64_t dir, std::string_view name) const {
  if (dir == BucketTree::kRoot && !name.empty() && name == options_.view.reserved)
    return fail_errno(EINVAL, "'" + std::string(name) + "' in the root belongs to the store");
  if (options_.view.past && name == kPastName)
    return fail_errno(EROFS, "'.versions' is what is past of the directory");
  if (options_.view.only_utf8 && !is_utf8(name))
    return fail_errno(EILSEQ, "names of objects are UTF-8, and this is none: " + as_utf8(name));
  const NameMeaning meaning = meaning_of(name);
  if (meaning.kind == NameMeaning::Kind::kPart && meaning.part == name) return {};
  return fail_errno(EINVAL, "'" + std::string(name) +
                                "' is how an object with another key is shown: no new file is "
                                "called so");
}

Status BucketRemote::begin_writing(LocalState local) {
  TRY_ASSIGN(const Lsn noted, tree_->published());
  if (noted > local.appended || (noted > 0 && local.tables_are_new)) {
    log_warn("the journal of this cache was replaced: the names of the bucket are listed anew");
    TRY(tree_->forget_all(false));
  } else if (local.published == local.appended && !local.keeps_back) {
    TRY(tree_->thin_out());
  }
  tree_->set_held(std::move(local.held));
  const std::lock_guard lock(mutex_);
  state_.lsn = local.published;
  return {};
}

std::optional<bool> BucketRemote::honours_if_match() const {
  const std::lock_guard lock(mutex_);
  return honours_if_match_;
}

void BucketRemote::begin_recovery(Lsn published) {
  const std::lock_guard lock(mutex_);
  state_.lsn = published;
}

Result<std::optional<BucketRemote::Known>> BucketRemote::known(uint64_t ino) const {
  TRY_ASSIGN(const auto node, tree_->node(ino));
  if (!node) return std::optional<Known>();
  TRY_ASSIGN(std::string name, tree_->shown_as(ino, *node));
  if (name.empty()) return std::optional<Known>();
  const bool is_dir = node->kind == BucketNode::Kind::kDirectory;
  return std::optional<Known>(Known{ino, node->parent, std::move(name), is_dir, node->size});
}

Result<std::optional<BucketRemote::Known>> BucketRemote::known_at(uint64_t dir,
                                                                  std::string_view name) const {
  TRY_ASSIGN(const auto there, tree_->entry(dir, name));
  return there ? known(there->ino) : std::optional<Known>();
}

Status BucketRemote::begin_reading() {
  return tree_->thin_out();
}

// What the keys of a bucket that the batch changes begin with; empty: it names none.
std::string BucketRemote::bucket_of(const PublishBatch& batch) const {
  for (const TreeEdit& edit : batch.edits) {
    const auto key = parse_key(edit.key);
    const auto node = key ? tree_->node(key->ino) : Result<std::optional<BucketNode>>();
    if (!node || !*node) continue;
    auto there = tree_->key_of(**node);
    if (there && (*node)->kind == BucketNode::Kind::kDirectory) *there += "/";
    if (there && !tree_->bucket_of(*there).empty() && key->ino != BucketTree::kRoot)
      return std::string(tree_->bucket_of(*there));
  }
  return {};
}

// Does the store honour the conditions of puts? All of its buckets do, or none. An error says
// nothing of that: a right that is missing may be given, and what was in the way may go.
Result<bool> BucketRemote::probe(const PublishBatch& batch, const Context& context) {
  const std::string bucket = tree_->has_buckets() ? bucket_of(batch) : std::string();
  if (tree_->has_buckets() && bucket.empty()) return false;
  Probing& probing = probing_[bucket];
  const bool failed_often = probing.failed >= kFailedProbesMax;
  if (failed_often && parts_.clock.now() < probing.again) return false;
  if (probing.key.empty()) probing.key = if_match_probe_key(parts_.rng, bucket);
  const auto probed = probe_if_match(parts_.store, probing.key, context);
  if (!probed && (is_passing(probed.error()) || ++probing.failed < kFailedProbesMax))
    return tl::unexpected<Error>(probed.error());
  if (!probed) {
    // That one object is refused must not hold back all others.
    const unsigned doubled = std::min(probing.failed - kFailedProbesMax, kProbePauseDoubled);
    probing.again = parts_.clock.now() + kProbePause * (1U << doubled);
    log_once_per(std::chrono::hours(1), "conditions of puts",
                 "that somebody else changed an object is looked for before each put, and may be "
                 "missed, until this is found out: " +
                     probed.error().message());
    return false;
  }
  if (!*probed)
    log_warn(
        "the store ignores the condition of a put: that somebody else changed an object "
        "is looked for before each put, and may be missed");
  const std::lock_guard lock(mutex_);
  honours_if_match_ = *probed;
  return *probed;
}

Result<PublishedState> BucketRemote::publish(const PublishBatch& batch, PublishHost& host,
                                             Context context) {
  if (!batch.edits.empty()) {
    auto honours = honours_if_match();
    if (!honours) {
      TRY_ASSIGN(honours, probe(batch, context));
    }
    BucketPublisher::Options options;
    options.chunk_bytes = kObjectChunkBytes;
    options.memory_bytes = options_.publish_memory_bytes;
    options.io_timeout = options_.io_timeout;
    options.cache_id = options_.cache_id;
    options.host = options_.host;
    options.honours_if_match = *honours;
    options.directories_are_real = !options_.view.probe_names;
    options.uid = options_.view.uid;
    options.full_attrs = options_.view.full_attrs;
    options.gid = options_.view.gid;
    if (!waiting_) waiting_ = std::make_unique<ThreadExecutor>("objects", options.threads);
    BucketPublisher publisher({parts_.store, parts_.clock, *waiting_, *tree_, *lister_, host},
                              options, batch, std::move(context));
    const Status done = publisher.run();
    conflicts_ += publisher.conflicts();
    TRY(done);
  }
  const std::lock_guard lock(mutex_);
  state_.lsn = batch.lsn;
  ++state_.seq;
  state_.time_ns = parts_.clock.wall_ns();
  return state_;
}

Result<Changes> BucketRemote::follow(Context) {
  return lister_->take_changes();
}

}  // namespace cairn
