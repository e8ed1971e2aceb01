// pause: the one way a blocking function of the engine waits for time to pass.
#pragma once

#include "cache/base/clock.h"
#include "cache/base/executor.h"
#include "cache/base/result.h"

namespace cairn {

// Returns after `duration` of the clock, at once with kCancelled when the context is cancelled, and
// with kTimeout when its deadline comes before. Never from a task of `executor`.
Status pause(Executor& executor, Clock& clock, Duration duration, const Context& context);

}  // namespace cairn
