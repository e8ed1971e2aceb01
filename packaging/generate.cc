// Writes the manual pages and completions that a package installs: cairn_generate DIRECTORY.
#include <filesystem>
#include <fstream>
#include <iostream>

#include "tools/manual.h"

namespace {

bool write(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text << std::flush;
  if (!file) std::cerr << "cannot write " << path << "\n";
  return static_cast<bool>(file);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace cairn;
  if (argc != 2) {
    std::cerr << "usage: cairn_generate DIRECTORY\n";
    return kExitUsage;
  }
  const std::filesystem::path to = argv[1];
  const CommandLine line = cairn_command_line();
  bool fine = write(to / "man" / "cairn.1", manual_overview(line));
  for (const auto& command : line.commands())
    fine = write(to / "man" / ("cairn-" + command->name() + ".1"), manual_page(line, *command)) &&
           fine;
  fine = write(to / "completion" / "cairn.bash", bash_completion(line)) && fine;
  fine = write(to / "completion" / "_cairn", zsh_completion(line)) && fine;
  fine = write(to / "completion" / "cairn.fish", fish_completion(line)) && fine;
  return fine ? kExitOk : kExitFailed;
}
