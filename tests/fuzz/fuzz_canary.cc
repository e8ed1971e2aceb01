// The canary: a decoder of length-prefixed records that trusts a length when CAIRN_PLANTED_BUG is
// defined, as it is for this target. A fuzzing setup that does not find it finds nothing.
#include "tests/fuzz/fuzz.h"

using namespace cairn;

namespace {

uint64_t sum_records(Bytes in) {
  uint64_t sum = 0;
  while (true) {
    const auto length = take_varint(in);
    if (!length) return sum;
#ifndef CAIRN_PLANTED_BUG
    if (*length > in.size()) return sum;
#else
    if (*length > 4096) return sum;
#endif
    for (size_t i = 0; i < *length; ++i) sum += static_cast<uint64_t>(in.data()[i]);
    in = in.subspan(static_cast<size_t>(*length));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // A marker first, so that finding the bug takes following coverage and not luck alone.
  const Bytes in = fuzz::input(data, size);
  if (in.size() < 3 || in[0] != std::byte{'c'} || in[1] != std::byte{'r'}) return 0;
  fuzz::require(sum_records(in.subspan(2)) <= 255 * in.size(), "a sum of bytes");
  return 0;
}
