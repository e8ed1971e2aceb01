// UnixFS files, three ways by the first byte: the codec has one encoding; a tree served by a
// hostile reader is walked and updated in bounds; edited files equal files built from scratch.
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "cache/format/dagpb.h"
#include "cache/format/unixfs_file.h"
#include "tests/fuzz/fuzz.h"

using namespace cairn;

namespace {

class Blocks final : public BlockReader, public BlockSink {
 public:
  Result<Buffer> get(const Digest& digest) override {
    const auto found = blocks_.find(digest);
    if (found == blocks_.end()) return fail(Errc::kNotFound, "");
    return found->second;
  }
  Status put(const Cid& cid, Buffer bytes) override {
    fuzz::require(cid.matches(bytes), "a sink gets blocks that are what their CID says");
    blocks_.insert_or_assign(cid.digest(), std::move(bytes));
    return {};
  }

 private:
  std::unordered_map<Digest, Buffer> blocks_;
};

// Gives the pieces of the input, whatever digest is asked for.
class HostileReader final : public BlockReader {
 public:
  explicit HostileReader(fuzz::Choices& choices) : choices_(choices) {}
  Result<Buffer> get(const Digest&) override {
    const size_t size = std::min<size_t>(choices_.number(2), choices_.rest().size());
    if (choices_.empty()) return fail(Errc::kNotLocal, "");
    const Buffer block = Buffer::copy(choices_.rest().first(size));
    choices_ = fuzz::Choices(choices_.rest().subspan(size));
    return block;
  }

 private:
  fuzz::Choices& choices_;
};

void codec(Bytes in) {
  const auto links = decode_unixfs_node(in);
  if (!links) return;
  fuzz::require(equal(encode_unixfs_node(*links), in), "a node has one encoding");
  fuzz::require(validate_dag_pb(in).has_value(), "a file node is dag-pb");
}

UnixfsShape small_shape(fuzz::Choices& choices) {
  const auto chunk = static_cast<uint32_t>(1 + choices.below(8));
  const auto links = static_cast<uint32_t>(2 + choices.below(4));
  return UnixfsShape::make({chunk, links}).value();
}

void hostile(fuzz::Choices& choices) {
  const UnixfsShape shape = small_shape(choices);
  const uint64_t size = choices.number(6) % (shape.max_file_size() + 1);
  const UnixfsRoot root{Cid::from_digest(shape.depth(size) == 0 ? Codec::kRaw : Codec::kDagPb, {}),
                        size};
  const uint64_t first = choices.number(5);
  const uint64_t new_size = choices.number(6) % (shape.max_file_size() + 1);
  HostileReader reader(choices);
  if (const auto leaves = unixfs_leaves(shape, root, first, first + 50, reader))
    fuzz::require(leaves->size() <= 51, "no more leaves than asked for");
  Blocks sink;
  (void)update_unixfs(shape, root, new_size, {}, reader, sink).has_value();
}

UnixfsRoot build(const UnixfsShape& shape, const std::string& content) {
  Blocks blocks;
  UnixfsBuilder builder(shape, blocks);
  for (size_t at = 0; at < content.size(); at += shape.params().chunk_size) {
    const std::string chunk = content.substr(at, shape.params().chunk_size);
    fuzz::require(builder.add_leaf(sha256(as_bytes(chunk)), chunk.size()).has_value(), "add_leaf");
  }
  return builder.finish().value();
}

std::vector<UnixfsChange> changes_between(size_t chunk, const std::string& before,
                                          const std::string& after) {
  std::vector<UnixfsChange> changes;
  for (size_t at = 0; at < after.size(); at += chunk) {
    const std::string now = after.substr(at, chunk);
    const bool same =
        at < before.size() ? before.substr(at, chunk) == now : now == std::string(now.size(), '\0');
    if (!same) changes.push_back({at / chunk, sha256(as_bytes(now))});
  }
  return changes;
}

void edits(fuzz::Choices& choices) {
  const UnixfsShape shape = small_shape(choices);
  Blocks blocks;
  std::optional<UnixfsRoot> root;
  std::string content;
  for (int i = 0; i < 8 && !choices.empty(); ++i) {
    std::string next = content;
    const size_t at = choices.below(256);
    const char fill = choices.below(3) == 0 ? '\0' : 'x';
    if (choices.below(2) == 0) {
      next.resize(at, fill);
    } else if (at < next.size()) {
      const size_t length = std::min<size_t>(next.size() - at, choices.below(40));
      next.replace(at, length, std::string(length, fill));
    }
    const auto changes = changes_between(shape.params().chunk_size, content, next);
    const auto updated = update_unixfs(shape, root, next.size(), changes, blocks, blocks);
    fuzz::require(updated.has_value(), "an update with all it needs succeeds");
    fuzz::require(*updated == build(shape, next), "an update equals a build from scratch");
    root = *updated;
    content = std::move(next);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Choices choices(fuzz::input(data, size));
  switch (choices.below(3)) {
    case 0:
      codec(choices.rest());
      break;
    case 1:
      hostile(choices);
      break;
    default:
      edits(choices);
  }
  return 0;
}
