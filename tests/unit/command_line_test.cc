#include "tools/command_line.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>

#include "tests/support/memory_env.h"
#include "tools/config_file.h"

using namespace cairn;

namespace {

using Words = std::vector<std::string>;

// A command line of two commands with one option of every kind, and what was given to it.
struct Line {
  CommandLine line{"cairn", "1", "Tests."};
  test::MemoryEnv env;
  std::map<std::string, std::string> variables;
  std::string place, dir, region = "none", mode = "calm";
  std::optional<uint64_t> size;
  uint64_t number = 0;
  std::optional<Duration> wait;
  bool loud = false, once = false;
  Words others, rules, typed;

  Line() {
    Command& command = line.add("go", "Go");
    command.argument("PLACE", ValueKind::kRemote, place, "where");
    command.argument("DIR", ValueKind::kDirectory, dir, "how", false);
    command.size("room-size", size, "room");
    command.count("number", number, "number");
    command.duration("wait", wait, "wait");
    command.flag("loud,noisy", loud, "loud").letter('l');
    command.flag("once", once, "once").only_typed();
    command.choice("mode", mode, {"calm", "wild"}, "mode");
    command.text("region", "NAME", region, "region").outranked_by({"AWS_REGION"});
    command.values(
        "filter-rules", "RULE",
        [this](const std::string& text) -> Status {
          if (text == "bad") return fail(Errc::kInvalid, "no rule\n  bad\n  ^");
          rules.push_back(text);
          return {};
        },
        "rules");
    command.option_list([this](const std::string& item) -> Result<bool> {
      if (item != "nodev") return false;
      others.push_back(item);
      return true;
    });
    command.configurable();
    command.note_typed(typed);
    command.run([] { return 7; });
    Command& stop = line.add("stop", "Stop");
    stop.size("stop-size", size, "room");
    stop.configurable();
    Command& look = line.add("look", "Look");
    look.size("look-size", size, "room");
    look.argument("PATH", ValueKind::kText, others, "what");
  }

  CommandLine::Outcome parse(const Words& words) {
    return line.parse(words, {env, [this](const std::string& name) -> std::optional<std::string> {
                                const auto found = variables.find(name);
                                if (found == variables.end()) return std::nullopt;
                                return found->second;
                              }});
  }
  void config(const std::string& text) { REQUIRE(replace_file(env, "/c.toml", as_bytes(text))); }
  bool takes(const Words& words) { return parse(words).command != nullptr; }
  // The message that refuses `words`.
  std::string refusal(const Words& words) {
    const auto outcome = parse(words);
    CHECK(outcome.command == nullptr);
    CHECK(outcome.exit_code == kExitUsage);
    return outcome.err;
  }
};

bool has(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE(text);
  return found;
}

}  // namespace

TEST_CASE("command line: values of every kind") {
  Line l;
  REQUIRE(l.takes({"go", "--room-size", "2K", "here", "--number=3", "--wait", "2m", "-l", "there",
                   "--mode=wild"}));
  CHECK(l.place == "here");
  CHECK(l.dir == "there");
  CHECK(l.size == 2048);
  CHECK(l.number == 3);
  CHECK(l.wait == Duration(std::chrono::minutes(2)));
  CHECK(l.loud);
  CHECK(l.mode == "wild");
  CHECK(l.parse({"go", "here"}).command->run() == 7);
  CHECK(l.takes({"go", "here", "--loud=false"}));
  CHECK_FALSE(l.loud);
  CHECK(l.takes({"go", "here", "--number", "1", "--number", "2"}));
  CHECK(l.number == 2);
  CHECK(l.takes({"go", "--", "here"}));
  CHECK(l.takes({"look", "a", "b", "c"}));
  CHECK(l.others == Words{"a", "b", "c"});
  CHECK(has(l.refusal({"look"}), "PATH is missing: cairn look [OPTION...] PATH..."));
}

