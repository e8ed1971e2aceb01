// Bytes, Buffer: how bytes are passed around.
//
// Bytes is a view, valid only while its owner lives. Buffer is an immutable, reference-counted
// run of bytes (or a part of one): cheap to copy, safe to share between threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;
using ByteVec = std::vector<std::byte>;

inline Bytes as_bytes(std::string_view s) {
  return {reinterpret_cast<const std::byte*>(s.data()), s.size()};
}
inline std::string_view as_chars(Bytes b) {
  return {reinterpret_cast<const char*>(b.data()), b.size()};
}
inline std::string to_string(Bytes b) { return std::string(as_chars(b)); }
inline ByteVec to_vec(Bytes b) { return ByteVec(b.begin(), b.end()); }
inline void append(ByteVec& out, Bytes b) { out.insert(out.end(), b.begin(), b.end()); }
inline bool equal(Bytes a, Bytes b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(ByteVec bytes) : Buffer(std::make_shared<const ByteVec>(std::move(bytes))) {}
  // Memory that goes back to somebody with the last copy.
  explicit Buffer(const std::shared_ptr<const ByteVec>& owner) : owner_(owner), view_(*owner) {}
  Buffer(std::shared_ptr<const void> owner, Bytes view) : owner_(std::move(owner)), view_(view) {}
  static Buffer copy(Bytes b) { return Buffer(to_vec(b)); }
  static Buffer copy(std::string_view s) { return copy(as_bytes(s)); }

  Bytes view() const { return view_; }
  // NOLINTNEXTLINE(google-explicit-constructor): a Buffer is bytes
  operator Bytes() const { return view_; }
  size_t size() const { return view_.size(); }
  bool empty() const { return view_.empty(); }
  const std::byte* data() const { return view_.data(); }

  // A part of this buffer that shares its memory. Requires offset + length <= size().
  Buffer slice(size_t offset, size_t length) const {
    Buffer part;
    part.owner_ = owner_;
    part.view_ = view_.subspan(offset, length);
    return part;
  }

 private:
  std::shared_ptr<const void> owner_;
  Bytes view_;
};

struct ByteRange {
  uint64_t offset = 0;
  uint64_t length = 0;
  uint64_t end() const { return offset + length; }
  bool operator==(const ByteRange&) const = default;
};

}  // namespace cairn
