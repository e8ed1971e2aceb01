// A file that grew, shrank and changed in any way has the CID of one built from its bytes.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <map>

#include "cache/format/unixfs_file.h"
#include "tests/support/memory_blocks.h"

using namespace cairn;

namespace {

UnixfsRoot build(const UnixfsShape& shape, const std::string& content, MemoryBlocks& blocks) {
  UnixfsBuilder builder(shape, blocks);
  for (size_t at = 0; at < content.size(); at += shape.params().chunk_size) {
    const std::string chunk = content.substr(at, shape.params().chunk_size);
    RC_ASSERT(builder.add_leaf(sha256(as_bytes(chunk)), chunk.size()).has_value());
  }
  return builder.finish().value();
}

// What the engine would hand over: the leaf of each chunk whose bytes or length differ, holes left
// out where the old file ends.
std::vector<UnixfsChange> changes_between(const UnixfsShape& shape, const std::string& before,
                                          const std::string& after) {
  const size_t size = shape.params().chunk_size;
  std::vector<UnixfsChange> changes;
  for (size_t at = 0; at < after.size(); at += size) {
    const std::string now = after.substr(at, size);
    const bool existed = at < before.size();
    if (existed ? before.substr(at, size) == now : now == std::string(now.size(), '\0')) continue;
    changes.push_back({at / size, sha256(as_bytes(now))});
  }
  return changes;
}

std::string edit(std::string content) {
  switch (*rc::gen::inRange(0, 4)) {
    case 0:  // truncate or grow with a hole
      content.resize(*rc::gen::inRange<size_t>(0, 400));
      break;
    case 1:  // append
      content.append(*rc::gen::inRange<size_t>(0, 60), *rc::gen::element('a', 'b', '\0'));
      break;
    default:  // overwrite
      if (content.empty()) break;
      const size_t from = *rc::gen::inRange<size_t>(0, content.size());
      const size_t length =
          *rc::gen::inRange<size_t>(0, std::min<size_t>(40, content.size() - from));
      content.replace(from, length, std::string(length, *rc::gen::element('x', 'y', '\0')));
  }
  return content;
}

}  // namespace

TEST_CASE("updated files equal files built from scratch") {
  CHECK(rc::check([] {
    const auto chunk_size = *rc::gen::inRange<uint32_t>(1, 9);
    const auto max_links = *rc::gen::inRange<uint32_t>(2, 6);
    const UnixfsShape shape = UnixfsShape::make({chunk_size, max_links}).value();
    MemoryBlocks blocks;
    std::optional<UnixfsRoot> root;
    std::string content;
    const int edits = *rc::gen::inRange(1, 8);
    for (int i = 0; i < edits; ++i) {
      const std::string next = edit(content);
      const auto changes = changes_between(shape, content, next);
      const auto updated = update_unixfs(shape, root, next.size(), changes, blocks, blocks);
      RC_ASSERT(updated.has_value());
      MemoryBlocks fresh;
      RC_ASSERT(updated->cid == build(shape, next, fresh).cid);
      // Every inner node is there to be read, whatever was updated from what.
      const uint64_t last = next.size() / chunk_size;
      const auto leaves = unixfs_leaves(shape, *updated, 0, last, blocks);
      RC_ASSERT(leaves.has_value());
      std::string read;
      for (const UnixfsPlace& leaf : *leaves) {
        const std::string chunk = next.substr(leaf.first_chunk * chunk_size, chunk_size);
        RC_ASSERT(leaf.digest == sha256(as_bytes(chunk)));
        read += chunk;
      }
      RC_ASSERT(read == next);
      root = *updated;
      content = next;
    }
  }));
}

TEST_CASE("an update that lacks blocks asks for them and succeeds when it runs again") {
  CHECK(rc::check([] {
    const UnixfsShape shape = UnixfsShape::make({2, 3}).value();
    MemoryBlocks blocks;
    const std::string before(*rc::gen::inRange<size_t>(1, 300), 'a');
    const UnixfsRoot old = build(shape, before, blocks);
    const std::string after = edit(before);
    const auto changes = changes_between(shape, before, after);
    blocks.hold_back_all();
    unsigned rounds = 0;
    while (true) {
      const auto updated = update_unixfs(shape, old, after.size(), changes, blocks, blocks);
      if (updated) {
        MemoryBlocks fresh;
        RC_ASSERT(updated->cid == build(shape, after, fresh).cid);
        break;
      }
      RC_ASSERT(updated.error().code() == Errc::kNotLocal);
      RC_ASSERT(blocks.fetch_asked() > 0u);
      RC_ASSERT(++rounds <= shape.depth(old.size) + 1);
    }
  }));
}
