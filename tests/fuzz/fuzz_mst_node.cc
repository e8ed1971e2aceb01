// Tree nodes: a decoded node encodes to its block again; operations on a tree whose root it is
// fail in order or give consistent answers. The first byte chooses the fan-out.
#include <algorithm>

#include "cache/format/mst.h"
#include "tests/fuzz/fuzz.h"

using namespace cairn;
using fuzz::require;

namespace {

class OneBlock final : public BlockReader {
 public:
  explicit OneBlock(Bytes block) : block_(Buffer::copy(block)), digest_(sha256(block)) {}
  Result<Buffer> get(const Digest& digest) override {
    if (digest == digest_) return block_;
    return fail(Errc::kNotLocal, "another block");
  }
  const Digest& digest() const { return digest_; }

 private:
  Buffer block_;
  Digest digest_;
};

class Discard final : public BlockSink {
 public:
  Status put(const Cid& cid, Buffer bytes) override {
    require(cid.matches(bytes), "a new node has its digest");
    return {};
  }
};

std::optional<Digest> child(const MstNode& node, size_t i) {
  const Digest* digest = node.child(i);
  return digest == nullptr ? std::nullopt : std::optional<Digest>(*digest);
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const unsigned bits = kMinFanoutBits + data[0] % (kMaxFanoutBits - kMinFanoutBits + 1);
  const Bytes block = fuzz::input(data + 1, size - 1);
  const auto decoded = MstNode::decode(block, bits);
  if (!decoded) return 0;
  const MstNode& node = **decoded;
  std::vector<MstNodeEntry> entries;
  for (size_t i = 0; i < node.size(); ++i) {
    require(node.lower_bound(node.key(i)) == i, "a key is found where it is");
    require(mst_layer(node.key(i), bits) == node.layer(), "one layer");
    entries.push_back({node.key(i), node.value(i), child(node, i + 1)});
  }
  require(equal(encode_mst_node(child(node, 0), entries), block), "one encoding");

  OneBlock blocks(block);
  MstBlockNodeReader reader(blocks, bits);
  const auto items = mst_scan(reader, blocks.digest(), "", false, "", 100);
  if (items) {
    for (const MstItem& item : *items)
      require(mst_find(reader, blocks.digest(), item.key).value() == item.value,
              "scan and find agree");
  }
  std::vector<MstEdit> edits{{"a", Cid()}, {"b", std::nullopt}, {"zz", Cid()}};
  if (node.size() > 0 && node.key(0) > "zz") edits.push_back({std::string(node.key(0)), {}});
  Discard sink;
  const auto root = mst_apply(reader, blocks.digest(), edits, sink);
  if (root && items) {
    require(*root != blocks.digest() || node.size() > 0, "an insert changes the empty tree");
  }
  MstDiff diff(reader, empty_mst_root(), blocks.digest());
  for (;;) {
    const auto change = diff.next();
    if (!change || !*change) break;
  }
  return 0;
}
