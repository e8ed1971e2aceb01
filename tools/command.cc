#include "tools/command.h"

#include <algorithm>
#include <charconv>
#include <numeric>

namespace cairn {

namespace {

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  while (true) {
    const size_t end = text.find(',');
    parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// Insertions, removals and changes of one letter from one word to the other.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

Option::Option(std::string_view names, ValueKind kind, std::string value_name, std::string help,
               Set set)
    : names_(split(names)),
      keys_(names_),
      kind_(kind),
      value_name_(std::move(value_name)),
      help_(std::move(help)),
      set_(std::move(set)) {}

Option& Option::fallback(std::string words) {
  fallback_ = std::move(words);
  return *this;
}

Option& Option::letter(char c) {
  letter_ = c;
  return *this;
}

Option& Option::required() {
  required_ = true;
  return *this;
}

Option& Option::repeatable() {
  repeatable_ = true;
  return *this;
}

Option& Option::only_typed() {
  given_ = Given::kOnlyTyped;
  keys_.clear();
  return *this;
}

Option& Option::outranked_by(std::vector<std::string> environment) {
  outranked_by_ = std::move(environment);
  return *this;
}

Option& Option::keys(std::string_view names) {
  keys_ = split(names);
  return *this;
}

std::string Option::variable() const {
  if (given_ == Given::kOnlyTyped) return {};
  std::string variable = "CAIRN_";
  for (const char c : name())
    variable.push_back(c == '-'               ? '_'
                       : c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A')
                                              : c);
  return variable;
}

std::string Argument::key() const {
  std::string key;
  for (const char c : name)
    key.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
  return key;
}

Command::Command(std::string name, std::string summary)
    : name_(std::move(name)), summary_(std::move(summary)), heading_("Options") {}

Command& Command::about(std::string text) {
  about_.push_back(std::move(text));
  return *this;
}

Command& Command::example(std::string command, std::string what) {
  examples_.push_back({std::move(command), std::move(what)});
  return *this;
}

Command& Command::group(std::string heading) {
  heading_ = std::move(heading);
  return *this;
}

Option& Command::add(Option option) {
  option.group_ = heading_;
  return options_.emplace_back(std::move(option));
}

Option& Command::values(std::string_view names, std::string value_name, Option::Set set,
                        std::string help) {
  return add(Option(names, ValueKind::kText, std::move(value_name), std::move(help),
                    std::move(set)))
      .repeatable();
}

Option& Command::flag(std::string_view names, bool& target, std::string help) {
  return add(Option(names, ValueKind::kFlag, "", std::move(help),
                    [&target](const std::string& text) -> Status {
                      const bool yes = text == "true" || text == "yes" || text == "1";
                      if (!yes && text != "false" && text != "no" && text != "0")
                        return fail(Errc::kInvalid, "'" + text + "' is neither true nor false");
                      target = yes;
                      return {};
                    }));
}

Option& Command::add_choice(std::string_view names, Option::Set set,
                            std::vector<std::string> choices, std::string help) {
  std::string value_name, list;
  for (const std::string& each : choices) {
    value_name += (value_name.empty() ? "" : "|") + each;
    list += (list.empty() ? "" : ", ") + each;
  }
  // Of many words the help speaks, not its left column.
  constexpr size_t kNameMost = 60;
  if (value_name.size() > kNameMost) {
    help += ": " + list;
    value_name = "NAME";
  }
  Option option(names, ValueKind::kChoice, value_name, std::move(help),
                [set = std::move(set), choices, list](const std::string& text) -> Status {
                  if (std::find(choices.begin(), choices.end(), text) == choices.end())
                    return fail(Errc::kInvalid, "'" + text + "' is not one of " + list);
                  return set(text);
                });
  option.choices_ = std::move(choices);
  return add(std::move(option));
}

void Command::option_list(std::function<Result<bool>(const std::string&)> other) {
  other_ = std::move(other);
  add(Option(
          "options", ValueKind::kOptionList, "LIST",
          "mount options, comma-separated: options of this command as name or name=value, ro, and "
          "what the kernel knows (nosuid, nodev, noexec, noatime)",
          [](const std::string&) -> Status { return {}; }))
      .letter('o');
}

void Command::configurable() {
  configurable_ = true;
  add(Option("config", ValueKind::kFile, "FILE",
             "take what is not given here from this TOML file; its keys are the names of options",
             into(config_file_)));
}

const Option* Command::find(std::string_view long_name) const {
  for (const Option& option : options_)
    if (std::find(option.names().begin(), option.names().end(), long_name) != option.names().end())
      return &option;
  return nullptr;
}

Option::Set Command::into(std::string& target) {
  return [&target](const std::string& text) -> Status {
    target = text;
    return {};
  };
}

Option::Set Command::into(std::optional<std::string>& target) {
  return [&target](const std::string& text) -> Status {
    target = text;
    return {};
  };
}

Option::Set Command::into(std::vector<std::string>& target) {
  return [&target](const std::string& text) -> Status {
    target.push_back(text);
    return {};
  };
}

Result<uint64_t> Command::parse_count(const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    return fail(Errc::kInvalid, "'" + text + "' is not a number");
  return value;
}

std::string nearest(std::string_view word, const std::vector<std::string>& known) {
  std::string best;
  size_t best_distance = 1 + word.size() / 3;
  for (const std::string& each : known) {
    // What was begun right is nearer than its length says.
    const bool begun = word.size() >= 3 && each.starts_with(word);
    const size_t far = begun ? 1 : distance(word, each);
    if (far > best_distance || (far == best_distance && !best.empty())) continue;
    best_distance = far;
    best = each;
  }
  return best;
}

}  // namespace cairn
