#include "tools/manual.h"

#include <fmt/format.h>

#include <algorithm>

namespace cairn {

namespace {

// Text for roff: dashes that may be copied into a shell, no accidental requests.
std::string roff(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '-') {
      out += "\\-";
    } else if (c == '\\') {
      out += "\\e";
    } else if ((c == '.' || c == '\'') && (out.empty() || out.back() == '\n')) {
      out += std::string("\\&") + c;
    } else {
      out.push_back(c);
    }
  }
  return out;
}

std::string upper(std::string text) {
  for (char& c : text)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return text;
}

std::string header(const CommandLine& line, const std::string& page, const std::string& summary) {
  return fmt::format(".TH {} 1 \"\" \"{} {}\" \"User Commands\"\n.SH NAME\n{} \\- {}\n",
                     roff(upper(page)), line.name(), line.version(), roff(page), roff(summary));
}

std::string synopsis(const CommandLine& line, const Command& command) {
  std::string text = fmt::format(".B {} {}\n[\\fIOPTION\\fR...]", line.name(), command.name());
  for (const Option& option : command.options())
    if (option.is_required())
      text += " \\fB\\-\\-" + roff(option.name()) + "\\fR \\fI" + option.value_name() + "\\fR";
  for (const Argument& argument : command.arguments()) {
    const std::string name = "\\fI" + roff(argument.name) + "\\fR" + (argument.many ? "..." : "");
    text += argument.required ? " " + name : " [" + name + "]";
  }
  return text + "\n";
}

std::string option_entry(const Option& option) {
  std::string names;
  if (option.letter() != 0) names = fmt::format("\\fB\\-{}\\fR, ", option.letter());
  for (const std::string& name : option.names())
    names += (&name == &option.names().front() ? "" : ", ") + ("\\fB\\-\\-" + roff(name) + "\\fR");
  if (!option.is_flag()) names += " \\fI" + roff(option.value_name()) + "\\fR";
  std::string text = ".TP\n" + names + "\n" + roff(option.help()) + ".\n";
  if (!option.fallback().empty()) text += "Default: " + roff(option.fallback()) + ".\n";
  if (option.given() == Given::kOnlyTyped) text += "Only on the command line.\n";
  if (!option.outranked_by().empty()) {
    text += "Otherwise from the environment:";
    for (const std::string& variable : option.outranked_by()) text += " " + variable;
    text += ".\n";
  }
  return text;
}

std::string options_section(const Command& command) {
  std::string text = ".SH OPTIONS\n";
  std::string group;
  for (const Option& option : command.options()) {
    if (option.group() != group && option.group() != "Options")
      text += ".SS " + option.group() + "\n";
    group = option.group();
    text += option_entry(option);
  }
  return text + ".TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nshow a summary of the options.\n";
}

constexpr const char* kConfiguration =
    "Each option of a command that is not marked otherwise can also be given in a TOML file that\n"
    ".B \\-\\-config\n"
    "names, under its own name (cache\\-size = \"20G\"), and by an environment variable: CAIRN_ "
    "and\n"
    "the name in capital letters with underscores (CAIRN_CACHE_SIZE). The arguments are there "
    "under\n"
    "their names in small letters. The command line outranks the environment, that outranks the\n"
    "file. A key that no command knows is an error. Secrets are never read from these places.\n";

constexpr const char* kStatus =
    ".SH EXIT STATUS\n"
    "0 when it was done, 1 when it failed, 2 when it was asked for in a wrong way.\n"
    "3 from cairn status: something is not in the store yet.\n";

constexpr const char* kUnits =
    "Sizes have the suffixes K, M, G, T (powers of 1,024); times have ms, s, m, h, d; a number "
    "alone means bytes or seconds.\n";

bool has_units(const Command& command) {
  return std::any_of(command.options().begin(), command.options().end(), [](const Option& option) {
    return option.kind() == ValueKind::kSize || option.kind() == ValueKind::kDuration;
  });
}

}  // namespace

std::string manual_page(const CommandLine& line, const Command& command) {
  std::string text = header(line, line.name() + "-" + command.name(), command.summary());
  text += ".SH SYNOPSIS\n" + synopsis(line, command) + ".SH DESCRIPTION\n";
  if (command.about().empty()) text += roff(command.summary()) + ".\n";
  for (const std::string& paragraph : command.about())
    text += (&paragraph == &command.about().front() ? "" : ".PP\n") + roff(paragraph) + "\n";
  if (!command.arguments().empty()) text += ".SH ARGUMENTS\n";
  for (const Argument& argument : command.arguments())
    text += ".TP\n\\fI" + roff(argument.name) + "\\fR\n" + roff(argument.help) + ".\n";
  text += options_section(command);
  if (has_units(command)) text += std::string(".PP\n") + kUnits;
  if (command.is_configurable()) text += std::string(".SH CONFIGURATION\n") + kConfiguration;
  text += kStatus;
  if (!command.examples().empty()) text += ".SH EXAMPLES\n";
  for (const Example& example : command.examples())
    text += ".TP\n.B " + roff(example.command) + "\n" + roff(example.what) + ".\n";
  return text + ".SH SEE ALSO\n.BR " + line.name() + " (1)\n";
}

std::string manual_overview(const CommandLine& line) {
  std::string text = header(line, line.name(), "a bucket as a directory");
  text += ".SH SYNOPSIS\n.B " + line.name() + "\n\\fICOMMAND\\fR [\\fIOPTION\\fR...] ...\n";
  text += ".SH DESCRIPTION\n" + roff(line.summary()) + "\n";
  text +=
      "What is written is in the cache at once and goes to the store in the background, as "
      "content\\-addressed blocks in a few large objects. What another machine mounts is always a "
      "state that the tree really had.\n.SH COMMANDS\n";
  for (const auto& command : line.commands())
    text += fmt::format(".TP\n.BR {0}\\-{1} (1)\n{2}.\n", line.name(), command->name(),
                        roff(command->summary()));
  text += ".SH CONFIGURATION\n" + std::string(kConfiguration);
  text +=
      ".SH ENVIRONMENT\nCredentials, region and endpoint are found as the AWS CLI finds them: "
      "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, AWS_REGION, "
      "AWS_ENDPOINT_URL, AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE and others.\n"
      ".SH FILES\n.TP\n/var/cache/cairn, ~/.cache/cairn\ncaches, a folder for each remote, with "
      "the "
      "daemon's log.\n.TP\n/etc/cairn/NAME.toml\nwhat the service cairn@NAME mounts.\n.TP\n"
      "/run/cairn, $XDG_RUNTIME_DIR/cairn\nsockets of running mounts.\n";
  text += kStatus;
  text += ".SH SEE ALSO\n";
  for (const auto& command : line.commands())
    text += fmt::format(".BR {}\\-{} (1),\n", line.name(), command->name());
  return text + ".BR mount.cairn (8)\n";
}

}  // namespace cairn
