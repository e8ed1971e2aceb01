// The texts of --help, from the same table as everything else.
#include <fmt/format.h>

#include <algorithm>

#include "tools/command_line.h"

namespace cairn {

namespace {

constexpr size_t kWidth = 80;
constexpr size_t kIndent = 28;

// Words of `text` in lines from column `indent` on, where the first one begins.
std::string wrapped(const std::string& text, size_t indent) {
  std::string out;
  size_t column = indent;
  bool first = true;
  size_t from = 0;
  while (from < text.size()) {
    const size_t end = std::min(text.find(' ', from), text.size());
    const size_t length = end - from;
    if (!first && column + 1 + length > kWidth) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (!first) {
      out += " ";
      ++column;
    }
    out += text.substr(from, length);
    column += length;
    first = false;
    from = end + 1;
  }
  return out + "\n";
}

// `text` from column kIndent on, behind `left`.
std::string entry(const std::string& left, const std::string& text) {
  std::string out = "  " + left;
  size_t column = out.size();
  if (column + 2 > kIndent) {
    out += "\n";
    column = 0;
  }
  return out + std::string(kIndent - column, ' ') + wrapped(text, kIndent);
}

std::string left_of(const Option& option) {
  std::string left =
      option.letter() != 0 ? fmt::format("-{}, ", option.letter()) : std::string("    ");
  left += "--" + option.name();
  if (!option.is_flag()) left += " " + option.value_name();
  return left;
}

}  // namespace

std::string CommandLine::usage(const Command& command) const {
  std::string text = name_ + " " + command.name();
  if (!command.options().empty()) text += " [OPTION...]";
  for (const Option& option : command.options())
    if (option.is_required()) text += " --" + option.name() + " " + option.value_name();
  for (const Argument& argument : command.arguments()) {
    const std::string name = argument.name + (argument.many ? "..." : "");
    text += argument.required ? " " + name : " [" + name + "]";
  }
  return text;
}

std::string CommandLine::help(const Command& command) const {
  std::string text = "Usage: " + usage(command) + "\n" + command.summary() + ".\n";
  for (const std::string& paragraph : command.about()) text += "\n" + wrapped(paragraph, 0);
  if (!command.arguments().empty()) text += "\n";
  for (const Argument& argument : command.arguments()) text += entry(argument.name, argument.help);
  std::vector<std::string> groups;
  for (const Option& option : command.options())
    if (std::find(groups.begin(), groups.end(), option.group()) == groups.end())
      groups.push_back(option.group());
  if (groups.empty()) groups.emplace_back("Options");
  for (const std::string& group : groups) {
    text += "\n" + group + ":\n";
    for (const Option& option : command.options()) {
      if (option.group() != group) continue;
      text += entry(left_of(option),
                    option.help() +
                        (option.fallback().empty() ? "" : " (default: " + option.fallback() + ")"));
    }
    if (group == groups.front()) text += entry("-h, --help", "show this text");
  }
  if (!command.examples().empty()) text += "\nExamples:\n";
  for (const Example& example : command.examples())
    text += "  " + example.command + "\n      " + example.what + "\n";
  return text;
}

std::string CommandLine::help() const {
  std::string text =
      "Usage: " + name_ + " COMMAND [OPTION...] ...\n" + summary_ + "\n\nCommands:\n";
  for (const auto& command : commands_) text += entry(command->name(), command->summary());
  text += "\n" + entry("--version", "show the version") + entry("-h, --help", "show this text");
  text += "\n'" + name_ + " COMMAND --help' names the options of a command.\n";
  return text;
}

}  // namespace cairn
