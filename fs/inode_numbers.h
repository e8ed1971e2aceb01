// InodeNumbers: which number a new inode gets (cache/FORMAT.md, "Inode numbers").
//
// A new directory opens a group and takes its first index; what is created in it takes the next
// ones, and a further group when those are used up. So a directory, its entries and their inodes
// lie together in the tree. Where each directory stands is a row of this cache (kState), part of
// the change that used the number: numbers are never given out twice, not after a crash either.
// Owner: the Volume, under its namespace lock. Not thread-safe.
#pragma once

#include <string>
#include <vector>

#include "cache/change.h"
#include "cache/format/records.h"
#include "cache/live_state.h"

namespace cairn {

class InodeNumbers {
 public:
  // `next_group`: no number of this or a higher group was ever given out by this slot.
  static Result<InodeNumbers> open(LiveState& live, uint16_t slot, uint32_t next_group);

  // The number of something new in `dir`, with the effects that the change must carry. A change
  // that is not committed may lose the number, nothing else.
  Result<Ino> next(Ino dir, bool is_directory, std::vector<Effect>& effects);
  // The row of a directory that is gone.
  static Effect forget(Ino dir);

 private:
  InodeNumbers(LiveState& live, uint16_t slot, uint32_t next_group)
      : live_(&live), slot_(slot), next_group_(next_group) {}
  Result<uint32_t> open_group(std::vector<Effect>& effects);

  LiveState* live_;
  uint16_t slot_;
  uint32_t next_group_;
};

}  // namespace cairn
