// Command: one subcommand as a table of its arguments and options.
//
// A command declares here, once, what it can be told. Command line, environment, configuration
// file, `-o` lists (tools/command_line), --help, manual pages and completions (tools/manual,
// tools/completion) are all made from this table.
// Owner: CommandLine. The variables that options fill must live as long as the command: `run` keeps
// what owns them. Setting a value is not thread-safe; it happens before anything is started.
// Errors: a bad value is kInvalid, a sentence that names the value.
#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "cache/base/result.h"
#include "tools/units.h"

namespace cairn {

enum class ValueKind : uint8_t {
  kFlag,
  kText,
  kFile,
  kDirectory,
  kRemote,
  kSize,
  kDuration,
  kCount,
  kChoice,
  kOptionList,  // -o: other options as k=v, comma-separated
};

// Where an option may be given from.
enum class Given : uint8_t {
  kAnywhere,
  kOnlyTyped,  // each time anew, on the command line: never from a file or the environment
};

class Option {
 public:
  using Set = std::function<Status(const std::string&)>;
  // `names`: long names without dashes, comma-separated; the first is the one that is shown.
  Option(std::string_view names, ValueKind kind, std::string value_name, std::string help, Set set);

  // The default, in words.
  Option& fallback(std::string words);
  Option& letter(char c);
  Option& required();
  // May be given more than once; a configuration file may give a list.
  Option& repeatable();
  Option& only_typed();
  // What the store reads by itself when nothing was typed: a configuration file ranks below it.
  Option& outranked_by(std::vector<std::string> environment);
  // Keys in a configuration file, when they are not the names.
  Option& keys(std::string_view names);

  const std::string& name() const { return names_.front(); }
  const std::vector<std::string>& names() const { return names_; }
  const std::vector<std::string>& keys() const { return keys_; }
  // CAIRN_ and the name, or empty.
  std::string variable() const;
  const std::vector<std::string>& outranked_by() const { return outranked_by_; }
  ValueKind kind() const { return kind_; }
  bool is_flag() const { return kind_ == ValueKind::kFlag; }
  const std::string& value_name() const { return value_name_; }
  const std::vector<std::string>& choices() const { return choices_; }
  const std::string& help() const { return help_; }
  const std::string& fallback() const { return fallback_; }
  const std::string& group() const { return group_; }
  char letter() const { return letter_; }
  bool is_required() const { return required_; }
  bool is_repeatable() const { return repeatable_; }
  Given given() const { return given_; }
  Status set(const std::string& value) const { return set_(value); }

 private:
  friend class Command;
  std::vector<std::string> names_, keys_, outranked_by_, choices_;
  ValueKind kind_;
  Given given_ = Given::kAnywhere;
  char letter_ = 0;
  bool required_ = false;
  bool repeatable_ = false;
  std::string value_name_, help_, fallback_, group_;
  Set set_;
};

// What is given by its place: REMOTE, MOUNTPOINT. In a configuration file its key is the name in
// small letters.
struct Argument {
  std::string name;
  ValueKind kind;
  bool required;
  bool many;  // the last of a command may be repeated
  std::string help;
  Option::Set set;
  std::string key() const;
};

struct Example {
  std::string command;
  std::string what;
};

class Command {
 public:
  Command(std::string name, std::string summary);

  // ---- declaring

  // Paragraphs for the manual page.
  Command& about(std::string text);
  Command& example(std::string command, std::string what);
  // Options declared from now on stand under this heading.
  Command& group(std::string heading);

  template <class T>
  void argument(std::string name, ValueKind kind, T& target, std::string help,
                bool required = true) {
    constexpr bool kMany = std::is_same_v<T, std::vector<std::string>>;
    arguments_.push_back({std::move(name), kind, required, kMany, std::move(help), into(target)});
  }
  template <class T>
  Option& text(std::string_view names, std::string value_name, T& target, std::string help,
               ValueKind kind = ValueKind::kText) {
    return add(Option(names, kind, std::move(value_name), std::move(help), into(target)));
  }
  // Every value goes to `set`, in the order in which they are given.
  Option& values(std::string_view names, std::string value_name, Option::Set set, std::string help);
  Option& flag(std::string_view names, bool& target, std::string help);
  template <class T>
  Option& size(std::string_view names, T& target, std::string help) {
    return add(Option(names, ValueKind::kSize, "SIZE", std::move(help),
                      [&target](const std::string& text) -> Status {
                        TRY_ASSIGN(target, parse_size(text));
                        return {};
                      }));
  }
  template <class T>
  Option& duration(std::string_view names, T& target, std::string help) {
    return add(Option(names, ValueKind::kDuration, "TIME", std::move(help),
                      [&target](const std::string& text) -> Status {
                        TRY_ASSIGN(target, parse_duration(text));
                        return {};
                      }));
  }
  template <class T>
  Option& count(std::string_view names, T& target, std::string help) {
    return add(Option(names, ValueKind::kCount, "N", std::move(help),
                      [&target](const std::string& text) -> Status {
                        TRY_ASSIGN(target, parse_count(text));
                        return {};
                      }));
  }
  template <class T>
  Option& choice(std::string_view names, T& target, std::vector<std::string> choices,
                 std::string help) {
    return add_choice(names, into(target), std::move(choices), std::move(help));
  }
  // -o: takes what is no option of the table; false means that nobody knows it.
  void option_list(std::function<Result<bool>(const std::string&)> other);
  // Options may come from a configuration file and from the environment too.
  void configurable();
  // The names of options that are typed, or stand behind -o, go to `names`: for who refuses what
  // would do nothing. What a file or the environment says is for other calls, too.
  void note_typed(std::vector<std::string>& names) { typed_ = &names; }
  void run(std::function<int()> action) { run_ = std::move(action); }

  // ---- using

  const std::string& name() const { return name_; }
  const std::string& summary() const { return summary_; }
  const std::vector<std::string>& about() const { return about_; }
  const std::vector<Example>& examples() const { return examples_; }
  const std::vector<Argument>& arguments() const { return arguments_; }
  const std::vector<Option>& options() const { return options_; }
  const Option* find(std::string_view long_name) const;
  bool is_configurable() const { return configurable_; }
  const std::string& config_file() const { return config_file_; }
  Result<bool> take_other(const std::string& item) const { return other_(item); }
  void was_typed(const Option& option) const {
    if (typed_ != nullptr) typed_->push_back(option.name());
  }
  int run() const { return run_(); }

 private:
  static Option::Set into(std::string& target);
  static Option::Set into(std::optional<std::string>& target);
  static Option::Set into(std::vector<std::string>& target);
  static Result<uint64_t> parse_count(const std::string& text);
  Option& add(Option option);
  Option& add_choice(std::string_view names, Option::Set set, std::vector<std::string> choices,
                     std::string help);

  std::string name_, summary_, heading_;
  std::vector<std::string> about_;
  std::vector<Example> examples_;
  std::vector<Argument> arguments_;
  std::vector<Option> options_;
  std::function<Result<bool>(const std::string&)> other_;
  std::function<int()> run_;
  std::vector<std::string>* typed_ = nullptr;
  bool configurable_ = false;
  std::string config_file_;
};

// The name in `known` that was probably meant, or empty.
std::string nearest(std::string_view word, const std::vector<std::string>& known);

}  // namespace cairn
