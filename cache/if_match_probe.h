// probe_if_match: does this store put over a version only while it is that version?
//
// On one small object with a random name: two puts over its version race, of which exactly one may
// win, and whose bytes must be there afterwards; a put over a version that is gone must be refused.
// Stores that ignore the condition are found out, and often those that check and then act. It costs
// six requests. Blocks; not for tasks of the store's executor.
// Result: true, the store kept the promise; false, it broke it or does not offer it. Errors: what
// kept the probe from an answer (no access, no answer in time), which says nothing of the promise.
// Nothing is left behind, whatever the answer, but where the object may not be removed: the log
// names it.
#pragma once

#include <string>

#include "cache/base/random.h"
#include "cache/object_store.h"

namespace cairn {

// Where the object lies: at the top of what the store shows, or below a prefix of it, where a mount
// may see it for a moment: its name begins with ".cairn-probe-". Who probes again takes the same
// key, so that what could not be removed is left once.
std::string if_match_probe_key(Rng& rng, const std::string& prefix = {});
Result<bool> probe_if_match(ObjectStore& store, const std::string& key, const Context& context);

}  // namespace cairn