TEST_CASE("command line: what is wrong is named, with what was probably meant") {
  Line l;
  CHECK(has(l.refusal({}), "a command is missing"));
  CHECK(has(l.refusal({"lok"}), "lok is not a command; did you mean look?"));
  CHECK(has(l.refusal({"go"}), "PLACE is missing: cairn go [OPTION...] PLACE [DIR]"));
  CHECK(has(l.refusal({"go", "a", "b", "c"}), "'c' is one argument too many"));
  CHECK(has(l.refusal({"go", "a", "--romsize=1"}), "did you mean --room-size?"));
  CHECK(has(l.refusal({"go", "a", "--xyzzy"}), "--xyzzy is not an option of 'cairn go' (see"));
  CHECK(has(l.refusal({"go", "a", "-l", "--room-size", "huge"}), "--room-size: 'huge'"));
  CHECK(has(l.refusal({"go", "a", "--number", "-1"}), "--number"));
  CHECK(has(l.refusal({"go", "a", "--mode", "odd"}), "'odd' is not one of calm, wild"));
  CHECK(has(l.refusal({"go", "a", "--room-size"}), "--room-size needs a value"));
  // What "--region=$R" is where R is not set: the next word is not its value.
  CHECK(has(l.refusal({"go", "--region=", "a"}), "--region= has no value"));
  CHECK(has(l.refusal({"go", "--room-size=", "a", "b"}), "--room-size= has no value"));
  CHECK(has(l.refusal({"go", "--loud=", "a"}), "--loud= has no value"));
  CHECK(has(l.refusal({"go", "--region", "", "a"}), "--region has an empty value"));
  CHECK(has(l.refusal({"go", "a", "--loud=perhaps"}), "--loud: 'perhaps' is neither"));
}

TEST_CASE("command line: a typed value outranks -o, that the environment, that the file") {
  Line l;
  l.config("number = 1\nmode = \"wild\"\nwait = 3\nloud = true\nplace = \"x\"\n");
  CHECK(l.takes({"go", "--config", "/c.toml"}));
  CHECK(l.number == 1);
  CHECK(l.mode == "wild");
  CHECK(l.wait == Duration(std::chrono::seconds(3)));
  CHECK(l.loud);
  CHECK(l.place == "x");
  l.variables["CAIRN_NUMBER"] = "2";
  CHECK(l.takes({"go", "--config", "/c.toml", "y"}));
  CHECK(l.number == 2);
  CHECK(l.place == "y");
  CHECK(l.takes({"go", "-o", "number=3,nodev", "--config", "/c.toml"}));
  CHECK(l.number == 3);
  CHECK(l.others == Words{"nodev"});
  CHECK(l.takes({"go", "-o", "number=3", "-o", "config=/c.toml", "--number", "4", "--loud=false"}));
  CHECK(l.number == 4);
  CHECK_FALSE(l.loud);
  l.variables["CAIRN_CONFIG"] = "/c.toml";
  l.variables.erase("CAIRN_NUMBER");
  CHECK(l.takes({"go"}));
  CHECK(l.number == 1);
}

TEST_CASE("command line: what was typed is known from what is said elsewhere") {
  Line l;
  l.config("number = 1\nloud = true\n");
  l.variables["CAIRN_MODE"] = "wild";
  l.variables["CAIRN_OPTIONS"] = "number=4";
  CHECK(l.takes({"go", "y", "--config", "/c.toml", "--wait", "2s", "-o", "room-size=1M,nodev"}));
  CHECK(l.mode == "wild");
  CHECK(l.loud);
  CHECK(l.number == 4);
  std::sort(l.typed.begin(), l.typed.end());
  CHECK(l.typed == Words{"config", "room-size", "wait"});
}

TEST_CASE("command line: what the store reads from the environment outranks the file") {
  Line l;
  l.config("region = \"from-file\"\nplace = \"x\"\n");
  CHECK(l.takes({"go", "--config", "/c.toml"}));
  CHECK(l.region == "from-file");
  l.region = "none";
  l.variables["AWS_REGION"] = "elsewhere";
  CHECK(l.takes({"go", "--config", "/c.toml"}));
  CHECK(l.region == "none");
}

TEST_CASE("command line: lists of fstab") {
  Line l;
  CHECK(l.takes({"go", "a", "-o", "room_size=1K,loud,mode=wild", "b"}));
  CHECK(l.size == 1024);
  CHECK(l.loud);
  CHECK(l.dir == "b");
  CHECK(l.takes({"go", "a", "-o", "region=\"a,b\",number=5"}));
  CHECK(l.region == "a,b");
  CHECK(has(l.refusal({"go", "a", "-o", "rom-size=1K"}), "-o rom-size=1K is not known; did you"));
  CHECK(has(l.refusal({"go", "a", "-o", "number"}), "number needs a value"));
  CHECK(has(l.refusal({"go", "a", "-o", "number=x"}), "-o number: 'x'"));
  CHECK(has(l.refusal({"go", "a", "-o", "once"}), "--once on the command line"));
}

