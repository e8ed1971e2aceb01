// The numbers of an index segment that its writer and its readers share. FORMAT.md, "Block index".
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "cache/base/bytes.h"
#include "cache/base/coding.h"
#include "cache/base/digest.h"
#include "cache/format/index.h"

namespace cairn::index_layout {

constexpr std::string_view kHeaderMagic = "cairnix1";
constexpr std::string_view kFooterMagic = "cairnixf";
constexpr uint32_t kIndexVersion = 1;
constexpr size_t kHeaderSize = 16;
constexpr size_t kFooterSize = 48;
constexpr size_t kEntrySize = 48;
constexpr size_t kFanOutSize = kIndexFanOut * 4;
constexpr uint32_t kMaxPartitionBits = 16;
constexpr uint64_t kMaxEntries = UINT32_MAX;

constexpr uint64_t kFilterBitsPerKey = 10;
constexpr unsigned kFilterProbes = 7;

// Bytes of all filters of the partitions that end at entry `end`.
constexpr uint64_t filter_bytes(uint64_t end) {
  return (end * kFilterBitsPerKey + 7) / 8;
}

inline uint32_t bucket_of(const Digest& digest) {
  return static_cast<uint32_t>(digest.bytes[0]) << 8 | static_cast<uint32_t>(digest.bytes[1]);
}

// The bits of a digest in a filter of `bits` bits, bits > 0.
class FilterBits {
 public:
  FilterBits(const Digest& digest, uint64_t bits)
      : at_(get_le<uint64_t>(&digest.bytes[8])),
        step_(get_le<uint64_t>(&digest.bytes[16]) | 1),
        bits_(bits) {}
  uint64_t next() {
    const uint64_t bit = at_ % bits_;
    at_ += step_;
    return bit;
  }

 private:
  uint64_t at_;
  uint64_t step_;
  uint64_t bits_;
};

inline void put_entry(ByteVec& out, const IndexEntry& entry) {
  append(out, entry.digest.view());
  put_le(out, entry.pack);
  put_le(out, entry.offset);
  put_le(out, entry.length);
  out.push_back(static_cast<std::byte>(entry.codec));
  out.push_back(std::byte{0});  // transform: the payload is the block itself
  put_le(out, uint16_t{0});
}

inline ByteVec encode_header(uint32_t partition_bits) {
  ByteVec out = to_vec(as_bytes(kHeaderMagic));
  put_le(out, kIndexVersion);
  put_le(out, partition_bits);
  return out;
}

}  // namespace cairn::index_layout
