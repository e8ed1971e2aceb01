// FileSink: a ByteSink that appends to a file, from its beginning.
//
// Owner: one writer, on its thread; the file outlives it. Nothing is synced. Errors: the file's.
#pragma once

#include "cache/base/env.h"
#include "cache/format/byte_io.h"

namespace cairn {

class FileSink final : public ByteSink {
 public:
  explicit FileSink(File& file) : file_(file) {}
  Status append(Bytes bytes) override {
    TRY(file_.write_at(size_, bytes));
    size_ += bytes.size();
    return {};
  }

 private:
  File& file_;
  uint64_t size_ = 0;
};

}  // namespace cairn
