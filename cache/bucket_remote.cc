#include "cache/bucket_remote.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <mutex>

#include "cache/base/coding.h"
#include "cache/format/records.h"

namespace cairn {

namespace {

constexpr uint32_t kObjectChunkBytes = 256 * 1024;
constexpr uint64_t kGetBytesMax = 8ULL << 20;
constexpr uint32_t kGetsMax = 32;
constexpr size_t kBlocksMax = 256;
constexpr Duration kTtlLeast = std::chrono::seconds(1);  // an operation must get through
constexpr uint64_t kWhole = UINT64_MAX;                  // in place of a chunk's index: the content
constexpr uint32_t kFileMode = 0100644;
constexpr uint32_t kDirMode = 040755;

// The name of a content, or of one of its chunks: half a digest of the version, the inode, the
// index. So what it names is found without a table, and a stale one is told from a fresh one.
Digest name_of_chunk(const Digest& version, uint64_t ino, uint64_t index) {
  std::array<std::byte, 40> in{};
  std::copy(version.bytes.begin(), version.bytes.end(), in.begin());
  put_be64(in.data() + 32, index);
  Digest name = index == kWhole ? version : sha256(in);
  put_be64(name.bytes.data() + 16, ino);
  put_be64(name.bytes.data() + 24, index);
  return name;
}

uint64_t ino_of(const Digest& name) {
  return get_be64(name.bytes.data() + 16);
}
uint64_t index_of(const Digest& name) {
  return get_be64(name.bytes.data() + 24);
}

// The part of a version's digest that names carry.
Digest half(Digest version) {
  std::fill(version.bytes.begin() + 16, version.bytes.end(), std::byte{0});
  return version;
}

Digest version_of(const std::string& key, const BucketNode& node) {
  ByteVec in;
  put_le(in, static_cast<uint64_t>(key.size()));
  append(in, as_bytes(key));
  put_le(in, node.size);
  put_le(in, node.etag.empty() ? node.mtime_ns : int64_t{0});
  append(in, as_bytes(node.etag));
  return half(sha256(in));
}

uint32_t object_chunk_length(uint64_t size, uint64_t index) {
  return static_cast<uint32_t>(
      std::min<uint64_t>(kObjectChunkBytes, size - index * kObjectChunkBytes));
}

tl::unexpected<Error> replaced() {
  return fail(Errc::kPrecondition, "the object was replaced or removed since it was opened",
              ESTALE);
}

Cid dirent_value(const BucketEntry& entry) {
  Dirent dirent;
  dirent.ino = entry.ino;
  dirent.type = entry.is_dir ? FileType::kDirectory : FileType::kRegular;
  return Cid::identity(Codec::kDagCbor, dirent.encode());
}

// Stores write an etag with and without its quotes.
std::string_view bare(std::string_view etag) {
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"')
    etag = etag.substr(1, etag.size() - 2);
  return etag;
}

constexpr std::array<std::string_view, 2> kXattrs{"user.s3.etag", "user.s3.key"};

}  // namespace

// Neighbouring chunks of one object, which come with one request.
struct BucketRemote::Run {
  uint64_t ino = 0;
  BucketNode node;
  std::string key;
  uint64_t offset = 0;
  uint64_t length = 0;
  std::vector<size_t> places;  // where they stand in the answer
};

struct BucketRemote::Fetch {
  std::vector<Leaf> leaves;
  std::vector<Buffer> out;
  EachLeaf each;
  Callback<std::vector<Buffer>> done;
  std::atomic<size_t> left{0};
  RankedMutex<Rank::kLeaf> mutex;
  Status status;  // protected by mutex
};

BucketRemote::BucketRemote(const Parts& parts, std::shared_ptr<BucketTree> tree,
                           const Options& options)
    : parts_(parts),
      options_(options),
      tree_(std::move(tree)),
      lister_(std::make_shared<BucketLister>(
          BucketLister::Parts{parts.store, parts.clock, parts.executor, parts.background},
          BucketLister::Options{std::max(options.view.metadata_ttl, kTtlLeast), options.io_timeout,
                                options.name_memory_bytes, options.view.probe_names},
          tree_)),
      gets_(std::make_shared<GetLimiter>(parts.store, kGetsMax, options.read_memory_bytes)) {}

BucketRemote::~BucketRemote() {
  lister_->stop();
  // What was learnt saves requests next time; without it nothing is lost.
  (void)tree_->checkpoint();
}

Result<std::unique_ptr<BucketRemote>> BucketRemote::open(const Parts& parts,
                                                         std::unique_ptr<MetaStore> names,
                                                         const Options& options) {
  auto tree = std::make_shared<BucketTree>(std::move(names), parts.clock);
  TRY(tree->thin_out());
  return std::unique_ptr<BucketRemote>(new BucketRemote(parts, std::move(tree), options));
}

VolumeParams BucketRemote::params() const {
  VolumeParams params;
  params.chunk_bytes = kObjectChunkBytes;
  params.content_ids = false;
  return params;
}

// ---- keys of the tree

Result<std::optional<Cid>> BucketRemote::find(std::string_view key, Missing& missing) {
  TRY_ASSIGN(const RecordKey parsed, parse_key(key));
  switch (parsed.kind) {
    case KeyKind::kSuperblock:
      return std::optional<Cid>();
    case KeyKind::kInode:
      return inode_value(parsed.ino);
    case KeyKind::kXattr:
      return xattr_value(parsed.ino, parsed.name);
    case KeyKind::kDirent:
      break;
  }
  const auto entry = lister_->look_up(parsed.ino, parsed.name);
  if (!entry) {
    if (entry.error().code() == Errc::kNotLocal) missing.add_name(parsed.ino, parsed.name);
    return tl::unexpected<Error>(entry.error());
  }
  if (!*entry) return std::optional<Cid>();
  return std::optional<Cid>(dirent_value(**entry));
}

Result<std::optional<Cid>> BucketRemote::inode_value(uint64_t ino) {
  TRY_ASSIGN(const auto node, tree_->node(ino));
  if (!node) return replaced();
  InodeRecord record;
  record.uid = options_.view.uid;
  record.gid = options_.view.gid;
  record.nlink = 1;
  record.mtime = record.ctime = record.atime = record.btime = node->mtime_ns;
  if (node->kind == BucketNode::Kind::kDirectory) {
    record.mode = kDirMode;
    record.body = node->parent;
  } else {
    constexpr uint64_t kBlock = 4096;
    record.mode = kFileMode;
    record.size = node->size;
    record.allocated = std::min(node->size, uint64_t{INT64_MAX} - kBlock) / kBlock * kBlock +
                       (node->size % kBlock != 0 ? kBlock : 0);
    if (node->size > 0) {
      TRY_ASSIGN(record.body, content_of(ino, *node));
    }
  }
  return std::optional<Cid>(Cid::identity(Codec::kDagCbor, record.encode()));
}

Result<Cid> BucketRemote::content_of(uint64_t ino, const BucketNode& node) {
  TRY_ASSIGN(const std::string key, tree_->key_of(node));
  return Cid::from_digest(Codec::kRaw, name_of_chunk(version_of(key, node), ino, kWhole));
}

Result<std::optional<Cid>> BucketRemote::xattr_value(uint64_t ino, std::string_view name) {
  if (std::find(kXattrs.begin(), kXattrs.end(), name) == kXattrs.end())
    return std::optional<Cid>();
  TRY_ASSIGN(const auto node, tree_->node(ino));
  if (!node) return replaced();
  if (node->kind == BucketNode::Kind::kDirectory) return std::optional<Cid>();
  std::string value(bare(node->etag));
  if (name == "user.s3.key") {
    TRY_ASSIGN(value, tree_->key_of(*node));
  }
  const XattrValue xattr = XattrValue::of(as_bytes(value));
  if (const auto* block = std::get_if<Cid>(&xattr.value)) {
    const std::lock_guard lock(mutex_);
    blocks_.emplace_back(block->digest(), Buffer::copy(value));
    if (blocks_.size() > kBlocksMax) blocks_.pop_front();
  }
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
  if (of_xattrs) return scan_xattrs(begin.ino, from);
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
  TRY_ASSIGN(const auto names, tree_->entries(dir, from, limit));
  std::vector<TreeEntry> out;
  out.reserve(names.size());
  for (const auto& [name, entry] : names)
    out.push_back({dirent_key(dir, name), dirent_value(entry)});
  return out;
}

Result<std::vector<TreeEntry>> BucketRemote::scan_xattrs(uint64_t ino, std::string_view from) {
  std::vector<TreeEntry> out;
  for (const std::string_view name : kXattrs) {
    if (name < from) continue;
    TRY_ASSIGN(const auto value, xattr_value(ino, name));
    if (value) out.push_back({xattr_key(ino, name), *value});
  }
  return out;
}

// ---- content

Result<std::vector<Leaf>> BucketRemote::leaves(const Cid& content, uint64_t size, uint64_t first,
                                               uint64_t count, Missing&) {
  const Digest name = content.digest();
  const Digest version = half(name);
  const uint64_t chunks = size / kObjectChunkBytes + (size % kObjectChunkBytes != 0 ? 1 : 0);
  std::vector<Leaf> out;
  for (uint64_t i = first; i < chunks && i - first < count; ++i)
    out.push_back(
        {name_of_chunk(version, ino_of(name), i), object_chunk_length(size, i), false, true});
  return out;
}

Result<std::optional<uint64_t>> BucketRemote::next_data(const Cid&, uint64_t size, uint64_t first,
                                                        Missing&) {
  if (first >= size / kObjectChunkBytes + (size % kObjectChunkBytes != 0 ? 1 : 0))
    return std::optional<uint64_t>();
  return std::optional<uint64_t>(first);
}

void BucketRemote::fetch(const Missing& missing, Context context, Callback<void> done) {
  lister_->fetch(missing.names(), std::move(context), std::move(done));
}

void BucketRemote::fetch_leaves(std::vector<Leaf> leaves, Context context, EachLeaf each,
                                Callback<std::vector<Buffer>> done) {
  auto fetch = std::make_shared<Fetch>();
  fetch->leaves = std::move(leaves);
  fetch->out.resize(fetch->leaves.size());
  fetch->each = std::move(each);
  fetch->done = std::move(done);
  std::vector<size_t> order(fetch->leaves.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto place = [&fetch](size_t i) {
    const Digest& name = fetch->leaves[i].digest;
    return std::pair(ino_of(name), index_of(name));
  };
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return place(a) < place(b); });

