#include "cache/chunk_cache.h"

#include "cache/base/coding.h"
#include "cache/base/log.h"

namespace cairn {

namespace {
constexpr size_t kMaxVerified = 1U << 18;  // 2 MiB of memory; forgetting costs one more hash

constexpr uint64_t kHeatStepBytes = 4ULL << 20;
constexpr size_t kMaxHeat = 1U << 17;  // 6 MiB of memory

uint64_t heat_key(uint64_t inode, uint64_t chunk) {
  return (inode * 0x9e3779b97f4a7c15ULL) ^ (chunk * 0xff51afd7ed558ccdULL);
}

// Of content at a place. The place alone does not do: a follower that lost power numbers its
// segments anew, and rows from before name places where other content lies by then.
uint64_t place_key(const ResidentRow& row) {
  return (row.ref.file << 32 | row.ref.offset) ^ get_le<uint64_t>(row.digest.bytes.data());
}
}  // namespace

std::optional<Buffer> ChunkCache::recent(const Digest& digest) {
  const std::lock_guard lock(mutex_);
  const auto it = recent_index_.find(digest);
  if (it == recent_index_.end()) return std::nullopt;
  recent_.splice(recent_.begin(), recent_, it->second);
  return it->second->bytes;
}

void ChunkCache::remember(const Digest& digest, const Buffer& bytes) {
  // A slice would keep all that came with it in memory.
  Buffer copy = Buffer::copy(bytes.view());
  std::list<Recent> evicted;  // destroyed without the lock
  const std::lock_guard lock(mutex_);
  if (recent_index_.contains(digest)) return;
  recent_.push_front({digest, std::move(copy)});
  recent_index_.emplace(digest, recent_.begin());
  recent_bytes_ += bytes.size();
  while (recent_bytes_ > memory_bytes_max_ && recent_.size() > 1) {
    recent_bytes_ -= recent_.back().bytes.size();
    recent_index_.erase(recent_.back().digest);
    evicted.splice(evicted.begin(), recent_, std::prev(recent_.end()));
  }
}

void ChunkCache::note_read(uint64_t inode, uint64_t chunk, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  bytes_read_ += bytes;
  const auto step = static_cast<uint32_t>(bytes_read_ / kHeatStepBytes);
  if (heat_.size() >= kMaxHeat) {
    std::erase_if(heat_, [](const auto& each) { return !each.second.hot; });
    if (heat_.size() >= kMaxHeat) heat_.clear();
  }
  const auto [it, is_new] = heat_.try_emplace(heat_key(inode, chunk), Heat{step, false});
  // The neighbouring step is the same stream that goes on.
  if (!is_new && step > it->second.step + 1) it->second.hot = true;
  it->second.step = step;
}

bool ChunkCache::is_hot(uint64_t inode, uint64_t chunk) const {
  const std::lock_guard lock(mutex_);
  const auto it = heat_.find(heat_key(inode, chunk));
  return it != heat_.end() && it->second.hot;
}

bool ChunkCache::move(const LiveState::InSegment& from) {
  const auto bytes = read_verified(from.inode, from.chunk, from.row);
  if (!bytes || !*bytes) return false;
  const auto ref = segments_.append(SegmentClass::kKept, **bytes);
  if (!ref) return false;
  {
    const std::lock_guard lock(mutex_);
    // It has to be read again to be worth another move.
    heat_.erase(heat_key(from.inode, from.chunk));
  }
  const ResidentRow row{from.row.digest, from.row.length, *ref, from.row.crc};
  set_verified(row);
  live_.put_resident(from.inode, from.chunk, row);
  return true;
}

bool ChunkCache::is_verified(const ResidentRow& row) {
  const std::lock_guard lock(mutex_);
  return verified_.contains(place_key(row));
}

void ChunkCache::set_verified(const ResidentRow& row) {
  const std::lock_guard lock(mutex_);
  if (verified_.size() >= kMaxVerified) verified_.clear();
  verified_.insert(place_key(row));
}

Result<std::optional<ResidentRow>> ChunkCache::row_for(uint64_t inode, uint64_t chunk,
                                                       const Leaf& leaf) {
  TRY_ASSIGN(auto row, live_.resident(inode, chunk));
  if (row && (row->digest != leaf.digest || row->length != leaf.length)) row.reset();
  return row;
}

Result<std::optional<Buffer>> ChunkCache::read_verified(uint64_t inode, uint64_t chunk,
                                                        const ResidentRow& row) {
  const auto file = segments_.file(row.ref.file);
  if (file) {
    ByteVec bytes(row.length);
    const auto n = (*file)->read_at(row.ref.offset, bytes);
    const auto intact = [&] {
      return row.crc ? crc32c(bytes) == *row.crc : sha256(bytes) == row.digest;
    };
    if (n && *n == row.length && intact()) {
      set_verified(row);
      return std::optional<Buffer>(Buffer(std::move(bytes)));
    }
    log_once_per(std::chrono::minutes(1), "damaged chunk",
                 "a cached chunk was damaged on the local disk and is fetched again");
  }
  live_.drop_resident(inode, chunk, row);
  return std::optional<Buffer>();
}

Result<bool> ChunkCache::read(uint64_t inode, uint64_t chunk, const Leaf& leaf, uint32_t offset,
                              MutableBytes out) {
  if (leaf.zero) {
    std::memset(out.data(), 0, out.size());
    return true;
  }
  note_read(inode, chunk, out.size());
  if (const auto bytes = recent(leaf.digest)) {
    std::memcpy(out.data(), bytes->data() + offset, out.size());
    return true;
  }
  TRY_ASSIGN(const auto row, row_for(inode, chunk, leaf));
  if (!row) return false;
  if (is_verified(*row)) {
    const auto file = segments_.file(row->ref.file);
    if (file) {
      const auto n = (*file)->read_at(row->ref.offset + offset, out);
      if (n && *n == out.size()) return true;
    }
    live_.drop_resident(inode, chunk, *row);
    return false;
  }
  TRY_ASSIGN(const auto bytes, read_verified(inode, chunk, *row));
  if (!bytes) return false;
  std::memcpy(out.data(), bytes->data() + offset, out.size());
  return true;
}

Result<bool> ChunkCache::has(uint64_t inode, uint64_t chunk, const Leaf& leaf) {
  if (leaf.zero || recent(leaf.digest)) return true;
  TRY_ASSIGN(const auto row, row_for(inode, chunk, leaf));
  return row.has_value();
}

Result<std::optional<Buffer>> ChunkCache::whole(uint64_t inode, uint64_t chunk, const Leaf& leaf) {
  if (leaf.zero) return std::optional<Buffer>(Buffer(ByteVec(leaf.length)));
  if (auto bytes = recent(leaf.digest)) return bytes;
  TRY_ASSIGN(const auto row, row_for(inode, chunk, leaf));
  if (!row) return std::optional<Buffer>();
  return read_verified(inode, chunk, *row);
}

void ChunkCache::put(uint64_t inode, uint64_t chunk, const Leaf& leaf, const Buffer& bytes,
                     std::optional<SegmentClass> to_disk) {
  if (leaf.zero) return;
  remember(leaf.digest, bytes);
  if (!to_disk) return;
  const auto here = row_for(inode, chunk, leaf);
  if (here && *here) return;
  const auto ref = segments_.append(*to_disk, bytes);
  if (!ref) {
    log_once_per(std::chrono::minutes(1), "cache fill",
                 "a fetched chunk could not be kept in the cache: " + ref.error().message());
    return;
  }
  ResidentRow row{leaf.digest, leaf.length, *ref};
  if (leaf.named) row.crc = crc32c(bytes);
  set_verified(row);
  live_.put_resident(inode, chunk, row);
}

void ChunkCache::adopt(uint64_t inode, uint64_t chunk, const Leaf& leaf, DataRef ref) {
  if (leaf.zero) return;
  ResidentRow row{leaf.digest, leaf.length, ref};
  if (leaf.named) {
    const auto file = segments_.file(ref.file);
    if (!file) return;
    ByteVec bytes(leaf.length);
    const auto n = (*file)->read_at(ref.offset, bytes);
    if (!n || *n != bytes.size()) return;
    row.crc = crc32c(bytes);
  }
  live_.put_resident(inode, chunk, row);
}

}  // namespace cairn
