// large_volume DIR DIRECTORIES FILES: a volume in the empty or missing folder DIR with so many
// directories of so many empty files each, made as one commit of a writer that left.
//
// For tests of volumes that are too large to be made through a mount. The tree is written as its
// keys come, in their order, so that ten million files need some ten MiB of memory: what is kept is
// the way from the root to the last key, and under each of its nodes less than kClusterBytes.
#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cache/commit_log.h"
#include "cache/commit_parts.h"
#include "cache/format/commit.h"
#include "cache/format/mst.h"
#include "cache/format/records.h"
#include "cache/format/superblock.h"
#include "cache/meta_tiers.h"
#include "cache/open_pack.h"
#include "cache/store_keys.h"
#include "cache/volume_format.h"
#include "s3/file_store.h"

using namespace cairn;

namespace {

constexpr uint64_t kPackBytes = 8 << 20;  // as a mount fills its metadata packs
constexpr uint64_t kClusterBytes = 256 << 10;
constexpr uint64_t kFilesMax = kMaxIndex - 1;  // with their directory in one group of numbers

// Metadata packs, put into the store one after the other.
class Packs {
 public:
  Packs(ObjectStore& store, uint64_t salt) : store_(store), pack_(PackKind::kMeta, salt) {}

  Status add(const Digest& digest, Buffer block) {
    if (!pack_.empty() && (pack_.bytes() + block.size() > kPackBytes || !pack_.fits(block.size())))
      TRY(flush());
    return pack_.add(Cid::from_digest(Codec::kDagCbor, digest), std::move(block));
  }
  Status flush() {
    if (pack_.empty()) return {};
    TRY_ASSIGN(SealedPack sealed, pack_.seal());
    TRY(put_sync(store_, pack_key(sealed.tail.name()), std::move(sealed.body),
                 PutCondition::kIfAbsent, {}));
    names_.push_back(name_of(sealed.tail));
    return {};
  }
  const std::vector<PackName>& names() const { return names_; }

 private:
  ObjectStore& store_;
  OpenPack pack_;
  std::vector<PackName> names_;
};

// A search tree of keys that come in their order.
class TreeWriter {
 public:
  TreeWriter(Packs& packs, unsigned fanout_bits) : packs_(packs), fanout_bits_(fanout_bits) {}

  Status add(std::string key, const Cid& value) {
    const auto layer = static_cast<size_t>(mst_layer(key, fanout_bits_));
    if (open_.size() <= layer) open_.resize(layer + 1);
    for (size_t below = 0; below < layer; ++below) TRY(close(below));
    open_[layer].entries.push_back({std::move(key), value, std::nullopt});
    return {};
  }
  // The root. Requires that there was a key.
  Result<Digest> finish() {
    for (size_t layer = 0; layer + 1 < open_.size(); ++layer) TRY(close(layer));
    const Digest root = encode(open_.back());
    TRY(write(open_.back().blocks));
    return root;
  }

 private:
  struct Block {
    Digest digest;
    Buffer bytes;
  };
  struct Entry {
    std::string key;
    Cid value;
    std::optional<Digest> right;
  };
  struct Node {
    std::optional<Digest> left;
    std::vector<Entry> entries;
    std::vector<Block> blocks;  // below it, and not written yet: in key pre-order
    uint64_t block_bytes = 0;
  };

  // Hands the node of a layer, when there is one, to the layer above.
  Status close(size_t layer) {
    Node node = std::exchange(open_[layer], {});
    if (!node.left && node.entries.empty()) return {};
    const Digest digest = encode(node);
    Node& above = open_[layer + 1];
    if (above.entries.empty()) {
      above.left = digest;
    } else {
      above.entries.back().right = digest;
    }
    // What is large enough to be fetched by itself need not wait for what stands before it.
    if (node.block_bytes >= kClusterBytes) return write(node.blocks);
    above.block_bytes += node.block_bytes;
    std::move(node.blocks.begin(), node.blocks.end(), std::back_inserter(above.blocks));
    return {};
  }
  // Puts the node's own block in front of those below it.
  static Digest encode(Node& node) {
    std::vector<MstNodeEntry> entries;
    for (const Entry& entry : node.entries)
      entries.push_back({entry.key, entry.value, entry.right});
    Buffer bytes(encode_mst_node(node.left, entries));
    const Digest digest = sha256(bytes);
    node.block_bytes += bytes.size();
    node.blocks.insert(node.blocks.begin(), {digest, std::move(bytes)});
    return digest;
  }
  Status write(std::vector<Block>& blocks) {
    for (Block& block : blocks) TRY(packs_.add(block.digest, std::move(block.bytes)));
    return {};
  }

