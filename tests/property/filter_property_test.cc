// Filters of any kind: against a naive evaluator, and printed and parsed again.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <functional>
#include <string>
#include <vector>

#include "cache/filter.h"

using namespace cairn;

namespace {

// As README.md says it, by trying everything.
bool naive(std::string_view pattern, std::string_view text, bool begins_part) {
  if (pattern.empty()) return text.empty();
  if (begins_part && pattern.starts_with("**/")) {
    const std::string_view rest = pattern.substr(3);
    if (naive(rest, text, true)) return true;
    for (size_t i = 0; i < text.size(); ++i)
      if (text[i] == '/' && naive(rest, text.substr(i + 1), true)) return true;
    return false;
  }
  const size_t stars = std::min(pattern.find_first_not_of('*'), pattern.size());
  if (stars > 0) {
    for (size_t i = 0; i <= text.size(); ++i) {
      if (naive(pattern.substr(stars), text.substr(i), false)) return true;
      if (i < text.size() && stars == 1 && text[i] == '/') return false;
    }
    return false;
  }
  if (text.empty()) return false;
  if (pattern[0] == '\\') {
    return pattern[1] == text[0] && naive(pattern.substr(2), text.substr(1), false);
  }
  const bool same = pattern[0] == '?' ? text[0] != '/' : pattern[0] == text[0];
  return same && naive(pattern.substr(1), text.substr(1), pattern[0] == '/');
}

rc::Gen<std::string> words(const std::vector<std::string>& of, int most) {
  return rc::gen::map(
      rc::gen::resize(most, rc::gen::container<std::vector<std::string>>(rc::gen::elementOf(of))),
      [](const std::vector<std::string>& parts) {
        std::string out;
        for (const std::string& part : parts) out += part;
        return out;
      });
}

std::string any_pattern() {
  return *words({"a", "b", "/", "/", "*", "**", "**/", "?", "\\*", "\\/", "\\\\"}, 9);
}
std::string any_key() {
  return *words({"a", "b", "/", "*", "\\"}, 9);
}

// Two '**' that meet are one for the glob and for nobody else.
bool is_plain(const std::string& pattern) {
  return pattern.find("***") == std::string::npos;
}

}  // namespace

TEST_CASE("globs are as a naive matcher has them") {
  CHECK(rc::check("match", [] {
    const std::string pattern = any_pattern();
    RC_PRE(is_plain(pattern));
    std::string whole = pattern;
    const auto glob = Glob::parse(pattern, Glob::Kind::kOfKey);
    RC_ASSERT(glob.has_value());
    // A '/' at the end is all that lies below.
    size_t escapes = 0;
    while (whole.ends_with('/') && escapes + 1 < whole.size() &&
           whole[whole.size() - 2 - escapes] == '\\')
      ++escapes;
    if (whole.ends_with('/') && escapes % 2 == 0) whole += "**";
    const std::string key = any_key();
    RC_ASSERT(glob->matches(key) == naive(whole, key, true));
    // What is said of all below a prefix holds for each of it.
    const std::string prefix = any_key();
    const bool below = glob->matches(prefix + key);
    const Glob::Below said = glob->below(prefix);
    if (said == Glob::Below::kNone) RC_ASSERT(!below);
    if (said == Glob::Below::kAll) RC_ASSERT(below);
  }));
}

namespace {

struct Part {
  std::string text;
  std::function<std::optional<bool>(const FilterSubject&)> holds;
};

const std::string& known_type() {
  static const std::string type = "text/plain";
  return type;
}

Part any_predicate() {
  const auto number = *rc::gen::inRange(0, 4);
  const auto name = std::string(1, *rc::gen::elementOf(std::string("kl")));
  const auto value = std::string(1, *rc::gen::elementOf(std::string("vw")));
  const auto lookup = [name](const FilterPairs* pairs) -> std::optional<std::string> {
    for (const auto& [key, text] : *pairs)
      if (key == name) return text;
    return std::nullopt;
  };
  switch (*rc::gen::inRange(0, 5)) {
    case 0:
      return {
          "[hdr:content-length<" + std::to_string(number) + "]", [number](const FilterSubject& s) {
            return s.size ? std::optional(*s.size < static_cast<uint64_t>(number)) : std::nullopt;
          }};
    case 1:
      return {
          "[hdr:content-length!=" + std::to_string(number) + "]", [number](const FilterSubject& s) {
            return s.size ? std::optional(*s.size != static_cast<uint64_t>(number)) : std::nullopt;
          }};
    case 2:
      return {"[hdr:content-type='TEXT/*']", [](const FilterSubject& s) {
                return s.content_type != nullptr ? std::optional(true) : std::nullopt;
              }};
    case 3:
      return {"[tag:" + name + "=" + value + "]", [=](const FilterSubject& s) {
                return s.tags != nullptr ? std::optional(lookup(s.tags) == value) : std::nullopt;
              }};
    default:
      return {"[md:'" + name + "'!=" + value + "]", [=](const FilterSubject& s) {
                return s.metadata != nullptr ? std::optional(lookup(s.metadata) != value)
                                             : std::nullopt;
              }};
  }
}

struct AnyRule {
  std::string text, pattern;
  bool excludes = false;
  std::vector<Part> predicates;
};

AnyRule any_rule() {
  AnyRule rule;
  rule.excludes = *rc::gen::arbitrary<bool>();
  rule.pattern = *words({"a", "b", "/", "*", "**"}, 4);
  if (rule.pattern.empty() || rule.pattern.ends_with('/')) rule.pattern += "**";
  RC_PRE(is_plain(rule.pattern));
  rule.text = (rule.excludes ? "!/" : "/") + rule.pattern;
  for (int i = *rc::gen::inRange(0, 3); i > 0; --i) {
    rule.predicates.push_back(any_predicate());
    rule.text += rule.predicates.back().text;
  }
  return rule;
}

// All answers that are possible, by trying both for each that is not known.
std::pair<bool, bool> naive_answers(const std::vector<AnyRule>& rules,
                                    const FilterSubject& subject) {
  bool in = false, out = false;
  const auto decide = [&](auto&& self, size_t i) -> void {
    if (i == 0) {
      const bool rest = rules.empty() || rules.front().excludes;
      (rest ? in : out) = true;
      return;
    }
    const AnyRule& rule = rules[i - 1];
    bool may = naive(rule.pattern, subject.path, true), must = may;
    for (const Part& part : rule.predicates) {
      const auto holds = part.holds(subject);
      may = may && holds.value_or(true);
      must = must && holds.value_or(false);
    }
    if (may) (rule.excludes ? out : in) = true;
    if (!must) self(self, i - 1);
  };
  decide(decide, rules.size());
  return {in, out};
}

}  // namespace

