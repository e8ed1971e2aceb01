// Writes seeds for fuzz_cbor, fuzz_mst_node, fuzz_commit and fuzz_records, one file a shape:
// fuzz_seeds_tree CORPUS-FOLDER
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iostream>

#include "cache/base/coding.h"
#include "cache/format/commit.h"
#include "cache/format/mst.h"
#include "cache/format/records.h"

using namespace cairn;

namespace {

std::filesystem::path folder;

void write(const char* target, const char* name, std::string_view prefix, Bytes bytes) {
  const auto path = folder / target / name;
  std::filesystem::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary);
  out << prefix << as_chars(bytes);
}

void cbor_seeds() {
  ByteVec all;
  CborWriter w(all);
  w.map(3);
  w.text("a");
  w.array(6);
  w.uint(24);
  w.integer(-300);
  w.bytes(as_bytes("bytes"));
  w.boolean(true);
  w.boolean(false);
  w.null();
  w.text("b");
  w.link(Cid::make(Codec::kRaw, as_bytes("block")));
  w.text("cc");
  w.link(Cid::identity(Codec::kDagCbor, as_bytes("inline")));
  write("cbor", "all-types", "", all);
  ByteVec text;
  CborWriter(text).text("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  write("cbor", "text", "", text);
  ByteVec deep(CborReader::kMaxDepth, std::byte{0x81});
  deep.push_back(std::byte{0xf6});
  write("cbor", "deep", "", deep);
  write("cbor", "widths", "", from_hex("8517181919010019ffff1b0000000100000000").value());
}

class NodeSeeds final : public BlockSink {
 public:
  Status put(const Cid&, Buffer bytes) override {
    if (written_ < 12) {
      const std::string name = "node-" + std::to_string(written_++);
      write("mst_node", name.c_str(), std::string(1, '\0'), bytes);
    }
    return {};
  }

 private:
  int written_ = 0;
};

class EmptyTree final : public BlockReader {
 public:
  Result<Buffer> get(const Digest&) override { return Buffer(empty_mst_block()); }
};

int mst_seeds() {
  write("mst_node", "empty", std::string(1, '\1'), empty_mst_block());
  EmptyTree empty;
  MstBlockNodeReader reader(empty, kMinFanoutBits);
  NodeSeeds sink;
  std::vector<MstEdit> edits;
  for (char c = 'a'; c <= 'z'; ++c) {
    InodeRecord record;
    record.mode = S_IFREG | 0644;
    edits.push_back(
        {dirent_key(kRootIno, std::string(1, c)),
         record_cid(
             Dirent{Ino{100} + static_cast<unsigned char>(c), FileType::kRegular, {}}.encode())});
  }
  return mst_apply(reader, empty_mst_root(), edits, sink) ? 0 : 1;
}

int commit_seeds() {
  CommitRecord c;
  c.seq = 1;
  c.root = Cid::from_digest(Codec::kDagCbor, empty_mst_root());
  const auto small = c.encode();
  c.seq = 77;
  c.epoch = 2;
  c.writer = {{}, "node", 3, true, 4096};
  c.previous = CommitRecord::Previous{76, c.root.digest()};
  c.root_place = CommitRecord::RootPlace{c.root.digest(), 100, 200};
  c.time_ns = -1;
  c.metadata_packs = {{c.root.digest(), 1000, 10, 1}};
  c.young_packs = {{c.root.digest(), 1000, 10, 0}};
  c.index_segments = {{c.root.digest(), 1000, 10}};
  c.condemned_packs = {{c.root.digest(), 4096, 2}};
  c.totals = {1, 2, 3};
  c.slots[1] = {{}, 5};
  c.slots[3] = {{}, 1};
  c.features.compat = {"a", "b"};
  c.unknown.emplace("new", from_hex("8101").value());
  const auto full = c.encode();
  if (!small || !full) return 1;
  write("commit", "first", "", *small);
  write("commit", "full", "", *full);
  return 0;
}

void record_seeds() {
  const auto seed = [](const char* name, const char* prefix, Bytes bytes) {
    write("records", name, prefix, bytes);
  };
  seed("key-superblock", "k", as_bytes(superblock_key()));
  seed("key-inode", "k", as_bytes(inode_key(kRootIno)));
  seed("key-dirent", "k", as_bytes(dirent_key(kRootIno, "name")));
  seed("key-xattr", "k", as_bytes(xattr_key(make_ino(1, 2, 3), "user.name")));
  seed("dirent", "d", Dirent{make_ino(1, 2, 3), FileType::kDirectory, {}}.encode());
  seed("dirent-newer", "d",
       Dirent{make_ino(1, 2, 3), FileType::kFifo, {1, from_hex("f6").value()}}.encode());
  InodeRecord record;
  record.mode = S_IFREG | 0644;
  record.size = 5;
  record.mtime = 1'790'000'000'000'000'000;
  record.body = Cid::make(Codec::kRaw, as_bytes("hello"));
  seed("inode-file", "i", record.encode());
  record.body = std::monostate();
  record.unknown = {1, from_hex("820102").value()};
  seed("inode-newer", "i", record.encode());
  record.unknown = {};
  record.mode = S_IFDIR | 0755;
  record.body = uint64_t{kRootIno};
  seed("inode-directory", "i", record.encode());
  record.mode = S_IFLNK | 0777;
  record.body = to_vec(as_bytes("target"));
  seed("inode-symlink", "i", record.encode());
  seed("xattr-inline", "x", XattrValue::of(as_bytes("value")).encode());
  seed("xattr-block", "x", XattrValue::of(ByteVec(200, std::byte{1})).encode());
  seed("superblock", "s", Superblock().encode());
  const Cid cid = Cid::make(Codec::kRaw, as_bytes("x"));
  seed("cid", "c", cid.bytes());
  seed("cid-text", "c", as_bytes(cid.text()));
  seed("cid-identity", "c", Cid::identity(Codec::kDagCbor, as_bytes("inline")).bytes());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: fuzz_seeds_tree CORPUS-FOLDER\n";
    return 2;
  }
  folder = argv[1];
  cbor_seeds();
  record_seeds();
  return mst_seeds() | commit_seeds();
}