  std::vector<Result<Run>> runs;
  for (size_t i = 0; i < order.size();) {
    std::vector<size_t> places{order[i]};
    uint64_t bytes = fetch->leaves[order[i]].length;
    for (++i; i < order.size(); ++i) {
      const auto [ino, index] = place(places.back());
      const uint64_t more = fetch->leaves[order[i]].length;
      if (place(order[i]) != std::pair(ino, index + 1) || bytes + more > kGetBytesMax) break;
      places.push_back(order[i]);
      bytes += more;
    }
    runs.push_back(run_of(fetch->leaves, std::move(places)));
  }
  fetch->left = runs.size() + 1;
  for (const Result<Run>& run : runs) {
    if (run) {
      get(*run, fetch, context);
    } else {
      finish(*fetch, tl::unexpected<Error>(run.error()));
    }
  }
  // As a task: not on the caller's stack, whatever there was to do.
  parts_.executor.submit([fetch] { finish(*fetch, {}); });
}

// The object that the chunks are of, if it still is the version they are of.
Result<BucketRemote::Run> BucketRemote::run_of(const std::vector<Leaf>& leaves,
                                               std::vector<size_t> places) {
  const Digest& first = leaves[places.front()].digest;
  Run run;
  run.ino = ino_of(first);
  TRY_ASSIGN(auto node, tree_->node(run.ino));
  if (!node) return replaced();
  run.node = *std::move(node);
  TRY_ASSIGN(run.key, tree_->key_of(run.node));
  run.offset = index_of(first) * kObjectChunkBytes;
  const Digest version = version_of(run.key, run.node);
  for (const size_t place : places) {
    const Leaf& leaf = leaves[place];
    if (leaf.digest != name_of_chunk(version, run.ino, index_of(leaf.digest))) return replaced();
    run.length += leaf.length;
  }
  run.places = std::move(places);
  return run;
}

