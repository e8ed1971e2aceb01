// What every fuzz target shares: the entry point's types and a check that ends the run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "cache/base/bytes.h"
#include "cache/base/coding.h"

namespace cairn::fuzz {

// A property that must hold for every input.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: property broken: %s\n", what);
  std::abort();
}

inline Bytes input(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const std::byte*>(data), size};
}

// Takes choices from the front of an input; zeroes when it is used up.
class Choices {
 public:
  explicit Choices(Bytes in) : in_(in) {}
  uint64_t number(size_t bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes && !in_.empty(); ++i) {
      value |= static_cast<uint64_t>(in_.front()) << (8 * i);
      in_ = in_.subspan(1);
    }
    return value;
  }
  // In [0, bound).
  uint64_t below(uint64_t bound) { return number(bound <= 256 ? 1 : 4) % bound; }
  bool empty() const { return in_.empty(); }
  Bytes rest() const { return in_; }

 private:
  Bytes in_;
};

}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
