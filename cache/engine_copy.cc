// Copying within the volume: what can be named is named, the rest is read and placed anew.
#include <algorithm>

#include "cache/engine.h"

namespace cairn {

namespace {

// Bounds of one copy, so that its record stays small and the caller's lock is held shortly.
constexpr uint64_t kCopyBytesMax = 1ULL << 30;
constexpr uint64_t kCopyChunksMax = 4096;
constexpr size_t kCopyPartsMax = 8192;
constexpr uint64_t kMovedBytesMax = 1ULL << 20;

}  // namespace

// A part of the range, still at its place in the source.
struct Engine::CopyPart {
  enum class Kind : uint8_t { kZero, kData, kLeaf, kMove };
  Kind kind = Kind::kZero;
  uint64_t offset = 0;  // in the source
  uint64_t length = 0;
  DataRef ref;      // kData
  SharedLeaf leaf;  // kLeaf

  bool continues(const CopyPart& last) const {
    if (kind != last.kind || kind == Kind::kLeaf) return false;
    return kind != Kind::kData ||
           (ref.file == last.ref.file && ref.offset == last.ref.offset + last.length);
  }
};

// The leaf that all of a chunk is, whichever way it got there. A chunk that is only in part a leaf
// may lose it to the next publication, which writes a leaf of its own; a whole one keeps it in
// every commit until this copy is published too.
std::optional<SharedLeaf> Engine::leaf_of_chunk(const RangeView& range, const ChunkView& view,
                                                uint64_t size) const {
  const uint64_t start = view.chunk * live_.chunk_bytes();
  const uint64_t length = std::min<uint64_t>(size - start, live_.chunk_bytes());
  std::optional<SharedLeaf> whole;
  if (view.extents.empty()) {
    const Leaf* leaf = range.leaf_of(view.chunk);
    if (leaf != nullptr && !leaf->zero && !leaf->named && range.base_end >= start + length)
      whole = SharedLeaf{leaf->digest, leaf->length, 0};
  } else if (view.extents.size() == 1 && view.extents[0].leaf && view.extents[0].offset == 0 &&
             view.extents[0].length == length && view.extents[0].leaf->offset == 0) {
    whole = view.extents[0].leaf;
  }
  if (!whole || whole->length != length) return std::nullopt;
  return whole;
}

void Engine::add_copy_parts(const RangeView& range, const ChunkView& view, uint64_t size,
                            CopyMode mode, std::vector<CopyPart>& parts) const {
  const uint64_t start = view.chunk * live_.chunk_bytes();
  const auto add = [&parts](CopyPart part) {
    if (!parts.empty() && part.continues(parts.back())) {
      parts.back().length += part.length;
    } else {
      parts.push_back(part);
    }
  };
  using Kind = CopyPart::Kind;
  if (mode.leaves) {
    if (auto leaf = leaf_of_chunk(range, view, size)) {
      leaf->offset = view.offset;
      return add({Kind::kLeaf, start + view.offset, view.length, {}, *leaf});
    }
  }
  for (const Piece& piece : view.pieces) {
    CopyPart part{Kind::kMove, start + piece.offset, piece.length, piece.ref, {}};
    if (piece.kind == Piece::Kind::kZero) {
      part.kind = Kind::kZero;
    } else if (piece.kind == Piece::Kind::kBase) {
      const Leaf* leaf = range.leaf_of(view.chunk);
      if (leaf == nullptr || leaf->zero || part.offset >= range.base_end) part.kind = Kind::kZero;
    } else if (piece.kind == Piece::Kind::kData && mode.data &&
               piece.ref.kind == DataRef::Kind::kSegment &&
               piece.length > settings_.inline_bytes_max) {
      part.kind = Kind::kData;
    }
    add(part);
  }
}

// Cuts the parts off where one record has enough.
void Engine::bound_copy_parts(std::vector<CopyPart>& parts) {
  if (parts.size() > kCopyPartsMax) parts.resize(kCopyPartsMax);
  uint64_t moved = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].kind != CopyPart::Kind::kMove) continue;
    const uint64_t left = kMovedBytesMax - moved;
    moved += std::min(parts[i].length, left);
    if (parts[i].length < left) continue;
    parts[i].length = left;
    parts.resize(i + 1);
  }
}

