// CAR files: the reader stays in bounds, and what it accepts is byte for byte what its own framing
// writes. The digests of sections are put right first, or no changed block would get past them.
#include "cache/format/car.h"
#include "tests/fuzz/fuzz.h"

using namespace cairn;

namespace {

ByteVec with_right_digests(Bytes in) {
  ByteVec car = to_vec(in);
  Bytes rest = car;
  const auto skip = [&](uint64_t count) {
    rest = rest.subspan(static_cast<size_t>(std::min<uint64_t>(count, rest.size())));
  };
  const auto header = take_varint(rest);
  if (!header) return car;
  skip(*header);
  while (!rest.empty()) {
    const auto size = take_varint(rest);
    if (!size || *size < Cid::kDigestCidSize || *size > rest.size()) break;
    const Bytes block = rest.first(static_cast<size_t>(*size)).subspan(Cid::kDigestCidSize);
    const auto digest_at = static_cast<size_t>(rest.data() - car.data()) + 4;
    const Digest digest = sha256(block);
    std::copy(digest.bytes.begin(), digest.bytes.end(),
              car.begin() + static_cast<ptrdiff_t>(digest_at));
    skip(*size);
  }
  return car;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const ByteVec car = with_right_digests(fuzz::input(data, size));
  MemorySource source(car);
  auto reader = CarReader::open(source);
  if (!reader) return 0;
  ByteVec written(car.begin(), car.begin() + static_cast<ptrdiff_t>(reader->position()));
  while (true) {
    const auto section = reader->next();
    if (!section) return 0;
    if (!*section) break;
    append_car_frame(written, (*section)->cid, (*section)->data.size());
    append(written, (*section)->data);
  }
  fuzz::require(written == car, "an accepted CAR is what the writer writes");
  fuzz::require(verify_car(source).has_value(), "an accepted CAR verifies");
  return 0;
}
