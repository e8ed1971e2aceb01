#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "cache/base/coding.h"
#include "cache/format/cbor.h"
#include "cache/format/mst.h"
#include "tests/support/memory_blocks.h"

using namespace cairn;

namespace {

Cid cid_of(std::string_view text) {
  return Cid::make(Codec::kDagCbor, as_bytes(text));
}

struct Tree {
  explicit Tree(unsigned bits = 2) : reader(blocks, bits) {
    const ByteVec empty = empty_mst_block();
    CHECK(blocks.put(Cid::make(Codec::kDagCbor, empty), Buffer(empty)));
  }
  void apply(std::vector<MstEdit> edits) {
    std::sort(edits.begin(), edits.end(),
              [](const MstEdit& a, const MstEdit& b) { return a.key < b.key; });
    root = mst_apply(reader, root, edits, blocks).value();
  }
  std::string text() const { return Cid::from_digest(Codec::kDagCbor, root).text(); }

  MemoryBlocks blocks;
  MstBlockNodeReader reader;
  Digest root = empty_mst_root();
};

std::vector<MstEdit> puts(const std::vector<std::string>& keys, const Cid& value) {
  std::vector<MstEdit> edits;
  for (const std::string& key : keys) edits.push_back({key, value});
  return edits;
}

// The published vectors; an empty path, and a SKIP line, when they are not here.
std::filesystem::path vectors(const char* file) {
  const char* folder = std::getenv("CAIRN_MST_VECTORS");
  if (folder != nullptr && std::filesystem::exists(std::filesystem::path(folder) / file))
    return std::filesystem::path(folder) / file;
  std::cout << "SKIP mst_vectors: " << file << " is not in the folder CAIRN_MST_VECTORS\n";
  return {};
}

nlohmann::json json_of(const std::filesystem::path& path) {
  std::ifstream in(path);
  return nlohmann::json::parse(in);
}

// A node written by hand: entries of {prefix, suffix}, each with this value; no subtrees.
ByteVec raw_node(const std::vector<std::pair<uint64_t, std::string>>& entries,
                 std::optional<Cid> right = {}, std::optional<Cid> left = {}) {
  ByteVec block;
  CborWriter out(block);
  out.map(2);
  out.text("e");
  out.array(entries.size());
  const auto child = [&](const std::optional<Cid>& cid) { cid ? out.link(*cid) : out.null(); };
  for (const auto& [prefix, suffix] : entries) {
    out.map(4);
    out.text("k");
    out.bytes(as_bytes(suffix));
    out.text("p");
    out.uint(prefix);
    out.text("t");
    child(right);
    out.text("v");
    out.link(cid_of("v"));
  }
  out.text("l");
  child(left);
  return block;
}

std::string key_of_layer(int layer, const std::string& prefix, unsigned bits = 2) {
  for (int i = 0;; ++i) {
    const std::string key = prefix + std::to_string(i);
    if (mst_layer(key, bits) == layer) return key;
  }
}

}  // namespace

TEST_CASE("layers of the published keys") {
  const auto path = vectors("key_heights.json");
  if (path.empty()) return;
  const nlohmann::json cases = json_of(path);
  CHECK(cases.size() >= 9);
  for (const auto& c : cases)
    CHECK(mst_layer(c["key"].get<std::string>(), 2) == c["height"].get<int>());
}

TEST_CASE("common prefixes of the published pairs") {
  const auto path = vectors("common_prefix.json");
  if (path.empty()) return;
  const nlohmann::json cases = json_of(path);
  CHECK(cases.size() >= 13);
  for (const auto& c : cases)
    CHECK(common_prefix(c["left"].get<std::string>(), c["right"].get<std::string>()) ==
          c["len"].get<size_t>());
}

TEST_CASE("published roots before and after commits") {
  const auto path = vectors("commit-proof-fixtures.json");
  if (path.empty()) return;
  const nlohmann::json fixtures = json_of(path);
  CHECK(fixtures.size() >= 6);
  for (const auto& f : fixtures) {
    CAPTURE(f["comment"].get<std::string>());
    const Cid value = Cid::parse(f["leafValue"].get<std::string>()).value();
    Tree tree;
    tree.apply(puts(f["keys"].get<std::vector<std::string>>(), value));
    CHECK(tree.text() == f["rootBeforeCommit"].get<std::string>());
    auto edits = puts(f["adds"].get<std::vector<std::string>>(), value);
    for (const auto& key : f["dels"]) edits.push_back({key.get<std::string>(), std::nullopt});
    tree.apply(edits);
    CHECK(tree.text() == f["rootAfterCommit"].get<std::string>());
    // What proves the changed keys is all in the new tree or was read on the way.
    for (const auto& block : f["blocksInProof"])
      CHECK(tree.blocks.blocks.contains(Cid::parse(block.get<std::string>())->digest()));
  }
}

