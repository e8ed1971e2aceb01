// Where a file has data: seeking, and what its blocks take.
#include <algorithm>

#include "cache/engine.h"

namespace cairn {

namespace {

constexpr uint64_t kStep = 1024;   // chunks looked at together
constexpr int kExactPieces = 64;   // of published content, looked into; further ones count whole
constexpr uint32_t kBlock = 4096;  // what storage is counted in

// Counts blocks that spans touch, each once; spans come in order.
class BlockCount {
 public:
  void add(uint64_t offset, uint64_t end) {
    const uint64_t first = std::max(offset / kBlock, next_);
    const uint64_t last = (end + kBlock - 1) / kBlock;
    if (last <= first) return;
    blocks_ += last - first;
    next_ = last;
  }
  uint64_t bytes() const { return blocks_ * kBlock; }

 private:
  uint64_t blocks_ = 0;
  uint64_t next_ = 0;
};

bool is_zero(Bytes bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

// The part of a piece that holds data: all of it, none, or of a base the bytes that still count.
uint64_t Engine::data_in(const RangeView& range, const ChunkView& view, const Piece& piece) const {
  if (piece.kind == Piece::Kind::kZero) return 0;
  if (piece.kind != Piece::Kind::kBase) return piece.length;
  const Leaf* leaf = range.leaf_of(view.chunk);
  const uint64_t start = view.chunk * live_.chunk_bytes() + piece.offset;
  if (leaf == nullptr || leaf->zero || start >= range.base_end || piece.offset >= leaf->length)
    return 0;
  return std::min<uint64_t>(
      {piece.length, range.base_end - start, uint64_t{leaf->length} - piece.offset});
}

// The first chunk >= `chunk` that something was written to, or that is not zero in the base.
Result<std::optional<uint64_t>> Engine::next_used_chunk(uint64_t inode,
                                                        const std::optional<ContentBase>& pinned,
                                                        uint64_t chunk, Need& need) {
  TRY_ASSIGN(const auto written, live_.scan_extents(inode, chunk, UINT64_MAX, 1));
  std::optional<uint64_t> next;
  if (!written.empty()) next = written.front().chunk;
  if (next == chunk) return next;
  ContentBase base;
  if (pinned) {
    base = *pinned;
  } else {
    TRY_ASSIGN(base, base_of(inode, need));
  }
  if (!base.content) return next;
  TRY_ASSIGN(const auto stored, remote_->next_data(*base.content, base.size, chunk, need.blocks));
  if (stored && (!next || *stored < *next)) next = stored;
  return next;
}

Result<std::optional<uint64_t>> Engine::seek(uint64_t inode,
                                             const std::optional<ContentBase>& pinned,
                                             uint64_t size, uint64_t offset, bool want_data,
                                             Need& need) {
  const uint32_t chunk_bytes = live_.chunk_bytes();
  uint64_t at = offset;
  while (at < size) {
    if (want_data) {
      TRY_ASSIGN(const auto next, next_used_chunk(inode, pinned, at / chunk_bytes, need));
      if (!next) break;
      at = std::max(at, *next * chunk_bytes);
      if (at >= size) break;
    }
    const uint64_t end = std::min(size, (at / chunk_bytes + kStep) * chunk_bytes);
    TRY_ASSIGN(const RangeView range, look(inode, pinned, at, end - at, need));
    for (const ChunkView& view : range.views) {
      for (const Piece& piece : view.pieces) {
        const uint64_t start = view.chunk * chunk_bytes + piece.offset;
        const uint64_t data = data_in(range, view, piece);
        if (want_data && data > 0) return std::optional<uint64_t>(start);
        if (!want_data && data < piece.length) return std::optional<uint64_t>(start + data);
      }
    }
    at = end;
  }
  // The end of the file is a hole.
  if (want_data || offset >= size) return std::optional<uint64_t>();
  return std::optional<uint64_t>(size);
}

uint64_t Engine::stored_bytes(uint64_t inode, const std::optional<ContentBase>& pinned,
                              uint64_t offset, uint64_t length) {
  const uint32_t chunk_bytes = live_.chunk_bytes();
  const uint64_t end = offset + length;
  int exact_left = kExactPieces;
  BlockCount count;
  uint64_t at = offset;
  while (at < end) {
    Need unmet;  // nobody waits for a count
    const auto next = next_used_chunk(inode, pinned, at / chunk_bytes, unmet);
    if (next && !*next) break;
    if (next) at = std::max(at, **next * chunk_bytes);
    if (at >= end) break;
    const uint64_t stop = std::min(end, (at / chunk_bytes + kStep) * chunk_bytes);
    const auto range = look(inode, pinned, at, stop - at, unmet);
    if (!next || !range) {
      count.add(at, stop);
      at = stop;
      continue;
    }
    for (const ChunkView& view : range->views) {
      for (const Piece& piece : view.pieces) {
        const uint64_t start = view.chunk * chunk_bytes + piece.offset;
        const uint64_t data = data_in(*range, view, piece);
        const Leaf* leaf = range->leaf_of(view.chunk);
        const bool look_into = piece.kind == Piece::Kind::kBase && data > 0 && exact_left-- > 0;
        ByteVec bytes(look_into ? data : 0);
        const auto here = bytes.empty()
                              ? Result<bool>(false)
                              : chunks_.read(inode, view.chunk, *leaf, piece.offset, bytes);
        if (!here || !*here) {
          if (data > 0) count.add(start, start + data);
          continue;
        }
        for (uint64_t from = 0; from < data;) {
          const uint64_t to = std::min(data, (start + from) / kBlock * kBlock + kBlock - start);
          if (!is_zero(Bytes(bytes).subspan(from, to - from))) count.add(start + from, start + to);
          from = to;
        }
      }
    }
    at = stop;
  }
  return count.bytes();
}

}  // namespace cairn