Result<Engine::Copy> Engine::copy(const CopyFrom& from, uint64_t to_inode, uint64_t to,
                                  Need& need) {
  const uint64_t chunk_bytes = live_.chunk_bytes();
  CopyMode mode;
  // Content of a removed file may leave the store, and its segments this disk, before the copy is
  // published.
  mode.data = from.share && !from.pinned;
  mode.leaves = mode.data && from.offset % chunk_bytes == to % chunk_bytes;
  const uint64_t end_of_chunks = (from.offset / chunk_bytes + kCopyChunksMax) * chunk_bytes;
  const uint64_t length =
      std::min({from.length, kCopyBytesMax, end_of_chunks - from.offset, from.size - from.offset});
  TRY_ASSIGN(const RangeView range, look(from.inode, from.pinned, from.offset, length, need));
  std::vector<CopyPart> parts;
  for (const ChunkView& view : range.views) add_copy_parts(range, view, from.size, mode, parts);
  bound_copy_parts(parts);

  Copy copy;
  for (const CopyPart& part : parts) {
    if (part.kind != CopyPart::Kind::kMove) continue;
    auto bytes = read(from.inode, from.pinned, from.size, part.offset, part.length, need);
    if (bytes) {
      copy.moved.push_back(std::move(*bytes));
    } else if (bytes.error().code() != Errc::kNotLocal) {
      return tl::unexpected(std::move(bytes).error());
    }
  }
  if (need.any()) return fail(Errc::kNotLocal, "what is to be copied is not here");
  auto moved = copy.moved.begin();
  for (const CopyPart& part : parts) {
    const uint64_t target = to + (part.offset - from.offset);
    const auto size = static_cast<uint32_t>(part.length);
    switch (part.kind) {
      case CopyPart::Kind::kZero:
        copy.effects.emplace_back(ZeroRange{to_inode, target, part.length});
        break;
      case CopyPart::Kind::kData:
        copy.effects.emplace_back(ShareData{to_inode, target, size, part.ref});
        break;
      case CopyPart::Kind::kLeaf:
        copy.effects.emplace_back(ShareLeaf{to_inode, target, size, part.leaf});
        keep_copied_leaf(from.inode, part, to_inode, target / chunk_bytes);
        break;
      case CopyPart::Kind::kMove: {
        TRY_ASSIGN(WriteData placed, place(to_inode, target, *moved++, need));
        copy.effects.emplace_back(std::move(placed));
        break;
      }
    }
    copy.length += part.length;
  }
  return copy;
}

// The copy of a chunk that is here is here too.
void Engine::keep_copied_leaf(uint64_t from_inode, const CopyPart& part, uint64_t to_inode,
                              uint64_t to_chunk) {
  if (part.leaf.length != part.length) return;
  const auto row = live_.resident(from_inode, part.offset / live_.chunk_bytes());
  if (!row || !*row || (*row)->digest != part.leaf.digest) return;
  chunks_.adopt(to_inode, to_chunk, Leaf{part.leaf.digest, part.leaf.length, false}, (*row)->ref);
}

// A segment that a change refers to must outlive the change's own publication. It does when it
// still holds something unpublished: then nobody may have begun to remove it, and from `note_lsn`
// on nobody will.
Status Engine::check_shared(const Change& change) const {
  std::map<uint64_t, Lsn> last_lsns;
  for (const Effect& effect : change.effects) {
    const auto* shared = std::get_if<ShareData>(&effect);
    if (shared == nullptr) continue;
    if (last_lsns.empty())
      for (const SegmentInfo& segment : segments_->list())
        last_lsns[segment.number] = segment.last_lsn;
    const auto found = last_lsns.find(shared->ref.file);
    if (found == last_lsns.end() || found->second <= published_)
      return fail(Errc::kTransient, "data that was to be shared was published meanwhile");
  }
  return {};
}

}  // namespace cairn
