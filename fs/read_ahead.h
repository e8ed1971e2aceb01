// ReadAhead: what the reads of one handle say about what it will read next.
//
// A handle that goes on where it ended is a stream: what lies ahead of it is asked for, at most
// four times what it has read so far (1 MiB at least), later twice as much, and at most 48 MiB, in
// steps of 2 MiB so that requests stay large. Who jumps and reads a record or two is none. Pure;
// owner: the table of handles, under its lock.
#pragma once

#include <cstdint>
#include <optional>

namespace cairn {

class ReadAhead {
 public:
  struct Range {
    uint64_t stream_from = 0;  // which stream of the handle it is for
    uint64_t from = 0;
    uint64_t until = 0;
  };

  // After a read of [offset, offset + length) of a file of `size` bytes: what to ask for now. Then
  // `asked` has to follow; until it does, there is nothing else to ask for: only who asks knows
  // from where on the next one has to.
  std::optional<Range> plan(uint64_t size, uint64_t offset, uint64_t length);
  // So far was asked for; less than the range where there was no room.
  void asked(const Range& range, uint64_t until);

 private:
  uint64_t from_ = 0;
  uint64_t next_ = 0;  // where the last read ended
  uint64_t ahead_until_ = 0;
  uint64_t window_bytes_ = 0;
  bool asks_ = false;
};

}  // namespace cairn
