#include "cache/base/mutex.h"

#include <array>
#include <cstdio>
#include <cstdlib>

namespace cairn::rank_check {

namespace {
constexpr size_t kMaxHeld = 16;
struct Held {
  std::array<uint16_t, kMaxHeld> ranks{};
  size_t count = 0;
};
thread_local Held held;
}  // namespace

void acquire(uint16_t rank) {
  for (size_t i = 0; i < held.count; ++i) {
    if (held.ranks[i] < rank) continue;
    std::fprintf(stderr, "lock rank violation: taking %u while holding %u\n", unsigned{rank},
                 unsigned{held.ranks[i]});
    std::abort();
  }
  if (held.count == kMaxHeld) std::abort();
  held.ranks[held.count++] = rank;
}

void release(uint16_t rank) {
  for (size_t i = held.count; i-- > 0;) {
    if (held.ranks[i] != rank) continue;
    for (size_t j = i + 1; j < held.count; ++j) held.ranks[j - 1] = held.ranks[j];
    --held.count;
    return;
  }
  std::fprintf(stderr, "lock rank violation: releasing %u, which is not held\n", unsigned{rank});
  std::abort();
}

}  // namespace cairn::rank_check