void BucketRemote::get(const Run& run, const std::shared_ptr<Fetch>& fetch,
                       const Context& context) {
  GetRange range = GetRange::from(run.offset, run.length);
  if (!run.node.etag.empty()) range.if_match = run.node.etag;
  gets_->get(run.key, range, context,
             [run, fetch, lister = lister_](Result<GetResult> got) {
               auto bytes = check(run, std::move(got));
               if (!bytes) {
                 if (bytes.error().sys_errno() == ESTALE) lister->expire(run.ino);
                 return finish(*fetch, tl::unexpected<Error>(bytes.error()));
               }
               size_t at = 0;
               for (const size_t place : run.places) {
                 const size_t length = fetch->leaves[place].length;
                 fetch->out[place] = bytes->slice(at, length);
                 if (fetch->each) fetch->each(place, fetch->out[place]);
                 at += length;
               }
               finish(*fetch, {});
             });
}

// The last one answers.
void BucketRemote::finish(Fetch& fetch, Status status) {
  if (!status) {
    const std::lock_guard lock(fetch.mutex);
    if (fetch.status) fetch.status = std::move(status);
  }
  if (--fetch.left > 0) return;
  const auto done = std::exchange(fetch.done, nullptr);
  if (!fetch.status) return done(tl::unexpected<Error>(fetch.status.error()));
  done(std::move(fetch.out));
}

// Also of a store that does not honour If-Match: what it says it sent is compared.
Result<Buffer> BucketRemote::check(const Run& run, Result<GetResult> got) {
  if (!got) {
    const Errc code = got.error().code();
    if (code == Errc::kPrecondition || code == Errc::kNotFound) return replaced();
    return tl::unexpected<Error>(got.error());
  }
  const bool same = bare(got->etag) == bare(run.node.etag) || run.node.etag.empty();
  if (!same || got->object_size != run.node.size) return replaced();
  if (got->bytes.size() != run.length)
    return fail(Errc::kIo, "get '" + run.key + "': the store sent less than the object has");
  return std::move(got->bytes);
}

// ---- the rest of the port

Result<PublishedState> BucketRemote::publish(const PublishBatch&, PublishHost&, Context) {
  return fail(Errc::kUnsupported, "objects of a bucket are only read", EROFS);
}

Result<Changes> BucketRemote::follow(Context) {
  return lister_->take_changes();
}

}  // namespace cairn
