#include "cache/dump.h"

#include <fmt/format.h>

#include <algorithm>

#include "cache/check_parts.h"
#include "cache/format/commit.h"
#include "cache/format/mst.h"
#include "cache/format/records.h"
#include "cache/pack_file.h"
#include "cache/store_keys.h"
#include "cache/store_source.h"

namespace cairn {
namespace {
Result<CommitRecord> read_commit(ObjectStore& store, uint64_t seq, const Context& context) {
  if (seq == 0) {
    // By listing, not by the hint: a dump is for volumes that are not in order, too.
    std::string after;
    for (bool more = true; more;) {
      TRY_ASSIGN(const ListPage page,
                 list_sync(store, std::string(kCommitPrefix), after, 1000, context));
      for (const ObjectInfo& object : page.objects)
        seq = std::max(seq, parse_commit_key(object.key).value_or(0));
      more = page.truncated && !page.objects.empty();
      if (more) after = page.objects.back().key;
    }
    if (seq == 0) return fail(Errc::kNotFound, store.description() + ": there is no cairn volume");
  }
  TRY_ASSIGN(const GetResult got,
             get_sync(store, commit_key(seq), GetRange::from(0, CommitRecord::kMaxBytes), context));
  auto record = CommitRecord::decode(got.bytes);
  if (!record) return tl::unexpected<Error>(std::move(record).error().wrap(commit_key(seq)));
  return record;
}

std::string hex_key(std::string_view key) {
  return to_hex(as_bytes(key));
}

std::string printable(std::string_view text) {
  std::string shown;
  for (const char c : text) {
    if (c >= ' ' && c <= '~' && c != '\\')
      shown += c;
    else
      shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return shown;
}

// A commit's tree and what is needed to read it.
class Tree {
 public:
  static Result<std::unique_ptr<Tree>> open(ObjectStore& store, uint64_t seq,
                                            const Context& context) {
    auto tree = std::make_unique<Tree>(store, context);
    TRY_ASSIGN(tree->commit, read_commit(store, seq, context));
    TRY(tree->packs_.run_metadata_tails(tree->commit));
    for (unsigned bits = kMinFanoutBits; bits <= kMaxFanoutBits; ++bits) {
      MstBlockNodeReader nodes(tree->blocks, bits);
      const auto value = mst_find(nodes, tree->commit.root.digest(), superblock_key());
      if (!value || !*value) continue;
      TRY_ASSIGN(const Buffer bytes, tree->bytes_of(**value));
      const auto superblock = Superblock::decode(bytes);
      if (!superblock || superblock->fanout_bits != bits) continue;
      tree->fanout_bits = bits;
      return tree;
    }
    return fail(Errc::kCorruption, "the tree has no superblock");
  }

  Tree(ObjectStore& store, const Context& context)
      : options_{false, context, {}},
        log_(options_),
        packs_(store, log_),
        blocks(store, packs_, log_) {}

  Result<Buffer> bytes_of(const Cid& value) {
    if (value.is_identity()) return Buffer::copy(value.payload());
    return blocks.get(value.digest());
  }

  Status each(const std::function<Status(std::string_view key, const Cid& value)>& visit) {
    MstBlockNodeReader nodes(blocks, fanout_bits);
    MstCursor cursor(nodes, commit.root.digest());
    TRY(cursor.seek(""));
    while (cursor.valid()) {
      TRY(visit(cursor.key(), cursor.value()));
      TRY(cursor.next());
    }
    return {};
  }

 private:
  const CheckOptions options_;
  CheckLog log_;
  CheckPacks packs_;

 public:
  CommitRecord commit;
  unsigned fanout_bits = kMinFanoutBits;
  CheckBlocks blocks;
};

std::string time_text(int64_t ns) {
  return fmt::format("{}.{:09}", ns / 1'000'000'000, std::abs(ns % 1'000'000'000));
}

struct BodyText {
  std::string operator()(std::monostate) const { return "-"; }
  std::string operator()(const Cid& cid) const { return cid.text(); }
  std::string operator()(const ByteVec& target) const {
    return "\"" + printable(as_chars(target)) + "\"";
  }
  std::string operator()(uint64_t number) const { return fmt::format("{:x}", number); }
};

Result<std::string> record_text(const RecordKey& key, const Buffer& bytes) {
  switch (key.kind) {
    case KeyKind::kSuperblock: {
      TRY_ASSIGN(const Superblock s, Superblock::decode(bytes));
      return fmt::format("superblock format {} uuid {} chunk {} links {} fanout bits {}", s.format,
                         uuid_text(s.uuid), s.chunk_size, s.links_per_node, s.fanout_bits);
    }
    case KeyKind::kDirent: {
      TRY_ASSIGN(const Dirent d, Dirent::decode(bytes));
      return fmt::format("dirent inode {:016x} type {}", d.ino, static_cast<int>(d.type));
    }
    case KeyKind::kInode: {
      TRY_ASSIGN(const InodeRecord i, InodeRecord::decode(bytes));
      return fmt::format(
          "inode mode {:o} uid {} gid {} nlink {} size {} allocated {} mtime {} "
          "ctime {} body {}",
          i.mode, i.uid, i.gid, i.nlink, i.size, i.allocated, time_text(i.mtime),
          time_text(i.ctime), std::visit(BodyText{}, i.body));
    }
    case KeyKind::kXattr: {
      TRY_ASSIGN(const XattrValue x, XattrValue::decode(bytes));
      const auto* inline_bytes = std::get_if<ByteVec>(&x.value);
      return "xattr " +
             (inline_bytes != nullptr ? to_hex(*inline_bytes) : std::get<Cid>(x.value).text());
    }
  }
  return std::string();
}
}  // namespace

Status dump_commit(ObjectStore& store, uint64_t seq, Context context, const LineSink& out) {
  TRY_ASSIGN(const CommitRecord c, read_commit(store, seq, context));
  out(fmt::format("commit {}", c.seq));
  out(fmt::format("epoch {}", c.epoch));
  out(fmt::format("nonce {}", to_hex(c.nonce)));
  out(fmt::format("writer cache {} host {} slot {} {} lsn {}", uuid_text(c.writer.cache_id),
                  printable(c.writer.host), c.writer.slot, c.writer.open ? "open" : "closed",
                  c.writer.lsn));
  if (c.previous) out(fmt::format("previous {} {}", c.previous->seq, c.previous->digest.hex()));
  out(fmt::format("root {}", c.root.text()));
  if (c.root_place)
    out(fmt::format("root-place {} offset {} length {}", pack_key(c.root_place->pack),
                    c.root_place->offset, c.root_place->length));
  out(fmt::format("time {}", time_text(c.time_ns)));
  for (const CommitPack& pack : c.metadata_packs)
    out(fmt::format("metadata-pack {} bytes {} blocks {} tier {}", pack_key(pack.digest), pack.size,
                    pack.blocks, pack.tier));
  for (const CommitPack& pack : c.young_packs)
    out(fmt::format("young-pack {} bytes {} blocks {}", pack_key(pack.digest), pack.size,
                    pack.blocks));
  for (const CommitSegment& segment : c.index_segments)
    out(fmt::format("index-segment {} bytes {} entries {}", index_key(segment.digest), segment.size,
                    segment.entries));
  for (const CondemnedPack& pack : c.condemned_packs)
    out(fmt::format("condemned {} {} bytes, by commit {}", pack_key(pack.digest), pack.size,
                    pack.since));
  out(fmt::format("totals live-bytes {} inodes {} stored-bytes {}", c.totals.live_bytes,
                  c.totals.inodes, c.totals.stored_bytes));
  for (const auto& [number, slot] : c.slots)
    out(fmt::format("slot {} cache {} highest-group {}", number, uuid_text(slot.cache_id),
                    slot.highest_group));
  return {};
}

Status dump_keys(ObjectStore& store, uint64_t seq, Context context, const LineSink& out) {
  TRY_ASSIGN(const auto tree, Tree::open(store, seq, context));
  return tree->each([&](std::string_view key, const Cid& value) -> Status {
    out(hex_key(key) + "\t" + value.text());
    return {};
  });
}

Status dump_tree(ObjectStore& store, uint64_t seq, Context context, const LineSink& out) {
  TRY_ASSIGN(const auto tree, Tree::open(store, seq, context));
  return tree->each([&](std::string_view key, const Cid& value) -> Status {
    TRY_ASSIGN(const RecordKey parsed, parse_key(key));
    TRY_ASSIGN(const Buffer bytes, tree->bytes_of(value));
    TRY_ASSIGN(const std::string text, record_text(parsed, bytes));
    out(printable(key) + "\t" + text);
    return {};
  });
}

Status dump_node(ObjectStore& store, uint64_t seq, const std::optional<Digest>& node,
                 Context context, const LineSink& out) {
  TRY_ASSIGN(const auto tree, Tree::open(store, seq, context));
  const Digest digest = node.value_or(tree->commit.root.digest());
  TRY_ASSIGN(const Buffer bytes, tree->blocks.get(digest));
  TRY_ASSIGN(const auto decoded, MstNode::decode(bytes, tree->fanout_bits));
  out(fmt::format("node {} bytes {} layer {} entries {}", digest.hex(), bytes.size(),
                  decoded->layer(), decoded->size()));
  for (size_t i = 0; i <= decoded->size(); ++i) {
    if (const Digest* child = decoded->child(i)) out("child " + child->hex());
    if (i < decoded->size())
      out("key " + printable(decoded->key(i)) + "\t" + decoded->value(i).text());
  }
  return {};
}

Status dump_pack(ObjectStore& store, const Digest& pack, Context context, const LineSink& out) {
  TRY_ASSIGN(StoreSource source, StoreSource::open(store, pack_key(pack), context));
  TRY_ASSIGN(const PackTail tail, read_pack_tail(source, pack));
  out(fmt::format("pack {} kind {} bytes {} blocks {}", pack.hex(),
                  tail.kind() == PackKind::kMeta ? "metadata" : "data", tail.object_size(),
                  tail.size()));
  for (uint32_t i = 0; i < tail.size(); ++i) {
    const PackEntry entry = tail.entry(i);
    out(fmt::format("{} offset {} length {}", Cid::from_digest(entry.codec, entry.digest).text(),
                    entry.offset, entry.length));
  }
  return {};
}

}  // namespace cairn
