// Reading: the live state over the published tree, and written extents over published content.
#include <algorithm>

#include "cache/base/log.h"
#include "cache/engine.h"
#include "cache/format/records.h"

namespace cairn {

namespace {

constexpr int kMaxRetries = 16;

tl::unexpected<Error> not_local() {
  return fail(Errc::kNotLocal, "the answer needs blocks that are not here");
}

}  // namespace

// The live row is read before the published tree: a publication puts its keys into the tree first
// and drops the rows afterwards, so in this order no change can be missed.
Result<std::optional<Cid>> Engine::get(std::string_view key, Need& need) {
  TRY_ASSIGN(auto row, live_.tree_row(key));
  if (row) return row->value;
  return remote_->find(key, need.blocks);
}

Result<Engine::Range> Engine::scan(std::string_view from, std::string_view to, size_t limit,
                                   Need& need) {
  TRY_ASSIGN(const auto rows, live_.scan_tree(from, to, limit));
  TRY_ASSIGN(auto stored, remote_->scan(from, to, limit, need.blocks));
  // Behind the last key of a source that was cut at the limit, that source is unknown.
  std::string_view end;
  const auto cut_at = [&end](std::string_view last) {
    end = end.empty() ? last : std::min(end, last);
  };
  if (rows.size() == limit) cut_at(rows.back().key);
  if (stored.size() == limit) cut_at(stored.back().key);

  Range out;
  out.more = !end.empty();
  auto row = rows.begin();
  auto entry = stored.begin();
  const auto beyond = [&end](std::string_view key) { return !end.empty() && key > end; };
  while (row != rows.end() || entry != stored.end()) {
    const bool take_row = entry == stored.end() || (row != rows.end() && row->key <= entry->key);
    const std::string& key = take_row ? row->key : entry->key;
    if (beyond(key)) break;
    if (take_row) {
      if (entry != stored.end() && entry->key == row->key) ++entry;
      if (row->row.value) out.entries.push_back({row->key, *row->row.value});
      ++row;
    } else {
      out.entries.push_back(std::move(*entry));
      ++entry;
    }
  }
  if (out.more) out.last_seen = std::string(end);
  return out;
}

Result<Buffer> Engine::value_bytes(const Cid& value, Need& need) {
  if (value.is_identity()) return Buffer::copy(value.payload());
  TRY_ASSIGN(auto live, live_.block(value.digest()));
  if (live) return *live;
  return remote_->block(value.digest(), need.blocks);
}

Result<ContentBase> Engine::base_of(uint64_t inode, Need& need) {
  for (int attempt = 0; attempt < kMaxRetries; ++attempt) {
    const PublishedState before = remote_->published();
    TRY_ASSIGN(const auto value, remote_->find(inode_key(inode), need.blocks));
    ContentBase base;
    base.lsn = before.lsn;
    if (value) {
      Buffer bytes;
      if (value->is_identity()) {
        bytes = Buffer::copy(value->payload());
      } else {
        TRY_ASSIGN(bytes, remote_->block(value->digest(), need.blocks));
      }
      TRY_ASSIGN(const InodeRecord record, InodeRecord::decode(bytes));
      base.size = record.size;
      if (const auto* content = std::get_if<Cid>(&record.body)) base.content = *content;
    }
    if (remote_->published().seq == before.seq) return base;
  }
  return fail(Errc::kTransient, "the published tree changes faster than it can be read");
}

Result<Buffer> Engine::read(uint64_t inode, const std::optional<ContentBase>& pinned, uint64_t size,
                            uint64_t offset, uint64_t length, Need& need) {
  if (offset >= size) return Buffer();
  length = std::min(length, size - offset);
  for (int attempt = 0; attempt < kMaxRetries; ++attempt) {
    auto bytes = read_once(inode, pinned, offset, length, need);
    // A segment or journal file that was let go of between looking and reading: the data is now
    // found elsewhere.
    if (bytes || bytes.error().code() != Errc::kNotFound) return bytes;
  }
  return fail(Errc::kIo, "inode " + std::to_string(inode) + ": its data moves too fast to be read");
}

Result<Engine::RangeView> Engine::look(uint64_t inode, const std::optional<ContentBase>& pinned,
                                       uint64_t offset, uint64_t length, Need& need) {
  const uint32_t chunk_bytes = live_.chunk_bytes();
  TRY_ASSIGN(const auto state, live_.file_state(inode));
  const uint64_t first = offset / chunk_bytes;
  const uint64_t last = (offset + length - 1) / chunk_bytes;
  RangeView range;
  bool wants_base = false;
  std::vector<LiveState::ChunkExtents> written;
  if (state) {
    TRY_ASSIGN(written, live_.scan_extents(inode, first, last + 1, SIZE_MAX));
  }
  auto next_written = written.begin();
  for (uint64_t chunk = first; chunk <= last; ++chunk) {
    ChunkView view;
    view.chunk = chunk;
    const uint64_t start = chunk * chunk_bytes;
    view.offset = static_cast<uint32_t>(std::max(offset, start) - start);
    view.length =
        static_cast<uint32_t>(std::min(offset + length, start + chunk_bytes) - start) - view.offset;
    if (next_written != written.end() && next_written->chunk == chunk)
      view.extents = std::move((next_written++)->extents);
    view.pieces = resolve(view.extents, view.offset, view.length);
    for (const Piece& piece : view.pieces) wants_base |= piece.kind == Piece::Kind::kBase;
    range.views.push_back(std::move(view));
  }
  if (!wants_base) return range;

  ContentBase base;
  if (pinned) {
    base = *pinned;
  } else {
    TRY_ASSIGN(base, base_of(inode, need));
  }
  const uint64_t base_end = std::min(base.size, state ? state->base_limit(base.lsn) : UINT64_MAX);
  if (!base.content || offset >= base_end) return range;
  range.base_end = base_end;
  const uint64_t leaf_end = std::min(last, (base_end - 1) / chunk_bytes);
  TRY_ASSIGN(range.leaves,
             remote_->leaves(*base.content, base.size, first, leaf_end - first + 1, need.blocks));
  return range;
}

Result<Buffer> Engine::read_once(uint64_t inode, const std::optional<ContentBase>& pinned,
                                 uint64_t offset, uint64_t length, Need& need) {
  TRY_ASSIGN(const RangeView range, look(inode, pinned, offset, length, need));
  ByteVec out(length);
  uint64_t filled = 0;
  for (const ChunkView& view : range.views) {
    const MutableBytes target = MutableBytes(out).subspan(filled, view.length);
    TRY(fill(inode, view, range.leaf_of(view.chunk), range.base_end, target, need));
    filled += view.length;
  }
  if (need.any()) return not_local();
  return Buffer(std::move(out));
}

// False when the leaf is not here; it is then among what is needed, once.
Result<bool> Engine::fill_from_leaf(uint64_t inode, uint64_t chunk, const Leaf& leaf,
                                    uint32_t offset, MutableBytes out, Need& need) {
  TRY_ASSIGN(const bool here, chunks_.read(inode, chunk, leaf, offset, out));
  if (here) return true;
  const auto same = [&](const Need::Chunk& each) {
    return each.inode == inode && each.chunk == chunk && each.leaf.digest == leaf.digest;
  };
  if (std::none_of(need.chunks.begin(), need.chunks.end(), same))
    need.chunks.push_back({inode, chunk, leaf});
  return false;
}

Status Engine::fill(uint64_t inode, const ChunkView& view, const Leaf* leaf, uint64_t base_end,
                    MutableBytes out, Need& need) {
  const uint64_t start = view.chunk * live_.chunk_bytes();
  for (const Piece& piece : view.pieces) {
    const MutableBytes target = out.subspan(piece.offset - view.offset, piece.length);
    if (piece.kind == Piece::Kind::kZero) continue;
    if (piece.kind == Piece::Kind::kData) {
      TRY_ASSIGN(const auto file, open_data(piece.ref));
      TRY_ASSIGN(const size_t n, file->read_at(piece.ref.offset, target));
      if (n != target.size())
        return fail(Errc::kCorruption, "a cache segment is shorter than what was written to it");
      continue;
    }
    if (piece.kind == Piece::Kind::kLeaf) {
      const Leaf copied{piece.leaf->digest, piece.leaf->length, false};
      TRY(fill_from_leaf(inode, view.chunk, copied, piece.leaf->offset, target, need));
      continue;
    }
    const uint64_t at = start + piece.offset;
    if (leaf == nullptr || at >= base_end) continue;  // a hole, or behind the published content
    const uint64_t usable = std::min<uint64_t>(piece.length, base_end - at);
    if (piece.offset >= leaf->length) continue;
    const auto part = static_cast<size_t>(std::min<uint64_t>(usable, leaf->length - piece.offset));
    TRY(fill_from_leaf(inode, view.chunk, *leaf, piece.offset, target.first(part), need));
  }
  return {};
}

uint64_t Engine::read_ahead_bytes() const {
  const std::lock_guard lock(state_mutex_);
  return read_ahead_bytes_;
}

uint64_t Engine::prefetch(uint64_t inode, const std::optional<ContentBase>& pinned, uint64_t offset,
                          uint64_t length) {
  return ask_ahead(inode, pinned, offset, length, nullptr).until;
}

// Of one request for what nobody waits for yet: small enough that many are under way, because a
// store's single connection is slow, and large enough that they leave room for a reader's own.
uint64_t Engine::ahead_part_bytes() const {
  constexpr uint64_t kPart = 2ULL << 20;
  const uint64_t most = settings_.read_ahead_bytes + settings_.idle_ahead_bytes;
  const uint64_t part = most < 8 * kPart ? most / 8 : std::max(kPart, most / 20);
  return std::max<uint64_t>(part, live_.chunk_bytes());
}

// What a publication would need is lent to streams. When one begins, it is free again as soon as
// what was asked for has come.
uint64_t Engine::ahead_bytes_max() const {
  const bool publishes = publish_queued_ || !marks_.empty();
  return std::min(ahead_bytes_now_,
                  settings_.read_ahead_bytes + (publishes ? 0 : settings_.idle_ahead_bytes));
}

AheadPace Engine::ahead_pace() const {
  return {ahead_part_bytes(), settings_.read_ahead_bytes + settings_.idle_ahead_bytes};
}

Engine::Ahead Engine::ask_ahead(uint64_t inode, const std::optional<ContentBase>& pinned,
                                uint64_t offset, uint64_t length, Callback<void> then) {
  const uint64_t part = ahead_part_bytes();
  // Where a stream asks for much, the little that became free waits for more. A file that is
  // fetched whole asks rarely, and takes what there is.
  const bool waits = !then && length > part;
  {
    const std::lock_guard lock(state_mutex_);
    const uint64_t most = ahead_bytes_max();
    const uint64_t room = most - std::min(most, read_ahead_bytes_);
    if (waits && read_ahead_bytes_ > 0 && room < part) return {offset, false};
    length = std::min(length, std::max(room, part));
  }
  const uint64_t end = offset + length;
  Need need;
  const auto want = [&](uint64_t chunk, const Leaf& leaf) {
    const auto here = chunks_.has(inode, chunk, leaf);
    if (here && !*here) need.chunks.push_back({inode, chunk, leaf});
  };
  const auto range = look(inode, pinned, offset, length, need);
  if (range) {
    for (const ChunkView& view : range->views) {
      const Leaf* leaf = range->leaf_of(view.chunk);
      bool base_shows = false;
      for (const Piece& piece : view.pieces) {
        base_shows |= piece.kind == Piece::Kind::kBase;
        if (piece.kind == Piece::Kind::kLeaf)
          want(view.chunk, Leaf{piece.leaf->digest, piece.leaf->length, false});
      }
      if (base_shows && leaf != nullptr) want(view.chunk, *leaf);
    }
  }
  if (!need.any()) return {end, false};
  uint64_t bytes = 0;
  // Without its metadata nobody knows what there is to fetch: asked for again when that is here.
  uint64_t until = range ? end : offset;
  {
    const std::lock_guard lock(state_mutex_);
    const uint64_t most = ahead_bytes_max();
    size_t fits = 0;
    for (; fits < need.chunks.size(); ++fits) {
      const uint64_t all = read_ahead_bytes_ + bytes + need.chunks[fits].leaf.length;
      if (all > most && read_ahead_bytes_ + bytes > 0) break;
      bytes += need.chunks[fits].leaf.length;
    }
    if (fits < need.chunks.size()) {
      if (waits && bytes < part && read_ahead_bytes_ > 0) fits = bytes = 0;
      until = std::max(offset, need.chunks[fits].chunk * live_.chunk_bytes());
      need.chunks.resize(fits);
    }
    read_ahead_bytes_ += bytes;
  }
  if (!need.any()) return {until, false};
  fetch_ahead(std::move(need), bytes, std::move(then));
  return {until, true};
}

// In parts of about the same size, of which each makes room for others when it came.
void Engine::fetch_ahead(Need need, uint64_t bytes, Callback<void> then) {
  const auto parts = static_cast<size_t>(std::max<uint64_t>(1, bytes / ahead_part_bytes()));
  const std::vector<Need::Chunk> chunks = std::exchange(need.chunks, {});
  if (!then) then = [](const Status&) {};
  const auto all = all_of(parts, std::move(then));
  Context context;
  context.deadline = Deadline::after(clock_, settings_.io_timeout);
  for (size_t i = 0; i < parts; ++i) {
    Need part = std::exchange(need, {});  // blocks come with the first
    const auto begin = chunks.begin() + static_cast<std::ptrdiff_t>(chunks.size() * i / parts);
    const auto end = chunks.begin() + static_cast<std::ptrdiff_t>(chunks.size() * (i + 1) / parts);
    part.chunks.assign(begin, end);
    uint64_t part_bytes = 0;
    for (const Need::Chunk& chunk : part.chunks) part_bytes += chunk.leaf.length;
    satisfy(std::move(part), context, [this, part_bytes, began = clock_.now(), all](Status done) {
      {
        const std::lock_guard lock(state_mutex_);
        read_ahead_bytes_ -= part_bytes;
        ahead_bytes_now_ = next_ahead_bytes(ahead_bytes_now_, ahead_pace(), clock_.now() - began,
                                            done.has_value());
      }
      all(std::move(done));
    });
  }
}

}  // namespace cairn
