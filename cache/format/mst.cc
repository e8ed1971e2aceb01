// Reading a tree: find, stepper, cursor, scan, diff. mst_apply.cc makes new trees.
#include "cache/format/mst.h"

namespace cairn {

Result<std::shared_ptr<const MstNode>> MstBlockNodeReader::node(const Digest& digest) {
  TRY_ASSIGN(const Buffer block, blocks_.get(digest));
  const auto where = [&] { return "tree node " + digest.hex(); };
  if (sha256(block) != digest)
    return fail(Errc::kCorruption, where() + ": its bytes have another digest");
  auto node = MstNode::decode(block, fanout_bits_);
  if (!node) return tl::unexpected<Error>(std::move(node.error()).wrap(where()));
  return node;
}

ByteVec empty_mst_block() {
  return encode_mst_node(std::nullopt, {});
}

Digest empty_mst_root() {
  static const Digest root = sha256(empty_mst_block());
  return root;
}

Result<std::optional<Cid>> mst_find(MstNodeReader& reader, const Digest& root,
                                    std::string_view key) {
  using Found = std::optional<Cid>;
  MstStepper stepper(reader, root);
  while (stepper.at() == MstStepper::At::kSubtree) TRY(stepper.enter_at(key));
  if (stepper.at() == MstStepper::At::kEntry && stepper.key() == key) return Found(stepper.value());
  return Found();
}

// ---- MstStepper

MstStepper::At MstStepper::at() const {
  if (at_root_) return At::kSubtree;
  if (frames_.empty()) return At::kEnd;
  return frames_.back().position % 2 == 0 ? At::kSubtree : At::kEntry;
}

Digest MstStepper::subtree() const {
  return at_root_ ? root_ : *frames_.back().node->child(frames_.back().position / 2);
}

int MstStepper::layer() const {
  return at_root_ ? kMaxMstDepth : frames_.back().layer - 1;
}

std::string_view MstStepper::key() const {
  return frames_.back().node->key(frames_.back().position / 2);
}

Cid MstStepper::value() const {
  return frames_.back().node->value(frames_.back().position / 2);
}

void MstStepper::skip() {
  if (at_root_) {
    at_root_ = false;
    return;
  }
  ++frames_.back().position;
  settle();
}

// Moves on from a child that does not exist, and out of nodes that are done.
void MstStepper::settle() {
  while (!frames_.empty()) {
    Frame& top = frames_.back();
    if (top.position > 2 * top.node->size()) {
      frames_.pop_back();
      if (!frames_.empty()) ++frames_.back().position;
      continue;
    }
    if (top.position % 2 == 1 || top.node->child(top.position / 2) != nullptr) return;
    ++top.position;
  }
}

MstBounds MstStepper::child_bounds() const {
  const Frame& top = frames_.back();
  const size_t i = top.position / 2;
  MstBounds bounds = top.bounds;
  if (i > 0) bounds.lo = top.node->key(i - 1);
  if (i < top.node->size()) bounds.hi = top.node->key(i);
  return bounds;
}

Status MstStepper::enter() {
  TRY_ASSIGN(auto node, reader_->node(subtree()));
  Frame frame{nullptr, 0, layer(), {}};
  if (at_root_) {
    TRY_ASSIGN(frame.layer, mst_root_layer(*node));
  } else {
    frame.bounds = child_bounds();
    TRY(check_mst_child(*node, frame.layer, frame.bounds));
  }
  frame.node = std::move(node);
  at_root_ = false;
  frames_.push_back(std::move(frame));
  settle();
  return {};
}

Status MstStepper::enter_at(std::string_view key) {
  const size_t depth = frames_.size();
  TRY(enter());
  if (frames_.size() == depth) return {};  // the empty tree
  Frame& top = frames_.back();
  const size_t i = top.node->lower_bound(key);
  const bool here = i < top.node->size() && top.node->key(i) == key;
  top.position = here ? 2 * i + 1 : 2 * i;
  settle();
  return {};
}

// ---- MstCursor

Status MstCursor::seek(std::string_view key) {
  valid_ = false;
  stepper_ = MstStepper(*reader_, root_);
  // When the subtree that may hold the key has nothing behind it, the stepper leaves that subtree
  // for the next entry above, which is the answer.
  while (stepper_.at() == MstStepper::At::kSubtree) TRY(stepper_.enter_at(key));
  valid_ = stepper_.at() == MstStepper::At::kEntry;
  return {};
}

Status MstCursor::seek_after(std::string_view key) {
  TRY(seek(key));
  if (valid_ && stepper_.key() == key) return next();
  return {};
}

Status MstCursor::next() {
  if (valid_) stepper_.skip();
  return settle();
}

Status MstCursor::settle() {
  valid_ = false;
  while (stepper_.at() == MstStepper::At::kSubtree) TRY(stepper_.enter());
  valid_ = stepper_.at() == MstStepper::At::kEntry;
  return {};
}

Result<std::vector<MstItem>> mst_scan(MstNodeReader& reader, const Digest& root,
                                      std::string_view from, bool after, std::string_view end,
                                      size_t limit) {
  std::vector<MstItem> items;
  MstCursor cursor(reader, root);
  TRY(after ? cursor.seek_after(from) : cursor.seek(from));
  while (items.size() < limit && cursor.valid() && (end.empty() || cursor.key() < end)) {
    items.push_back({std::string(cursor.key()), cursor.value()});
    if (items.size() < limit) TRY(cursor.next());
  }
  return items;
}

// ---- MstDiff

// Both sides move in step. Where both stand before a subtree, an equal one is skipped, else the
// higher one is entered, so that equal subtrees meet at the same layer. A subtree opposite an entry
// is entered: only its keys can tell which comes first.
Result<std::optional<MstChange>> MstDiff::next() {
  using At = MstStepper::At;
  for (;;) {
    const At left = before_.at();
    const At right = after_.at();
    if (left == At::kSubtree && right == At::kSubtree) {
      if (before_.subtree() == after_.subtree()) {
        before_.skip();
        after_.skip();
      } else if (before_.layer() >= after_.layer()) {
        TRY(before_.enter());
      } else {
        TRY(after_.enter());
      }
      continue;
    }
    if (left == At::kSubtree) {
      TRY(before_.enter());
      continue;
    }
    if (right == At::kSubtree) {
      TRY(after_.enter());
      continue;
    }
    if (left == At::kEnd && right == At::kEnd) return std::optional<MstChange>();
    const bool take_left =
        right == At::kEnd || (left == At::kEntry && before_.key() <= after_.key());
    const bool take_right =
        left == At::kEnd || (right == At::kEntry && after_.key() <= before_.key());
    MstChange change;
    if (take_left) {
      change.key = before_.key();
      change.before = before_.value();
      before_.skip();
    }
    if (take_right) {
      change.key = after_.key();
      change.after = after_.value();
      after_.skip();
    }
    if (change.before != change.after) return std::optional<MstChange>(std::move(change));
  }
}

}  // namespace cairn
