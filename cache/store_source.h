// StoreSource: an object of a store as a source of bytes, read in large pieces (check, dump).
//
// Blocks; one thread; never on a task of the store's executor. Keeps at most two pieces in memory:
// enough for a reader that goes through an object while it looks at its end.
// Errors: the store's.
#pragma once

#include <array>
#include <string>

#include "cache/format/byte_io.h"
#include "cache/object_store.h"

namespace cairn {

class StoreSource final : public ByteSource {
 public:
  static constexpr uint64_t kPieceBytes = 4 << 20;

  // Asks for the end of the object, which also tells its size.
  static Result<StoreSource> open(ObjectStore& store, std::string key, Context context);

  uint64_t size() const override { return size_; }
  Result<size_t> read_at(uint64_t offset, MutableBytes out) override;
  uint64_t bytes_fetched() const { return bytes_fetched_; }

 private:
  struct Piece {
    uint64_t offset = 0;
    Buffer bytes;
    uint64_t used = 0;  // the clock of uses
  };
  StoreSource(ObjectStore& store, std::string key, Context context)
      : store_(&store), key_(std::move(key)), context_(std::move(context)) {}
  Result<const Piece*> piece_at(uint64_t offset);

  ObjectStore* store_;
  std::string key_;
  Context context_;
  uint64_t size_ = 0;
  uint64_t bytes_fetched_ = 0;
  uint64_t uses_ = 0;
  std::array<Piece, 2> pieces_;
};

}  // namespace cairn
