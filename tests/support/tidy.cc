#include "tests/support/tidy.h"

#include <algorithm>
#include <cctype>
#include <optional>

namespace cairn {

namespace {

constexpr size_t kFileLinesMax = 600;
constexpr size_t kColumnsMax = 100;

using Paths = std::vector<std::string_view>;

bool below_any(std::string_view path, const Paths& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](std::string_view prefix) { return path.starts_with(prefix); });
}

bool is_word_byte(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

bool is_product(std::string_view path) {
  return below_any(path, {"cache/", "s3/", "fs/", "tools/"});
}

// --- include direction ------------------------------------------------------------------------

// The longest prefix decides: cache/base/ before cache/.
struct Layer {
  std::string_view prefix;
  Paths may_include;
};

const std::vector<Layer>& layers() {
  static const std::vector<Layer> table{
      {"cache/base/", {"cache/base/"}},
      {"cache/format/", {"cache/base/", "cache/format/"}},
      {"cache/", {"cache/"}},
      {"s3/", {"cache/base/", "cache/object_store.h", "s3/"}},
      {"fs/", {"cache/", "fs/"}},
      {"tools/", {"cache/", "s3/", "fs/", "tools/"}},
      {"tests/", {"cache/", "s3/", "fs/", "tools/", "tests/"}},
  };
  return table;
}

// --- one door for each dependency -------------------------------------------------------------

struct Door {
  std::string_view header;  // an include that begins so
  Paths homes;
  std::string_view instead;
};

const std::vector<Door>& doors() {
  static const std::vector<Door> table{
      {"openssl/", {"cache/base/digest.", "cache/base/legacy_digest."}, "cache/base/digest.h"},
      {"spdlog/", {"cache/base/log."}, "cache/base/log.h"},
      {"isa-l", {"cache/base/coding."}, "cache/base/coding.h"},
      {"lmdb", {"cache/lmdb"}, "cache/meta_store.h"},
      {"curl/", {"s3/curl_"}, "the HTTP client in s3/"},
      {"nlohmann/",
       {"cache/volume_format.", "s3/credential_json.", "tools/"},
       "a parser of its own"},
      {"pugixml", {"s3/xml", "s3/s3_xml"}, "the XML module in s3/"},
      {"fuse", {"fs/fuse_", "tests/bench/fuse_floor."}, "the session in fs/fuse_session.h"},
      {"CLI/", {"tools/command_line."}, "the table in tools/command.h"},
      {"toml++", {"tools/config_file."}, "tools/config_file.h"},
  };
  return table;
}

// --- calls that belong to one module -----------------------------------------------------------

struct Ban {
  std::string_view token;
  Paths homes;
  std::string_view instead;
  bool tests_too = false;
};

const Paths kThreadHomes{"cache/base/executor.", "s3/curl_", "fs/fuse_"};
const Paths kFileHomes{"cache/base/env.cc", "cache/base/log.cc", "tools/"};
const Paths kRootHomes{"cache/base/", "tools/"};

const std::vector<Ban>& bans() {
  static const std::vector<Ban> table{
      {"system_clock::now", {"cache/base/clock.cc"}, "the injected Clock"},
      {"steady_clock::now", {"cache/base/clock.cc"}, "the injected Clock"},
      {"clock_gettime", {"cache/base/clock.cc"}, "the injected Clock"},
      {"gettimeofday", {"cache/base/clock.cc"}, "the injected Clock"},
      {"system_clock()", kRootHomes, "the injected Clock"},
      // LMDB opens its file by itself: around it nothing but the real disk makes sense.
      {"posix_env()", {"cache/base/", "tools/", "cache/lmdb.cc"}, "the injected Env"},
      {"os_rng()", kRootHomes, "the injected Rng"},
      {"std::thread", kThreadHomes, "the injected Executor"},
      {"std::jthread", kThreadHomes, "the injected Executor"},
      {"std::async", {}, "the injected Executor"},
      {"pthread_create", kThreadHomes, "the injected Executor"},
      {"sleep_for", {"tools/"}, "Executor::submit_at"},
      {"sleep_until", {"tools/"}, "Executor::submit_at"},
      {"usleep", {}, "Executor::submit_at"},
      {"nanosleep", {}, "Executor::submit_at"},
      {"::open", kFileHomes, "Env::open"},
      {"::pread", kFileHomes, "File::read_at"},
      {"::pwrite", kFileHomes, "File::write_at"},
      {"::unlink", kFileHomes, "Env::remove"},
      {"::rename", kFileHomes, "Env::rename"},
      {"::mkdir", kFileHomes, "Env::make_dirs"},
      {"fsync", kFileHomes, "File::sync_data or Env::sync_dir"},
      {"fdatasync", kFileHomes, "File::sync_data"},
      {"fopen", kFileHomes, "Env::open"},
      {"std::ifstream", kFileHomes, "read_file of cache/base/env.h"},
      {"std::ofstream", kFileHomes, "replace_file of cache/base/env.h"},
      {"std::fstream", kFileHomes, "Env::open"},
      {"std::filesystem", kFileHomes, "Env"},
      {"rand", {}, "the injected Rng", true},
      {"srand", {}, "the injected Rng", true},
      {"random_device", {}, "the injected Rng", true},
      {"mt19937", {}, "the injected Rng", true},
      {"std::cout", {"tools/"}, "cache/base/log.h"},
      {"std::cerr", {"tools/"}, "cache/base/log.h"},
      {"printf", {"tools/"}, "cache/base/log.h"},
      {"throw", {}, "Result and fail()"},
  };
  return table;
}

// A token counts where it stands alone: not as a part of a longer name, a qualified call
// ("FileStore::open") or a member ("file.fsync").
bool stands_at(std::string_view line, size_t at, std::string_view token) {
  if (at > 0) {
    const char before = line[at - 1];
    if (is_word_byte(before)) return false;
    if (before == '.' || (before == '>' && at > 1 && line[at - 2] == '-')) return false;
    if (token.starts_with("::") && (before == '>' || before == ':')) return false;
  }
  const std::string_view rest = line.substr(at + token.size());
  if (is_word_byte(token.back()) && !rest.empty() && is_word_byte(rest.front())) return false;
  // Names like std::thread::hardware_concurrency start no thread.
  if ((token == "std::thread" || token == "std::jthread") && rest.starts_with("::")) return false;
  // Functions of the system are banned as calls: a method or a variable may have the name.
  const bool is_call_only = token.starts_with("::") || token == "fsync" || token == "rand" ||
                            token == "srand" || token == "printf";
  return !is_call_only || rest.starts_with('(');
}

bool has_token(std::string_view line, std::string_view token) {
  for (size_t at = line.find(token); at != std::string_view::npos; at = line.find(token, at + 1))
    if (stands_at(line, at, token)) return true;
  return false;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

size_t columns(std::string_view line) {
  return static_cast<size_t>(std::count_if(line.begin(), line.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

struct Include {
  bool quoted = false;
  std::string_view name;
};

std::optional<Include> include_of(std::string_view line) {
  const auto skip_blanks = [&] {
    while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
  };
  const auto skip = [&](std::string_view word) {
    skip_blanks();
    if (!line.starts_with(word)) return false;
    line.remove_prefix(word.size());
    return true;
  };
  if (!skip("#") || !skip("include")) return std::nullopt;
  skip_blanks();
  if (line.empty() || (line.front() != '"' && line.front() != '<')) return std::nullopt;
  const char close = line.front() == '"' ? '"' : '>';
  line.remove_prefix(1);
  return Include{close == '"', line.substr(0, line.find(close))};
}

void check_include(std::string_view path, const Include& include, size_t line,
                   std::vector<TidyFinding>& findings) {
  const std::string name(include.name);
  if (include.quoted) {
    const auto layer = std::find_if(layers().begin(), layers().end(), [&](const Layer& each) {
      return path.starts_with(each.prefix);
    });
    if (layer == layers().end() || below_any(name, layer->may_include)) return;
    const bool ours = below_any(name, {"cache/", "s3/", "fs/", "tools/", "tests/"});
    findings.push_back(
        {line, ours ? std::string(layer->prefix) + " may not include " + name +
                          ": includes point downwards (tools -> fs -> cache; s3 -> its port)"
                    : "include " + name + " by its path from the repository's root"});
    return;
  }
  if (!is_product(path)) return;
  for (const Door& door : doors()) {
    if (!include.name.starts_with(door.header) || below_any(path, door.homes)) continue;
    findings.push_back(
        {line, "<" + name + "> is included elsewhere: use " + std::string(door.instead)});
  }
}

}  // namespace

std::string code_only(std::string_view text) {
  std::string out(text);
  const auto blank = [&](size_t from, size_t to) {
    for (size_t i = from; i < std::min(to, out.size()); ++i)
      if (out[i] != '\n') out[i] = ' ';
  };
  for (size_t i = 0; i < text.size();) {
    const std::string_view rest = text.substr(i);
    if (rest.starts_with("//")) {
      const size_t end = std::min(text.find('\n', i), text.size());
      blank(i, end);
      i = end;
    } else if (rest.starts_with("/*")) {
      const size_t close = text.find("*/", i + 2);
      const size_t end = close == std::string_view::npos ? text.size() : close + 2;
      blank(i, end);
      i = end;
    } else if (rest.starts_with("R\"") && (i == 0 || !is_word_byte(text[i - 1]))) {
      const size_t open = text.find('(', i);
      if (open == std::string_view::npos) return out;
      const std::string close = ")" + std::string(text.substr(i + 2, open - i - 2)) + "\"";
      const size_t found = text.find(close, open);
      const size_t end = found == std::string_view::npos ? text.size() : found + close.size();
      blank(i, end);
      i = end;
    } else if (rest[0] == '"' || (rest[0] == '\'' && (i == 0 || !is_word_byte(text[i - 1])))) {
      size_t end = i + 1;  // a quote behind a digit separates digits
      while (end < text.size() && text[end] != rest[0] && text[end] != '\n')
        end += text[end] == '\\' ? 2 : 1;
      blank(i + 1, end);
      i = end + 1;
    } else {
      ++i;
    }
  }
  return out;
}

std::vector<TidyFinding> check_leftovers(std::string_view text) {
  // Written in two parts, so that this file passes its own check.
  static const std::vector<std::string> kWords{
      "TO"
      "DO",
      "FIX"
      "ME",
      "XX"
      "X",
      "HA"
      "CK",
      "WI"
      "P"};
  std::vector<TidyFinding> findings;
  const auto lines = lines_of(text);
  for (size_t i = 0; i < lines.size(); ++i) {
    for (const std::string& word : kWords) {
      if (has_token(lines[i], word))
        findings.push_back({i + 1, "'" + word + "': finish it, or open an issue and say why"});
    }
  }
  return findings;
}

std::vector<TidyFinding> check_source(std::string_view path, std::string_view text) {
  std::vector<TidyFinding> findings = check_leftovers(text);
  const auto lines = lines_of(text);
  if (lines.size() > kFileLinesMax)
    findings.push_back({lines.size(), "longer than 600 lines: split it by what it does"});
  if (path.ends_with(".h")) {
    if (!text.starts_with("//"))
      findings.push_back({1, "a header begins with what it is, who owns it, its promises"});
    if (text.find("\n#pragma once\n") == std::string_view::npos)
      findings.push_back({1, "a header says #pragma once"});
  }
  const std::string code = code_only(text);
  const auto code_lines = lines_of(code);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (columns(lines[i]) > kColumnsMax)
      findings.push_back({i + 1, "wider than 100 columns: run clang-format"});
    if (const auto include = include_of(lines[i])) check_include(path, *include, i + 1, findings);
  }
  for (size_t i = 0; i < code_lines.size(); ++i) {
    for (const Ban& ban : bans()) {
      if (!is_product(path) && !ban.tests_too) continue;
      if (below_any(path, ban.homes) || !has_token(code_lines[i], ban.token)) continue;
      findings.push_back({i + 1, std::string(ban.token) + " does not belong here: use " +
                                     std::string(ban.instead)});
    }
  }
  return findings;
}

}  // namespace cairn
