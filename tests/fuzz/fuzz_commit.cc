// Commit records: what decodes encodes to the same bytes.
#include "cache/format/commit.h"
#include "tests/fuzz/fuzz.h"

using namespace cairn;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes bytes = fuzz::input(data, size);
  const auto record = CommitRecord::decode(bytes);
  if (!record) return 0;
  fuzz::require(cbor_validate(bytes).has_value(), "a record is DAG-CBOR");
  const auto again = record->encode();
  fuzz::require(again.has_value() && equal(*again, bytes), "one encoding");
  return 0;
}
