#include "cache/chunk_plan.h"

#include <algorithm>
#include <string>

namespace cairn {
namespace {

// Bytes that chunk `index` has in a content of `size` bytes.
uint32_t chunk_length(uint64_t index, uint64_t size, uint32_t chunk_bytes) {
  const uint64_t start = index * chunk_bytes;
  return start >= size ? 0 : static_cast<uint32_t>(std::min<uint64_t>(size - start, chunk_bytes));
}

class Planner {
 public:
  Planner(const FrozenFile& file, uint64_t base_size, uint32_t chunk_bytes)
      : file_(file),
        base_size_(base_size),
        kept_(kept_bytes(file, base_size)),
        chunk_bytes_(chunk_bytes) {}

  // The chunk with `extents` over it, unless it comes out as it was.
  void add(uint64_t index, const Extents& extents) {
    ChunkPlan plan;
    plan.index = index;
    plan.length = chunk_length(index, file_.size, chunk_bytes_);
    if (plan.length == 0) return;
    plan.base_length = chunk_length(index, base_size_, chunk_bytes_);
    plan.base_bytes = std::min(chunk_length(index, kept_, chunk_bytes_), plan.length);
    plan.pieces = resolve(extents, 0, plan.length);
    const bool as_it_was =
        extents.empty() && plan.base_length == plan.length && plan.base_bytes == plan.length;
    // A chunk that the file's DAG makes of zeroes by itself.
    const bool gained_zero =
        extents.empty() && plan.base_bytes == 0 && index * chunk_bytes_ >= kept_;
    if (as_it_was || gained_zero) return;
    const bool shows = std::any_of(plan.pieces.begin(), plan.pieces.end(), [&](const Piece& piece) {
      return piece.kind == Piece::Kind::kBase && piece.offset < plan.base_bytes;
    });
    if (!shows) plan.base_length = plan.base_bytes = 0;
    plans_.push_back(std::move(plan));
  }

  std::vector<ChunkPlan> run() {
    // Without being written to, a chunk changes only where the kept content ends inside of it.
    const bool has_edge = kept_ != 0;
    const uint64_t edge = has_edge ? (kept_ - 1) / chunk_bytes_ : 0;
    bool edge_done = !has_edge;
    for (const FrozenFile::Chunk& chunk : file_.chunks) {
      if (!edge_done && edge <= chunk.index) {
        if (edge < chunk.index) add(edge, {});
        edge_done = true;
      }
      add(chunk.index, chunk.extents);
    }
    if (!edge_done) add(edge, {});
    return std::move(plans_);
  }

 private:
  const FrozenFile& file_;
  uint64_t base_size_;
  uint64_t kept_;
  uint32_t chunk_bytes_;
  std::vector<ChunkPlan> plans_;
};

}  // namespace

bool ChunkPlan::zero() const {
  return std::all_of(pieces.begin(), pieces.end(), [&](const Piece& piece) {
    return piece.kind == Piece::Kind::kZero ||
           (piece.kind == Piece::Kind::kBase && piece.offset >= base_bytes);
  });
}

uint64_t kept_bytes(const FrozenFile& file, uint64_t base_size) {
  return std::min({file.size, file.base_limit, base_size});
}

Result<std::vector<ChunkPlan>> plan_chunks(const FrozenFile& file, uint64_t base_size,
                                           uint32_t chunk_bytes) {
  for (size_t i = 1; i < file.chunks.size(); ++i) {
    if (file.chunks[i].index <= file.chunks[i - 1].index)
      return fail(Errc::kInvalid,
                  "chunks of inode " + std::to_string(file.inode) + " are not in order");
  }
  return Planner(file, base_size, chunk_bytes).run();
}

}  // namespace cairn
