// tidy: the house rules that a compiler does not check, as pure functions over source text.
//
// Include direction, one door for each third-party header, calls that belong to one module only
// (each message names what to use instead), file and line length, how headers begin, leftovers.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace cairn {

struct TidyFinding {
  size_t line = 0;  // 1-based
  std::string message;
};

// The text with comments and the insides of literals blanked; lines stay where they are.
std::string code_only(std::string_view text);

// All findings in a C++ source. `path` is relative to the repository.
std::vector<TidyFinding> check_source(std::string_view path, std::string_view text);

// Only what holds for every text file: words that mark unfinished work.
std::vector<TidyFinding> check_leftovers(std::string_view text);

}  // namespace cairn
