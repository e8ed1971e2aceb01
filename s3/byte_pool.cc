#include "s3/byte_pool.h"

#include <algorithm>

namespace cairn {

ByteVec BytePool::take(size_t bytes) {
  ByteVec out;
  if (bytes >= kBytesMin) {
    const std::lock_guard lock(mutex_);
    rests_ = false;
    // The newest is the most likely to be in the processor's caches. Not one in which as much again
    // would lie idle.
    const auto fits = std::find_if(kept_.rbegin(), kept_.rend(), [&](const Kept& kept) {
      return kept.bytes.capacity() >= bytes && kept.bytes.capacity() / 2 <= bytes;
    });
    if (fits != kept_.rend()) {
      out = std::move(fits->bytes);
      kept_bytes_ -= out.capacity();
      kept_.erase(std::next(fits).base());
    }
  }
  out.reserve(bytes);
  return out;
}

Buffer BytePool::share(ByteVec bytes) {
  if (bytes.capacity() < kBytesMin) return Buffer(std::move(bytes));
  const auto back = [pool = shared_from_this()](ByteVec* used) {
    const std::unique_ptr<ByteVec> owned(used);
    pool->give_back(std::move(*owned));
  };
  return Buffer(std::shared_ptr<const ByteVec>(new ByteVec(std::move(bytes)), back));
}

void BytePool::give_back(ByteVec bytes) {
  std::vector<Kept> let_go;  // unmapped without the lock
  bytes.clear();
  const size_t room = bytes.capacity();
  if (room > bytes_max_) return;
  const std::lock_guard lock(mutex_);
  if (rests_) return;
  while (kept_bytes_ + room > bytes_max_) {
    kept_bytes_ -= kept_.front().bytes.capacity();
    let_go.push_back(std::move(kept_.front()));
    kept_.erase(kept_.begin());
  }
  kept_.push_back({std::move(bytes), trims_});
  kept_bytes_ += room;
}

uint64_t BytePool::kept_bytes() const {
  const std::lock_guard lock(mutex_);
  return kept_bytes_;
}

void BytePool::trim(bool busy) {
  std::vector<Kept> let_go;
  const std::lock_guard lock(mutex_);
  const auto first_kept = std::find_if(kept_.begin(), kept_.end(),
                                       [&](const Kept& kept) { return kept.age == trims_; });
  ++trims_;
  std::move(kept_.begin(), first_kept, std::back_inserter(let_go));
  kept_.erase(kept_.begin(), first_kept);
  for (const Kept& each : let_go) kept_bytes_ -= each.bytes.capacity();
  rests_ = kept_.empty() && !busy;
}

bool BytePool::rests() const {
  const std::lock_guard lock(mutex_);
  return rests_;
}

}  // namespace cairn
