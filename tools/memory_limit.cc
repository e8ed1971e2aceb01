#include "tools/memory_limit.h"

#include <malloc.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "cache/memory_plan.h"

namespace cairn {

namespace {

constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

// A file that holds one number; "max" and what is missing are no limit.
uint64_t limit_in(const std::string& path) {
  std::ifstream in(path);
  uint64_t bytes = 0;
  return in >> bytes ? bytes : kNoLimit;
}

// The least limit of the group and the groups above it, in the hierarchy below `root`.
uint64_t least_limit(const std::string& root, std::string group, const std::string& file) {
  uint64_t least = kNoLimit;
  while (true) {
    least = std::min(least, limit_in(root + group + "/" + file));
    const size_t slash = group.rfind('/');
    if (slash == std::string::npos) return least;
    group.resize(slash);
  }
}

uint64_t cgroup_limit(const std::string& root) {
  std::ifstream groups(root + "/proc/self/cgroup");
  uint64_t least = kNoLimit;
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty())
      least = std::min(least, least_limit(root + "/sys/fs/cgroup", path, "memory.max"));
    if (controllers == "memory")
      least = std::min(
          least, least_limit(root + "/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"));
  }
  return least;
}

}  // namespace

uint64_t default_memory_limit(const std::string& root) {
  return std::clamp(cgroup_limit(root) / 2, MemoryPlan::kSmallest, MemoryPlan::kDefault);
}

void prepare_allocator() {
  // Few arenas: each keeps what its threads freed. What is large is mapped, and so given back at
  // once; without a fixed threshold glibc would move it up with the first large block.
  ::mallopt(M_ARENA_MAX, 2);
  ::mallopt(M_MMAP_THRESHOLD, 1 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 4 << 20);
}

uint64_t anonymous_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    uint64_t kilobytes = 0;
    if (word == "RssAnon:" && status >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

}  // namespace cairn
