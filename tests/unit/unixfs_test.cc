#include "cache/format/unixfs.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>

#include "cache/format/dagpb.h"
#include "cache/format/unixfs_file.h"
#include "tests/support/byte_stream.h"
#include "tests/support/memory_blocks.h"

using namespace cairn;

namespace {

UnixfsShape shape_of(uint32_t chunk_size, uint32_t max_links) {
  return UnixfsShape::make({chunk_size, max_links}).value();
}

// The file of the first `size` bytes of the generated stream.
UnixfsRoot build_stream(const UnixfsShape& shape, uint64_t size, BlockSink& sink) {
  UnixfsBuilder builder(shape, sink);
  ByteStream stream;
  ByteVec chunk(shape.params().chunk_size);
  for (uint64_t left = size; left > 0;) {
    const auto part = MutableBytes(chunk).first(std::min<uint64_t>(left, chunk.size()));
    stream.fill(part);
    REQUIRE(builder.add_leaf(sha256(part), part.size()));
    left -= part.size();
  }
  return builder.finish().value();
}

struct Expected {
  uint32_t chunk_size;
  uint32_t max_links;
  uint64_t size;
  const char* cid;
};

// Printed by tests/oracles/unixfs/unixfs.mjs.
const Expected kExpected[] = {
    {262144, 174, 0, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"},
    {262144, 174, 1, "bafkreif3oielzg25pqcpci3kqkqasos6gp2aii6vxkguezxxbewdxjb3mi"},
    {262144, 174, 262143, "bafkreibhicvzd6edz3rdaqj33njychar54bjawaqnkra4cxct2hcw43ube"},
    {262144, 174, 262144, "bafkreibpxkmjkyanft2hcu4h27xxvsemr5h5bflchaompfhfegle3y6vxe"},
    {262144, 174, 262145, "bafybeidmca3kptazummaydzvlzfzb5uyxdjc5j4fxbgfl3gbdmiwh4cyu4"},
    {262144, 174, 45613056, "bafybeicajrsjv6meyrbfwrrw73gkwiqb2ojb7hdsswn5236bfysbg5ao34"},
    {262144, 174, 45875200, "bafybeibtact26cmesv2ofvqwmf5gif5rso33at7fdmvcys3e5c56656ydi"},
    {1048576, 1024, 0, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"},
    {1048576, 1024, 1048575, "bafkreigpgngb4ztzqugqfqaqgqfke465roflv7kjfsbtv4c3h3wkdwghsm"},
    {1048576, 1024, 1048576, "bafkreiaozocq7ts3mwqefava7kslwrvzqxexe3n4ubbobo6ihiy7cdyd74"},
    {1048576, 1024, 1048577, "bafybeidfbiurqtjtmpjgyhxpbhmfaqukyozky4xvzw7cjkzj3yzthoz7xi"},
    {1048576, 1024, 182452224, "bafybeibnvqdgjwxkbsyzbm2gurmv5thy2gwjmvitxwn4zvdzhwackjeyeu"},
    {1048576, 1024, 183500800, "bafybeicir25b55lo2fr24q3jc3226wxyoaka2me3qngfpjvunomdhg2otu"},
    {1000, 3, 1000, "bafkreie77gthm64hdwo5d4iffbx3uupyc5k7l2teiy7aetpiylek4lg5cq"},
    {1000, 3, 3001, "bafybeidzpf5ltlyobejstkohoy7vvmkkbpw44xnttkdtjga4obvdm2lfnq"},
    {1000, 3, 9001, "bafybeia7jzuj3yl5x5eody7kkg5cpdk6ut3jjyyqxsugu3snxtoh4w2yjq"},
    {1000, 3, 10000, "bafybeiamgq3pc4ki5emos6zv6dviboga3vlc7mjka2qkpou7lxt6abnenq"},
    {1000, 3, 27000, "bafybeibzonkssaxhgncuzwtsbeo725ieymjg3jk6fj47stqsifi6m47eza"},
    {1000, 3, 81001, "bafybeihfzcwscqqra4limrmewpophygaofq6qdqbahzgiqaivzmplhtdqi"},
    {4096, 2, 100000, "bafybeielvi25u3dlbccnwkn2gkrew5d4upbnho4setv2xrwb4pir2xdyhm"},
};

std::vector<UnixfsLink> some_links(size_t count) {
  std::vector<UnixfsLink> links;
  for (size_t i = 0; i < count; ++i)
    links.push_back({sha256(as_bytes(std::to_string(i))), Codec::kRaw, 100 + i, 100 + i});
  return links;
}

}  // namespace

TEST_CASE("files have the CIDs that an independent importer gives them") {
  for (const Expected& expected : kExpected) {
    CAPTURE(expected.size);
    MemoryBlocks blocks;
    const auto shape = shape_of(expected.chunk_size, expected.max_links);
    CHECK(build_stream(shape, expected.size, blocks).cid.text() == expected.cid);
  }
}

// tests/oracles/unixfs.sh runs the importer here and now and names the file of its answers.
TEST_CASE("files have the CIDs in the file that CAIRN_UNIXFS_EXPECTED names") {
  const char* path = std::getenv("CAIRN_UNIXFS_EXPECTED");
  if (path == nullptr) return;
  std::ifstream lines(path);
  REQUIRE(lines);
  uint32_t chunk_size = 0;
  uint32_t max_links = 0;
  uint64_t size = 0;
  std::string cid;
  size_t count = 0;
  while (lines >> chunk_size >> max_links >> size >> cid) {
    CAPTURE(size);
    MemoryBlocks blocks;
    CHECK(build_stream(shape_of(chunk_size, max_links), size, blocks).cid.text() == cid);
    ++count;
  }
  CHECK(lines.eof());
  CHECK(count > 0);
}

TEST_CASE("parameters outside their bounds are refused") {
  CHECK_FALSE(UnixfsShape::make({0, 174}));
  CHECK_FALSE(UnixfsShape::make({UnixfsParams::kMaxChunkSize + 1, 174}));
  CHECK_FALSE(UnixfsShape::make({4096, 1}));
  CHECK_FALSE(UnixfsShape::make({4096, UnixfsParams::kMaxLinks + 1}));
  CHECK(UnixfsShape::make({1, 2}));
  CHECK(UnixfsShape::make({UnixfsParams::kMaxChunkSize, UnixfsParams::kMaxLinks}));
}

TEST_CASE("depth and sizes follow from the file size") {
  const auto shape = shape_of(10, 3);
  CHECK(shape.depth(0) == 0);
  CHECK(shape.depth(10) == 0);
  CHECK(shape.depth(11) == 1);
  CHECK(shape.depth(30) == 1);
  CHECK(shape.depth(31) == 2);
  CHECK(shape.subtree_size(1, 3, 45) == 15);
  CHECK(shape.subtree_size(1, 0, 45) == 30);
  CHECK(shape.depth(shape.max_file_size()) == shape.level_count() - 1);
  const auto standard = shape_of(256 << 10, 174);
  CHECK(standard.max_file_size() == uint64_t{1} << 60);
  CHECK(shape_of(UnixfsParams::kMaxChunkSize, 2).max_file_size() == uint64_t{1} << 60);
  CHECK(shape_of(1, 2).max_file_size() == uint64_t{1} << 44);
  CHECK(standard.subtree_size(standard.depth(uint64_t{1} << 60), 0, uint64_t{1} << 60) ==
        uint64_t{1} << 60);
}

TEST_CASE("leaves of the wrong length are refused") {
  const auto shape = shape_of(10, 3);
  MemoryBlocks blocks;
  UnixfsBuilder builder(shape, blocks);
  CHECK_FALSE(builder.add_leaf({}, 0));
  CHECK_FALSE(builder.add_leaf({}, 11));
  CHECK(builder.add_leaf({}, 10));
  CHECK(builder.add_leaf({}, 9));
  CHECK_FALSE(builder.add_leaf({}, 10));
}

TEST_CASE("a node has one encoding, and every other is refused") {
  const auto links = some_links(5);
  const ByteVec block = encode_unixfs_node(links);
  CHECK(decode_unixfs_node(block).value() == links);
  CHECK(validate_dag_pb(block));
  for (size_t cut = 0; cut < block.size(); ++cut)
    CHECK_FALSE(decode_unixfs_node(Bytes(block).first(cut)));
  ByteVec longer = block;
  longer.push_back(std::byte{0});
  CHECK_FALSE(decode_unixfs_node(longer));
  // Whatever one changed byte makes of it: refused, or another node with its own encoding.
  for (size_t at = 0; at < block.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      ByteVec changed = block;
      changed[at] ^= static_cast<std::byte>(1 << bit);
      const auto decoded = decode_unixfs_node(changed);
      if (decoded) CHECK(encode_unixfs_node(*decoded) == changed);
    }
  }
  // Data before links is legal dag-pb for some, and not for us.
  ByteVec data_first;
  append_pb_data(data_first, as_bytes("x"));
  append_pb_link(data_first, Cid::from_digest(Codec::kRaw, {}), 1);
  CHECK_FALSE(validate_dag_pb(data_first));
  CHECK_FALSE(decode_unixfs_node({}));
  CHECK(validate_dag_pb({}));
}

TEST_CASE("links that do not fit the size of the file are refused") {
  const auto shape = shape_of(10, 4);
  const Digest leaf{};
  const std::vector<UnixfsLink> good{{leaf, Codec::kRaw, 10, 10}, {leaf, Codec::kRaw, 5, 5}};
  CHECK(shape.check_links(good, 1, 0, 15));
  CHECK_FALSE(shape.check_links(good, 1, 0, 16));
  CHECK_FALSE(shape.check_links(good, 1, 0, 25));
  CHECK_FALSE(shape.check_links(good, 2, 0, 45));
  const std::vector<UnixfsLink> deep{{leaf, Codec::kDagPb, 10, 60}, {leaf, Codec::kRaw, 5, 5}};
  CHECK_FALSE(shape.check_links(deep, 1, 0, 15));
}

TEST_CASE("leaves are found at their places, whatever part of the file is asked for") {
  const auto shape = shape_of(10, 3);
  MemoryBlocks blocks;
  const UnixfsRoot root = build_stream(shape, 105, blocks);
  ByteStream stream;
  ByteVec content(105);
  stream.fill(content);
  for (uint64_t first = 0; first < 11; ++first) {
    for (uint64_t last = first; last < 13; ++last) {
      const auto leaves = unixfs_leaves(shape, root, first, last, blocks).value();
      REQUIRE(leaves.size() == std::min<uint64_t>(last, 10) - first + 1);
      for (size_t i = 0; i < leaves.size(); ++i) {
        const uint64_t at = (first + i) * 10;
        CHECK(leaves[i].first_chunk == first + i);
        CHECK(leaves[i].digest == sha256(Bytes(content).subspan(at, leaves[i].size)));
        const auto parent = decode_unixfs_node(blocks.get(*leaves[i].parent).value()).value();
        CHECK(parent[leaves[i].position].digest == leaves[i].digest);
      }
    }
  }
  CHECK(unixfs_leaves(shape, root, 11, 20, blocks).value().empty());
  CHECK_FALSE(unixfs_leaves(shape, root, 0, kMaxUnixfsLeaves, blocks));
  // The size is part of the name: with another one the tree does not fit.
  CHECK_FALSE(unixfs_leaves(shape, {root.cid, 95}, 0, 3, blocks));
  CHECK_FALSE(unixfs_leaves(shape, {root.cid, 10}, 0, 3, blocks));
}

TEST_CASE("missing nodes of a level are asked for together") {
  const auto shape = shape_of(10, 3);
  MemoryBlocks blocks;
  const UnixfsRoot root = build_stream(shape, 265, blocks);  // 27 leaves: 9, 3 and 1 nodes
  blocks.hold_back_all();
  size_t rounds = 0;
  while (true) {
    const auto leaves = unixfs_leaves(shape, root, 0, 26, blocks);
    if (leaves) {
      CHECK(leaves->size() == 27);
      break;
    }
    REQUIRE(leaves.error().code() == Errc::kNotLocal);
    REQUIRE(blocks.fetch_asked() > 0);
    ++rounds;
  }
  CHECK(rounds == 3);
}

TEST_CASE("a file of 16 TiB of nothing costs a few nodes, and one write into it a few more") {
  const auto shape = shape_of(256 << 10, 174);
  MemoryBlocks blocks;
  const uint64_t size = uint64_t{16} << 40;
  const UnixfsRoot hole = update_unixfs(shape, std::nullopt, size, {}, blocks, blocks).value();
  CHECK(blocks.puts < 16);
  blocks.puts = 0;
  const Digest leaf = sha256(as_bytes("something"));
  const UnixfsChange change{size / 2 / (256 << 10), leaf};
  const auto written = update_unixfs(shape, hole, size, {&change, 1}, blocks, blocks);
  REQUIRE(written);
  CHECK(blocks.puts < 16);
  const auto leaves =
      unixfs_leaves(shape, *written, change.chunk - 1, change.chunk + 1, blocks).value();
  REQUIRE(leaves.size() == 3);
  CHECK(leaves[0].zero);
  CHECK(leaves[1].digest == leaf);
  CHECK(leaves[2].zero);
  // Undone, it is the same file again; cut to nothing, the empty one.
  const UnixfsChange undo{change.chunk, shape.zero_leaf(256 << 10)};
  CHECK(update_unixfs(shape, *written, size, {&undo, 1}, blocks, blocks).value() == hole);
  CHECK(update_unixfs(shape, *written, 0, {}, blocks, blocks).value().cid.text() ==
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku");
}

TEST_CASE("an append writes the right edge only") {
  const auto shape = shape_of(10, 4);
  MemoryBlocks blocks;
  const UnixfsRoot old = build_stream(shape, 640, blocks);  // 64 full leaves, 3 levels
  blocks.puts = 0;
  blocks.asked.clear();
  const UnixfsChange change{64, sha256(as_bytes("more"))};
  const auto grown = update_unixfs(shape, old, 650, {&change, 1}, blocks, blocks);
  REQUIRE(grown);
  CHECK(blocks.puts == 4);          // the new root and the spine down to the new leaf
  CHECK(blocks.asked.size() == 1);  // the old root, for its cumulative size
}

TEST_CASE("a chunk that changes its length without new content is refused, unless it is a hole") {
  const auto shape = shape_of(10, 3);
  MemoryBlocks blocks;
  const UnixfsRoot old = build_stream(shape, 25, blocks);
  CHECK_FALSE(update_unixfs(shape, old, 26, {}, blocks, blocks));
  CHECK_FALSE(update_unixfs(shape, old, 50, {}, blocks, blocks));
  CHECK_FALSE(update_unixfs(shape, old, 15, {}, blocks, blocks));
  CHECK(update_unixfs(shape, old, 20, {}, blocks, blocks));
  const UnixfsRoot hole = update_unixfs(shape, std::nullopt, 25, {}, blocks, blocks).value();
  for (const uint64_t size : {3, 10, 15, 26, 31, 95})
    CHECK(update_unixfs(shape, hole, size, {}, blocks, blocks).value() ==
          update_unixfs(shape, std::nullopt, size, {}, blocks, blocks).value());
}

TEST_CASE("changes that are out of order or behind the end are refused") {
  const auto shape = shape_of(10, 3);
  MemoryBlocks blocks;
  const std::vector<UnixfsChange> twice{{1, {}}, {1, {}}};
  CHECK_FALSE(update_unixfs(shape, std::nullopt, 40, twice, blocks, blocks));
  const UnixfsChange behind{4, {}};
  CHECK_FALSE(update_unixfs(shape, std::nullopt, 40, {&behind, 1}, blocks, blocks));
  CHECK_FALSE(update_unixfs(shape, std::nullopt, ~uint64_t{0}, {}, blocks, blocks));
}
