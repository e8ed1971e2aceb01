// How much memory this process may use by default, and how much it uses. Linux only; what cannot be
// read counts as no limit.
#pragma once

#include <cstdint>
#include <string>

namespace cairn {

// 128 MiB, or half of what the control group allows when that is less; never below the smallest.
// `root` is what stands before /proc and /sys; tests have a tree of their own.
uint64_t default_memory_limit(const std::string& root = "");
// Sets up the allocator so that freed memory goes back to the system. Once, before threads.
void prepare_allocator();
// Anonymous memory of this process in bytes.
uint64_t anonymous_bytes();

}  // namespace cairn
