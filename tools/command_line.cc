#include "tools/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>

#include "tools/config_file.h"

namespace cairn {

// What was on the command line, before it is understood.
struct CommandLine::Typed {
  std::vector<std::string> arguments;
  std::map<std::string, std::vector<std::string>> options;  // by first name
};

namespace {

using Strings = std::vector<std::string>;

// How CLI11 writes the names of an option.
std::string flags_of(const Option& option) {
  std::string flags;
  if (option.letter() != 0) flags = fmt::format("-{},", option.letter());
  for (const std::string& name : option.names()) flags += "--" + name + ",";
  flags.pop_back();
  return flags;
}

void declare(CLI::App& app, const Option& option, Strings& values) {
  if (option.is_flag()) {
    app.add_flag_function(flags_of(option),
                          [&values](int64_t) { values.insert(values.begin(), "true"); });
    return;
  }
  CLI::Option* declared = app.add_option(flags_of(option), [&values](const CLI::results_t& given) {
    values = given;
    return true;
  });
  declared->type_name(option.value_name())->type_size(1)->expected(1);
  if (option.kind() == ValueKind::kOptionList || option.is_repeatable()) {
    declared->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  } else {
    declared->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  }
}

// "--flag=false" takes a flag of the configuration file back. CLI11 throws at what is neither true
// nor false, so these words are taken out before.
void take_flag_values(const Command& command, Strings& words,
                      std::map<std::string, Strings>& options) {
  const auto end = std::find(words.begin(), words.end(), "--");
  const auto taken = std::remove_if(words.begin(), end, [&](const std::string& word) {
    const size_t equals = word.find('=');
    if (!word.starts_with("--") || equals == std::string::npos) return false;
    const Option* option = command.find(word.substr(2, equals - 2));
    if (option == nullptr || !option->is_flag()) return false;
    options[option->name()].push_back(word.substr(equals + 1));
    return true;
  });
  words.erase(taken, end);
}

// CLI11 would take the next word for the value of "--region=", which is what a variable of the
// shell that is not set makes of "--region=$R".
Status refuse_no_values(const Command& command, const Strings& words) {
  for (const std::string& word : words) {
    if (word == "--") break;
    if (!word.starts_with("--") || word.find('=') != word.size() - 1) continue;
    const Option* option = command.find(word.substr(2, word.size() - 3));
    if (option != nullptr)
      return fail(Errc::kInvalid, word + " has no value: name one, or leave the option out");
  }
  return {};
}

std::string lower_first(std::string text) {
  if (text.size() > 1 && text[0] >= 'A' && text[0] <= 'Z' && !(text[1] >= 'A' && text[1] <= 'Z'))
    text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

tl::unexpected<Error> at(const std::string& where, const Error& error) {
  return fail(Errc::kInvalid, where + ": " + error.message());
}

std::string dashed(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

std::string did_you_mean(const std::string& word, const Strings& known, std::string_view dashes) {
  const std::string near = nearest(word, known);
  return near.empty() ? "" : fmt::format("; did you mean {}{}?", dashes, near);
}

Strings long_names(const Command& command) {
  Strings names{"help"};
  for (const Option& option : command.options())
    names.insert(names.end(), option.names().begin(), option.names().end());
  return names;
}

}  // namespace

Strings split_list(const std::string& list) {
  Strings items;
  std::string item;
  bool quoted = false;
  for (const char c : list) {
    if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      items.push_back(std::exchange(item, {}));
    } else {
      item.push_back(c);
    }
  }
  items.push_back(item);
  std::erase(items, "");
  return items;
}

CommandLine::CommandLine(std::string name, std::string version, std::string summary)
    : name_(std::move(name)), version_(std::move(version)), summary_(std::move(summary)) {}

Command& CommandLine::add(std::string name, std::string summary) {
  return *commands_.emplace_back(std::make_unique<Command>(std::move(name), std::move(summary)));
}

const Command* CommandLine::find(std::string_view name) const {
  for (const auto& command : commands_)
    if (command->name() == name) return command.get();
  return nullptr;
}

CommandLine::Outcome CommandLine::parse(const Strings& words,
                                        const Surroundings& surroundings) const {
  Outcome outcome;
  const auto refuse = [&](const std::string& why, const Command* command) {
    outcome.exit_code = kExitUsage;
    // What points at a place is several lines.
    const char* const between = why.find('\n') == std::string::npos ? " " : "\n";
    outcome.err = fmt::format("{}: {}{}(see '{}{}{} --help')\n", name_, why, between, name_,
                              command == nullptr ? "" : " ", command ? command->name() : "");
    return outcome;
  };
  if (words.empty()) return refuse("a command is missing", nullptr);
  if (words[0] == "--version") return outcome.out = name_ + " " + version_ + "\n", outcome;
  if (words[0] == "--help" || words[0] == "-h" || (words[0] == "help" && words.size() == 1))
    return outcome.out = help(), outcome;
  const bool asks_help = words[0] == "help";
  const std::string& wanted = words[asks_help ? 1 : 0];
  const Command* command = find(wanted);
  if (command == nullptr) {
    Strings names;
    for (const auto& each : commands_) names.push_back(each->name());
    const bool is_option = wanted.starts_with("-");
    return refuse(fmt::format("{} is not {}{}", wanted, is_option ? "an option" : "a command",
                              did_you_mean(wanted, names, "")),
                  nullptr);
  }
  if (asks_help) return outcome.out = help(*command), outcome;

  CLI::App app;
  app.allow_extras(true);
  app.set_help_flag("-h,--help");
  Typed typed;
  for (const Option& option : command->options())
    declare(app, option, typed.options[option.name()]);
  Strings rest(words.begin() + 1, words.end());
  if (const Status said = refuse_no_values(*command, rest); !said)
    return refuse(said.error().message(), command);
  take_flag_values(*command, rest, typed.options);
  std::reverse(rest.begin(), rest.end());  // as CLI11 wants them
  try {
    app.parse(rest);
  } catch (const CLI::CallForHelp&) {
    return outcome.out = help(*command), outcome;
  } catch (const CLI::ArgumentMismatch& error) {
    const std::string what = error.what();
    return refuse(what.substr(0, what.find(':')) + " needs a value", command);
  } catch (const CLI::ParseError& error) {
    return refuse(lower_first(error.what()), command);
  }
  for (const std::string& word : app.remaining()) {
    if (word.size() < 2 || word[0] != '-' || word == "--") {
      if (word != "--") typed.arguments.push_back(word);
      continue;
    }
    const std::string named = word.substr(0, word.find('='));
    const std::string bare = named.substr(std::min(named.find_first_not_of('-'), named.size()));
    return refuse(fmt::format("{} is not an option of '{} {}'{}", word, name_, command->name(),
                              did_you_mean(bare, long_names(*command), "--")),
                  command);
  }
  const auto& expected = command->arguments();
  if (typed.arguments.size() > expected.size() && (expected.empty() || !expected.back().many))
    return refuse("'" + typed.arguments[expected.size()] + "' is one argument too many", command);
  if (const Status collected = collect(*command, typed, surroundings); !collected)
    return refuse(collected.error().message(), command);
  outcome.command = command;
  return outcome;
}

Status CommandLine::collect(const Command& command, const Typed& typed,
                            const Surroundings& surroundings) const {
  const auto variable = [&](const std::string& name) -> std::optional<std::string> {
    if (!command.is_configurable() || name.empty()) return std::nullopt;
    return surroundings.variable(name);
  };
  const auto lists = typed.options.find("options");
  // The configuration file first, and its name before everything: the stronger is set later.
  std::vector<bool> given(command.arguments().size());
  if (command.is_configurable()) {
    const Option& config = *command.find("config");
    if (const auto value = variable(config.variable())) TRY(config.set(*value));
    if (lists != typed.options.end())
      for (const std::string& list : lists->second)
        for (const std::string& item : split_list(list))
          if (item.starts_with("config=")) TRY(config.set(item.substr(7)));
    if (const Strings& named = typed.options.at("config"); !named.empty())
      TRY(config.set(named.back()));
    if (!command.config_file().empty())
      TRY(apply_config(command, command.config_file(), surroundings, given));
  }
  for (const Option& option : command.options()) {
    const auto value = variable(option.variable());
    if (!value || option.name() == "config") continue;
    if (option.kind() == ValueKind::kOptionList) {
      TRY(apply_list(command, *value, option.variable()));
    } else if (const Status set = option.set(*value); !set) {
      return at(option.variable(), set.error());
    }
  }
  if (lists != typed.options.end())
    for (const std::string& list : lists->second) TRY(apply_list(command, list, "-o"));
  for (const Option& option : command.options())
    if (option.kind() != ValueKind::kOptionList)
      for (const std::string& value : typed.options.at(option.name())) {
        if (value.empty())
          return fail(Errc::kInvalid, "--" + option.name() +
                                          " has an empty value: name one, or leave the option out");
        if (const Status set = option.set(value); !set)
          return at("--" + option.name(), set.error());
        command.was_typed(option);
      }
  for (const Option& option : command.options())
    if (option.is_required() && typed.options.at(option.name()).empty())
      return fail(Errc::kInvalid,
                  fmt::format("--{} {} is missing", option.name(), option.value_name()));
  for (size_t i = 0; i < command.arguments().size(); ++i) {
    const Argument& argument = command.arguments()[i];
    if (i < typed.arguments.size()) {
      TRY(argument.set(typed.arguments[i]));
    } else if (argument.required && !given[i]) {
      return fail(Errc::kInvalid, argument.name + " is missing: " + usage(command));
    }
  }
  for (size_t i = command.arguments().size(); i < typed.arguments.size(); ++i)
    TRY(command.arguments().back().set(typed.arguments[i]));
  return {};
}

Status CommandLine::apply_list(const Command& command, const std::string& list,
                               const std::string& origin) const {
  for (const std::string& item : split_list(list)) {
    const size_t equals = item.find('=');
    std::string name = dashed(item.substr(0, equals));
    if (name.starts_with("--")) name = name.substr(2);
    const Option* option = command.find(name);
    if (option == nullptr || option->kind() == ValueKind::kOptionList) {
      TRY_ASSIGN(const bool known, command.take_other(item));
      if (!known)
        return fail(Errc::kInvalid, fmt::format("{} {} is not known{}", origin, item,
                                                did_you_mean(name, long_names(command), "")));
      continue;
    }
    if (option->given() == Given::kOnlyTyped)
      return fail(Errc::kInvalid, fmt::format("{} {}: say --{} on the command line, each time anew",
                                              origin, name, name));
    if (name == "config") continue;
    if (!option->is_flag() && equals == std::string::npos)
      return fail(Errc::kInvalid, fmt::format("{} {} needs a value: {}={}", origin, name, name,
                                              option->value_name()));
    const Status set = option->set(equals == std::string::npos ? "true" : item.substr(equals + 1));
    if (!set) return at(origin + " " + name, set.error());
    if (origin == "-o") command.was_typed(*option);
  }
  return {};
}

Status CommandLine::apply_config(const Command& command, const std::string& path,
                                 const Surroundings& surroundings, std::vector<bool>& given) const {
  TRY_ASSIGN(const auto entries, read_config(surroundings.env, path));
  for (const ConfigEntry& entry : entries) {
    const std::string where = fmt::format("{}:{}", path, entry.line);
    bool taken = false;
    for (size_t i = 0; i < command.arguments().size(); ++i) {
      if (command.arguments()[i].key() != entry.key) continue;
      TRY(command.arguments()[i].set(entry.value));
      given[i] = taken = true;
    }
    for (const Option& option : command.options()) {
      if (std::find(option.keys().begin(), option.keys().end(), entry.key) == option.keys().end())
        continue;
      taken = true;
      if (entry.in_list && !option.is_repeatable())
        return fail(Errc::kInvalid, fmt::format("{}: {} takes one value", where, entry.key));
      const auto& stronger = option.outranked_by();
      const bool outranked = std::any_of(
          stronger.begin(), stronger.end(),
          [&](const std::string& variable) { return surroundings.variable(variable).has_value(); });
      if (outranked) continue;
      if (option.kind() == ValueKind::kOptionList) {
        TRY(apply_list(command, entry.value, where + ": options"));
      } else if (const Status set = option.set(entry.value); !set) {
        return at(where + ": " + entry.key, set.error());
      }
    }
    if (!taken) TRY(unknown_key(entry.key, where));
  }
  return {};
}

// One file serves several commands: what another one knows is no mistake here.
Status CommandLine::unknown_key(const std::string& key, const std::string& where) const {
  Strings keys;
  for (const auto& command : commands_) {
    if (!command->is_configurable()) continue;
    for (const Argument& argument : command->arguments()) keys.push_back(argument.key());
    for (const Option& option : command->options()) {
      if (option.name() == "config") continue;
      if (option.given() == Given::kOnlyTyped && option.name() == key)
        return fail(Errc::kInvalid,
                    fmt::format("{}: say --{} on the command line, each time anew", where, key));
      keys.insert(keys.end(), option.keys().begin(), option.keys().end());
    }
  }
  if (std::find(keys.begin(), keys.end(), key) != keys.end()) return {};
  return fail(Errc::kInvalid, fmt::format("{}: {} is not the name of an option{}", where, key,
                                          did_you_mean(dashed(key), keys, "")));
}

}  // namespace cairn
