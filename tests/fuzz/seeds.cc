// Writes the first inputs of the fuzz targets: fuzz_seeds CORPUS-FOLDER
#include <initializer_list>
#include <string>
#include <vector>

#include "cache/base/env.h"
#include "cache/format/cbor.h"
#include "cache/format/unixfs.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/test_pack.h"

using namespace cairn;

namespace {

std::string g_folder;

void seed(const std::string& target, const std::string& name, Bytes bytes) {
  const std::string folder = g_folder + "/" + target;
  fuzz::require(posix_env().make_dirs(folder).has_value(), "the folder can be made");
  fuzz::require(replace_file(posix_env(), folder + "/" + name, bytes).has_value(), "writable");
}

ByteVec bytes_of(std::initializer_list<unsigned> values) {
  ByteVec out;
  for (const unsigned value : values) out.push_back(static_cast<std::byte>(value));
  return out;
}

ByteVec file_node() {
  std::vector<UnixfsLink> links;
  for (uint64_t i = 0; i < 3; ++i)
    links.push_back({sha256(as_bytes(std::to_string(i))), Codec::kRaw, 8, 8});
  return encode_unixfs_node(links);
}

void seed_packs() {
  for (const bool meta : {false, true}) {
    TestPack pack(meta ? PackKind::kMeta : PackKind::kData);
    pack.add(Codec::kRaw, as_bytes("leaf"));
    pack.add(Codec::kRaw, {});
    if (meta) {
      ByteVec cbor;
      CborWriter out(cbor);
      out.map(1);
      out.text("l");
      out.link(Cid::make(Codec::kRaw, as_bytes("leaf")));
      pack.add(Codec::kDagCbor, cbor);
      const Cid node = pack.add(Codec::kDagPb, file_node());
      const std::vector<PackRun> runs{{PackRun::Place::kHere, {}, 96, 1},
                                      {PackRun::Place::kPack, sha256({}), 5, 1},
                                      {PackRun::Place::kUnknown, {}, 0, 1}};
      pack.builder().add_runs(node.digest(), runs);
    }
    const PackPlan plan = pack.plan();
    const std::string name = meta ? "meta" : "data";
    const ByteVec object = pack.object(plan);
    seed("car", name, object);
    ByteVec tail = bytes_of({1});
    for (unsigned i = 0; i < 5; ++i) tail.push_back(static_cast<std::byte>(plan.size() >> (8 * i)));
    append(tail, plan.tail().block());
    seed("pack_tail", name, tail);
  }
}

void seed_files() {
  ByteVec codec = bytes_of({0});
  append(codec, file_node());
  seed("unixfs", "codec", codec);
  // Chunks of 8 bytes, 5 links, a file of 24 bytes; one node for each of two reads.
  ByteVec hostile = bytes_of({1, 7, 3, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0, 0, 0});
  for (int i = 0; i < 2; ++i) {
    const ByteVec node = file_node();
    put_le(hostile, static_cast<uint16_t>(node.size()));
    append(hostile, node);
  }
  seed("unixfs", "hostile", hostile);
  seed("unixfs", "edits", bytes_of({2, 3, 1, 200, 1, 0, 20, 1, 1, 30, 90, 0, 0, 250, 0, 0}));
  seed("unixfs", "grow", bytes_of({2, 0, 0, 7, 1, 0, 90, 1, 0, 255, 0, 0, 3, 1, 0}));
}

void seed_segments() {
  // First byte, partition bits, packs - 1, entries, each with 7 bytes; then changes.
  ByteVec entries = bytes_of({1, 4, 1, 3});
  for (unsigned i = 0; i < 3; ++i) append(entries, bytes_of({i * 90, i, 7, i % 2, 10, i, 20}));
  seed("index", "entries", entries);
  append(entries, bytes_of({0x29, 0, 0, 9, 0x51, 0, 0, 3}));
  seed("index", "damaged", entries);
  seed("index", "empty", bytes_of({0, 0, 0, 0}));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: fuzz_seeds CORPUS-FOLDER\n", stderr);
    return 2;
  }
  g_folder = argv[1];
  seed_packs();
  seed_files();
  seed_segments();
  seed("canary", "start",
       as_bytes("cr\x02"
                "ab"));
  return 0;
}
