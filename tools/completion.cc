// Completions for bash, zsh and fish.
#include <fmt/format.h>

#include "tools/manual.h"

namespace cairn {

namespace {

// For single quotes in a shell.
std::string shell_quoted(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

bool is_path(ValueKind kind) {
  return kind == ValueKind::kFile || kind == ValueKind::kDirectory || kind == ValueKind::kRemote;
}

std::vector<std::string> all_flags(const Command& command) {
  std::vector<std::string> flags{"--help"};
  for (const Option& option : command.options()) flags.push_back("--" + option.name());
  return flags;
}

std::string bash_value(const Option& option) {
  switch (option.kind()) {
    case ValueKind::kChoice:
      return fmt::format("COMPREPLY=($(compgen -W '{}' -- \"$cur\"))", joined(option.choices()));
    case ValueKind::kFile:
      return "COMPREPLY=($(compgen -f -- \"$cur\"))";
    case ValueKind::kDirectory:
    case ValueKind::kRemote:
      return "COMPREPLY=($(compgen -d -- \"$cur\"))";
    default:
      return ":";
  }
}

// What zsh completes: the text behind the last colon of a specification.
std::string zsh_action(ValueKind kind, const std::vector<std::string>& choices) {
  if (kind == ValueKind::kChoice) return "(" + joined(choices) + ")";
  if (kind == ValueKind::kFile) return "_files";
  return is_path(kind) ? "_files -/" : " ";
}

std::string zsh_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  return shell_quoted(out);
}

}  // namespace

std::string bash_completion(const CommandLine& line) {
  std::vector<std::string> names;
  for (const auto& command : line.commands()) names.push_back(command->name());
  std::string text = fmt::format(
      "# bash completion for {0}\n"
      "_{0}() {{\n"
      "  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}}\n"
      "  COMPREPLY=()\n"
      "  if [ \"$COMP_CWORD\" = 1 ]; then\n"
      "    COMPREPLY=($(compgen -W '{1} --help --version' -- \"$cur\"))\n"
      "    return\n"
      "  fi\n"
      "  case \"${{COMP_WORDS[1]}}:$prev\" in\n",
      line.name(), joined(names));
  for (const auto& command : line.commands())
    for (const Option& option : command->options())
      if (!option.is_flag())
        text += fmt::format(
            "    {}:--{}{}) {}; return ;;\n", command->name(), option.name(),
            option.letter() == 0 ? "" : fmt::format("|{}:-{}", command->name(), option.letter()),
            bash_value(option));
  text +=
      "  esac\n"
      "  case \"$cur\" in\n"
      "    -*) ;;\n"
      "    *) COMPREPLY=($(compgen -d -- \"$cur\")); return ;;\n"
      "  esac\n"
      "  case \"${COMP_WORDS[1]}\" in\n";
  for (const auto& command : line.commands())
    text += fmt::format("    {}) COMPREPLY=($(compgen -W '{}' -- \"$cur\")) ;;\n", command->name(),
                        joined(all_flags(*command)));
  return text + fmt::format("  esac\n}}\ncomplete -o filenames -F _{0} {0}\n", line.name());
}

std::string zsh_completion(const CommandLine& line) {
  std::string text = fmt::format(
      "#compdef {0}\n"
      "_{0}() {{\n"
      "  if (( CURRENT == 2 )); then\n"
      "    local -a commands=(\n",
      line.name());
  for (const auto& command : line.commands())
    text += fmt::format("      '{}:{}'\n", command->name(), zsh_text(command->summary()));
  text += fmt::format(
      "    )\n"
      "    _describe command commands\n"
      "    return\n"
      "  fi\n"
      "  local command=$words[2]\n"
      "  shift words\n"
      "  (( CURRENT-- ))\n"
      "  case $command in\n");
  for (const auto& command : line.commands()) {
    text += fmt::format("    {})\n      _arguments '--help[show the options]'", command->name());
    for (const Option& option : command->options()) {
      std::vector<std::string> flags{"--" + option.name()};
      if (option.letter() != 0) flags.push_back(fmt::format("-{}", option.letter()));
      for (const std::string& flag : flags) {
        text += fmt::format(" \\\n        '{}[{}]", flag, zsh_text(option.help()));
        if (!option.is_flag())
          text += fmt::format(":{}:{}", zsh_text(option.value_name()),
                              zsh_action(option.kind(), option.choices()));
        text += "'";
      }
    }
    for (const Argument& argument : command->arguments())
      text += fmt::format(" \\\n        '{}:{}:{}'", argument.many ? "*" : "",
                          zsh_text(argument.name), zsh_action(argument.kind, {}));
    text += " ;;\n";
  }
  return text + fmt::format("  esac\n}}\n_{0} \"$@\"\n", line.name());
}

std::string fish_completion(const CommandLine& line) {
  const std::string start = "complete -c " + line.name();
  std::string text = "# fish completion for " + line.name() + "\n";
  for (const auto& command : line.commands())
    text += fmt::format("{} -n __fish_use_subcommand -f -a {} -d '{}'\n", start, command->name(),
                        shell_quoted(command->summary()));
  text += start + " -l help -s h -d 'show the options'\n";
  for (const auto& command : line.commands())
    for (const Option& option : command->options()) {
      text += fmt::format("{} -n '__fish_seen_subcommand_from {}' -l {}", start, command->name(),
                          option.name());
      if (option.letter() != 0) text += fmt::format(" -s {}", option.letter());
      if (option.kind() == ValueKind::kChoice)
        text += fmt::format(" -x -a '{}'", joined(option.choices()));
      else if (is_path(option.kind()))
        text += " -r -F";
      else if (!option.is_flag())
        text += " -x";
      text += fmt::format(" -d '{}'\n", shell_quoted(option.help()));
    }
  return text;
}

}  // namespace cairn
