// The tree of a volume: a Merkle search tree from keys to CIDs. One map has one root, whatever the
// order of the edits that made it.
//
// Pure functions over an MstNodeReader; nothing is kept between calls but what the caller holds
// (an MstStepper or MstCursor, each used by one thread at a time, which must not outlive its
// reader). A tree is named by its root's digest; trees never change, an edit makes new nodes.
// Errors: kCorruption when nodes do not form such a tree; whatever the reader answers passes
// through. After kNotLocal every call can be made again: the steppers stand where they stood, the
// other functions start over and have changed nothing. Work and memory are bounded by the nodes
// touched, depth by kMaxMstDepth. Format: FORMAT.md, "Tree".
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cache/base/digest.h"
#include "cache/base/result.h"
#include "cache/format/block_reader.h"
#include "cache/format/cid.h"
#include "cache/format/mst_node.h"

namespace cairn {

inline constexpr unsigned kMinFanoutBits = 2;
inline constexpr unsigned kMaxFanoutBits = 5;
inline constexpr int kMaxMstDepth = 256 / kMinFanoutBits + 1;

// Where decoded nodes come from; a cache of decoded nodes stands behind this.
class MstNodeReader {
 public:
  virtual ~MstNodeReader() = default;
  virtual unsigned fanout_bits() const = 0;
  virtual Result<std::shared_ptr<const MstNode>> node(const Digest& digest) = 0;
};

// Decodes blocks as they come, after checking their digest.
class MstBlockNodeReader final : public MstNodeReader {
 public:
  MstBlockNodeReader(BlockReader& blocks, unsigned fanout_bits)
      : blocks_(blocks), fanout_bits_(fanout_bits) {}
  unsigned fanout_bits() const override { return fanout_bits_; }
  Result<std::shared_ptr<const MstNode>> node(const Digest& digest) override;

 private:
  BlockReader& blocks_;
  unsigned fanout_bits_;
};

// The root of the tree without keys, and its block.
Digest empty_mst_root();
ByteVec empty_mst_block();

// The value of `key`, or nothing.
Result<std::optional<Cid>> mst_find(MstNodeReader& reader, const Digest& root,
                                    std::string_view key);

// Walks a tree in key order, one entry or whole subtree at a time: for diff, check, collection.
// Entered nodes come in key pre-order.
class MstStepper {
 public:
  enum class At { kSubtree, kEntry, kEnd };

  // At the root, as a subtree.
  MstStepper(MstNodeReader& reader, const Digest& root) : reader_(&reader), root_(root) {}

  At at() const;
  // At a subtree: its root, and its layer (of the whole tree's root: kMaxMstDepth).
  Digest subtree() const;
  int layer() const;
  // At an entry. The key lives until the stepper leaves its node.
  std::string_view key() const;
  Cid value() const;

  // Past the entry or the whole subtree.
  void skip();
  // Into the subtree, to its first child or entry. On an error it stays where it was.
  Status enter();
  // Into the subtree, to what holds the first key that is not less than `key`.
  Status enter_at(std::string_view key);

 private:
  struct Frame {
    std::shared_ptr<const MstNode> node;
    size_t position;  // 2i: child i; 2i + 1: entry i
    int layer;
    MstBounds bounds;
  };
  void settle();
  MstBounds child_bounds() const;

  MstNodeReader* reader_;
  Digest root_;
  bool at_root_ = true;
  std::vector<Frame> frames_;
};

// The entries of a tree in key order. Invalid until a seek succeeded.
class MstCursor {
 public:
  MstCursor(MstNodeReader& reader, const Digest& root)
      : reader_(&reader), root_(root), stepper_(reader, root) {}
  // To the first entry whose key is >= `key` (seek) or > `key` (seek_after). After an error: seek
  // again.
  Status seek(std::string_view key);
  Status seek_after(std::string_view key);
  bool valid() const { return valid_; }
  std::string_view key() const { return stepper_.key(); }
  Cid value() const { return stepper_.value(); }
  // To the next entry. Requires valid(), or that the last next() failed: it goes on from there.
  Status next();

 private:
  Status settle();
  MstNodeReader* reader_;
  Digest root_;
  MstStepper stepper_;
  bool valid_ = false;
};

struct MstItem {
  std::string key;
  Cid value;
  bool operator==(const MstItem&) const = default;
};
// At most `limit` entries from `from` (itself excluded when `after`) up to before `end` (empty: to
// the last). Fewer than `limit` means that there are no more.
Result<std::vector<MstItem>> mst_scan(MstNodeReader& reader, const Digest& root,
                                      std::string_view from, bool after, std::string_view end,
                                      size_t limit);

struct MstEdit {
  std::string key;
  std::optional<Cid> value;  // nothing: remove the key
};
// The root after `edits`, whose keys ascend (else kInvalid). Exactly the nodes that `root` does not
// have go to `sink`, in key pre-order (the new root first), once all are known; they are held in
// memory until then. Only nodes on the paths to the edited keys are read; when some of them are
// not local, all that can be asked for are, before kNotLocal is returned.
Result<Digest> mst_apply(MstNodeReader& reader, const Digest& root, std::span<const MstEdit> edits,
                         BlockSink& sink);

struct MstChange {
  std::string key;
  std::optional<Cid> before;
  std::optional<Cid> after;
  bool operator==(const MstChange&) const = default;
};
// The differences of two trees in key order. Subtrees that are equal are not read.
class MstDiff {
 public:
  MstDiff(MstNodeReader& reader, const Digest& before, const Digest& after)
      : before_(reader, before), after_(reader, after) {}
  // The next difference, or nothing at the end. After an error call it again to go on.
  Result<std::optional<MstChange>> next();

 private:
  MstStepper before_;
  MstStepper after_;
};

}  // namespace cairn