TEST_CASE("the published example keys have the layer in their name") {
  const auto path = vectors("example_keys.txt");
  if (path.empty()) return;
  std::ifstream in(path);
  std::vector<std::string> keys;
  for (std::string key; std::getline(in, key);) keys.push_back(key);
  CHECK(keys.size() == 156);
  for (const std::string& key : keys) CHECK(mst_layer(key, 2) == key[1] - '0');
  Tree at_once;
  at_once.apply(puts(keys, cid_of("v")));
  Tree one_by_one;
  for (const std::string& key : keys) one_by_one.apply(puts({key}, cid_of("v")));
  CHECK(at_once.root == one_by_one.root);
  for (const std::string& key : keys) one_by_one.apply({{key, std::nullopt}});
  CHECK(one_by_one.root == empty_mst_root());
}

TEST_CASE("known roots") {
  Tree tree;
  CHECK(tree.text() == "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm");
  const Cid value =
      Cid::parse("bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454").value();
  tree.apply(puts({"A0/374913"}, value));
  CHECK(tree.text() == "bafyreidnnkrdkcaswbflgtdsxm7nzs7p5f2rdous6wrlupzstuwqu5pfgm");
  CHECK(tree.blocks.blocks.at(tree.root).size() == 69);
  CHECK(mst_find(tree.reader, tree.root, "A0/374913").value() == value);
  CHECK_FALSE(mst_find(tree.reader, tree.root, "A0/37491").value());
  CHECK_FALSE(mst_find(tree.reader, empty_mst_root(), "A0/37491").value());
}

TEST_CASE("a node that is not in its one form is refused") {
  const auto refused = [](const ByteVec& block) {
    const auto node = MstNode::decode(block, 2);
    if (!node) CHECK(node.error().code() == Errc::kCorruption);
    return !node;
  };
  const std::string a = key_of_layer(0, "a");
  const std::string b = key_of_layer(0, "b");
  const std::string c = key_of_layer(1, "c");
  const std::string aa = key_of_layer(0, a);
  const Cid node = cid_of("node");
  CHECK_FALSE(refused(raw_node({{0, a}, {0, b}})));
  CHECK_FALSE(refused(raw_node({{0, a}, {a.size(), aa.substr(a.size())}})));
  CHECK_FALSE(refused(raw_node({{0, c}}, node, node)));
  CHECK_FALSE(refused(raw_node({}, {}, node)));
  CHECK(refused(raw_node({{0, b}, {0, a}})));  // order
  CHECK(refused(raw_node({{0, a}, {0, a}})));  // twice
  CHECK(refused(raw_node({{0, a}, {a.size(), ""}})));
  CHECK(refused(raw_node({{0, a}, {0, aa}})));  // not compressed
  CHECK(refused(raw_node({{0, a}, {1, aa.substr(1)}})));
  CHECK(refused(raw_node({{1, a}})));   // a prefix of nothing
  CHECK(refused(raw_node({{0, ""}})));  // no key
  CHECK(refused(raw_node({{0, std::string(1025, 'x')}})));
  CHECK(refused(raw_node({{0, a}, {0, c}})));  // two layers
  CHECK(refused(raw_node({{0, a}}, node)));    // below layer 0
  CHECK(refused(raw_node({{0, a}}, {}, node)));
  CHECK(refused(raw_node({{0, c}}, Cid::make(Codec::kRaw, as_bytes("x")))));
  CHECK(refused(raw_node({{0, c}}, Cid::identity(Codec::kDagCbor, as_bytes("x")))));
  CHECK(refused(from_hex("a1616c f6" + std::string()).value_or(ByteVec{})));
  const ByteVec good = raw_node({{0, a}, {0, b}});
  for (size_t cut = 0; cut < good.size(); ++cut) CHECK(refused(to_vec(Bytes(good).first(cut))));
  ByteVec longer = good;
  longer.push_back(std::byte{0xf6});
  CHECK(refused(longer));
  ByteVec many;
  CborWriter out(many);
  out.map(2);
  out.text("e");
  out.array(UINT64_MAX);
  CHECK(refused(many));
}

