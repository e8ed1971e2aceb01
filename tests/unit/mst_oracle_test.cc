// Random maps and the roots that we give them, for tests/oracles/mst.sh, which asks another
// implementation for the same roots.
#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <map>

#include "cache/base/coding.h"
#include "cache/base/random.h"
#include "cache/format/mst.h"
#include "cache/format/records.h"
#include "tests/support/memory_blocks.h"

using namespace cairn;

namespace {

using Map = std::map<std::string, std::optional<Cid>>;

std::string random_key(Rng& rng) {
  switch (rng.below(4)) {
    case 0:
      return inode_key(make_ino(1, static_cast<uint32_t>(1 + rng.below(50)), 1));
    case 1:
      return dirent_key(1 + rng.below(40), "file-" + std::to_string(rng.below(500)));
    case 2:
      return std::string(1 + rng.below(3), static_cast<char>(rng.below(256)));
    default:
      break;
  }
  std::string key(1 + rng.below(rng.below(8) == 0 ? kMaxMstKey : 40), '\0');
  for (char& c : key) c = static_cast<char>(rng.below(256));
  return key;
}

Map random_map(Rng& rng, size_t size) {
  Map map;
  for (size_t i = 0; i < size; ++i) {
    const std::string text = std::to_string(rng.below(1000));
    map[random_key(rng)] = rng.below(2) == 0 ? Cid::make(Codec::kRaw, as_bytes(text))
                                             : Cid::identity(Codec::kDagCbor, as_bytes(text));
  }
  return map;
}

Digest apply(MemoryBlocks& blocks, const Digest& root, const Map& map, size_t part, size_t parts) {
  MstBlockNodeReader reader(blocks, 2);
  std::vector<MstEdit> edits;
  size_t i = 0;
  for (const auto& [key, value] : map)
    if (i++ % parts == part) edits.push_back({key, value});
  return mst_apply(reader, root, edits, blocks).value();
}

}  // namespace

TEST_CASE("random maps have one root, which other implementations are asked for") {
  const char* out = std::getenv("CAIRN_ORACLE_OUT");
  std::ofstream maps;
  std::ofstream roots;
  if (out != nullptr) {
    maps.open(std::string(out) + "/maps");
    roots.open(std::string(out) + "/roots");
  }
  const auto rng = make_seeded_rng(20);
  for (size_t i = 0; i < 120; ++i) {
    const Map map = random_map(*rng, i < 20 ? i : 20 + rng->below(i * 10));
    MemoryBlocks blocks;
    CHECK(
        blocks.put(Cid::from_digest(Codec::kDagCbor, empty_mst_root()), Buffer(empty_mst_block())));
    const Digest at_once = apply(blocks, empty_mst_root(), map, 0, 1);
    Digest in_parts = empty_mst_root();
    for (size_t part = 0; part < 3; ++part) in_parts = apply(blocks, in_parts, map, part, 3);
    CHECK(at_once == in_parts);
    for (const auto& [key, value] : map)
      maps << to_hex(as_bytes(key)) << '\t' << value->text() << '\n';
    maps << '\n';
    roots << Cid::from_digest(Codec::kDagCbor, at_once).text() << '\n';
  }
  CHECK((out == nullptr || (maps.flush().good() && roots.flush().good())));
}
