// Manual pages and completions, made from the table of the command line. Pure functions.
#pragma once

#include <string>

#include "tools/command_line.h"

namespace cairn {

std::string manual_overview(const CommandLine& line);                      // cairn(1)
std::string manual_page(const CommandLine& line, const Command& command);  // cairn-mount(1)

std::string bash_completion(const CommandLine& line);
std::string zsh_completion(const CommandLine& line);
std::string fish_completion(const CommandLine& line);

}  // namespace cairn
