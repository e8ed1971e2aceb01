#include "cache/store_source.h"

#include <algorithm>

namespace cairn {

Result<StoreSource> StoreSource::open(ObjectStore& store, std::string key, Context context) {
  StoreSource source(store, std::move(key), std::move(context));
  TRY_ASSIGN(GetResult got,
             get_sync(store, source.key_, GetRange::suffix(kPieceBytes), source.context_));
  source.size_ = got.object_size;
  source.bytes_fetched_ = got.bytes.size();
  source.pieces_[0] = {got.object_size - got.bytes.size(), std::move(got.bytes), 0};
  return source;
}

Result<size_t> StoreSource::read_at(uint64_t offset, MutableBytes out) {
  size_t done = 0;
  while (done < out.size() && offset + done < size_) {
    TRY_ASSIGN(const Piece* piece, piece_at(offset + done));
    const auto inside = static_cast<size_t>(offset + done - piece->offset);
    const size_t count = std::min(out.size() - done, piece->bytes.size() - inside);
    std::memcpy(out.data() + done, piece->bytes.data() + inside, count);
    done += count;
  }
  return done;
}

Result<const StoreSource::Piece*> StoreSource::piece_at(uint64_t offset) {
  for (Piece& piece : pieces_) {
    if (offset < piece.offset || offset - piece.offset >= piece.bytes.size()) continue;
    piece.used = ++uses_;
    return &piece;
  }
  Piece& oldest = pieces_[0].used <= pieces_[1].used ? pieces_[0] : pieces_[1];
  TRY_ASSIGN(GetResult got, get_sync(*store_, key_, GetRange::from(offset, kPieceBytes), context_));
  if (got.bytes.empty())
    return fail(Errc::kCorruption, store_->description() + ": " + key_ + " became shorter");
  bytes_fetched_ += got.bytes.size();
  oldest = {offset, std::move(got.bytes), ++uses_};
  return &oldest;
}

}  // namespace cairn