TEST_CASE("nodes that do not fit together are refused wherever they are met") {
  const std::string low = key_of_layer(0, "l");
  const std::string high = key_of_layer(2, "k");
  const std::string mid = key_of_layer(1, "m");
  MemoryBlocks blocks;
  MstBlockNodeReader reader(blocks, 2);
  const auto put = [&](const ByteVec& block) {
    const Cid cid = Cid::make(Codec::kDagCbor, block);
    CHECK(blocks.put(cid, Buffer(block)));
    return cid;
  };
  const Cid empty = put(empty_mst_block());
  const Cid low_node = put(raw_node({{0, low}}));
  const Cid mid_node = put(raw_node({{0, mid}}));
  const std::pair<const char*, Cid> bad_roots[] = {
      {"a layer is missing", put(raw_node({{0, high}}, low_node))},
      {"a key on the wrong side", put(raw_node({{0, high}}, {}, mid_node))},
      {"an empty subtree", put(raw_node({{0, high}}, empty))},
      {"a root without keys", put(raw_node({}, {}, mid_node))},
  };
  for (const auto& [what, root] : bad_roots) {
    CAPTURE(what);
    const auto scanned = mst_scan(reader, root.digest(), "", false, "", 10);
    REQUIRE_FALSE(scanned);
    CHECK(scanned.error().code() == Errc::kCorruption);
    MstDiff diff(reader, empty_mst_root(), root.digest());
    Status status;
    for (;;) {
      const auto change = diff.next();
      if (!change) status = tl::unexpected<Error>(change.error());
      if (!change || !*change) break;
    }
    CHECK_FALSE(status);
    const std::vector<MstEdit> edits{{"a", cid_of("v")}, {low + "x", cid_of("v")}};
    CHECK_FALSE(mst_apply(reader, root.digest(), edits, blocks));
  }
  const ByteVec other = raw_node({{0, low}, {0, key_of_layer(0, "z")}});
  blocks.blocks.insert_or_assign(low_node.digest(), Buffer(other));
  const auto wrong = reader.node(low_node.digest());
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().code() == Errc::kCorruption);
}

TEST_CASE("edits that are not ascending keys of 1 to 1,024 bytes are refused") {
  Tree tree;
  const Cid v = cid_of("v");
  const std::vector<std::vector<MstEdit>> bad = {{{"", v}},
                                                 {{std::string(1025, 'x'), v}},
                                                 {{"b", v}, {"a", v}},
                                                 {{"a", v}, {"a", std::nullopt}}};
  for (const auto& edits : bad) {
    const auto root = mst_apply(tree.reader, tree.root, edits, tree.blocks);
    REQUIRE_FALSE(root);
    CHECK(root.error().code() == Errc::kInvalid);
  }
  tree.apply({{std::string(1024, 'x'), v}, {std::string(1, '\0'), v}, {"\xff\xfe", v}});
  CHECK(mst_scan(tree.reader, tree.root, "", false, "", 10)->size() == 3);
}

