// Chunks that are written in many small pieces, and what a change leaves of those it touched.
#include "cache/live_state.h"

namespace cairn {

namespace {
// A chunk with so many extents stays decoded while it is written: from here on reading and making
// all of its row costs more than the rest of a small write.
constexpr size_t kManyExtents = 32;
}  // namespace

Result<LiveState::Step::Chunk> LiveState::Step::load_chunk(uint64_t inode, uint64_t chunk) const {
  Chunk loaded;
  loaded.row = std::static_pointer_cast<WrittenChunk>(
      state_.tables_.decoded(Table::kDirty, chunk_key(inode, chunk)));
  if (loaded.row) return loaded;
  TRY_ASSIGN(loaded.extents, state_.extents(inode, chunk));
  return loaded;
}

Extents& LiveState::Step::Chunk::own_extents() {
  if (row) {
    extents = row->extents;
    for (const Extent& extent : added) write_extent(extents, extent);
    row.reset();
    added.clear();
  }
  return extents;
}

std::optional<std::string> WrittenChunk::encode() const {
  if (extents.empty()) return std::nullopt;
  return encode_extents(extents);
}

void LiveState::Step::finish() {
  for (auto& [inode, file] : files_)
    if (file) changes_.push_back({Table::kFiles, file_key(inode), encode_file_state(*file)});
  std::vector<LiveTables::DecodedChange> decoded;
  for (auto& [where, chunk] : chunks_) {
    const std::string key = chunk_key(where.first, where.second);
    if (chunk.row) {
      decoded.push_back(
          {Table::kDirty, key, chunk.row, [row = chunk.row.get(), added = std::move(chunk.added)] {
             for (const Extent& extent : added) write_extent(row->extents, extent);
           }});
    } else if (chunk.written && chunk.extents.size() >= kManyExtents) {
      decoded.push_back(
          {Table::kDirty, key, std::make_shared<WrittenChunk>(std::move(chunk.extents)), nullptr});
    } else {
      std::optional<std::string> row;
      if (!chunk.extents.empty()) row = encode_extents(chunk.extents);
      changes_.push_back({Table::kDirty, key, std::move(row)});
    }
  }
  state_.tables_.apply(std::move(changes_), std::move(decoded));
}

}  // namespace cairn
