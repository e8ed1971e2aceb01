// How a large put is cut into the parts of a multipart upload. Pure.
//
// The cuts follow the body's sections: a part is either bytes that are sent or a range of one
// object that the store copies. Parts that are sent have `part_size` bytes, larger ones when there
// would be more than S3's 10,000; those that are copied are larger, since nothing travels.
// Source: Amazon S3 user guide, "Multipart upload limits"; UploadPartCopy.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cache/object_store.h"

namespace cairn {

inline constexpr uint64_t kS3PartsMax = 10'000;
inline constexpr uint64_t kS3PartBytesMax = 5ULL << 30;  // also of what one request copies

struct PlannedPart {
  ByteRange at;                         // in the body
  const ObjectRange* object = nullptr;  // of which `at` is a part; null: bytes to send
  ByteRange source;                     // in that object
};

// Requires check_put. The pointers live as long as the body.
std::vector<PlannedPart> plan_parts(const Body& body, uint64_t part_size);

// The object that the body is a whole copy of, when one request can copy it; else null.
const ObjectRange* whole_object(const Body& body);

}  // namespace cairn
