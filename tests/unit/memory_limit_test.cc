#include "tools/memory_limit.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cache/memory_plan.h"

using namespace cairn;
namespace fs = std::filesystem;

namespace {

// A tree with files of /proc and /sys.
class Root {
 public:
  Root() {
    std::string name = (fs::temp_directory_path() / "cairn-memory-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Root() { fs::remove_all(path_); }
  Root(const Root&) = delete;
  Root& operator=(const Root&) = delete;

  void put(const std::string& file, const std::string& text) const {
    fs::create_directories(fs::path(path_ + file).parent_path());
    std::ofstream(path_ + file) << text;
  }
  uint64_t limit() const { return default_memory_limit(path_); }

 private:
  std::string path_;
};

constexpr uint64_t operator""_MiB(unsigned long long n) {
  return n << 20;
}

}  // namespace

TEST_CASE("without a control group the limit is the default") {
  const Root root;
  CHECK(root.limit() == MemoryPlan::kDefault);
  root.put("/proc/self/cgroup", "0::/user.slice\n");
  CHECK(root.limit() == MemoryPlan::kDefault);
  root.put("/sys/fs/cgroup/user.slice/memory.max", "max\n");
  CHECK(root.limit() == MemoryPlan::kDefault);
}

TEST_CASE("version 2: half of the least limit of the group and those above it") {
  const Root root;
  root.put("/proc/self/cgroup", "0::/system.slice/cairn@data.service\n");
  root.put("/sys/fs/cgroup/system.slice/cairn@data.service/memory.max", "209715200\n");
  CHECK(root.limit() == 100_MiB);
  root.put("/sys/fs/cgroup/system.slice/memory.max", "167772160\n");
  CHECK(root.limit() == 80_MiB);
  root.put("/sys/fs/cgroup/memory.max", "1073741824\n");
  CHECK(root.limit() == 80_MiB);
}

TEST_CASE("version 2 in a container: the group is the root of what is seen") {
  const Root root;
  root.put("/proc/self/cgroup", "0::/\n");
  root.put("/sys/fs/cgroup/memory.max", "188743680\n");
  CHECK(root.limit() == 90_MiB);
}

TEST_CASE("version 1, where the path may be the host's") {
  const Root root;
  root.put("/proc/self/cgroup",
           "12:pids:/docker/abc\n7:memory:/docker/abc\n1:name=systemd:/docker/abc\n");
  root.put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  CHECK(root.limit() == MemoryPlan::kDefault);
  root.put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "146800640\n");
  CHECK(root.limit() == 70_MiB);
}

TEST_CASE("a large group changes nothing, and a tiny one gets the smallest limit") {
  const Root root;
  root.put("/proc/self/cgroup", "0::/a\n");
  root.put("/sys/fs/cgroup/a/memory.max", "68719476736\n");
  CHECK(root.limit() == MemoryPlan::kDefault);
  root.put("/sys/fs/cgroup/a/memory.max", "1048576\n");
  CHECK(root.limit() == MemoryPlan::kSmallest);
}

TEST_CASE("this process has anonymous memory, and more of it when it takes some") {
  const uint64_t before = anonymous_bytes();
  CHECK(before > 0);
  const std::string more(64U << 20, 'x');
  CHECK(anonymous_bytes() >= before + 60_MiB);
}
