// CommandLine: all commands, and what one call of the program asks for.
//
// A value is taken from the command line, else from an `-o` list, else from the environment
// (CAIRN_NAME), else from the configuration file, else it keeps its default. Whatever is given
// anywhere must be right, even where something else outranks it.
// `parse` prints nothing and runs nothing, so that tests can ask it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cache/base/env.h"
#include "tools/command.h"

namespace cairn {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitNotStored = 3;  // status: something is not in the store yet

// Items of an -o list, without the empty ones. "a,b="c,d",e": commas between quotes belong to the
// value, as mount(8) has it.
std::vector<std::string> split_list(const std::string& list);

class CommandLine {
 public:
  struct Surroundings {
    Env& env;  // configuration files
    std::function<std::optional<std::string>(const std::string&)> variable;
  };
  struct Outcome {
    const Command* command = nullptr;  // to be run, or null: print and exit
    int exit_code = kExitOk;
    std::string out, err;
  };

  CommandLine(std::string name, std::string version, std::string summary);
  Command& add(std::string name, std::string summary);

  const std::string& name() const { return name_; }
  const std::string& version() const { return version_; }
  const std::string& summary() const { return summary_; }
  const std::vector<std::unique_ptr<Command>>& commands() const { return commands_; }
  const Command* find(std::string_view name) const;

  // Also fills the variables of the chosen command. `words` are without the program's name.
  Outcome parse(const std::vector<std::string>& words, const Surroundings& surroundings) const;

  std::string help() const;
  std::string help(const Command& command) const;
  // "cairn mount [OPTION...] REMOTE MOUNTPOINT"
  std::string usage(const Command& command) const;

 private:
  struct Typed;
  Status collect(const Command& command, const Typed& typed,
                 const Surroundings& surroundings) const;
  Status apply_list(const Command& command, const std::string& list,
                    const std::string& origin) const;
  Status apply_config(const Command& command, const std::string& path,
                      const Surroundings& surroundings, std::vector<bool>& given) const;
  Status unknown_key(const std::string& key, const std::string& where) const;

  std::string name_, version_, summary_;
  std::vector<std::unique_ptr<Command>> commands_;
};

// The program as it is: every command of cairn.
CommandLine cairn_command_line();

}  // namespace cairn
