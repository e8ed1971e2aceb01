// What is past of a bucket's directory, as a directory in it: how it is called, and what is in it.
//
// The store shows it below a part that no key has (s3/history_store.h); people see another name,
// and only who asks for it: no listing has it. Inode numbers tell what is past, and cannot be
// changed. Pure, safe from any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace cairn {

inline constexpr std::string_view kPastPart = "\x1fversions";
inline constexpr std::string_view kPastName = ".versions";

// Numbers of what listings find have less than 56 bits; those of writers' slots begin otherwise.
inline constexpr uint64_t kPastNumbers = uint64_t{0xf0} << 56;
constexpr bool is_past_ino(uint64_t ino) {
  return ino >> 56 == kPastNumbers >> 56;
}

}  // namespace cairn
