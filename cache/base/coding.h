// Fixed-width little- and big-endian integers, LEB128 varints, hex, base32, base64, UTF-8,
// CRC32C.
//
// Pure functions. Decoders never read past their input and never allocate from a declared length.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "cache/base/bytes.h"
#include "cache/base/result.h"

namespace cairn {

template <class T>
void put_le(ByteVec& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i)
    out.push_back(static_cast<std::byte>(static_cast<uint64_t>(value) >> (8 * i)));
}

// Requires in.size() >= sizeof(T).
template <class T>
T get_le(const std::byte* in) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value |= static_cast<uint64_t>(in[i]) << (8 * i);
  return static_cast<T>(value);
}

inline void put_be64(std::byte* out, uint64_t value) {
  for (int i = 0; i < 8; ++i) out[i] = static_cast<std::byte>(value >> (56 - 8 * i));
}
inline uint64_t get_be64(const std::byte* in) {
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value = value << 8 | static_cast<uint64_t>(in[i]);
  return value;
}

void put_varint(ByteVec& out, uint64_t value);
size_t varint_size(uint64_t value);

// Takes a varint from the front of `in`. Refuses truncated, over-long (> 9 bytes, the multiformats
// limit) and non-minimal encodings.
Result<uint64_t> take_varint(Bytes& in);

std::string to_hex(Bytes in);
std::optional<ByteVec> from_hex(std::string_view hex);
// RFC 4648 base32, lower case, no padding (multibase 'b' without its prefix).
std::string to_base32(Bytes in);
std::optional<ByteVec> from_base32(std::string_view text);

// CRC32C (Castagnoli) of `in`, continuing from `crc` (0 at the start).
uint32_t crc32c(Bytes in, uint32_t crc = 0);

// Standard base64 with padding; nullopt for anything else.
std::optional<std::string> from_base64(std::string_view text);

bool is_utf8(std::string_view text);
// The beginning of it, of at most `most` bytes, that ends with a whole character.
std::string_view utf8_prefix(std::string_view text, size_t most);

}  // namespace cairn
