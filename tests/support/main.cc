#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "cache/base/log.h"

int main(int argc, char** argv) {
  // Tests provoke what is worth a warning in real life; their output is for failures.
  cairn::set_log_level(cairn::LogLevel::kError);
  doctest::Context context;
  context.applyCommandLine(argc, argv);
  return context.run();
}