TEST_CASE("an edit reads and writes the paths it touches, in pre-order, and nothing else") {
  for (const unsigned bits : {2U, 4U}) {
    Tree tree(bits);
    std::vector<MstEdit> edits;
    for (int i = 0; i < 20000; ++i)
      edits.push_back({"key" + std::to_string(i * 7919), cid_of(std::to_string(i))});
    tree.apply(edits);
    const size_t nodes = tree.blocks.blocks.size();

    struct OrderedSink final : BlockSink {
      Status put(const Cid& cid, Buffer bytes) override {
        order.push_back(cid.digest());
        return to->put(cid, std::move(bytes));
      }
      MemoryBlocks* to;
      std::vector<Digest> order;
    } sink;
    sink.to = &tree.blocks;
    tree.blocks.asked.clear();
    std::vector<MstEdit> one{{"key79190000x", cid_of("new")}};
    const Digest after = mst_apply(tree.reader, tree.root, one, sink).value();
    CHECK(tree.blocks.asked.size() <= 40);
    CHECK(sink.order.size() <= 24);
    CHECK(tree.blocks.blocks.size() == nodes + sink.order.size());  // each new, none twice
    // The order of the new nodes is that of a walk over the new tree.
    std::vector<Digest> walked;
    MstStepper stepper(tree.reader, after);
    while (stepper.at() != MstStepper::At::kEnd) {
      const bool fresh = stepper.at() == MstStepper::At::kSubtree &&
                         std::count(sink.order.begin(), sink.order.end(), stepper.subtree()) > 0;
      if (!fresh) {
        stepper.skip();
        continue;
      }
      walked.push_back(stepper.subtree());
      CHECK(stepper.enter());
    }
    CHECK(walked == sink.order);
    CHECK(sink.order.front() == after);

    // Writing what is there already makes nothing.
    sink.order.clear();
    CHECK(mst_apply(tree.reader, after, one, sink).value() == after);
    std::vector<MstEdit> absent{{"nothing", std::nullopt}, {"zzz", std::nullopt}};
    CHECK(mst_apply(tree.reader, after, absent, sink).value() == after);
    CHECK(mst_apply(tree.reader, after, {}, sink).value() == after);
    CHECK(sink.order.empty());

    // Equal subtrees are not read by a diff.
    tree.blocks.asked.clear();
    MstDiff diff(tree.reader, tree.root, after);
    CHECK(diff.next().value() == MstChange{"key79190000x", std::nullopt, cid_of("new")});
    CHECK_FALSE(diff.next().value());
    CHECK_FALSE(diff.next().value());
    CHECK(tree.blocks.asked.size() <= 60);
  }
}

TEST_CASE("every call can be made again after blocks were missing") {
  Tree tree;
  std::vector<MstEdit> edits;
  for (int i = 0; i < 3000; ++i)
    edits.push_back({"key" + std::to_string(i * 7919), cid_of(std::to_string(i))});
  tree.apply(edits);
  const Digest before = tree.root;
  std::sort(edits.begin(), edits.end(),
            [](const MstEdit& a, const MstEdit& b) { return a.key < b.key; });
  std::vector<MstEdit> changes;
  for (size_t i = 0; i < edits.size(); i += 100) changes.push_back({edits[i].key, std::nullopt});
  for (size_t i = 50; i < edits.size(); i += 100)
    changes.push_back({edits[i].key + "x", cid_of("x")});
  std::sort(changes.begin(), changes.end(),
            [](const MstEdit& a, const MstEdit& b) { return a.key < b.key; });
  const Digest expected = mst_apply(tree.reader, before, changes, tree.blocks).value();

  // Applying: all that is missing on one level is asked for at once.
  tree.blocks.hold_back_all();
  int rounds = 0;
  const size_t puts_before = tree.blocks.puts;
  for (;; ++rounds) {
    const auto root = mst_apply(tree.reader, before, changes, tree.blocks);
    if (root) {
      CHECK(*root == expected);
      break;
    }
    REQUIRE(root.error().code() == Errc::kNotLocal);
    CHECK(tree.blocks.puts == puts_before);
    REQUIRE(tree.blocks.fetch_asked() > 0);
  }
  CHECK(rounds >= 3);
  CHECK(rounds <= 15);

  // The diff and the cursor go on where they stood.
  tree.blocks.hold_back_all();
  MstDiff diff(tree.reader, before, expected);
  std::vector<MstChange> seen;
  for (;;) {
    auto change = diff.next();
    if (!change) {
      REQUIRE(tree.blocks.fetch_asked() == 1);
      continue;
    }
    if (!*change) break;
    seen.push_back(**change);
  }
  REQUIRE(seen.size() == changes.size());
  for (size_t i = 0; i < seen.size(); ++i) {
    CHECK(seen[i].key == changes[i].key);
    CHECK(seen[i].after == changes[i].value);
    CHECK(seen[i].before.has_value() != seen[i].after.has_value());
  }

  tree.blocks.hold_back_all();
  MstCursor cursor(tree.reader, before);
  while (!cursor.seek("")) REQUIRE(tree.blocks.fetch_asked() == 1);
  size_t at = 0;
  while (cursor.valid()) {
    REQUIRE(cursor.key() == edits[at].key);
    CHECK(cursor.value() == *edits[at].value);
    ++at;
    while (!cursor.next()) REQUIRE(tree.blocks.fetch_asked() == 1);
  }
  CHECK(at == edits.size());
}
