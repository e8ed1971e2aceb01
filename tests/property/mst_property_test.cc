// The tree against std::map: any edits in any batches give the map's root, and reading it gives
// the map.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>

#include "cache/format/mst.h"
#include "tests/support/memory_blocks.h"

using namespace cairn;

namespace {

using Model = std::map<std::string, Cid>;

// Short keys over few letters collide and share prefixes; the tree sees every shape early.
rc::Gen<std::string> gen_key() {
  const auto letter = rc::gen::element('a', 'b', '/', '0', '\0', '\xff');
  return rc::gen::oneOf(
      rc::gen::nonEmpty(rc::gen::resize(12, rc::gen::container<std::string>(letter))),
      rc::gen::nonEmpty(rc::gen::container<std::string>(rc::gen::arbitrary<char>())));
}

rc::Gen<Cid> gen_value() {
  return rc::gen::map(rc::gen::inRange(0, 6), [](int n) {
    const std::string text = "value" + std::to_string(n);
    return n % 2 == 0 ? Cid::identity(Codec::kDagCbor, as_bytes(text))
                      : Cid::make(Codec::kDagCbor, as_bytes(text));
  });
}

rc::Gen<Model> gen_model() {
  return rc::gen::scale(3.0, rc::gen::container<Model>(gen_key(), gen_value()));
}

struct Tree {
  explicit Tree(unsigned bits) : reader(blocks, bits) {
    const ByteVec empty = empty_mst_block();
    RC_ASSERT(blocks.put(Cid::make(Codec::kDagCbor, empty), Buffer(empty)).has_value());
  }
  Digest apply(const Digest& root, const std::map<std::string, std::optional<Cid>>& edits) {
    std::vector<MstEdit> list;
    for (const auto& [key, value] : edits) list.push_back({key, value});
    return mst_apply(reader, root, list, blocks).value();
  }
  Digest build(const Model& model) { return apply(empty_mst_root(), {model.begin(), model.end()}); }
  MemoryBlocks blocks;
  MstBlockNodeReader reader;
};

// An independent construction: straight from the definition, top down, all keys at once.
std::optional<Digest> defined_root(const std::vector<std::pair<std::string, Cid>>& items, int layer,
                                   unsigned bits) {
  if (items.empty()) return std::nullopt;
  std::vector<std::pair<std::string, Cid>> run;
  std::optional<Digest> left;
  std::vector<MstNodeEntry> entries;
  const auto flush = [&] {
    const auto below = defined_root(run, layer - 1, bits);
    (entries.empty() ? left : entries.back().right) = below;
    run.clear();
  };
  for (const auto& item : items) {
    if (mst_layer(item.first, bits) < layer) {
      run.push_back(item);
      continue;
    }
    flush();
    entries.push_back({item.first, item.second, std::nullopt});
  }
  flush();
  return sha256(encode_mst_node(left, entries));
}

Digest defined_root(const Model& model, unsigned bits) {
  int top = 0;
  for (const auto& [key, value] : model) top = std::max(top, mst_layer(key, bits));
  return defined_root(std::vector<std::pair<std::string, Cid>>(model.begin(), model.end()), top,
                      bits)
      .value_or(empty_mst_root());
}

}  // namespace

TEST_CASE("any batches of edits lead to the root that the resulting map defines") {
  CHECK(rc::check([] {
    const auto bits = static_cast<unsigned>(*rc::gen::inRange(2, 6));
    Tree tree(bits);
    Model model;
    Digest root = empty_mst_root();
    const int batches = *rc::gen::inRange(1, 8);
    for (int batch = 0; batch < batches; ++batch) {
      std::map<std::string, std::optional<Cid>> edits;
      for (const auto& [key, value] : *gen_model()) edits[key] = value;
      for (const auto& [key, value] : model)
        if (*rc::gen::inRange(0, 3) == 0) edits[key] = std::nullopt;
      for (const auto& [key, value] : edits) {
        if (value) {
          model.insert_or_assign(key, *value);
        } else {
          model.erase(key);
        }
      }
      root = tree.apply(root, edits);
      RC_ASSERT(root == defined_root(model, bits));
    }
    RC_ASSERT(tree.build(model) == root);
    std::map<std::string, std::optional<Cid>> all;
    for (const auto& [key, value] : model) all[key] = std::nullopt;
    RC_ASSERT(tree.apply(root, all) == empty_mst_root());
  }));
}

TEST_CASE("find, seek and scan answer as the map does") {
  CHECK(rc::check([] {
    Tree tree(static_cast<unsigned>(*rc::gen::inRange(2, 6)));
    const Model model = *gen_model();
    const Digest root = tree.build(model);
    for (const auto& [key, value] : model)
      RC_ASSERT(mst_find(tree.reader, root, key).value() == std::optional<Cid>(value));
    for (int i = 0; i < 5; ++i) {
      const std::string key = *gen_key();
      const auto found = model.find(key);
      RC_ASSERT(mst_find(tree.reader, root, key).value() ==
                (found == model.end() ? std::nullopt : std::optional<Cid>(found->second)));
      const bool after = *rc::gen::arbitrary<bool>();
      const std::string end = *rc::gen::oneOf(gen_key(), rc::gen::just(std::string()));
      const auto limit = *rc::gen::inRange<size_t>(0, 20);
      std::vector<MstItem> expected;
      for (auto it = after ? model.upper_bound(key) : model.lower_bound(key);
           it != model.end() && expected.size() < limit && (end.empty() || it->first < end); ++it)
        expected.push_back({it->first, it->second});
      RC_ASSERT(mst_scan(tree.reader, root, key, after, end, limit).value() == expected);
    }
  }));
}

TEST_CASE("a diff is the difference of the maps") {
  CHECK(rc::check([] {
    Tree tree(static_cast<unsigned>(*rc::gen::inRange(2, 6)));
    const Model before = *gen_model();
    Model after = *gen_model();
    if (*rc::gen::arbitrary<bool>()) after.insert(before.begin(), before.end());
    std::map<std::string, MstChange> expected;
    for (const auto& [key, value] : before) expected[key] = {key, value, std::nullopt};
    for (const auto& [key, value] : after) {
      MstChange& change = expected[key];
      change.key = key;
      change.after = value;
    }
    MstDiff diff(tree.reader, tree.build(before), tree.build(after));
    for (const auto& [key, change] : expected) {
      if (change.before == change.after) continue;
      const auto next = diff.next().value();
      RC_ASSERT(next.has_value());
      RC_ASSERT(*next == change);
    }
    RC_ASSERT(!diff.next().value().has_value());
  }));
}
