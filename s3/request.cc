#include "s3/request.h"

#include <algorithm>

namespace cairn {

ByteRange resolve_range(const GetRange& range, uint64_t size) {
  switch (range.kind) {
    case GetRange::Kind::kAll:
      return {0, size};
    case GetRange::Kind::kFrom: {
      const uint64_t offset = std::min(range.offset, size);
      return {offset, std::min(range.length, size - offset)};
    }
    case GetRange::Kind::kSuffix: {
      const uint64_t length = std::min(range.length, size);
      return {size - length, length};
    }
  }
  return {};
}

const ObjectRange* copied_object(const Body& body) {
  if (!body.has_object_ranges()) return nullptr;
  const auto sections = body.sections();
  const ObjectRange* object = sections.front().object;
  if (sections.size() != 1 || object == nullptr || object->range.offset != 0) return nullptr;
  return object->range.length == object->object_size ? object : nullptr;
}

Status check_list_limit(uint32_t limit) {
  if (limit >= 1 && limit <= 1000) return {};
  return fail(Errc::kInvalid,
              "a list of " + std::to_string(limit) + " keys: the limit is 1 to 1000");
}

}  // namespace cairn
