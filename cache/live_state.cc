#include "cache/live_state.h"

#include <algorithm>

#include "cache/base/coding.h"
#include "cache/format/records.h"

namespace cairn {

namespace {

constexpr uint64_t kScanStep = 256;

std::string lsn_prefix(Lsn lsn) {
  std::string out(8, '\0');
  put_be64(reinterpret_cast<std::byte*>(out.data()), lsn);
  return out;
}

Result<Lsn> take_lsn(std::string_view& row, const char* table) {
  if (row.size() < 8) return fail(Errc::kCorruption, std::string(table) + " has a short row");
  const Lsn lsn = get_be64(as_bytes(row).data());
  row.remove_prefix(8);
  return lsn;
}

std::string encode_tree_row(Lsn lsn, const std::optional<Cid>& value) {
  std::string row = lsn_prefix(lsn);
  if (value) row.append(as_chars(value->bytes()));
  return row;
}

Result<TreeRow> decode_tree_row(std::string_view in) {
  TreeRow row;
  TRY_ASSIGN(row.lsn, take_lsn(in, "the table of tree changes"));
  if (in.empty()) return row;
  TRY_ASSIGN(Cid cid, Cid::from_bytes(as_bytes(in)));
  row.value = cid;
  return row;
}

std::string encode_resident(const ResidentRow& row) {
  ByteVec out;
  append(out, row.digest.view());
  put_le(out, row.length);
  put_le(out, row.ref.file);
  put_le(out, row.ref.offset);
  if (row.crc) put_le(out, *row.crc);
  return to_string(out);
}

Result<ResidentRow> decode_resident(std::string_view in) {
  constexpr size_t kPlain = 52;
  constexpr size_t kWithCrc = kPlain + 4;
  if (in.size() != kPlain && in.size() != kWithCrc)
    return fail(Errc::kCorruption, "a row of cached chunks has a wrong size");
  const Bytes b = as_bytes(in);
  ResidentRow row;
  row.digest = Digest::from_bytes(b.first(32));
  row.length = get_le<uint32_t>(b.data() + 32);
  row.ref.file = get_le<uint64_t>(b.data() + 36);
  row.ref.offset = get_le<uint64_t>(b.data() + 44);
  if (in.size() == kWithCrc) row.crc = get_le<uint32_t>(b.data() + kPlain);
  return row;
}

constexpr const char* kCheckpointKey = "checkpoint";

}  // namespace

Result<LiveState::Step> LiveState::prepare(const Change& change) {
  Step step(*this);
  for (const Effect& effect : change.effects) {
    if (const auto* write = std::get_if<WriteData>(&effect)) {
      TRY(step.load(write->inode, write->offset, write->length));
    } else if (const auto* zero = std::get_if<ZeroRange>(&effect)) {
      TRY(step.load(zero->inode, zero->offset, zero->length));
    } else if (const auto* data = std::get_if<ShareData>(&effect)) {
      TRY(step.load(data->inode, data->offset, data->length));
    } else if (const auto* leaf = std::get_if<ShareLeaf>(&effect)) {
      TRY(step.load(leaf->inode, leaf->offset, leaf->length));
    } else if (const auto* cut = std::get_if<CutContent>(&effect)) {
      TRY(step.load_from(cut->inode, cut->limit));
    } else if (const auto* forget = std::get_if<ForgetContent>(&effect)) {
      TRY(step.load_removal(forget->inode));
    }
  }
  return step;
}

Status LiveState::Step::load_file(uint64_t inode) {
  const auto [it, is_new] = files_.try_emplace(inode);
  if (!is_new) return {};
  TRY_ASSIGN(it->second, state_.file_state(inode));
  return {};
}

Status LiveState::Step::load(uint64_t inode, uint64_t offset, uint64_t length) {
  TRY(load_file(inode));
  return each_chunk_extent(state_.chunk_bytes_, offset, length, Extent::zeroes(),
                           [&](uint64_t chunk, const Extent&) -> Status {
                             const auto [it, is_new] = chunks_.try_emplace({inode, chunk});
                             if (!is_new) return {};
                             TRY_ASSIGN(it->second, load_chunk(inode, chunk));
                             return {};
                           });
}

Status LiveState::Step::load_from(uint64_t inode, uint64_t offset) {
  TRY(load_file(inode));
  uint64_t first = offset / state_.chunk_bytes_;
  while (true) {
    TRY_ASSIGN(auto rows, state_.scan_extents(inode, first, UINT64_MAX, kScanStep));
    for (auto& row : rows) {
      const auto [it, is_new] = chunks_.try_emplace({inode, row.chunk});
      if (is_new) it->second.extents = std::move(row.extents);
    }
    if (rows.size() < kScanStep) return {};
    first = rows.back().chunk + 1;
  }
}

Status LiveState::Step::load_removal(uint64_t inode) {
  TRY_ASSIGN(removed_[inode], state_.content_removed(inode));
  return {};
}

void LiveState::apply(Step step, const Change& change, Lsn lsn,
                      const std::function<bool(uint64_t)>& keep_content) {
  step.begin(lsn, change.time_ns);
  for (const Effect& effect : change.effects) {
    if (const auto* put = std::get_if<PutKey>(&effect)) {
      step.put_key(*put);
    } else if (const auto* write = std::get_if<WriteData>(&effect)) {
      step.write(write->inode, write->offset, write->length, Extent::at_ref(write->ref));
    } else if (const auto* zero = std::get_if<ZeroRange>(&effect)) {
      step.write(zero->inode, zero->offset, zero->length, Extent::zeroes());
    } else if (const auto* data = std::get_if<ShareData>(&effect)) {
      step.write(data->inode, data->offset, data->length, Extent::at_ref(data->ref));
    } else if (const auto* leaf = std::get_if<ShareLeaf>(&effect)) {
      step.write(leaf->inode, leaf->offset, leaf->length, Extent::of_leaf(leaf->leaf));
    } else if (const auto* cut = std::get_if<CutContent>(&effect)) {
      step.cut(cut->inode, cut->limit);
    } else if (const auto* forget = std::get_if<ForgetContent>(&effect)) {
      if (!keep_content(forget->inode)) step.forget(forget->inode);
    } else if (const auto* block = std::get_if<AddBlock>(&effect)) {
      step.add_block(*block);
    } else if (const auto* state = std::get_if<PutState>(&effect)) {
      step.put_state(*state);
    }
  }
  step.finish();
}

void LiveState::Step::put_key(const PutKey& e) {
  changes_.push_back({Table::kTree, e.key, encode_tree_row(lsn_, e.value)});
}

void LiveState::Step::write(uint64_t inode, uint64_t offset, uint64_t length, Extent source) {
  touch(inode);
  source.lsn = lsn_;
  (void)each_chunk_extent(state_.chunk_bytes_, offset, length, source,
                          [&](uint64_t chunk, const Extent& extent) -> Status {
                            Chunk& written = chunks_[{inode, chunk}];
                            written.written = true;
                            if (written.row) {
                              written.added.push_back(extent);
                            } else {
                              write_extent(written.extents, extent);
                            }
                            return {};
                          });
}

void LiveState::Step::cut(uint64_t inode, uint64_t limit) {
  touch(inode).add_cut(Cut{lsn_, limit});
  const uint64_t boundary = limit / state_.chunk_bytes_;
  for (auto it = chunks_.lower_bound({inode, boundary});
       it != chunks_.end() && it->first.first == inode; ++it)
    cut_extents(it->second.own_extents(), it->first.second == boundary
                                              ? static_cast<uint32_t>(limit % state_.chunk_bytes_)
                                              : 0);
}

void LiveState::Step::forget(uint64_t inode) {
  bool counted = false;
  for (TableChange& change : removed_[inode]) {
    counted |= change.table == Table::kFiles;
    changes_.push_back(std::move(change));
  }
  // What the same change did to it before goes, too.
  if (const auto file = files_.find(inode); file != files_.end()) {
    counted |= file->second.has_value();
    files_.erase(file);
  }
  chunks_.erase(chunks_.lower_bound({inode, 0}), chunks_.upper_bound({inode, UINT64_MAX}));
  if (counted) --state_.dirty_files_;
}

void LiveState::Step::add_block(const AddBlock& e) {
  changes_.push_back(
      {Table::kBlocks, to_string(e.digest.view()), lsn_prefix(lsn_).append(as_chars(e.bytes))});
}

void LiveState::Step::put_state(const PutState& e) {
  std::optional<std::string> value;
  if (!e.value.empty()) value = e.value;
  changes_.push_back({Table::kState, e.key, std::move(value)});
}

FileState& LiveState::Step::touch(uint64_t inode) {
  std::optional<FileState>& file = files_[inode];
  if (!file) {
    file.emplace().dirty_since_ns = time_ns_;
    ++state_.dirty_files_;
  }
  file->last_lsn = lsn_;
  return *file;
}

Result<std::vector<TableChange>> LiveState::content_removed(uint64_t inode) const {
  std::vector<TableChange> changes;
  TRY_ASSIGN(const auto known, file_state(inode));
  if (known) changes.push_back({Table::kFiles, file_key(inode), std::nullopt});
  const std::string end = prefix_end(file_key(inode));
  TRY_ASSIGN(auto rows, tables_.scan(Table::kDirty, chunk_key(inode, 0), end, SIZE_MAX));
  for (auto& row : rows) changes.push_back({Table::kDirty, std::move(row.key), std::nullopt});
  return changes;
}

Status LiveState::forget_content(uint64_t inode) {
  TRY_ASSIGN(const auto changes, content_removed(inode));
  for (const TableChange& change : changes)
    if (change.table == Table::kFiles) --dirty_files_;
  tables_.apply(changes);
  return {};
}

Status LiveState::drop_published_file(const FrozenFile& file, Lsn published) {
  TRY_ASSIGN(auto state, file_state(file.inode));
  if (!state) return {};
  std::vector<TableChange> changes;
  if (state->last_lsn <= published) {
    changes.push_back({Table::kFiles, file_key(file.inode), std::nullopt});
    --dirty_files_;
  } else {
    state->drop_published(published);
    changes.push_back({Table::kFiles, file_key(file.inode), encode_file_state(*state)});
  }
  for (const FrozenFile::Chunk& chunk : file.chunks) {
    TRY_ASSIGN(Extents extents, this->extents(file.inode, chunk.index));
    if (extents.empty()) continue;
    cairn::drop_published(extents, published);
    std::optional<std::string> row;
    if (!extents.empty()) row = encode_extents(extents);
    changes.push_back({Table::kDirty, chunk_key(file.inode, chunk.index), std::move(row)});
  }
  tables_.apply(changes);
  return {};
}

Status LiveState::drop_published_edits(const std::vector<TreeEdit>& edits, size_t begin, size_t end,
                                       Lsn published) {
  std::vector<TableChange> changes;
  for (size_t i = begin; i < end; ++i) {
    TRY_ASSIGN(const auto row, tree_row(edits[i].key));
    if (row && row->lsn <= published) changes.push_back({Table::kTree, edits[i].key, std::nullopt});
  }
  tables_.apply(changes);
  return {};
}

Status LiveState::drop_published_blocks(const std::vector<std::pair<Digest, Buffer>>& blocks,
                                        Lsn published, const std::set<Digest>& kept) {
  std::vector<TableChange> changes;
  for (const auto& [digest, bytes] : blocks) {
    const std::string key = to_string(digest.view());
    TRY_ASSIGN(const auto row, tables_.get(Table::kBlocks, key));
    if (!row) continue;
    std::string_view rest = *row;
    TRY_ASSIGN(const Lsn lsn, take_lsn(rest, "the table of small blocks"));
    if (lsn > published && lsn != kKeptBackLsn) continue;
    std::optional<std::string> stays;
    if (kept.contains(digest)) stays = lsn_prefix(kKeptBackLsn).append(rest);
    changes.push_back({Table::kBlocks, key, std::move(stays)});
  }
  tables_.apply(changes);
  return {};
}

Status LiveState::drop_published(Lsn published) {
  const auto each = [this](Table table, const auto& visit) -> Status {
    std::string from(1, '\0');
    while (true) {
      TRY_ASSIGN(const auto rows, tables_.scan(table, from, "", kScanStep));
      std::vector<TableChange> changes;
      for (const auto& row : rows) TRY(visit(row, changes));
      tables_.apply(changes);
      if (rows.size() < kScanStep) return {};
      from = rows.back().key + '\0';
    }
  };
  using Row = LiveTables::Row;
  using TableChanges = std::vector<TableChange>;
  for (const Table table : {Table::kTree, Table::kBlocks}) {
    TRY(each(table, [&](const Row& row, TableChanges& changes) -> Status {
      std::string_view rest = row.value;
      TRY_ASSIGN(const Lsn lsn, take_lsn(rest, "a table of changes"));
      if (lsn <= published) changes.push_back({table, row.key, std::nullopt});
      return {};
    }));
  }
  TRY(each(Table::kFiles, [&](const Row& row, TableChanges& changes) -> Status {
    TRY_ASSIGN(FileState state, decode_file_state(row.value));
    std::optional<std::string> kept;
    if (state.last_lsn > published) {
      state.drop_published(published);
      kept = encode_file_state(state);
    }
    changes.push_back({Table::kFiles, row.key, std::move(kept)});
    return {};
  }));
  return each(Table::kDirty, [&](const Row& row, TableChanges& changes) -> Status {
    TRY_ASSIGN(Extents extents, decode_extents(row.value));
    cairn::drop_published(extents, published);
    std::optional<std::string> kept;
    if (!extents.empty()) kept = encode_extents(extents);
    changes.push_back({Table::kDirty, row.key, std::move(kept)});
    return {};
  });
}

Result<std::optional<TreeRow>> LiveState::tree_row(std::string_view key) const {
  TRY_ASSIGN(const auto row, tables_.get(Table::kTree, key));
  if (!row) return std::optional<TreeRow>();
  TRY_ASSIGN(TreeRow decoded, decode_tree_row(*row));
  return std::optional<TreeRow>(std::move(decoded));
}

Result<std::vector<LiveState::TreeRowEntry>> LiveState::scan_tree(std::string_view from,
                                                                  std::string_view to,
                                                                  size_t limit) const {
  TRY_ASSIGN(auto rows, tables_.scan(Table::kTree, from, to, limit));
  std::vector<TreeRowEntry> out;
  out.reserve(rows.size());
  for (auto& row : rows) {
    TRY_ASSIGN(TreeRow decoded, decode_tree_row(row.value));
    out.push_back({std::move(row.key), std::move(decoded)});
  }
  return out;
}

Result<std::optional<Buffer>> LiveState::block(const Digest& digest) const {
  TRY_ASSIGN(const auto row, tables_.get(Table::kBlocks, as_chars(digest.view())));
  if (!row) return std::optional<Buffer>();
  std::string_view rest = *row;
  TRY(take_lsn(rest, "the table of small blocks"));
  return std::optional<Buffer>(Buffer::copy(rest));
}

Result<std::optional<FileState>> LiveState::file_state(uint64_t inode) const {
  TRY_ASSIGN(const auto row, tables_.get(Table::kFiles, file_key(inode)));
  if (!row) return std::optional<FileState>();
  TRY_ASSIGN(FileState state, decode_file_state(*row));
  return std::optional<FileState>(std::move(state));
}

Result<Extents> LiveState::extents(uint64_t inode, uint64_t chunk) const {
  TRY_ASSIGN(const auto row, tables_.get(Table::kDirty, chunk_key(inode, chunk)));
  if (!row) return Extents();
  return decode_extents(*row);
}

Result<std::vector<LiveState::ChunkExtents>> LiveState::scan_extents(uint64_t inode, uint64_t first,
                                                                     uint64_t end,
                                                                     size_t limit) const {
  const std::string to = end == UINT64_MAX ? prefix_end(file_key(inode)) : chunk_key(inode, end);
  TRY_ASSIGN(const auto rows, tables_.scan(Table::kDirty, chunk_key(inode, first), to, limit));
  std::vector<ChunkExtents> out;
  out.reserve(rows.size());
  for (const auto& row : rows) {
    TRY_ASSIGN(const auto key, parse_chunk_key(row.key));
    TRY_ASSIGN(Extents extents, decode_extents(row.value));
    out.push_back({key.second, std::move(extents)});
  }
  return out;
}

Result<std::optional<ResidentRow>> LiveState::resident(uint64_t inode, uint64_t chunk) const {
  TRY_ASSIGN(const auto row, tables_.get(Table::kResident, chunk_key(inode, chunk)));
  if (!row) return std::optional<ResidentRow>();
  TRY_ASSIGN(const ResidentRow decoded, decode_resident(*row));
  return std::optional<ResidentRow>(decoded);
}

void LiveState::put_resident(uint64_t inode, uint64_t chunk, const ResidentRow& row) {
  const std::string key = chunk_key(inode, chunk);
  tables_.apply({{Table::kResident, key, encode_resident(row)},
                 {Table::kInSegment, in_segment_key(row.ref.file, row.ref.offset, key), key}});
}

void LiveState::drop_resident(uint64_t inode, uint64_t chunk, const ResidentRow& row) {
  const std::string key = chunk_key(inode, chunk);
  tables_.apply(
      {{Table::kResident, key, std::nullopt},
       {Table::kInSegment, in_segment_key(row.ref.file, row.ref.offset, key), std::nullopt}});
}

Result<std::vector<LiveState::InSegment>> LiveState::in_segment(uint64_t segment) const {
  TRY_ASSIGN(const auto rows, tables_.scan(Table::kInSegment, in_segment_begin(segment),
                                           in_segment_begin(segment + 1), SIZE_MAX));
  std::vector<InSegment> out;
  for (const auto& row : rows) {
    TRY_ASSIGN(const auto resident, tables_.get(Table::kResident, row.value));
    if (!resident) continue;
    TRY_ASSIGN(const auto key, parse_chunk_key(row.value));
    TRY_ASSIGN(const ResidentRow decoded, decode_resident(*resident));
    if (decoded.ref.file == segment) out.push_back({key.first, key.second, decoded});
  }
  return out;
}

Result<bool> LiveState::is_in_use(uint64_t segment) const {
  std::string from = in_segment_begin(segment);
  const std::string end = in_segment_begin(segment + 1);
  while (true) {
    TRY_ASSIGN(const auto rows, tables_.scan(Table::kInSegment, from, end, kScanStep));
    for (const auto& row : rows) {
      TRY_ASSIGN(const auto resident, tables_.get(Table::kResident, row.value));
      if (!resident) continue;
      TRY_ASSIGN(const ResidentRow decoded, decode_resident(*resident));
      if (decoded.ref.file == segment) return true;
    }
    if (rows.size() < kScanStep) return false;
    from = rows.back().key + '\0';
  }
}

Result<std::vector<uint64_t>> LiveState::named_segments() const {
  std::vector<uint64_t> segments;
  std::string from;
  while (true) {
    TRY_ASSIGN(const auto next, tables_.scan(Table::kInSegment, from, "", 1));
    if (next.empty()) return segments;
    if (next[0].key.size() < 8) return fail(Errc::kCorruption, "a damaged row of cached chunks");
    segments.push_back(get_be64(as_bytes(next[0].key).data()));
    if (segments.back() == UINT64_MAX) return segments;
    from = in_segment_begin(segments.back() + 1);
  }
}

Status LiveState::drop_residents(uint64_t inode) {
  std::string from = chunk_key(inode, 0);
  const std::string end = prefix_end(file_key(inode));
  while (true) {
    TRY_ASSIGN(const auto rows, tables_.scan(Table::kResident, from, end, kScanStep));
    for (const auto& row : rows) {
      TRY_ASSIGN(const auto key, parse_chunk_key(row.key));
      TRY_ASSIGN(const ResidentRow decoded, decode_resident(row.value));
      drop_resident(inode, key.second, decoded);
    }
    if (rows.size() < kScanStep) return {};
    from = rows.back().key + '\0';
  }
}

Result<uint64_t> LiveState::resident_bytes(uint64_t inode) const {
  uint64_t bytes = 0;
  std::string from = chunk_key(inode, 0);
  const std::string end = prefix_end(file_key(inode));
  while (true) {
    TRY_ASSIGN(const auto rows, tables_.scan(Table::kResident, from, end, kScanStep));
    for (const auto& row : rows) {
      TRY_ASSIGN(const ResidentRow decoded, decode_resident(row.value));
      bytes += decoded.length;
    }
    if (rows.size() < kScanStep) return bytes;
    from = rows.back().key + '\0';
  }
}

std::vector<std::string> LiveState::state_keys(std::string_view prefix) const {
  std::vector<std::string> keys;
  const auto rows = tables_.scan(Table::kState, prefix, prefix_end(std::string(prefix)), SIZE_MAX);
  if (!rows) return keys;
  for (const auto& row : *rows) keys.push_back(row.key);
  return keys;
}

Status LiveState::drop_segment(uint64_t segment) {
  std::string from = in_segment_begin(segment);
  const std::string end = in_segment_begin(segment + 1);
  while (true) {
    TRY_ASSIGN(const auto rows, tables_.scan(Table::kInSegment, from, end, kScanStep));
    std::vector<TableChange> changes;
    for (const auto& row : rows) {
      changes.push_back({Table::kInSegment, row.key, std::nullopt});
      TRY_ASSIGN(const auto resident, tables_.get(Table::kResident, row.value));
      if (!resident) continue;
      TRY_ASSIGN(const ResidentRow decoded, decode_resident(*resident));
      // The chunk may have moved to a newer place since.
      if (decoded.ref.file == segment)
        changes.push_back({Table::kResident, row.value, std::nullopt});
    }
    tables_.apply(changes);
    if (rows.size() < kScanStep) return {};
    from = rows.back().key + '\0';
  }
}

Result<std::optional<std::string>> LiveState::state(std::string_view key) const {
  return tables_.get(Table::kState, key);
}
void LiveState::put_state(std::string_view key, std::string value) {
  tables_.apply({{Table::kState, std::string(key), std::move(value)}});
}
void LiveState::remove_state(std::string_view key) {
  tables_.apply({{Table::kState, std::string(key), std::nullopt}});
}

void LiveState::put_checkpoint_marks(Lsn checkpointed, Lsn published,
                                     uint64_t segment_numbers_end) {
  ByteVec row;
  put_le(row, checkpointed);
  put_le(row, published);
  put_le(row, segment_numbers_end);
  put_state(kCheckpointKey, to_string(row));
}

Result<LiveState::CheckpointMarks> LiveState::checkpoint_marks() const {
  CheckpointMarks marks;
  TRY_ASSIGN(const auto row, state(kCheckpointKey));
  if (!row) return marks;
  if (row->size() != 24) return fail(Errc::kCorruption, "the checkpoint's own row is damaged");
  const std::byte* in = as_bytes(*row).data();
  marks.checkpointed = get_le<uint64_t>(in);
  marks.published = get_le<uint64_t>(in + 8);
  marks.segment_numbers_end = get_le<uint64_t>(in + 16);
  return marks;
}

Status LiveState::count_dirty_files() {
  uint64_t count = 0;
  std::string from(1, '\0');
  while (true) {
    TRY_ASSIGN(const auto rows, tables_.scan(Table::kFiles, from, "", kScanStep));
    count += rows.size();
    if (rows.size() < kScanStep) break;
    from = rows.back().key + '\0';
  }
  dirty_files_ = count;
  return {};
}

}  // namespace cairn
