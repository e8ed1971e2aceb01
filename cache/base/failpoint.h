// CAIRN_FAILPOINT("area.what"): a point at which a simulation may stop the process or cut the
// power. Nothing at all without CAIRN_CHECKED; otherwise a test of a pointer.
// tests/sim/README.md lists the names; the simulation fails when a name is not there, and when one
// that is there is never reached.
// Those of the object view, which the simulation has none of, are reached by bucket_write_test and
// bucket_held_faults_test.
#pragma once

#ifdef CAIRN_CHECKED
#include "cache/base/turns.h"
#define CAIRN_FAILPOINT(name)                                                  \
  do {                                                                         \
    if (::cairn::this_thread_turns) ::cairn::this_thread_turns->reached(name); \
  } while (false)
#else
#define CAIRN_FAILPOINT(name) ((void)0)
#endif
