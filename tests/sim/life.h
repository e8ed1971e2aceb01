// Life: everything that happens for one seed, and the judgement of it.
//
// Two machines with a cache directory each, one bucket, and a third machine that follows. One of
// the two writes; it dies and is opened again, is taken over by the other, meets a store that is
// slow, wrong or away and a disk that is slow, full or broken. After every opening what the mount
// shows is compared with what was done; every commit that the bucket gets is opened by itself.
// What must hold:
//   - a state found after a death is the state after one of the operations, in order: none older
//     than what survives that death (all that was answered; after a power cut the last sync that
//     was answered, and what is older than some seconds), none newer than the last one issued;
//   - so is what another machine finds, from the last flush that was answered on;
//   - every commit holds such a state, and never an older one than the commit before it; a writer
//     that was taken over commits nothing more;
//   - the same everywhere: names, attributes, times, inode numbers, contents, extended attributes;
//   - an operation that fails changes nothing; nothing hangs; check_volume finds nothing wrong.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "tests/sim/bucket.h"
#include "tests/sim/disk.h"

namespace cairn::sim {

struct Wish {
  uint64_t seed = 0;
  bool verbose = false;
  Lie lie = Lie::kNone;  // canaries
  BucketLie bucket_lie = BucketLie::kNone;
};

struct Outcome {
  bool good = false;
  std::string failure;
  uint64_t trace = 0;  // of every decision and result: the same for the same seed
  uint64_t steps = 0;
  double simulated_seconds = 0;
  std::map<std::string, uint64_t> reached;  // failpoints, and what happened, by name
};

Outcome live(const Wish& wish);

}  // namespace cairn::sim
