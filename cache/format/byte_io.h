// ByteSource, ByteSink: how the format code reads a large file and writes one without knowing
// where it lies (memory, a local file, a store object). Owned by the caller for the whole call.
//
// Threads: one ByteSource may be read by several threads when its implementation allows it; the
// format code itself uses it from the calling thread only. Errors: whatever the owner gives.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "cache/base/bytes.h"
#include "cache/base/result.h"

namespace cairn {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual uint64_t size() const = 0;
  // Fills `out` from `offset`; returns how much was read, less than out.size() only at the end.
  virtual Result<size_t> read_at(uint64_t offset, MutableBytes out) = 0;
};

// Bytes that are in memory anyway. The view must outlive the source.
class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(Bytes bytes) : bytes_(bytes) {}
  uint64_t size() const override { return bytes_.size(); }
  Result<size_t> read_at(uint64_t offset, MutableBytes out) override {
    if (offset >= bytes_.size()) return size_t{0};
    const Bytes part = bytes_.subspan(static_cast<size_t>(offset));
    const size_t count = std::min(part.size(), out.size());
    std::copy_n(part.begin(), count, out.begin());
    return count;
  }

 private:
  Bytes bytes_;
};

// Fills all of `out`; kCorruption when the source ends before.
inline Status read_exact(ByteSource& source, uint64_t offset, MutableBytes out) {
  TRY_ASSIGN(const size_t count, source.read_at(offset, out));
  if (count != out.size())
    return fail(Errc::kCorruption, "ends at byte " + std::to_string(offset + count) +
                                       ", inside of what should be there");
  return {};
}

// Takes a file's bytes in order.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual Status append(Bytes bytes) = 0;
};

// Collects them in memory (small files, tests).
class MemorySink final : public ByteSink {
 public:
  Status append(Bytes bytes) override {
    cairn::append(bytes_, bytes);
    return {};
  }
  const ByteVec& bytes() const { return bytes_; }
  ByteVec take() { return std::move(bytes_); }

 private:
  ByteVec bytes_;
};

}  // namespace cairn