  Packs& packs_;
  const unsigned fanout_bits_;
  std::vector<Node> open_;  // by layer
};

Cid inode_value(FileType type, uint32_t permissions, uint32_t nlink, int64_t time_ns,
                std::optional<Ino> parent) {
  InodeRecord record;
  record.mode = mode_of_type(type) | permissions;
  record.nlink = nlink;
  record.mtime = record.ctime = record.atime = record.btime = time_ns;
  if (parent) record.body = *parent;
  return record_cid(record.encode());
}

Cid dirent_value(Ino ino, FileType type) {
  Dirent dirent;
  dirent.ino = ino;
  dirent.type = type;
  return record_cid(dirent.encode());
}

struct Shape {
  uint32_t directories;
  uint32_t files;
  uint16_t slot;
  uint32_t group;
  int64_t time_ns;
  Ino directory(uint32_t n) const { return make_ino(slot, group + n, 1); }
};

Status add_directory(TreeWriter& tree, const Shape& shape, uint32_t n) {
  const Ino dir = shape.directory(n);
  for (uint32_t i = 0; i < shape.files; ++i)
    TRY(tree.add(dirent_key(dir, fmt::format("a file of directory {:06} {:06}", n, i)),
                 dirent_value(dir + 1 + i, FileType::kRegular)));
  TRY(tree.add(inode_key(dir),
               inode_value(FileType::kDirectory, 0755, 2, shape.time_ns, kRootIno)));
  for (uint32_t i = 0; i < shape.files; ++i)
    TRY(tree.add(inode_key(dir + 1 + i),
                 inode_value(FileType::kRegular, 0644, 1, shape.time_ns + i, std::nullopt)));
  return {};
}

Result<Digest> write_tree(Packs& packs, const Superblock& superblock, const Shape& shape) {
  TreeWriter tree(packs, static_cast<unsigned>(superblock.fanout_bits));
  Buffer bytes(superblock.encode());
  const Cid value = record_cid(bytes);
  if (!value.is_identity()) TRY(packs.add(value.digest(), std::move(bytes)));
  TRY(tree.add(superblock_key(), value));
  for (uint32_t n = 0; n < shape.directories; ++n)
    TRY(tree.add(dirent_key(kRootIno, fmt::format("directory {:06}", n)),
                 dirent_value(shape.directory(n), FileType::kDirectory)));
  TRY(tree.add(inode_key(kRootIno), inode_value(FileType::kDirectory, 0755, 2 + shape.directories,
                                                shape.time_ns, kRootIno)));
  for (uint32_t n = 0; n < shape.directories; ++n) TRY(add_directory(tree, shape, n));
  return tree.finish();
}

// The blocks of the one pack that a volume begins with.
class FirstPack final : public BlockReader {
 public:
  static Result<FirstPack> read(ObjectStore& store, const CommitPack& pack) {
    FirstPack blocks;
    TRY_ASSIGN(GetResult got, get_sync(store, pack_key(pack.digest), {}, {}));
    TRY_ASSIGN(blocks.tail_, PackTail::parse(got.bytes, pack.size, pack.digest));
    blocks.object_ = std::move(got.bytes);
    return blocks;
  }
  Result<Buffer> get(const Digest& digest) override {
    const auto entry = tail_.find(digest);
    if (!entry) return fail(Errc::kNotFound, "the volume's first pack does not have a block of it");
    Buffer block = Buffer::copy(Bytes(object_).subspan(entry->offset, entry->length));
    if (sha256(block) != digest)
      return fail(Errc::kCorruption, "the volume's first pack is damaged");
    return block;
  }

