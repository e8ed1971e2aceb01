// What is kept back from the store: README.md, "Held files".
#include <algorithm>
#include <array>

#include "cache/base/coding.h"
#include "cache/base/failpoint.h"
#include "cache/base/log.h"
#include "cache/engine.h"
#include "cache/format/records.h"

namespace cairn {

namespace {

constexpr size_t kReconsideredAtOnce = 1000;

bool is_content(const InodeRecord& record) {
  return record.type() == FileType::kRegular || record.type() == FileType::kSymlink;
}

void move_behind(PublishBatch& batch, PublishBatch more) {
  std::move(more.edits.begin(), more.edits.end(), std::back_inserter(batch.edits));
  std::move(more.files.begin(), more.files.end(), std::back_inserter(batch.files));
  std::move(more.blocks.begin(), more.blocks.end(), std::back_inserter(batch.blocks));
}

}  // namespace

std::string Engine::kept_key(uint64_t inode) {
  return kKeptPrefix + file_key(inode);
}

std::string Engine::dirent_of(const Kept& kept) {
  return kept.dir == 0 ? std::string() : dirent_key(kept.dir, kept.name);
}

Result<bool> Engine::keeps_back_any(const LiveTables& tables) {
  TRY_ASSIGN(const auto rows, tables.scan(Table::kState, kKeptPrefix, prefix_end(kKeptPrefix), 1));
  return !rows.empty();
}

Status Engine::load_kept() {
  const size_t prefix = std::string_view(kKeptPrefix).size();
  for (const std::string& key : live_.state_keys(kKeptPrefix)) {
    TRY_ASSIGN(const auto value, live_.state(key));
    if (!value || value->size() < 8 || key.size() != prefix + 8)
      return fail(Errc::kCorruption, "a damaged row of a file that is held back");
    const uint64_t inode = get_be64(as_bytes(key).data() + prefix);
    Kept kept;
    kept.dir = get_be64(as_bytes(*value).data());
    kept.name = value->substr(8);
    TRY(measure(inode, kept));
    set_kept(inode, std::move(kept));
    reconsiders_ = true;  // the rules may be others now
  }
  return {};
}

// Where its content lies, and how much it is.
Status Engine::measure(uint64_t inode, Kept& kept) const {
  TRY(begin_measure(inode, kept));
  TRY_ASSIGN(const auto chunks, live_.scan_extents(inode, 0, UINT64_MAX, SIZE_MAX));
  for (const auto& chunk : chunks)
    for (const Extent& extent : chunk.extents) note_place(extent, kept);
  return {};
}

Status Engine::begin_measure(uint64_t inode, Kept& kept) const {
  kept.bytes = 0;
  kept.segments.clear();
  TRY_ASSIGN(const auto state, live_.file_state(inode));
  kept.is_dirty = state.has_value();
  return {};
}

void Engine::note_place(const Extent& extent, Kept& kept) {
  if (!extent.has_ref()) return;
  kept.bytes += extent.length;
  if (extent.ref.kind == DataRef::Kind::kSegment) kept.segments.insert(extent.ref.file);
}

// What else than they needs them may go into a batch before they do.
Result<std::set<Digest>> Engine::kept_blocks() const {
  std::vector<uint64_t> inodes;
  {
    const std::lock_guard lock(kept_mutex_);
    for (const auto& [inode, kept] : kept_) inodes.push_back(inode);
  }
  std::set<Digest> out;
  for (const uint64_t inode : inodes) {
    TRY_ASSIGN(const auto digests, live_.blocks_of_file(inode));
    out.insert(digests.begin(), digests.end());
  }
  return out;
}

// Nullopt: it is not kept back any more.
void Engine::set_kept(uint64_t inode, std::optional<Kept> kept) {
  std::set<uint64_t> before;
  if (kept) {
    const std::lock_guard lock(eviction_mutex_);
    kept_segments_.add(kept->segments);
  }
  {
    const std::lock_guard lock(kept_mutex_);
    if (const auto it = kept_.find(inode); it != kept_.end()) {
      before = std::move(it->second.segments);
      kept_bytes_ -= it->second.bytes;
      kept_dirty_ -= it->second.is_dirty ? 1 : 0;
      const auto dir = kept_dirs_.find(it->second.dir);
      if (dir != kept_dirs_.end() && --dir->second == 0) kept_dirs_.erase(dir);
      kept_.erase(it);
    }
    if (kept) {
      if (kept->dir != 0) ++kept_dirs_[kept->dir];
      kept_bytes_ += kept->bytes;
      kept_dirty_ += kept->is_dirty ? 1 : 0;
      kept_.emplace(inode, *std::move(kept));
    }
    kept_files_ = kept_.size();
  }
  const std::lock_guard lock(eviction_mutex_);
  kept_segments_.release(before);
}

KeptStatus Engine::kept_back() const {
  return {kept_files_, kept_bytes_};
}

// ---- what a batch leaves out, and what it takes in

Status Engine::add_xattrs(KeepCandidate& candidate) const {
  const std::string prefix = xattr_prefix(candidate.inode);
  TRY_ASSIGN(const auto rows, live_.scan_tree(prefix, prefix_end(prefix), SIZE_MAX));
  for (const auto& row : rows) {
    std::optional<std::string> value;
    if (row.row.value) {
      Buffer bytes;
      if (row.row.value->is_identity()) {
        bytes = Buffer::copy(row.row.value->payload());
      } else {
        TRY_ASSIGN(const auto block, live_.block(row.row.value->digest()));
        if (!block) continue;
        bytes = *block;
      }
      TRY_ASSIGN(const XattrValue xattr, XattrValue::decode(bytes));
      if (const auto* text = std::get_if<ByteVec>(&xattr.value)) {
        value = to_string(*text);
      } else {
        TRY_ASSIGN(const auto block, live_.block(std::get<Cid>(xattr.value).digest()));
        value = block ? to_string(*block) : std::string();
      }
    }
    candidate.xattrs.emplace_back(row.key.substr(prefix.size()), std::move(value));
  }
  return {};
}

Result<std::vector<KeepCandidate>> Engine::keep_candidates(const PublishBatch& batch,
                                                           KeptChange& change) {
  std::map<uint64_t, std::pair<uint64_t, std::string>> placed;
  bool has_removal = false;
  bool moves_directory = false;
  for (const TreeEdit& edit : batch.edits) {
    TRY_ASSIGN(const RecordKey key, parse_key(edit.key));
    if (key.kind != KeyKind::kDirent) continue;
    has_removal |= !edit.value;
    if (!edit.value) continue;
    TRY_ASSIGN(const Dirent dirent, Dirent::decode(edit.value->payload()));
    moves_directory |= dirent.type == FileType::kDirectory;
    placed[dirent.ino] = {key.ino, std::string(key.name)};
  }
  std::set<uint64_t> with_content;
  for (const FrozenFile& file : batch.files) with_content.insert(file.inode);
  std::vector<KeepCandidate> candidates;
  std::set<uint64_t> seen;
  const auto add = [&](uint64_t inode, const InodeRecord& record) -> Status {
    if (!is_content(record) || !seen.insert(inode).second) return {};
    KeepCandidate candidate;
    candidate.inode = inode;
    candidate.size = record.size;
    candidate.is_link = record.type() == FileType::kSymlink;
    {
      const std::lock_guard lock(kept_mutex_);
      if (const auto kept = kept_.find(inode); kept != kept_.end()) {
        candidate.dir = kept->second.dir;
        candidate.name = kept->second.name;
        candidate.has_content = true;
      }
    }
    if (const auto place = placed.find(inode); place != placed.end())
      std::tie(candidate.dir, candidate.name) = place->second;
    candidate.has_content |= with_content.contains(inode);
    TRY(add_xattrs(candidate));
    candidates.push_back(std::move(candidate));
    return {};
  };
  for (const TreeEdit& edit : batch.edits) {
    TRY_ASSIGN(const RecordKey key, parse_key(edit.key));
    if (key.kind != KeyKind::kInode || !edit.value || !edit.value->is_identity()) continue;
    TRY_ASSIGN(const InodeRecord record, InodeRecord::decode(edit.value->payload()));
    TRY(add(key.ino, record));
  }
  for (const uint64_t inode : reconsidered(change)) {
    TRY_ASSIGN(const auto row, live_.tree_row(inode_key(inode)));
    if (!row || !row->value) continue;
    TRY_ASSIGN(const InodeRecord record, InodeRecord::decode(row->value->payload()));
    TRY(add(inode, record));
  }
  change.moved_directory = has_removal && moves_directory;
  return candidates;
}

// The next of those that may have to go now, a few at a time.
std::vector<uint64_t> Engine::reconsidered(KeptChange& change) const {
  std::vector<uint64_t> out;
  if (!reconsiders_) return out;
  const std::lock_guard lock(kept_mutex_);
  auto it = kept_.lower_bound(reconsider_from_);
  for (; it != kept_.end() && out.size() < kReconsideredAtOnce; ++it) out.push_back(it->first);
  change.reconsidered = true;
  change.more = it != kept_.end();
  change.next = change.more ? it->first : 0;
  return out;
}

// When what was found out is done: else they are looked at again.
void Engine::note_reconsidered(const KeptChange& change) {
  bool any = false;
  {
    const std::lock_guard lock(kept_mutex_);
    any = !kept_.empty();
  }
  if (change.reconsidered) reconsider_from_ = change.next;
  if (change.moved_directory) reconsider_from_ = 0;
  reconsiders_ =
      any && (change.moved_directory || change.more || (reconsiders_ && !change.reconsidered));
}

Result<Engine::KeptChange> Engine::split_kept(PublishBatch& batch, const Context& context) {
  KeptChange change;
  std::map<uint64_t, Kept> kept;
  {
    const std::lock_guard lock(kept_mutex_);
    if (kept_.empty() && !remote_->keeps_back_any()) return change;
    kept = kept_;
  }
  for (const TreeEdit& edit : batch.edits) {
    TRY_ASSIGN(const RecordKey key, parse_key(edit.key));
    if (key.kind == KeyKind::kInode && !edit.value && kept.contains(key.ino))
      change.gone.push_back(key.ino);
  }
  TRY_ASSIGN(const auto candidates, keep_candidates(batch, change));
  TRY_ASSIGN(const auto answers, remote_->keep_back(candidates, batch, context));
  std::map<uint64_t, Keep> stored;
  PublishBatch back;
  back.lsn = batch.lsn;
  const auto hold = [&](const KeepCandidate& candidate, const Keep& answer) {
    change.keep[candidate.inode] = Kept{candidate.dir, candidate.name, 0, false, {}};
    stored[candidate.inode] = answer;
  };
  for (size_t i = 0; i < candidates.size(); ++i) {
    const KeepCandidate& candidate = candidates[i];
    const uint64_t inode = candidate.inode;
    // A batch in which a directory moves does nothing else: what may go then goes with the next.
    if (answers[i].keeps || (change.moved_directory && kept.contains(inode))) {
      hold(candidate, answers[i]);
      continue;
    }
    if (!kept.contains(inode)) continue;
    Kept at{candidate.dir, candidate.name, 0, false, {}};
    TRY_ASSIGN(const bool is_back, put_back(back, inode, at));
    if (is_back) {
      change.release.emplace(inode, std::move(at));
    } else {  // without its content it is no file: the batch that says so has the rest
      hold(candidate, answers[i]);
    }
  }
  take_in(batch, std::move(back), change.release);
  TRY(take_out(batch, change.keep, stored));
  std::sort(batch.edits.begin(), batch.edits.end(),
            [](const TreeEdit& a, const TreeEdit& b) { return a.key < b.key; });
  std::sort(batch.files.begin(), batch.files.end(),
            [](const FrozenFile& a, const FrozenFile& b) { return a.inode < b.inode; });
  return change;
}

// A file that is in the store moves there all the same: no bytes of it are sent.
Status Engine::take_out(PublishBatch& batch, const std::map<uint64_t, Kept>& keep,
                        const std::map<uint64_t, Keep>& stored) {
  if (keep.empty()) return {};
  std::erase_if(batch.files, [&](const FrozenFile& file) { return keep.contains(file.inode); });
  std::set<uint64_t> placed;
  for (TreeEdit& edit : batch.edits) {
    TRY_ASSIGN(const RecordKey key, parse_key(edit.key));
    if (key.kind != KeyKind::kDirent || !edit.value) continue;
    TRY_ASSIGN(const Dirent dirent, Dirent::decode(edit.value->payload()));
    if (!keep.contains(dirent.ino)) continue;
    placed.insert(dirent.ino);
    // What had the name before may have to be removed.
    if (!stored.at(dirent.ino).is_stored) edit.value.reset();
  }
  std::vector<TreeEdit> edits;
  for (TreeEdit& edit : batch.edits) {
    TRY_ASSIGN(const RecordKey key, parse_key(edit.key));
    const bool kept = keep.contains(key.ino);
    if (kept && key.kind == KeyKind::kXattr) continue;
    if (kept && key.kind == KeyKind::kInode) {
      if (!placed.contains(key.ino) || !stored.at(key.ino).is_stored) continue;
      TRY_ASSIGN(InodeRecord record, InodeRecord::decode(edit.value->payload()));
      record.size = stored.at(key.ino).stored_size;
      edit.value = Cid::identity(Codec::kDagCbor, record.encode());
      // Its object does not contain the record: when its content goes, that is news.
      --edit.lsn;
    }
    edits.push_back(std::move(edit));
  }
  batch.edits = std::move(edits);
  return {};
}

// All of a file as it is now goes into a batch. That is newer than the rest of the batch where it
// is being changed, and the next batch says that again. False: it has another name by now, or none.
Result<bool> Engine::put_back(PublishBatch& batch, uint64_t inode, const Kept& kept) const {
  PublishBatch own;
  own.lsn = batch.lsn;
  TRY_ASSIGN(const auto row, live_.tree_row(inode_key(inode)));
  if (!row || !row->value) return false;
  TRY_ASSIGN(const InodeRecord record, InodeRecord::decode(row->value->payload()));
  own.edits.push_back({inode_key(inode), row->value, batch.lsn});
  if (const auto* target = std::get_if<Cid>(&record.body);
      record.type() == FileType::kSymlink && target != nullptr) {
    TRY_ASSIGN(const auto block, live_.block(target->digest()));
    if (block) own.blocks.emplace_back(target->digest(), *block);
  }
  if (const std::string dirent = dirent_of(kept); !dirent.empty()) {
    TRY_ASSIGN(const auto name, live_.tree_row(dirent));
    if (name && !name->value) return false;
    if (name) {
      TRY_ASSIGN(const Dirent there, Dirent::decode(name->value->payload()));
      if (there.ino != inode) return false;
      own.edits.push_back({dirent, name->value, batch.lsn});
    }
  }
  TRY(add_live_rows(xattr_prefix(inode), own));
  TRY_ASSIGN(const auto state, live_.file_state(inode));
  if (state && record.type() == FileType::kRegular) {
    FrozenFile file;
    file.inode = inode;
    file.size = record.size;
    file.base_limit = state->base_limit(remote_->published().lsn);
    TRY_ASSIGN(auto chunks, live_.scan_extents(inode, 0, UINT64_MAX, SIZE_MAX));
    for (auto& chunk : chunks)
      if (!chunk.extents.empty() && chunk.chunk * live_.chunk_bytes() < record.size)
        file.chunks.push_back({chunk.chunk, std::move(chunk.extents)});
    own.files.push_back(std::move(file));
  }
  move_behind(batch, std::move(own));
  return true;
}

// Of what both say, `back` is newer.
void Engine::take_in(PublishBatch& batch, PublishBatch back,
                     const std::map<uint64_t, Kept>& released) {
  std::set<std::string> keys;
  for (const TreeEdit& edit : back.edits) keys.insert(edit.key);
  std::erase_if(batch.edits, [&](const TreeEdit& edit) { return keys.contains(edit.key); });
  std::erase_if(batch.files, [&](const FrozenFile& file) { return released.contains(file.inode); });
  move_behind(batch, std::move(back));
}

Status Engine::add_live_rows(const std::string& prefix, PublishBatch& batch) const {
  TRY_ASSIGN(const auto rows, live_.scan_tree(prefix, prefix_end(prefix), SIZE_MAX));
  const auto add_block = [&](const Cid& cid) -> Result<std::optional<Buffer>> {
    if (cid.is_identity()) return std::optional(Buffer::copy(cid.payload()));
    TRY_ASSIGN(const auto block, live_.block(cid.digest()));
    if (block) batch.blocks.emplace_back(cid.digest(), *block);
    return block;
  };
  for (const auto& row : rows) {
    batch.edits.push_back({row.key, row.row.value, batch.lsn});
    if (!row.row.value) continue;
    TRY_ASSIGN(const auto bytes, add_block(*row.row.value));
    if (!bytes) continue;
    TRY_ASSIGN(const XattrValue xattr, XattrValue::decode(*bytes));
    if (const auto* block = std::get_if<Cid>(&xattr.value)) TRY(add_block(*block));
  }
  return {};
}

// ---- when the batch is published

// Before its rows are dropped: those of kept files are none of them.
Status Engine::settle_kept(const Fold& fold, const KeptChange& change) {
  const Lsn lsn = fold.batch.lsn;
  std::map<uint64_t, Kept> keep = change.keep;
  std::vector<uint64_t> release;
  for (const auto& [inode, kept] : change.release) {
    TRY_ASSIGN(const bool is_there, remote_->has_stored(inode, lsn));
    if (is_there) {
      release.push_back(inode);
      continue;
    }
    log_warn("'{}' was held back, and is not in the bucket yet: it is held on", kept.name);
    keep.emplace(inode, kept);
  }
  std::set<uint64_t> segments;
  const Status done = keep_contents(keep, lsn, segments);
  {
    const std::lock_guard lock(eviction_mutex_);
    kept_segments_.release(segments);
  }
  TRY(done);
  const auto end = [&](uint64_t inode, bool is_stored) -> Status {
    Kept kept;
    {
      const std::lock_guard lock(kept_mutex_);
      const auto it = kept_.find(inode);
      if (it != kept_.end()) kept = it->second;
    }
    {
      const std::lock_guard lock(commit_mutex_);
      if (is_stored) TRY(live_.release_kept(inode, dirent_of(kept), lsn));
      live_.remove_state(kept_key(inode));
    }
    set_kept(inode, std::nullopt);
    return {};
  };
  for (const uint64_t inode : release) TRY(end(inode, true));
  for (const uint64_t inode : change.gone) TRY(end(inode, false));
  return {};
}

// A checkpoint may come at any time, and the journal is trimmed after one: so no row names a place
// in a segment before what is there survives a power cut, whether it was moved there or written.
Status Engine::keep_contents(std::map<uint64_t, Kept>& keep, Lsn upto,
                             std::set<uint64_t>& segments) {
  if (keep.empty()) return {};
  std::map<uint64_t, MovedChunks> moved;
  for (auto& [inode, kept] : keep) TRY(copy_out_of_journal(inode, upto, kept, moved, segments));
  TRY(segments_->sync());
  for (auto& [inode, kept] : keep) {
    TRY(checkpoint_when_large());
    {
      const std::lock_guard lock(commit_mutex_);
      const auto chunks = moved.find(inode);
      if (chunks != moved.end()) TRY(live_.move_content(inode, chunks->second));
      TRY(live_.keep_back(inode, dirent_of(kept), upto));
      std::string row(8, '\0');
      put_be64(reinterpret_cast<std::byte*>(row.data()), kept.dir);
      live_.put_state(kept_key(inode), row + kept.name);
    }
    set_kept(inode, std::move(kept));
  }
  CAIRN_FAILPOINT("publish.kept-back");
  return {};
}

// The journal is trimmed: what lies in a row there is put in a row into a segment, and is also
// there from then on. Measures the file on the way; what is written meanwhile counts when the next
// batch has it.
Status Engine::copy_out_of_journal(uint64_t inode, Lsn upto, Kept& kept,
                                   std::map<uint64_t, MovedChunks>& moved,
                                   std::set<uint64_t>& segments) {
  const auto moves = [upto](const Extent& extent) {
    return extent.has_ref() && extent.ref.kind == DataRef::Kind::kJournal && extent.lsn <= upto;
  };
  TRY(begin_measure(inode, kept));
  TRY_ASSIGN(const auto chunks, live_.scan_extents(inode, 0, UINT64_MAX, SIZE_MAX));
  for (const auto& chunk : chunks) {
    for (size_t i = 0; i < chunk.extents.size();) {
      const Extent& first = chunk.extents[i];
      if (!moves(first)) {
        note_place(first, kept);
        ++i;
        continue;
      }
      ByteVec bytes;
      std::vector<MovedData> run;
      for (; i < chunk.extents.size(); ++i) {
        const Extent& part = chunk.extents[i];
        if (!moves(part) || part.offset != first.offset + bytes.size()) break;
        TRY_ASSIGN(const auto file, journal_->file(part.ref.file));
        const size_t at = bytes.size();
        bytes.resize(at + part.length);
        TRY_ASSIGN(const size_t n, file->read_at(part.ref.offset, MutableBytes(bytes).subspan(at)));
        if (n != part.length) return fail(Errc::kCorruption, "a journal file is too short");
        run.push_back({part.ref, part.length, {DataRef::Kind::kSegment, 0, at}});
      }
      make_room(bytes.size());
      // Nothing is evicted between the append and its protection.
      const std::lock_guard lock(eviction_mutex_);
      TRY_ASSIGN(const DataRef ref, segments_->append(SegmentClass::kKept, bytes));
      if (segments.insert(ref.file).second) kept_segments_.add(std::array{ref.file});
      kept.segments.insert(ref.file);
      kept.bytes += bytes.size();
      for (MovedData& part : run) {
        part.to = {ref.kind, ref.file, ref.offset + part.to.offset};
        moved[inode][chunk.chunk].push_back(part);
      }
    }
  }
  return {};
}

}  // namespace cairn
