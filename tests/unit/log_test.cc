#include "cache/base/log.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "tests/support/temp_dir.h"

using namespace cairn;

TEST_CASE("a log file with a limit keeps it, and keeps what came last") {
  const TempDir dir;
  const std::string path = dir / "log";
  const pid_t child = ::fork();  // where messages go is the same for the whole process
  REQUIRE(child >= 0);
  if (child == 0) {
    set_log_level(LogLevel::kInfo);
    if (!log_to_file(path, 100'000)) ::_exit(1);
    for (int n = 0; n < 5000; ++n) log_warn("message number {} of many", n);
    ::_exit(0);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    bytes += entry.file_size();
    CHECK((entry.status().permissions() & std::filesystem::perms(077)) ==
          std::filesystem::perms::none);
  }
  CHECK(bytes <= 100'000);
  CHECK(bytes >= 50'000);
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  CHECK(text.find("message number 4999 of many") != std::string::npos);
}
