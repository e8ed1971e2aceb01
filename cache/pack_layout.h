// Where in a metadata pack the upper nodes of the tree lie: at its end, before its tail, so that
// one request brings both. Who has them is one pack away from every key.
//
// A rule of who writes and a guess of who reads; a pack that does not follow it costs requests.
// Pure. Format: FORMAT.md, "Packs".
#pragma once

#include <cstdint>

namespace cairn {

// One node of some 250, whatever the fan-out, with some 80 KB of other nodes below it.
constexpr bool is_upper_layer(int layer, unsigned fanout_bits) {
  return layer * static_cast<int>(fanout_bits) >= 8;
}

// How much of a pack before its tail is read with it, of all its bytes. Upper nodes have more
// links than others, so they are some hundredth of the bytes.
constexpr uint64_t kUpperNodesShare = 96;

}  // namespace cairn
