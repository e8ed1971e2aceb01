// run_process: runs a program to its end and returns what it printed.
//
// Blocks its thread until the program ended, its deadline passed or its caller gave up; in the last
// two cases the program's whole process group is killed. Standard input is /dev/null; no descriptor
// of ours but the two pipes reaches it. Nothing is interpreted by a shell.
// Bounds: `max_output` bytes of standard output (more is an error), the first 4 KiB of standard
// error. Errors: kNotFound (no such program), kTimeout, kCancelled, kIo. A status other than 0 is
// no error: it is in the result.
#pragma once

#include <string>
#include <vector>

#include "cache/base/bytes.h"
#include "cache/base/clock.h"
#include "cache/base/result.h"

namespace cairn {

struct ProcessResult {
  int exit_status = 0;  // 128 + the signal's number when one ended it
  ByteVec output;
  std::string complaint;  // of standard error
};

// `command`: the program (looked up in PATH) and its arguments.
Result<ProcessResult> run_process(const std::vector<std::string>& command, const Context& context,
                                  Clock& clock, size_t max_output);

}  // namespace cairn
