#include "cache/fold.h"

#include <algorithm>
#include <map>
#include <set>

#include "cache/format/records.h"

namespace cairn {

namespace {

// A leaf that is copied by name costs no bytes, but a batch holds its name in memory: it counts as
// so many.
constexpr uint64_t kLeafCost = 4096;

// What the records so far did to one file's content.
struct FoldedFile {
  uint64_t base_limit = UINT64_MAX;
  std::map<uint64_t, Extents> chunks;
};

class Folder {
 public:
  // Goes on with what was folded. What that left out (see `finish`) is nobody's whatever follows.
  Folder(uint32_t chunk_bytes, bool follows_names, Fold fold)
      : chunk_bytes_(chunk_bytes),
        follows_names_(follows_names),
        written_bytes_(fold.written_bytes),
        local_bytes_(fold.local_bytes),
        records_(fold.records),
        groups_(std::move(fold.batch.groups)) {
    for (TreeEdit& edit : fold.batch.edits) {
      std::string key = edit.key;
      edits_.emplace_hint(edits_.end(), std::move(key), std::move(edit));
    }
    for (FrozenFile& frozen : fold.batch.files) {
      FoldedFile& file = files_[frozen.inode];
      file.base_limit = frozen.base_limit;
      for (FrozenFile::Chunk& chunk : frozen.chunks)
        file.chunks.emplace_hint(file.chunks.end(), chunk.index, std::move(chunk.extents));
    }
    for (auto& [digest, bytes] : fold.batch.blocks)
      blocks_.emplace_hint(blocks_.end(), digest, std::move(bytes));
  }

  Status add(const Change& change, const JournalRecord& record) {
    const Lsn lsn = record.lsn;
    for (const Effect& effect : change.effects) {
      if (const auto* put = std::get_if<PutKey>(&effect)) {
        const bool is_first =
            edits_.insert_or_assign(put->key, TreeEdit{put->key, put->value, lsn}).second;
        if (follows_names_ && is_first && !put->value) lost_.insert(put->key);
      } else if (const auto* data = std::get_if<WriteData>(&effect)) {
        TRY(write(data->inode, data->offset, data->length, Extent::at_ref(data->ref), lsn));
        written_bytes_ += data->length;
      } else if (const auto* shared = std::get_if<ShareData>(&effect)) {
        TRY(write(shared->inode, shared->offset, shared->length, Extent::at_ref(shared->ref), lsn));
        written_bytes_ += shared->length;  // they are hashed again
      } else if (const auto* leaf = std::get_if<ShareLeaf>(&effect)) {
        TRY(write(leaf->inode, leaf->offset, leaf->length, Extent::of_leaf(leaf->leaf), lsn));
        written_bytes_ += kLeafCost;
      } else if (const auto* zero = std::get_if<ZeroRange>(&effect)) {
        TRY(write(zero->inode, zero->offset, zero->length, Extent::zeroes(), lsn));
      } else if (const auto* cut_effect = std::get_if<CutContent>(&effect)) {
        cut(cut_effect->inode, cut_effect->limit);
      } else if (const auto* forget = std::get_if<ForgetContent>(&effect)) {
        files_.erase(forget->inode);
      } else if (const auto* block = std::get_if<AddBlock>(&effect)) {
        blocks_.insert_or_assign(block->digest, Buffer::copy(block->bytes));
      } else if (const auto* group = std::get_if<OpenGroup>(&effect)) {
        groups_.push_back(group->group);
      }
    }
    local_bytes_ += local_bytes(change, record.payload.size());
    ++records_;
    return {};
  }

  // Only of who follows names: a directory gets a name that something had before these records,
  // which took it away.
  Result<bool> reuses_name(const Change& change) const {
    for (const Effect& effect : change.effects) {
      const auto* put = std::get_if<PutKey>(&effect);
      if (put == nullptr || !put->value) continue;
      if (!lost_.contains(put->key)) continue;
      TRY_ASSIGN(const RecordKey key, parse_key(put->key));
      if (key.kind != KeyKind::kDirent) continue;
      TRY_ASSIGN(const Dirent dirent, Dirent::decode(put->value->payload()));
      if (dirent.type == FileType::kDirectory) return true;
    }
    return false;
  }

  uint64_t written_bytes() const { return written_bytes_; }
  uint64_t records() const { return records_; }

  Result<Fold> finish(Lsn lsn) {
    Fold fold;
    fold.written_bytes = written_bytes_;
    fold.local_bytes = local_bytes_;
    fold.records = records_;
    fold.batch.lsn = lsn;
    fold.batch.groups = std::move(groups_);
    for (auto& [inode, file] : files_) {
      // Content of an inode that no longer exists (or was removed while open) is nobody's.
      const auto edit = edits_.find(inode_key(inode));
      if (edit == edits_.end() || !edit->second.value) continue;
      TRY_ASSIGN(const InodeRecord record, decode_inline_inode(*edit->second.value));
      fold.batch.files.push_back(freeze(inode, record.size, file));
    }
    for (auto& [key, edit] : edits_) fold.batch.edits.push_back(std::move(edit));
    for (auto& [digest, bytes] : blocks_) fold.batch.blocks.emplace_back(digest, bytes);
    return fold;
  }

