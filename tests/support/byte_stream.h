// A generated stream of bytes, the same that tests/oracles/unixfs/unixfs.mjs makes: xorshift32
// from 1, each word little-endian.
#pragma once

#include "cache/base/bytes.h"

namespace cairn {

class ByteStream {
 public:
  void fill(MutableBytes out) {
    for (std::byte& byte : out) {
      if (left_ == 0) {
        word_ ^= word_ << 13;
        word_ ^= word_ >> 17;
        word_ ^= word_ << 5;
        left_ = 4;
      }
      byte = static_cast<std::byte>(word_ >> (8 * (4 - left_--)));
    }
  }

 private:
  uint32_t word_ = 1;
  unsigned left_ = 0;
};

}  // namespace cairn
