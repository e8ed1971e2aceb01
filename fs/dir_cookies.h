// DirCookies: the cookies of one open directory, each for one name, for as long as it is open.
//
// A listing goes by name, so a place in it is the last name given out; its cookie is that name's
// number here. A name that comes again at its old place keeps its cookie; what is new at a place
// gets a new one. So telldir, seekdir and rewinddir are exact whatever is created or removed
// meanwhile.
// Memory: names share what they have in common with the one before. Beyond `max_bytes` (per
// directory) the oldest blocks shrink to their first name: seeking back there lands within a block
// of the place, going on where one stopped stays exact.
// Owner: the handle. Not thread-safe. The cookies 1 and 2 are those of "." and "..".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn {

class DirCookies {
 public:
  static constexpr uint64_t kDot = 1;
  static constexpr uint64_t kDotDot = 2;
  static constexpr uint64_t kMaxBytes = 16ULL << 20;

  explicit DirCookies(uint64_t max_bytes = kMaxBytes) : max_bytes_(max_bytes) {}

  // Where a listing goes on: behind `name`, from the start when there is none.
  struct Position {
    uint64_t cookie = kDotDot;
    std::optional<std::string> name;
  };
  // The place of a cookie; of one that was never given out, the end of what was.
  Position find(uint64_t cookie) const;
  // The cookie of `name`, which the listing gives out behind `before`.
  uint64_t next(uint64_t before, std::string_view name);

 private:
  static constexpr uint64_t kBlockNames = 64;
  static constexpr uint64_t kFirst = kDotDot + 1;
  // Names in a row, each as (length shared with the one before, rest). The first is whole.
  struct Block {
    std::string bytes;
    uint32_t names = 0;
  };
  std::string name_at(uint64_t cookie) const;
  uint64_t end() const { return kFirst + count_; }  // the next cookie to be given out
  void append(std::string_view name);
  void shrink();

  uint64_t max_bytes_;
  uint64_t count_ = 0;
  uint64_t bytes_ = 0;
  size_t shrunk_ = 0;  // blocks before this one hold their first name only
  std::string last_;   // the newest name
  std::vector<Block> blocks_;
};

}  // namespace cairn
