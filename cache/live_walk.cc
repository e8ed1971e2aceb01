#include "cache/live_walk.h"

#include <utility>
#include <variant>

#include "cache/format/records.h"

namespace cairn {
namespace {

class LeafVisitor final : public UnixfsVisitor {
 public:
  LeafVisitor(const UnixfsShape& shape, const LiveWalk::Visit& visit)
      : shape_(shape), visit_(visit) {}
  Result<bool> node(const UnixfsPlace& place) override {
    // Below a node of zeroes there is one leaf, many times.
    if (place.zero) visit_(shape_.zero_leaf(shape_.params().chunk_size));
    return !place.zero;
  }
  Status leaf(const UnixfsPlace& place) override {
    visit_(place.digest);
    return {};
  }

 private:
  const UnixfsShape& shape_;
  const LiveWalk::Visit& visit_;
};

}  // namespace

LiveWalk::LiveWalk(TreeRemote::Impl& remote, Context context)
    : remote_(remote),
      context_(std::move(context)),
      blocks_(remote, context_),
      nodes_(blocks_, remote.params.fanout_bits) {}

Result<Buffer> LiveWalk::Blocks::get(const Digest& digest) {
  TRY_ASSIGN(Buffer block, remote_.with_fetch(context_, [&](Missing& missing) {
    return remote_.blocks->get(digest, missing);
  }));
  ++count;
  bytes += block.size();
  return block;
}

Status LiveWalk::go_on() const {
  if (context_.cancel.cancelled()) return fail(Errc::kCancelled, "the collection was stopped");
  return {};
}

Status LiveWalk::tree(const Digest& root, const Visit& visit) {
  MstCursor cursor(nodes_, root);
  TRY(cursor.seek(""));
  while (cursor.valid()) {
    TRY(go_on());
    TRY(entry(cursor.key(), cursor.value(), visit));
    TRY(cursor.next());
  }
  return {};
}

Status LiveWalk::beyond(const Digest& base, const Digest& root, const Visit& visit) {
  MstDiff diff(nodes_, base, root);
  while (true) {
    TRY(go_on());
    TRY_ASSIGN(const auto change, diff.next());
    if (!change) return {};
    if (change->after) TRY(entry(change->key, *change->after, visit));
  }
}

Status LiveWalk::content(const UnixfsRoot& file, const Visit& visit) {
  const uint64_t chunks = remote_.shape->chunk_count(file.size);
  if (chunks == 0) return {};
  LeafVisitor visitor(*remote_.shape, visit);
  const uint64_t before = blocks_.bytes;
  TRY(walk_unixfs(*remote_.shape, file, 0, chunks - 1, blocks_, visitor));
  content_bytes_ += blocks_.bytes - before;
  return {};
}

Status LiveWalk::entry(std::string_view key, const Cid& value, const Visit& visit) {
  TRY_ASSIGN(const RecordKey parsed, parse_key(key));
  if (parsed.kind != KeyKind::kInode && parsed.kind != KeyKind::kXattr) return {};
  Buffer bytes;
  if (value.is_identity()) {
    bytes = Buffer::copy(value.payload());
  } else {
    TRY_ASSIGN(bytes, blocks_.get(value.digest()));
  }
  // The values of large attributes and the targets of long links are metadata, and count as such.
  if (parsed.kind == KeyKind::kXattr) {
    TRY_ASSIGN(const XattrValue xattr, XattrValue::decode(bytes));
    const auto* block = std::get_if<Cid>(&xattr.value);
    if (block != nullptr && !block->is_identity()) TRY(blocks_.get(block->digest()));
    return {};
  }
  TRY_ASSIGN(const InodeRecord record, InodeRecord::decode(bytes));
  const auto* cid = std::get_if<Cid>(&record.body);
  if (cid == nullptr) return {};
  if (record.type() != FileType::kRegular) {
    if (!cid->is_identity()) TRY(blocks_.get(cid->digest()));
    return {};
  }
  auto walked = content({*cid, record.size}, visit);
  if (!walked)
    return tl::unexpected<Error>(
        std::move(walked).error().wrap("inode " + std::to_string(parsed.ino)));
  return {};
}

}  // namespace cairn
