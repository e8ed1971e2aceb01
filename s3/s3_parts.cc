#include "s3/s3_parts.h"

#include <algorithm>

#include "s3/request.h"

namespace cairn {

namespace {

constexpr uint64_t kCopyPartBytes = 512ULL << 20;  // a few of them at once are faster than one
constexpr uint64_t kCutMax = 4ULL << 30;           // a part takes a rest too small for a part

struct Cut {
  uint64_t sent = 0;    // size of the parts that travel
  uint64_t copied = 0;  // of those that the store copies
  uint64_t of(const Body::Section& section) const {
    return section.object != nullptr ? copied : sent;
  }
};

// Into how many parts a section goes. Only the very last may be smaller than S3 takes.
uint64_t parts_of(const Body::Section& section, uint64_t size, bool last) {
  const uint64_t full = section.at.length / size;
  const uint64_t rest = section.at.length % size;
  return full + (rest > 0 && (last || full == 0 || rest >= Body::kCopyBytesMin) ? 1 : 0);
}

void append_parts(const Body::Section& section, uint64_t size, bool last,
                  std::vector<PlannedPart>& out) {
  const uint64_t count = parts_of(section, size, last);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t from = i * size;
    PlannedPart part;
    part.at.offset = section.at.offset + from;
    part.at.length = i + 1 == count ? section.at.length - from : size;
    part.object = section.object;
    if (section.object != nullptr)
      part.source = {section.object->range.offset + from, part.at.length};
    out.push_back(part);
  }
}

}  // namespace

std::vector<PlannedPart> plan_parts(const Body& body, uint64_t part_size) {
  const auto sections = body.sections();
  const uint64_t least = body.has_object_ranges() ? Body::kCopyBytesMin : 1;
  Cut cut{std::clamp(part_size, least, kCutMax), kCopyPartBytes};
  const auto count = [&] {
    uint64_t total = 0;
    for (const Body::Section& section : sections)
      total += parts_of(section, cut.of(section), &section == &sections.back());
    return total;
  };
  while (count() > kS3PartsMax && cut.sent < kCutMax) {
    cut.sent = std::min(cut.sent + cut.sent / 2 + 1, kCutMax);
    cut.copied = std::max(cut.copied, cut.sent);
  }
  std::vector<PlannedPart> parts;
  for (const Body::Section& section : sections)
    append_parts(section, cut.of(section), &section == &sections.back(), parts);
  return parts;
}

const ObjectRange* whole_object(const Body& body) {
  const ObjectRange* object = copied_object(body);
  return object != nullptr && object->object_size <= kS3PartBytesMax ? object : nullptr;
}

}  // namespace cairn
