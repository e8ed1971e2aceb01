#include "cache/base/coding.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <array>

namespace cairn {

void put_varint(ByteVec& out, uint64_t value) {
  while (value > 0x7f) {
    out.push_back(static_cast<std::byte>((value & 0x7f) | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<std::byte>(value));
}

size_t varint_size(uint64_t value) {
  size_t size = 1;
  while (value > 0x7f) {
    value >>= 7;
    ++size;
  }
  return size;
}

Result<uint64_t> take_varint(Bytes& in) {
  constexpr size_t kMaxBytes = 9;
  uint64_t value = 0;
  for (size_t i = 0; i < kMaxBytes; ++i) {
    if (i == in.size()) return fail(Errc::kCorruption, "varint is cut off");
    const auto byte = static_cast<uint64_t>(in[i]);
    value |= (byte & 0x7f) << (7 * i);
    if (byte < 0x80) {
      if (byte == 0 && i > 0) return fail(Errc::kCorruption, "varint is not minimal");
      in = in.subspan(i + 1);
      return value;
    }
  }
  return fail(Errc::kCorruption, "varint is longer than 9 bytes");
}

std::string to_hex(Bytes in) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(in.size() * 2);
  for (const std::byte b : in) {
    out.push_back(kDigits[static_cast<size_t>(b) >> 4]);
    out.push_back(kDigits[static_cast<size_t>(b) & 15]);
  }
  return out;
}

std::optional<ByteVec> from_hex(std::string_view hex) {
  if (hex.size() % 2 != 0) return std::nullopt;
  const auto nibble = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
  };
  ByteVec out;
  out.reserve(hex.size() / 2);
  for (size_t i = 0; i < hex.size(); i += 2) {
    const int high = nibble(hex[i]);
    const int low = nibble(hex[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    out.push_back(static_cast<std::byte>(high << 4 | low));
  }
  return out;
}

namespace {
constexpr std::string_view kBase32 = "abcdefghijklmnopqrstuvwxyz234567";
}

std::string to_base32(Bytes in) {
  std::string out;
  uint32_t bits = 0;
  int held = 0;
  for (const std::byte b : in) {
    bits = bits << 8 | static_cast<uint32_t>(b);
    held += 8;
    while (held >= 5) {
      held -= 5;
      out.push_back(kBase32[bits >> held & 31]);
    }
  }
  if (held > 0) out.push_back(kBase32[bits << (5 - held) & 31]);
  return out;
}

std::optional<ByteVec> from_base32(std::string_view text) {
  ByteVec out;
  uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    const size_t value = kBase32.find(c);
    if (value == std::string_view::npos) return std::nullopt;
    bits = (bits << 5 | static_cast<uint32_t>(value)) & 0xfff;
    held += 5;
    if (held >= 8) {
      held -= 8;
      out.push_back(static_cast<std::byte>(bits >> held & 0xff));
    }
  }
  const bool padding_is_zero = (bits & ((1U << held) - 1)) == 0;
  if (held >= 5 || !padding_is_zero) return std::nullopt;
  return out;
}

std::optional<std::string> from_base64(std::string_view text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.size() % 4 != 0) return std::nullopt;
  for (int padding = 0; padding < 2 && text.ends_with('='); ++padding) text.remove_suffix(1);
  std::string out;
  uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    const size_t value = kDigits.find(c);
    if (value == std::string_view::npos) return std::nullopt;
    bits = (bits << 6 | static_cast<uint32_t>(value)) & 0xffff;
    held += 6;
    if (held < 8) continue;
    held -= 8;
    out.push_back(static_cast<char>(bits >> held & 0xff));
  }
  if (held >= 6 || (bits & ((1U << held) - 1)) != 0) return std::nullopt;
  return out;
}

bool is_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<uint8_t>(text[i]);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || text.size() - i < size) return false;
    uint32_t code = lead & (0xffU >> (size + 1));
    for (size_t k = 1; k < size; ++k) {
      const auto next = static_cast<uint8_t>(text[i + k]);
      if ((next & 0xc0) != 0x80) return false;
      code = code << 6 | (next & 0x3f);
    }
    constexpr std::array<uint32_t, 5> kSmallest{0, 0, 0x80, 0x800, 0x10000};
    if (code < kSmallest[size] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
      return false;
    i += size;
  }
  return true;
}

std::string_view utf8_prefix(std::string_view text, size_t most) {
  if (text.size() <= most) return text;
  const auto continues = [text](size_t at) {
    return (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80;
  };
  size_t end = most;
  while (end > 0 && most - end < 3 && continues(end)) --end;
  return text.substr(0, continues(end) ? most : end);
}

uint32_t crc32c(Bytes in, uint32_t crc) {
  // isa-l takes an int length and neither inverts its input nor its output.
  constexpr size_t kMaxPart = 1U << 30;
  uint32_t state = ~crc;
  while (!in.empty()) {
    const size_t part = std::min(in.size(), kMaxPart);
    auto* data = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(in.data()));
    state = crc32_iscsi(data, static_cast<int>(part), state);
    in = in.subspan(part);
  }
  return ~state;
}

}  // namespace cairn
