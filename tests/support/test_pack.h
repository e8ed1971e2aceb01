// A pack in memory, built block by block. For tests and for the seeds of fuzz targets.
#pragma once

#include <vector>

#include "cache/format/pack.h"

namespace cairn {

class TestPack {
 public:
  explicit TestPack(PackKind kind) : builder_(kind) {}

  Cid add(Codec codec, Bytes data) {
    const Cid cid = Cid::make(codec, data);
    if (builder_.add(cid, data.size())) payloads_.push_back(Buffer::copy(data));
    return cid;
  }
  PackBuilder& builder() { return builder_; }

  // The plan, and the object it describes.
  PackPlan plan() { return builder_.finish().value(); }
  ByteVec object(const PackPlan& plan) const {
    ByteVec out;
    for (size_t i = 0; i < payloads_.size(); ++i) {
      append(out, plan.prefix(i));
      append(out, payloads_[i]);
    }
    append(out, plan.trailer());
    return out;
  }

 private:
  PackBuilder builder_;
  std::vector<Buffer> payloads_;
};

}  // namespace cairn