 private:
  Status write(uint64_t inode, uint64_t offset, uint64_t length, Extent source, Lsn lsn) {
    FoldedFile& file = files_[inode];
    source.lsn = lsn;
    return each_chunk_extent(chunk_bytes_, offset, length, source,
                             [&](uint64_t chunk, const Extent& extent) -> Status {
                               write_extent(file.chunks[chunk], extent);
                               return {};
                             });
  }

  void cut(uint64_t inode, uint64_t limit) {
    FoldedFile& file = files_[inode];
    file.base_limit = std::min(file.base_limit, limit);
    const uint64_t boundary = limit / chunk_bytes_;
    const auto inside = static_cast<uint32_t>(limit % chunk_bytes_);
    auto it = file.chunks.lower_bound(boundary);
    if (it != file.chunks.end() && it->first == boundary && inside > 0) {
      cut_extents(it->second, inside);
      ++it;
    }
    file.chunks.erase(it, file.chunks.end());
  }

  FrozenFile freeze(uint64_t inode, uint64_t size, FoldedFile& file) const {
    FrozenFile frozen;
    frozen.inode = inode;
    frozen.size = size;
    frozen.base_limit = file.base_limit;
    for (auto& [index, extents] : file.chunks) {
      if (extents.empty() || index * chunk_bytes_ >= size) continue;
      frozen.chunks.push_back({index, std::move(extents)});
    }
    return frozen;
  }

  static Result<InodeRecord> decode_inline_inode(const Cid& value) {
    if (!value.is_identity())
      return fail(Errc::kCorruption, "the journal holds an inode record that is not inline");
    return InodeRecord::decode(value.payload());
  }

  const uint32_t chunk_bytes_;
  const bool follows_names_;
  uint64_t written_bytes_ = 0;
  uint64_t local_bytes_ = 0;
  uint64_t records_ = 0;
  std::map<std::string, TreeEdit> edits_;
  std::set<std::string> lost_;  // keys that were there before and are not any more
  std::map<uint64_t, FoldedFile> files_;
  std::map<Digest, Buffer> blocks_;
  std::vector<uint32_t> groups_;
};

// Two names change, and a directory gets one of them.
Result<bool> moves_directory(const Change& change) {
  size_t names = 0;
  bool has_directory = false;
  for (const Effect& effect : change.effects) {
    const auto* put = std::get_if<PutKey>(&effect);
    if (put == nullptr) continue;
    TRY_ASSIGN(const RecordKey key, parse_key(put->key));
    if (key.kind != KeyKind::kDirent) continue;
    ++names;
    if (!put->value) continue;
    TRY_ASSIGN(const Dirent dirent, Dirent::decode(put->value->payload()));
    has_directory |= dirent.type == FileType::kDirectory;
  }
  return names > 1 && has_directory;
}

bool is_full(uint64_t written_bytes, uint64_t records, const FoldLimits& limits) {
  return written_bytes >= limits.data_bytes_max || records >= limits.records_max;
}

}  // namespace

Result<Fold> fold_journal(Journal& journal, Lsn after, Lsn upto, uint32_t chunk_bytes,
                          const FoldLimits& limits) {
  Fold nothing;
  nothing.batch.lsn = after;
  return extend_fold(journal, std::move(nothing), upto, chunk_bytes, limits);
}

Result<Fold> extend_fold(Journal& journal, Fold fold, Lsn upto, uint32_t chunk_bytes,
                         const FoldLimits& limits) {
  const Lsn after = fold.batch.lsn;
  Lsn last = after;
  Folder folder(chunk_bytes, limits.moves_alone, std::move(fold));
  bool full = is_full(folder.written_bytes(), folder.records(), limits);
  TRY(journal.read(after, upto, [&](const JournalRecord& record) -> Status {
    if (full) return {};
    if (record.type == kRecordChange) {
      TRY_ASSIGN(const Change change, decode_change(record));
      bool alone = false;
      if (limits.moves_alone) {
        TRY_ASSIGN(alone, moves_directory(change));
        TRY_ASSIGN(const bool reuses, folder.reuses_name(change));
        full = reuses || (alone && folder.records() > 0);
        if (full) return {};
      }
      full = alone;
      if (Status added = folder.add(change, record); !added) return added;
    }
    last = record.lsn;
    full |= is_full(folder.written_bytes(), folder.records(), limits);
    return {};
  }));
  return folder.finish(last);
}

}  // namespace cairn
