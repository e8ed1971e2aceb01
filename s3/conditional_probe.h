// probe_conditional_create: does this store keep the one promise that the commit protocol needs?
//
// In each round many creates race for one fresh key; exactly one may win, the winner's bytes must
// be there afterwards, and a later create must lose. A probe that tries one after the other passes
// on stores that check and then act. Blocks; not for tasks of the store's executor.
// Errors: what kept it from an answer (no access, no answer in time). A store that breaks the
// promise is no error but a report with violations. The keys are removed in any case.
#pragma once

#include <cstdint>
#include <string>

#include "cache/base/random.h"
#include "cache/object_store.h"

namespace cairn {

struct ProbeOptions {
  uint32_t rounds = 8;
  uint32_t racers = 16;
};

struct ProbeReport {
  uint32_t rounds = 0;
  uint32_t racers = 0;
  uint32_t violations = 0;      // rounds that broke the promise
  uint32_t winners_max = 0;     // in one round
  uint32_t keys_left = 0;       // could not be removed
  std::string first_violation;  // for a person
  bool passed() const { return rounds > 0 && violations == 0; }
};

// Keys begin with `prefix` ("" or ending in '/'), which must be a place of our own.
Result<ProbeReport> probe_conditional_create(ObjectStore& store, const std::string& prefix,
                                             Rng& rng, const Context& context,
                                             ProbeOptions options = {});

}  // namespace cairn
