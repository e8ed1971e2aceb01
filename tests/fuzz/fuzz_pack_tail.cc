// Pack tails: parsing stays in bounds under any name, and what it accepts answers consistently.
// The first byte says which checksums are put right, so that what is behind them is reached.
#include "cache/format/pack.h"
#include "tests/fuzz/fuzz.h"

using namespace cairn;

namespace {

void put_le32(ByteVec& out, size_t at, uint32_t value) {
  for (size_t i = 0; i < 4; ++i) out[at + i] = static_cast<std::byte>(value >> (8 * i));
}

// Footer fields: 24 entries, 28 length of the hints, 40 and 44 their checksums, 60 its own.
void put_checksums_right(ByteVec& suffix) {
  const size_t footer = suffix.size() - kPackFooterSize;
  const uint64_t index = uint64_t{get_le<uint32_t>(&suffix[footer + 24])} * kPackEntrySize;
  const uint64_t hints = get_le<uint32_t>(&suffix[footer + 28]);
  if (index + hints <= footer) {
    const auto start = footer - static_cast<size_t>(index + hints);
    const Bytes all = suffix;
    put_le32(suffix, footer + 40, crc32c(all.subspan(start, static_cast<size_t>(index))));
    put_le32(suffix, footer + 44,
             crc32c(all.subspan(footer - static_cast<size_t>(hints), static_cast<size_t>(hints))));
  }
  put_le32(suffix, footer + 60, crc32c(Bytes(suffix).subspan(footer, 60)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Choices choices(fuzz::input(data, size));
  const bool right = choices.number(1) % 2 == 1;
  const uint64_t object_size = choices.number(5);
  ByteVec suffix = to_vec(choices.rest());
  if (right && suffix.size() >= kPackFooterSize) put_checksums_right(suffix);
  const auto need = PackTail::need(suffix, object_size);
  if (!need || *need > suffix.size()) return 0;
  const Buffer buffer(std::move(suffix));
  const Digest name = sha256(buffer.view().last(static_cast<size_t>(*need)));
  const auto tail = PackTail::parse(buffer, object_size, name);
  if (!tail) return 0;
  for (uint32_t i = 0; i < tail->size(); ++i) {
    const PackEntry entry = tail->entry(i);
    fuzz::require(tail->find(entry.digest) == entry, "an entry is found under its digest");
    fuzz::require(uint64_t{entry.offset} + entry.length <= object_size, "blocks lie in the pack");
    for (const PackRun& run : tail->runs(entry.digest))
      fuzz::require(run.count > 0, "runs are not empty");
  }
  const auto again = PackTail::parse(tail->block(), object_size, name);
  fuzz::require(again.has_value(), "the tail's block alone is a tail");
  return 0;
}