TEST_CASE("lists of rules are as a naive evaluator has them, also when something is not known") {
  CHECK(rc::check("ask", [] {
    std::vector<AnyRule> rules;
    Filter filter(true);
    for (int i = *rc::gen::inRange(0, 5); i > 0; --i) {
      rules.push_back(any_rule());
      RC_ASSERT(filter.add(rules.back().text).has_value());
    }
    const std::string key = *words({"a", "b", "/"}, 4);
    const FilterPairs pairs{{"k", "v"}};
    FilterSubject subject{.bucket = "x",
                          .key = key,
                          .path = key,
                          .size = {},
                          .content_type = nullptr,
                          .metadata = nullptr,
                          .tags = nullptr,
                          .bucket_tags = nullptr};
    if (*rc::gen::arbitrary<bool>()) subject.size = static_cast<uint64_t>(*rc::gen::inRange(0, 4));
    if (*rc::gen::arbitrary<bool>()) subject.content_type = &known_type();
    if (*rc::gen::arbitrary<bool>()) subject.metadata = &pairs;
    if (*rc::gen::arbitrary<bool>()) subject.tags = &pairs;
    const auto [in, out] = naive_answers(rules, subject);
    const auto answer = filter.ask(subject);
    if (in && out) RC_ASSERT(!answer.included && answer.needs.any());
    if (in && !out) RC_ASSERT(answer.included == true);
    if (out && !in) RC_ASSERT(answer.included == false);
    // A directory above what is included is shown.
    if (in)
      for (size_t slash = key.find('/'); slash != std::string::npos;
           slash = key.find('/', slash + 1)) {
        const std::string above = key.substr(0, slash + 1);
        FilterSubject directory = subject;
        directory.key = directory.path = above;
        RC_ASSERT(filter.any_below(directory).included.value_or(true));
      }
  }));
}

TEST_CASE("what is printed is parsed as the same rule") {
  CHECK(rc::check("round trip", [] {
    const auto some = [](int most) {
      return *words({"b", "'", "\"", "\\\\", "\\]", "\\'", "x", " ", "*", "?", "3"}, most);
    };
    // With quotes that are closed: more of them are rules.
    std::string text = *rc::gen::elementOf(std::vector<std::string>{"", "!", " ! "});
    text += some(4) + "/" + some(4) + "/" + some(4);
    for (int i = *rc::gen::inRange(0, 3); i > 0; --i) {
      text += *rc::gen::elementOf(std::vector<std::string>{"[tag:x", "[md: x", "[tag:'x]'"});
      text += *rc::gen::elementOf(std::vector<std::string>{"=", " != "});
      text += *rc::gen::elementOf(std::vector<std::string>{"7", "3K", "'a\\''", "x", "\"a' "});
      text += text.ends_with("' ") ? some(0) + "\"]" : "]";
    }
    if (*rc::gen::inRange(0, 3) == 0) text += "[md:x>=3K][hdr:content-length<7][tag:y<2]";
    const auto rule = FilterRule::parse(text);
    RC_PRE(rule.has_value());
    const std::string printed = rule->text();
    const auto again = FilterRule::parse(printed);
    RC_ASSERT(again.has_value());
    RC_ASSERT(again->text() == printed);
    RC_ASSERT(again->excludes == rule->excludes);
    RC_ASSERT(again->of_path == rule->of_path);
    RC_ASSERT(again->predicates.size() == rule->predicates.size());
    for (size_t i = 0; i < rule->predicates.size(); ++i) {
      RC_ASSERT(again->predicates[i].name == rule->predicates[i].name);
      RC_ASSERT(again->predicates[i].number == rule->predicates[i].number);
      const std::string value = *words({"x", "'", "\\", " ", "3"}, 3);
      RC_ASSERT(again->predicates[i].value.matches(value) ==
                rule->predicates[i].value.matches(value));
    }
    const std::string key = *words({"x", "b", "/", "\\", "*"}, 4);
    RC_ASSERT(again->key.matches(key) == rule->key.matches(key));
  }));
}
