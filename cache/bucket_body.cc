#include "cache/bucket_body.h"

#include <algorithm>

namespace cairn {

namespace {

constexpr uint64_t kZeroBytes = 1ULL << 20;
constexpr uint64_t kGetBytesMax = 8ULL << 20;

uint64_t slot_bytes(uint64_t size, uint32_t chunk_bytes) {
  const uint64_t least = std::max(BucketBody::kSlotBytes, size / BucketBody::kSlotsMax + 1);
  return (least + chunk_bytes - 1) / chunk_bytes * chunk_bytes;
}

}  // namespace

void add_zeroes(Body& body, uint64_t count) {
  static const Buffer zeroes{ByteVec(kZeroBytes)};
  for (; count > 0; count -= std::min(count, kZeroBytes))
    body.add(zeroes.slice(0, static_cast<size_t>(std::min(count, kZeroBytes))));
}

BucketBody::BucketBody(Parts parts, const FrozenFile& file, std::optional<BodyBase> base)
    : parts_(std::move(parts)),
      file_(file),
      base_(std::move(base)),
      kept_(base_ ? kept_bytes(file, base_->size) : 0) {}

uint64_t BucketBody::base_bytes_of(const ChunkPlan& plan) const {
  uint64_t bytes = 0;
  for (const Piece& piece : plan.pieces)
    if (piece.kind == Piece::Kind::kBase && piece.offset < plan.base_bytes)
      bytes += std::min(piece.length, plan.base_bytes - piece.offset);
  return bytes;
}

Status BucketBody::plan() {
  if (planned_) return {};
  planned_ = true;
  TRY_ASSIGN(plans_, plan_chunks(file_, base_ ? base_->size : 0, parts_.chunk_bytes));
  const uint64_t step = slot_bytes(file_.size, parts_.chunk_bytes);
  // The slots but the last are large enough to be joined; so is the last copied one before it.
  auto next = plans_.begin();
  for (uint64_t begin = 0; begin < file_.size; begin += step) {
    Slot slot{begin, std::min(begin + step, file_.size), false, 0};
    const auto first = next;
    uint64_t planned = 0;
    for (; next != plans_.end() && next->index * parts_.chunk_bytes < slot.end; ++next) {
      slot.base_bytes += base_bytes_of(*next);
      planned += std::min<uint64_t>(next->length,
                                    kept_ - std::min(kept_, next->index * parts_.chunk_bytes));
    }
    // A store copies no part of a small object, only all of it.
    const bool can_copy = base_ && (base_->size > Body::kCopyBytesMin ||
                                    (slot.begin == 0 && slot.end == base_->size));
    slot.as_it_was = can_copy && first == next && slot.end <= kept_;
    if (!slot.as_it_was && kept_ > begin)
      slot.base_bytes += std::min(slot.end, kept_) - begin - std::min(slot.end - begin, planned);
    slots_.push_back(slot);
  }
  return {};
}

Result<uint64_t> BucketBody::memory_needed() {
  TRY(plan());
  uint64_t bytes = 0;
  for (const Slot& slot : slots_)
    if (!slot.as_it_was) bytes += slot.base_bytes;
  return std::min(bytes, std::max(parts_.memory_bytes, slot_bytes(file_.size, parts_.chunk_bytes)));
}

Result<Body> BucketBody::make(const std::string& target, std::vector<std::string>& beside) {
  TRY(plan());
  uint64_t needed = 0;
  for (const Slot& slot : slots_)
    if (!slot.as_it_was) needed += slot.base_bytes;
  const bool in_steps = needed > parts_.memory_bytes && slots_.size() > 1;
  Body body;
  uint64_t copied_from = 0;
  uint64_t copied_to = 0;
  const auto end_copy = [&] {
    if (copied_to > copied_from)
      body.add(ObjectRange{
          base_->key, base_->etag, base_->size, {copied_from, copied_to - copied_from}});
    copied_from = copied_to = 0;
  };
  for (const Slot& slot : slots_) {
    if (slot.as_it_was) {
      if (copied_to == copied_from) copied_from = slot.begin;
      copied_to = slot.end;
      continue;
    }
    end_copy();
    if (!in_steps) {
      TRY(add_slot(slot, body));
      continue;
    }
    Body part;
    TRY(add_slot(slot, part));
    here_.clear();
    const uint64_t size = part.size();
    std::string key = target + parts_.beside + std::to_string(slot.begin / parts_.chunk_bytes);
    beside.push_back(key);
    TRY_ASSIGN(std::string etag, put_sync(parts_.store, key, std::move(part), PutCondition::kAlways,
                                          parts_.context(size)));
    body.add(ObjectRange{std::move(key), std::move(etag), size, {0, size}});
  }
  end_copy();
  return body;
}

Status BucketBody::add_slot(const Slot& slot, Body& body) {
  TRY(bring(slot));
  auto plan =
      std::lower_bound(plans_.begin(), plans_.end(), slot.begin / parts_.chunk_bytes,
                       [](const ChunkPlan& each, uint64_t index) { return each.index < index; });
  for (uint64_t at = slot.begin; at < slot.end; at += parts_.chunk_bytes) {
    const uint64_t index = at / parts_.chunk_bytes;
    const bool planned = plan != plans_.end() && plan->index == index;
    TRY(add_chunk(index, planned ? &*plan : nullptr, body));
    if (planned) ++plan;
  }
  return {};
}

Status BucketBody::add_chunk(uint64_t index, const ChunkPlan* plan, Body& body) {
  const uint64_t start = index * parts_.chunk_bytes;
  const uint64_t length = std::min<uint64_t>(parts_.chunk_bytes, file_.size - start);
  if (plan == nullptr) {
    const uint64_t of_base = kept_ > start ? std::min(length, kept_ - start) : 0;
    TRY(add_base_bytes(start, of_base, body));
    add_zeroes(body, length - of_base);
    return {};
  }
  for (const Piece& piece : plan->pieces) {
    if (piece.kind == Piece::Kind::kData) {
      TRY_ASSIGN(auto file, parts_.host.open_data(piece.ref));
      body.add(std::move(file), {piece.ref.offset, piece.length});
    } else if (piece.kind == Piece::Kind::kBase && piece.offset < plan->base_bytes) {
      const uint64_t count = std::min(piece.length, plan->base_bytes - piece.offset);
      TRY(add_base_bytes(start + piece.offset, count, body));
      add_zeroes(body, piece.length - count);
    } else if (piece.kind == Piece::Kind::kLeaf) {
      return fail(Errc::kCorruption, "a file of a bucket shares a leaf");
    } else {
      add_zeroes(body, piece.length);
    }
  }
  return {};
}

// What of the base the slot shows, chunk by chunk: from the cache, or neighbours with one request.
Status BucketBody::bring(const Slot& slot) {
  here_.clear();
  uint64_t from = 0;
  uint64_t to = 0;
  const auto get = [&]() -> Status {
    if (to == from) return {};
    GetRange range = GetRange::from(from, to - from);
    range.if_match = base_->etag;
    auto got = get_sync(parts_.store, base_->key, range, parts_.context(to - from));
    if (!got && got.error().code() == Errc::kNotFound)
      return fail(Errc::kPrecondition, "'" + base_->key + "' is not there any more");
    TRY(got);
    if (got->object_size != base_->size || got->bytes.size() != to - from)
      return fail(Errc::kPrecondition, "'" + base_->key + "' is another version now");
    here_.emplace(from, std::move(got->bytes));
    from = to = 0;
    return {};
  };
  auto plan =
      std::lower_bound(plans_.begin(), plans_.end(), slot.begin / parts_.chunk_bytes,
                       [](const ChunkPlan& each, uint64_t index) { return each.index < index; });
  for (uint64_t at = slot.begin; at < std::min(slot.end, kept_); at += parts_.chunk_bytes) {
    const uint64_t index = at / parts_.chunk_bytes;
    const bool planned = plan != plans_.end() && plan->index == index;
    const bool shows = !planned || base_bytes_of(*plan) > 0;
    if (planned) ++plan;
    if (!shows) continue;
    const auto length =
        static_cast<uint32_t>(std::min<uint64_t>(parts_.chunk_bytes, base_->size - at));
    if (const auto leaf = parts_.leaf ? parts_.leaf(index, length) : std::nullopt) {
      TRY_ASSIGN(auto resident, parts_.host.resident(file_.inode, index, *leaf));
      if (resident && resident->size() == length) {
        TRY(get());
        here_.emplace(at, *std::move(resident));
        continue;
      }
    }
    if (to != at || to - from + length > kGetBytesMax) {
      TRY(get());
      from = at;
    }
    to = at + length;
  }
  return get();
}

// Requires that `bring` was called for a slot with these bytes.
Status BucketBody::add_base_bytes(uint64_t from, uint64_t length, Body& body) {
  while (length > 0) {
    auto piece = here_.upper_bound(from);
    if (piece == here_.begin() || (--piece)->first + piece->second.size() <= from)
      return fail(Errc::kCorruption, "bytes of '" + base_->key + "' were not brought");
    const uint64_t inside = from - piece->first;
    const uint64_t count = std::min<uint64_t>(length, piece->second.size() - inside);
    body.add(piece->second.slice(static_cast<size_t>(inside), static_cast<size_t>(count)));
    from += count;
    length -= count;
  }
  return {};
}

}  // namespace cairn
