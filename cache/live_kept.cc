// The rows of files that are kept back from the store.
#include <algorithm>

#include "cache/format/records.h"
#include "cache/live_state.h"

namespace cairn {

Status LiveState::keep_back(uint64_t inode, const std::string& dirent, Lsn upto) {
  TRY(restamp_blocks(inode, upto));
  return restamp(inode, dirent, [upto](Lsn lsn) { return lsn <= upto ? kKeptBackLsn : lsn; });
}

Status LiveState::release_kept(uint64_t inode, const std::string& dirent, Lsn upto) {
  return restamp(inode, dirent, [upto](Lsn lsn) { return lsn == kKeptBackLsn ? upto : lsn; });
}

Status LiveState::restamp(uint64_t inode, const std::string& dirent,
                          const std::function<Lsn(Lsn)>& stamp) {
  std::vector<TableChange> changes;
  // An LSN stands before the value of these rows.
  const auto restamp_row = [&](Table table, const std::string& key,
                               const std::string& row) -> Status {
    if (row.size() < sizeof(Lsn)) return fail(Errc::kCorruption, "a short row of a change");
    std::string next(row);
    auto* const at = reinterpret_cast<std::byte*>(next.data());
    put_be64(at, stamp(get_be64(at)));
    if (next != row) changes.push_back({table, key, std::move(next)});
    return {};
  };
  const auto one = [&](const std::string& key) -> Status {
    TRY_ASSIGN(const auto row, tables_.get(Table::kTree, key));
    if (!row) return {};
    return restamp_row(Table::kTree, key, *row);
  };
  TRY(one(inode_key(inode)));
  // Since then the name may have become that of another file, which may be kept back itself.
  if (!dirent.empty()) {
    TRY_ASSIGN(const auto named, tree_row(dirent));
    if (named && named->value) {
      TRY_ASSIGN(const Dirent there, Dirent::decode(named->value->payload()));
      if (there.ino == inode) TRY(one(dirent));
    }
  }
  const std::string xattrs = xattr_prefix(inode);
  TRY_ASSIGN(const auto rows, tables_.scan(Table::kTree, xattrs, prefix_end(xattrs), SIZE_MAX));
  for (const auto& row : rows) TRY(restamp_row(Table::kTree, row.key, row.value));
  // Most of a file that is held already is as it was.
  TRY_ASSIGN(auto state, file_state(inode));
  if (state) {
    const std::string before = encode_file_state(*state);
    state->last_lsn = stamp(state->last_lsn);
    // The base stays what it is, so the lowest cut says all.
    std::vector<Cut> cuts;
    for (const Cut& cut : std::exchange(state->cuts, {})) {
      const Cut next{stamp(cut.lsn), cut.limit};
      if (cuts.empty() || (cuts.back().lsn < next.lsn && cuts.back().lsn != kKeptBackLsn))
        cuts.push_back(next);
    }
    state->cuts = std::move(cuts);
    std::string after = encode_file_state(*state);
    if (after != before) changes.push_back({Table::kFiles, file_key(inode), std::move(after)});
  }
  TRY_ASSIGN(auto chunks, scan_extents(inode, 0, UINT64_MAX, SIZE_MAX));
  for (ChunkExtents& chunk : chunks) {
    bool changes_row = false;
    for (Extent& extent : chunk.extents) {
      const Lsn next = stamp(extent.lsn);
      changes_row |= next != extent.lsn;
      extent.lsn = next;
    }
    if (changes_row)
      changes.push_back(
          {Table::kDirty, chunk_key(inode, chunk.chunk), encode_extents(chunk.extents)});
  }
  tables_.apply(changes);
  return {};
}

Status LiveState::restamp_blocks(uint64_t inode, Lsn upto) {
  TRY_ASSIGN(const auto digests, blocks_of_file(inode));
  std::vector<TableChange> changes;
  for (const Digest& digest : digests) {
    std::string key = to_string(digest.view());
    TRY_ASSIGN(auto row, tables_.get(Table::kBlocks, key));
    if (!row) continue;
    if (row->size() < sizeof(Lsn)) return fail(Errc::kCorruption, "a short row of a block");
    auto* const at = reinterpret_cast<std::byte*>(row->data());
    if (get_be64(at) > upto) continue;
    put_be64(at, kKeptBackLsn);
    changes.push_back({Table::kBlocks, std::move(key), *std::move(row)});
  }
  tables_.apply(changes);
  return {};
}

Result<std::vector<Digest>> LiveState::blocks_of_file(uint64_t inode) const {
  std::vector<Digest> out;
  const auto add = [&](const std::optional<Cid>& value) -> Status {
    if (!value) return {};
    TRY_ASSIGN(const auto digests, blocks_of(*value));
    out.insert(out.end(), digests.begin(), digests.end());
    return {};
  };
  TRY_ASSIGN(const auto record, tree_row(inode_key(inode)));
  if (record) TRY(add(record->value));
  const std::string xattrs = xattr_prefix(inode);
  TRY_ASSIGN(const auto rows, scan_tree(xattrs, prefix_end(xattrs), SIZE_MAX));
  for (const auto& row : rows) TRY(add(row.row.value));
  return out;
}

// What a value in the tree names: the target of a link, a long attribute.
Result<std::vector<Digest>> LiveState::blocks_of(const Cid& cid) const {
  std::vector<Digest> out;
  Buffer bytes;
  if (cid.is_identity()) {
    bytes = Buffer::copy(cid.payload());
  } else {
    out.push_back(cid.digest());
    TRY_ASSIGN(const auto there, block(cid.digest()));
    if (!there) return out;
    bytes = *there;
  }
  if (const auto xattr = XattrValue::decode(bytes)) {
    if (const auto* block = std::get_if<Cid>(&xattr->value)) out.push_back(block->digest());
  } else if (const auto inode = InodeRecord::decode(bytes);
             inode && inode->type() == FileType::kSymlink) {
    if (const auto* block = std::get_if<Cid>(&inode->body)) out.push_back(block->digest());
  }
  return out;
}

Status LiveState::move_content(uint64_t inode, const MovedChunks& chunks) {
  std::vector<TableChange> changes;
  for (const auto& [chunk, moved] : chunks) {
    std::map<std::pair<uint64_t, uint64_t>, const MovedData*> by_place;
    for (const MovedData& each : moved) by_place[{each.from.file, each.from.offset}] = &each;
    TRY_ASSIGN(const Extents before, extents(inode, chunk));
    Extents after;
    for (Extent extent : before) {
      auto run = by_place.upper_bound({extent.ref.file, extent.ref.offset});
      const bool may = extent.has_ref() && run != by_place.begin();
      if (may) --run;
      const MovedData* const data = may ? run->second : nullptr;
      if (data != nullptr && data->from.kind == extent.ref.kind &&
          data->from.file == extent.ref.file &&
          extent.ref.offset + extent.length <= data->from.offset + data->length) {
        const uint64_t skipped = extent.ref.offset - data->from.offset;
        extent.ref = {data->to.kind, data->to.file, data->to.offset + skipped};
      }
      write_extent(after, extent);
    }
    if (after != before)
      changes.push_back({Table::kDirty, chunk_key(inode, chunk), encode_extents(after)});
  }
  tables_.apply(changes);
  return {};
}

}  // namespace cairn
