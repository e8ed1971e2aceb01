// Extents and file states as they come from a damaged table: what decodes is in order and encodes
// to the same bytes, and every operation on it stays within it.
#include <cstdlib>

#include "cache/extents.h"

using namespace cairn;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void check_in_order(const Extents& extents) {
  uint64_t end = 0;
  for (const Extent& extent : extents) {
    require(extent.length > 0 && extent.offset >= end);
    end = uint64_t{extent.offset} + extent.length;
    require(end <= UINT32_MAX);
  }
}

void check_resolve(const Extents& extents, uint32_t offset, uint32_t length) {
  uint64_t at = offset;
  for (const Piece& piece : resolve(extents, offset, length)) {
    require(piece.offset == at && piece.length > 0);
    at += piece.length;
  }
  require(at == uint64_t{offset} + length);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view in(reinterpret_cast<const char*>(data), size);
  if (const auto state = decode_file_state(in)) {
    require(encode_file_state(*state) == in);
    for (size_t i = 1; i < state->cuts.size(); ++i)
      require(state->base_limit(state->cuts[i - 1].lsn) == state->cuts[i].limit);
  }
  auto extents = decode_extents(in);
  if (!extents) return 0;
  require(encode_extents(*extents) == in);
  check_in_order(*extents);
  check_resolve(*extents, 0, UINT32_MAX);
  if (extents->empty()) return 0;
  const Extent middle = (*extents)[extents->size() / 2];
  check_resolve(*extents, middle.offset, middle.length);
  write_extent(
      *extents,
      {.offset = middle.offset / 2, .length = middle.length, .zero = true, .ref = {}, .lsn = 1});
  check_in_order(*extents);
  cut_extents(*extents, middle.end() / 2);
  check_in_order(*extents);
  require(extents->empty() || extents->back().end() <= middle.end() / 2);
  return 0;
}
