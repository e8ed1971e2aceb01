#include "fs/inode_numbers.h"

#include <algorithm>
#include <cerrno>

#include "cache/base/coding.h"

namespace cairn {

namespace {

constexpr const char* kNextGroupKey = "next-group";
constexpr uint16_t kFirstIndex = 1;

std::string position_key(Ino dir) {
  return "numbers/" + file_key(dir);
}

struct Position {
  uint16_t slot = 0;
  uint32_t group = 0;
  uint32_t next_index = 0;  // may be one past the last
};

std::string encode(const Position& position) {
  ByteVec out;
  put_le(out, position.slot);
  put_le(out, position.group);
  put_le(out, position.next_index);
  return to_string(out);
}

Result<Position> decode(std::string_view in) {
  if (in.size() != 10) return fail(Errc::kCorruption, "a damaged row of inode numbers");
  const std::byte* b = as_bytes(in).data();
  return Position{get_le<uint16_t>(b), get_le<uint32_t>(b + 2), get_le<uint32_t>(b + 6)};
}

}  // namespace

Result<InodeNumbers> InodeNumbers::open(LiveState& live, uint16_t slot, uint32_t next_group) {
  TRY_ASSIGN(const auto row, live.state(kNextGroupKey));
  if (row) {
    if (row->size() != 6) return fail(Errc::kCorruption, "a damaged row of inode groups");
    const std::byte* b = as_bytes(*row).data();
    if (get_le<uint16_t>(b) == slot) next_group = std::max(next_group, get_le<uint32_t>(b + 2));
  }
  return InodeNumbers(live, slot, next_group);
}

Result<uint32_t> InodeNumbers::open_group(std::vector<Effect>& effects) {
  if (next_group_ == UINT32_MAX)
    return fail(Errc::kNoSpace, "this writer has used up its inode numbers", ENOSPC);
  const uint32_t group = next_group_++;
  ByteVec row;
  put_le(row, slot_);
  put_le(row, next_group_);
  effects.emplace_back(OpenGroup{group});
  effects.emplace_back(PutState{kNextGroupKey, to_string(row)});
  return group;
}

Result<Ino> InodeNumbers::next(Ino dir, bool is_directory, std::vector<Effect>& effects) {
  if (is_directory) {
    TRY_ASSIGN(const uint32_t group, open_group(effects));
    const Ino ino = make_ino(slot_, group, kFirstIndex);
    effects.emplace_back(
        PutState{position_key(ino), encode({slot_, group, uint32_t{kFirstIndex} + 1})});
    return ino;
  }
  Position position;
  TRY_ASSIGN(const auto row, live_->state(position_key(dir)));
  if (row) {
    TRY_ASSIGN(position, decode(*row));
  }
  if (!row || position.slot != slot_ || position.next_index > kMaxIndex) {
    TRY_ASSIGN(position.group, open_group(effects));
    position.slot = slot_;
    position.next_index = kFirstIndex;
  }
  const Ino ino = make_ino(slot_, position.group, static_cast<uint16_t>(position.next_index));
  ++position.next_index;
  effects.emplace_back(PutState{position_key(dir), encode(position)});
  return ino;
}

Effect InodeNumbers::forget(Ino dir) {
  return PutState{position_key(dir), ""};
}

}  // namespace cairn
