// Fold: the records (after, L] of the journal, as one PublishBatch over the tree published at
// `after`.
//
// Only the journal is read, never the live tables: the batch is the state at L by construction,
// whatever happens meanwhile. L is chosen so that the batch stays bounded: a longer backlog is
// published in several prefixes.
#pragma once

#include "cache/change.h"
#include "cache/journal.h"
#include "cache/remote.h"

namespace cairn {

struct FoldLimits {
  uint64_t data_bytes_max = 512ULL << 20;  // written bytes in one batch
  uint64_t records_max = 200'000;
  // A change that moves a directory is a batch of its own, and a batch ends before a directory
  // takes a name that something had in it: for a remote that cannot do both at once.
  bool moves_alone = false;
};

struct Fold {
  PublishBatch batch;
  uint64_t written_bytes = 0;  // by the records folded
  uint64_t local_bytes = 0;    // that they take here, see change.h
  uint64_t records = 0;
};

// Reads at most up to `upto`. `chunk_bytes` is the volume's. An empty range gives a batch with
// lsn == after.
Result<Fold> fold_journal(Journal& journal, Lsn after, Lsn upto, uint32_t chunk_bytes,
                          const FoldLimits& limits);

// The same fold with the records behind it up to `upto`, as far as the limits allow for all of it:
// what one fold of the whole range gives. Where moves are alone it must hold no record yet. What
// pointed into the batch points nowhere afterwards, also after an error.
Result<Fold> extend_fold(Journal& journal, Fold fold, Lsn upto, uint32_t chunk_bytes,
                         const FoldLimits& limits);

}  // namespace cairn