 private:
  PackTail tail_;
  Buffer object_;
};

Result<Superblock> read_superblock(ObjectStore& store, const CommitRecord& head,
                                   unsigned fanout_bits) {
  TRY_ASSIGN(FirstPack blocks, FirstPack::read(store, head.metadata_packs.front()));
  MstBlockNodeReader nodes(blocks, fanout_bits);
  TRY_ASSIGN(const auto value, mst_find(nodes, head.root.digest(), superblock_key()));
  if (!value) return fail(Errc::kCorruption, "a new volume has no superblock");
  if (value->is_identity()) return Superblock::decode(value->payload());
  TRY_ASSIGN(const Buffer bytes, blocks.get(value->digest()));
  return Superblock::decode(bytes);
}

// The commit that shows the tree and closes the volume.
Status publish(CommitLog& log, const OpenedWriter& writer, const Packs& packs, const Digest& root,
               const Shape& shape) {
  CommitRecord next = next_record(writer.opening, os_rng(), system_clock().wall_ns());
  next.root = Cid::from_digest(Codec::kDagCbor, root);
  next.root_place.reset();
  next.writer.open = false;
  next.metadata_packs.clear();
  next.totals = {0, 1 + uint64_t{shape.directories} * (1 + shape.files), 0};
  for (const PackName& pack : packs.names()) next.totals.stored_bytes += pack.size;
  MetadataState state;
  state.live_bytes = next.totals.stored_bytes;
  const uint8_t tier = plan_rewrite(state).tier;
  for (const PackName& pack : packs.names()) next.metadata_packs.push_back(commit_pack(pack, tier));
  next.slots[writer.slot].highest_group = shape.group + shape.directories;
  TRY_ASSIGN(ByteVec record, next.encode());
  TRY(log.create(next.seq, Buffer(std::move(record)), {}));
  fmt::print("{} files, {} metadata packs, {} bytes\n", uint64_t{shape.directories} * shape.files,
             packs.names().size(), next.totals.stored_bytes);
  return {};
}

Status make(const std::string& folder, uint32_t directories, uint32_t files) {
  ThreadExecutor executor("store", 2);
  Clock& clock = system_clock();
  TRY_ASSIGN(const auto store, FileStore::open({posix_env(), executor, clock, os_rng()}, folder,
                                               FileStore::Create::kIfMissing));
  const FormatOptions format;
  TRY(format_volume(*store, executor, clock, os_rng(), format, {}));
  CommitLog log(*store, executor, clock, os_rng(), {});
  WriterOptions as;
  as.cache_id = make_uuid(os_rng());
  as.host = "large_volume";
  TRY_ASSIGN(const OpenedWriter writer, log.open_writer(as, {}));
  TRY_ASSIGN(
      const Superblock superblock,
      read_superblock(*store, *writer.opening.record, static_cast<unsigned>(format.fanout_bits)));
  const Shape shape{directories, files, writer.slot,
                    next_group(*writer.opening.record, writer.slot), clock.wall_ns()};
  Packs packs(*store, os_rng().next());
  TRY_ASSIGN(const Digest root, write_tree(packs, superblock, shape));
  TRY(packs.flush());
  return publish(log, writer, packs, root, shape);
}

std::optional<uint32_t> number(std::string_view text, uint64_t most) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value == 0 || value > most)
    return std::nullopt;
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  const auto directories = argc == 4 ? number(argv[2], 1'000'000) : std::nullopt;
  const auto files = argc == 4 ? number(argv[3], kFilesMax) : std::nullopt;
  if (!directories || !files) {
    fmt::print(stderr, "usage: large_volume DIR DIRECTORIES FILES (up to {} a directory)\n",
               kFilesMax);
    return 2;
  }
  if (const Status made = make(argv[1], *directories, *files); !made) {
    fmt::print(stderr, "large_volume: {}\n", made.error().message());
    return 1;
  }
  return 0;
}
