#include "cache/base/mutex.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace cairn::rank_check {

namespace {
thread_local Held held;
}  // namespace

void acquire(uint16_t rank) {
  for (size_t i = 0; i < held.count; ++i) {
    if (held.ranks[i] < rank) continue;
    std::fprintf(stderr, "lock rank violation: taking %u while holding %u\n", unsigned{rank},
                 unsigned{held.ranks[i]});
    std::abort();
  }
  if (held.count == held.ranks.size()) std::abort();
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

Held exchange(const Held& next) {
  return std::exchange(held, next);
}

}  // namespace cairn::rank_check