TEST_CASE("configuration file: what is wrong is named with file and line") {
  Line l;
  const Words words{"go", "a", "--config", "/c.toml"};
  CHECK(has(l.refusal(words), "/c.toml"));  // not there
  l.config("number = 1\nmod = \"wild\"\n");
  CHECK(has(l.refusal(words), "/c.toml:2: mod is not the name of an option; did you mean mode?"));
  l.config("\n\nnumber = \"many\"\n");
  CHECK(has(l.refusal(words), "/c.toml:3: number: 'many' is not a number"));
  l.config("room-size = 2K\n");
  CHECK(has(l.refusal(words), "/c.toml:1: "));
  l.config("mode = [\"calm\"]\n");
  CHECK(has(l.refusal(words), "/c.toml:1: mode takes one value"));
  l.config("number = 1\nnumber = 2\n");
  CHECK(has(l.refusal(words), "'number'; say it once (see"));
  l.config("number = 1\nnumber = 2\n");
  CHECK(has(l.refusal(words), "/c.toml:"));
  l.config("once = true\n");
  CHECK(has(l.refusal(words), "/c.toml:1: say --once on the command line"));
  l.config("look-size = 1\n");  // of a command that takes no file
  CHECK(has(l.refusal(words), "look-size is not the name of an option"));
  l.config("[go]\nnumber = 1\n");
  CHECK(has(l.refusal(words), "/c.toml:1: go must be a text"));
}

TEST_CASE("configuration file: one file serves several commands") {
  Line l;
  l.config("place = \"x\"\nstop-size = \"1K\"\nnoisy = true\noptions = \"number=6,nodev\"\n");
  CHECK(l.takes({"go", "--config", "/c.toml"}));
  CHECK_FALSE(l.size);
  CHECK(l.loud);
  CHECK(l.number == 6);
  CHECK(l.takes({"stop", "--config", "/c.toml"}));
  CHECK(l.size == 1024);
}

TEST_CASE("cairn's own table is complete and without contradiction") {
  const CommandLine line = cairn_command_line();
  CHECK(line.commands().size() > 5);
  for (const auto& command : line.commands()) {
    CAPTURE(command->name());
    CHECK_FALSE(command->summary().empty());
    CHECK(has(line.help(), "  " + command->name() + " "));
    const std::string help = line.help(*command);
    std::set<std::string> names;
    for (const Option& option : command->options()) {
      for (const std::string& name : option.names()) CHECK(names.insert(name).second);
      CHECK(has(help, "--" + option.name()));
      CHECK_FALSE(option.help().empty());
      CHECK(option.help().find('\n') == std::string::npos);
      CHECK(option.is_flag() == option.value_name().empty());
    }
    size_t from = 0;
    for (size_t end = 0; (end = help.find('\n', from)) != std::string::npos; from = end + 1)
      CHECK(end - from <= 100);
  }
  CHECK(line.find("mount")->find("cache-size") != nullptr);
}

TEST_CASE("nearest: a likely slip, never a wild guess") {
  const Words known{"cache-dir", "cache-size", "read-only"};
  CHECK(nearest("cach-size", known) == "cache-size");
  CHECK(nearest("readonly", known) == "read-only");
  CHECK(nearest("read", known) == "read-only");
  CHECK(nearest("bananas", known).empty());
  CHECK(nearest("", known).empty());
}

TEST_CASE("what may be repeated: from a list of the file, -o and the command line, in that order") {
  Line l;
  l.config("[filter]\nrules = [\"a\", \"b\",\n  'c']\n");
  CHECK(l.takes({"go", "p", "--config", "/c.toml", "--filter-rules", "!e", "-o", "filter-rules=d",
                 "--filter-rules", "f"}));
  CHECK(l.rules == Words{"a", "b", "c", "d", "!e", "f"});

  l.config("filter-rules = 'one'\n");
  CHECK(l.takes({"go", "p", "--config", "/c.toml"}));
  CHECK(l.rules.back() == "one");
  l.config("number = [1, 2]\n");
  CHECK(has(l.refusal({"go", "p", "--config", "/c.toml"}), "/c.toml:1: number takes one value"));
  l.config("[other]\nrules = 'x'\n");
  CHECK(has(l.refusal({"go", "p", "--config", "/c.toml"}), "/c.toml:1: other must be a text"));
  l.config("[filter]\nrulez = 'x'\n");
  CHECK(has(l.refusal({"go", "p", "--config", "/c.toml"}), "/c.toml:2: filter-rulez is not"));

  // An error of several lines stays that.
  l.config("[filter]\nrules = ['a',\n 'bad']\n");
  CHECK(l.refusal({"go", "p", "--config", "/c.toml"}) ==
        "cairn: /c.toml:3: filter-rules: no rule\n  bad\n  ^\n(see 'cairn go --help')\n");
  Line typed;
  CHECK(typed.refusal({"go", "p", "--filter-rules", "bad"}) ==
        "cairn: --filter-rules: no rule\n  bad\n  ^\n(see 'cairn go --help')\n");
}
