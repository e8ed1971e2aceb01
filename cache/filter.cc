#include "cache/filter.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace cairn {

namespace {

using Of = FilterPredicate::Of;
using Op = FilterPredicate::Op;

constexpr std::string_view kBlanks = " \t";
constexpr std::array<std::string_view, 6> kOps{"=", "!=", "<", "<=", ">", ">="};  // as Op

// The rule as far as it can be shown in a line, and a caret under the byte at `at`.
std::string with_caret(std::string_view rule, size_t at) {
  constexpr size_t kBefore = 60;
  constexpr size_t kShown = 90;
  size_t from = at > kBefore ? at - kBefore : 0;
  const auto goes_on = [](char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; };
  while (from > 0 && from < rule.size() && goes_on(rule[from])) --from;
  std::string line = from > 0 ? "..." : "";
  std::string below(line.size(), ' ');
  for (size_t i = from; i < rule.size() && i < from + kShown; ++i) {
    const char c = rule[i];
    const bool control = static_cast<unsigned char>(c) < ' ' || c == 0x7f;
    line.push_back(control && c != '\t' ? '?' : c);
    if (i < at && !goes_on(c)) below.push_back(c == '\t' ? '\t' : ' ');
  }
  if (from + kShown < rule.size()) line += "...";
  return "\n  " + line + "\n  " + below + "^";
}

// A whole number with K, M, G, T or P (times 1024) behind it.
std::optional<uint64_t> number_of(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  if (text.empty()) return number;
  constexpr std::string_view kUnits = "KMGTP";
  const size_t unit = kUnits.find(static_cast<char>(text.front() & ~0x20));
  if (unit == std::string_view::npos) return std::nullopt;
  text.remove_prefix(1);
  if (text.starts_with('i')) text.remove_prefix(1);
  if (!text.empty() && text != "B") return std::nullopt;
  const auto shift = static_cast<unsigned>(unit + 1) * 10;
  if (number > UINT64_MAX >> shift) return std::nullopt;
  return number << shift;
}

char lower_case(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<FilterRule> run() {
    FilterRule rule;
    if (text_.size() > FilterRule::kBytesMost)
      return refuse(FilterRule::kBytesMost, "a rule has at most 4096 bytes");
    if (const size_t nul = text_.find('\0'); nul != std::string_view::npos)
      return refuse(nul, "no key has a NUL byte");
    skip_blanks();
    rule.excludes = take('!');
    skip_blanks();
    const size_t begin = at_;
    TRY_ASSIGN(rule.bucket, pattern("/[", Glob::Kind::kPlain));
    rule.of_path = at_ == begin;
    if (rule.of_path && here() == '[')
      return refuse(at_, "a rule begins with a bucket, or with '/' and a path");
    TRY_ASSIGN(rule.bucket_predicates, predicates(true));
    if (!take('/'))
      return refuse(at_,
                    "a rule is BUCKET/KEY or /PATH: the '/' is missing (all of a bucket is "
                    "BUCKET/)");
    TRY_ASSIGN(rule.key, pattern("[", Glob::Kind::kOfKey));
    if (rule.key.text().empty()) {
      TRY_ASSIGN(rule.key, Glob::parse("**", Glob::Kind::kOfKey));
    }
    TRY_ASSIGN(rule.predicates, predicates(false));
    skip_blanks();
    if (!done()) return refuse(at_, "what follows a predicate is '[' or the end of the rule");
    return rule;
  }

 private:
  tl::unexpected<Error> refuse(size_t at, const std::string& why) const {
    return fail(Errc::kInvalid, why + with_caret(text_, std::min(at, text_.size())));
  }
  bool done() const { return at_ == text_.size(); }
  char here() const { return done() ? '\0' : text_[at_]; }
  bool take(char c) {
    if (here() != c) return false;
    ++at_;
    return true;
  }
  void skip_blanks() { at_ = std::min(text_.find_first_not_of(kBlanks, at_), text_.size()); }

  // Up to one of `ends` that is not escaped, or to the end; without blanks there.
  Result<Glob> pattern(std::string_view ends, Glob::Kind kind) {
    const size_t begin = at_;
    size_t end = begin;
    for (; !done() && ends.find(here()) == std::string_view::npos; ++at_) {
      const bool escaped = here() == '\\';
      if (escaped) ++at_;
      if (done()) return refuse(text_.size() - 1, "a '\\' is followed by what it stands for");
      if (escaped || kBlanks.find(here()) == std::string_view::npos) end = at_ + 1;
    }
    return parse_glob(begin, text_.substr(begin, end - begin), kind);
  }

  Result<Glob> parse_glob(size_t at, std::string_view text, Glob::Kind kind) const {
    auto glob = Glob::parse(text, kind);
    if (!glob) return refuse(at, glob.error().message());
    return glob;
  }

  Result<std::vector<FilterPredicate>> predicates(bool of_bucket) {
    std::vector<FilterPredicate> all;
    while (here() == '[') {
      if (all.size() == FilterRule::kPredicatesMost)
        return refuse(at_, "there are at most 32 predicates");
      ++at_;
      TRY_ASSIGN(FilterPredicate one, predicate(of_bucket));
      all.push_back(std::move(one));
      const size_t behind = at_;
      skip_blanks();
      if (here() != '[') at_ = behind;
    }
    return all;
  }

  Result<FilterPredicate> predicate(bool of_bucket) {
    FilterPredicate out;
    skip_blanks();
    const size_t kind_at = at_;
    const size_t colon = text_.find_first_of(":=!<>[]", at_);
    if (colon == std::string_view::npos || text_[colon] != ':')
      return refuse(kind_at, "a predicate is tag:NAME, hdr:NAME or md:NAME and a comparison");
    const std::string_view kind = text_.substr(at_, colon - at_);
    if (kind != "tag" && kind != "hdr" && kind != "md")
      return refuse(kind_at, "what can be asked for is tag:, hdr: or md:");
    if (of_bucket && kind != "tag") return refuse(kind_at, "a bucket has tags and nothing else");
    at_ = colon + 1;
    skip_blanks();
    const size_t name_at = at_;
    TRY_ASSIGN(out.name, word("=!<>[]", "a name"));
    TRY(name_of(kind, name_at, out));
    skip_blanks();
    TRY_ASSIGN(out.op, comparison());
    skip_blanks();
    const size_t value_at = at_;
    TRY_ASSIGN(const std::string value, raw_value());
    TRY(set_value(out, value, value_at));
    skip_blanks();
    if (!take(']')) return refuse(at_, "the ']' is missing");
    return out;
  }

  Status name_of(std::string_view kind, size_t at, FilterPredicate& out) const {
    if (kind == "tag") return {};
    std::transform(out.name.begin(), out.name.end(), out.name.begin(), lower_case);
    if (kind == "md") {
      out.of = Of::kMetadata;
    } else if (out.name == "content-type") {
      out.of = Of::kContentType;
    } else if (out.name == "content-length") {
      out.of = Of::kContentLength;
    } else {
      return refuse(at, "the headers that can be asked for are content-type and content-length");
    }
    return {};
  }

  Result<Op> comparison() {
    constexpr std::array kLongFirst{Op::kIsNot, Op::kAtMost, Op::kAtLeast,
                                    Op::kIs,    Op::kLess,   Op::kMore};
    for (const Op op : kLongFirst) {
      const std::string_view sign = kOps[static_cast<size_t>(op)];
      if (!text_.substr(at_).starts_with(sign)) continue;
      at_ += sign.size();
      return op;
    }
    return refuse(at_, "a comparison is missing: = != < <= > >=");
  }

  // Without its escapes. A quoted one may hold what would end a bare one.
  Result<std::string> word(std::string_view ends, const std::string& what) {
    const size_t begin = at_;
    TRY_ASSIGN(const std::string raw, raw_word(ends));
    std::string out;
    for (size_t i = 0; i < raw.size(); ++i) {
      if (raw[i] == '\\' && i + 1 < raw.size()) ++i;
      out.push_back(raw[i]);
    }
    if (out.empty()) return refuse(begin, what + " is missing");
    return out;
  }

  Result<std::string> raw_value() { return raw_word("]"); }

  Result<std::string> raw_word(std::string_view ends) {
    const size_t begin = at_;
    const char quote = here() == '\'' || here() == '"' ? here() : '\0';
    if (quote != '\0') ++at_;
    std::string out;
    size_t end = 0;
    for (; !done(); ++at_) {
      const char c = here();
      if (quote != '\0' ? c == quote : ends.find(c) != std::string_view::npos) break;
      out.push_back(c);
      if (c == '\\') {
        if (++at_ == text_.size()) break;
        out.push_back(here());
      }
      if (c == '\\' || quote != '\0' || kBlanks.find(c) == std::string_view::npos) end = out.size();
    }
    if (done() && quote != '\0') return refuse(begin, "the quote is not closed");
    if (done()) return refuse(text_.size(), "the ']' is missing");
    if (quote != '\0') ++at_;
    out.resize(end);
    return out;
  }

  Status set_value(FilterPredicate& out, const std::string& value, size_t at) const {
    if (!out.is_number()) {
      const bool folds = out.of == Of::kContentType;
      TRY_ASSIGN(out.value,
                 parse_glob(at, value, folds ? Glob::Kind::kFoldCase : Glob::Kind::kPlain));
      return {};
    }
    if (out.of == Of::kContentType)
      return refuse(at, "a content type is equal (=) or not (!=), never less or more");
    const auto number = number_of(value);
    if (!number) return refuse(at, "a whole number is wanted here, such as 100 or 64M");
    out.number = *number;
    return {};
  }

  const std::string_view text_;
  size_t at_ = 0;
};

// ---- writing

std::string quoted(std::string_view text, bool escape_all) {
  std::string out = "'";
  for (size_t i = 0; i < text.size(); ++i) {
    // A pattern has its own escapes already.
    if (!escape_all && text[i] == '\\' && i + 1 < text.size()) {
      out.push_back(text[i++]);
    } else if (text[i] == '\'' || (escape_all && text[i] == '\\')) {
      out.push_back('\\');
    }
    out.push_back(text[i]);
  }
  return out + "'";
}

void write(std::string& out, const FilterPredicate& predicate) {
  out.push_back('[');
  switch (predicate.of) {
    case Of::kTag:
      out += "tag:" + quoted(predicate.name, true);
      break;
    case Of::kMetadata:
      out += "md:" + quoted(predicate.name, true);
      break;
    case Of::kContentType:
      out += "hdr:content-type";
      break;
    case Of::kContentLength:
      out += "hdr:content-length";
      break;
  }
  out += kOps[static_cast<size_t>(predicate.op)];
  out += predicate.is_number() ? std::to_string(predicate.number)
                               : quoted(predicate.value.text(), false);
  out.push_back(']');
}

// ---- asking

std::optional<std::string_view> find(const FilterPairs& pairs, std::string_view name) {
  for (const auto& [key, value] : pairs)
    if (key == name) return value;
  return std::nullopt;
}

bool compare(Op op, uint64_t a, uint64_t b) {
  switch (op) {
    case Op::kIs:
      return a == b;
    case Op::kIsNot:
      return a != b;
    case Op::kLess:
      return a < b;
    case Op::kAtMost:
      return a <= b;
    case Op::kMore:
      return a > b;
    case Op::kAtLeast:
      return a >= b;
  }
  return false;
}

// A type with its parameters or without.
bool is_type(const Glob& pattern, std::string_view type) {
  if (pattern.matches(type)) return true;
  type = type.substr(0, type.find(';'));
  while (type.ends_with(' ')) type.remove_suffix(1);
  return pattern.matches(type);
}

// Unset: not known.
std::optional<bool> holds(const FilterPredicate& predicate, const FilterSubject& subject,
                          const FilterPairs* tags) {
  const bool negated = predicate.op == Op::kIsNot;
  switch (predicate.of) {
    case Of::kContentLength:
      if (!subject.size) return std::nullopt;
      return compare(predicate.op, *subject.size, predicate.number);
    case Of::kContentType:
      if (subject.content_type == nullptr) return std::nullopt;
      return is_type(predicate.value, *subject.content_type) != negated;
    case Of::kTag:
    case Of::kMetadata:
      break;
  }
  const FilterPairs* pairs = predicate.of == Of::kTag ? tags : subject.metadata;
  if (pairs == nullptr) return std::nullopt;
  const auto value = find(*pairs, predicate.name);
  if (!predicate.is_number()) return (value && predicate.value.matches(*value)) != negated;
  const auto number = value ? number_of(*value) : std::nullopt;
  return number && compare(predicate.op, *number, predicate.number);
}

void note(Filter::Needs& needs, const FilterPredicate& predicate, bool of_bucket) {
  needs.bucket_tags |= of_bucket;
  if (of_bucket) return;
  needs.tags |= predicate.of == Of::kTag;
  needs.size |= predicate.of == Of::kContentLength;
  needs.headers |= predicate.of == Of::kMetadata || predicate.of == Of::kContentType;
}

// Of all predicates: false when one is false, else unset when one is not known.
std::optional<bool> all_hold(const FilterRule& rule, const FilterSubject& subject,
                             Filter::Needs& needs) {
  Filter::Needs unknown;
  std::optional<bool> all = true;
  const auto look = [&](const std::vector<FilterPredicate>& predicates, const FilterPairs* tags,
                        bool of_bucket) {
    for (const FilterPredicate& predicate : predicates) {
      const auto one = holds(predicate, subject, tags);
      if (one == false) return false;
      if (one) continue;
      all.reset();
      note(unknown, predicate, of_bucket);
    }
    return true;
  };
  if (!look(rule.bucket_predicates, subject.bucket_tags, true)) return false;
  if (!look(rule.predicates, subject.tags, false)) return false;
  needs.size |= unknown.size;
  needs.headers |= unknown.headers;
  needs.tags |= unknown.tags;
  needs.bucket_tags |= unknown.bucket_tags;
  return all;
}

// Is the bucket one that the rule is about, by its tags? Unset: they are not known.
std::optional<bool> bucket_holds(const FilterRule& rule, const FilterSubject& subject) {
  std::optional<bool> all = true;
  for (const FilterPredicate& predicate : rule.bucket_predicates) {
    const auto one = holds(predicate, subject, subject.bucket_tags);
    if (one == false) return false;
    if (!one) all.reset();
  }
  return all;
}

bool is_of_bucket(const FilterRule& rule, const FilterSubject& subject) {
  return rule.of_path || rule.bucket.matches(subject.bucket);
}

std::string_view matched_text(const FilterRule& rule, const FilterSubject& subject) {
  return rule.of_path ? subject.path : subject.key;
}

}  // namespace

Result<FilterRule> FilterRule::parse(std::string_view text) {
  return Parser(text).run();
}

std::string FilterRule::text() const {
  std::string out = excludes ? "!" : "";
  if (!of_path) out += bucket.text();
  for (const FilterPredicate& predicate : bucket_predicates) write(out, predicate);
  out += "/" + key.text();
  for (const FilterPredicate& predicate : predicates) write(out, predicate);
  return out;
}

Status Filter::add(std::string_view text) {
  while (true) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    const size_t begin = line.find_first_not_of(kBlanks);
    if (begin != std::string_view::npos && line[begin] != '#') {
      TRY_ASSIGN(FilterRule rule, FilterRule::parse(line));
      if (rules_.size() == kRulesMost) return fail(Errc::kInvalid, "a list has at most 1000 rules");
      rules_.push_back(std::move(rule));
    }
    if (end == text.size()) return {};
    text.remove_prefix(end + 1);
  }
}

// From the last rule on: the first that matches decides, and those of which nobody knows whether
// they do only count where they say something else.
Filter::Answer Filter::ask(const FilterSubject& subject) const {
  Needs needs_in, needs_out;
  const auto answer = [&](bool included) {
    const Needs& other = included ? needs_out : needs_in;
    if (!other.any()) return Answer{included, {}};
    // Those that say the same as the answer matter, too: one of them may come behind another.
    const Needs& same = included ? needs_in : needs_out;
    return Answer{std::nullopt,
                  {other.size || same.size, other.headers || same.headers, other.tags || same.tags,
                   other.bucket_tags || same.bucket_tags}};
  };
  for (auto rule = rules_.rbegin(); rule != rules_.rend(); ++rule) {
    if (!is_of_bucket(*rule, subject) || !rule->key.matches(matched_text(*rule, subject))) continue;
    const auto matched = all_hold(*rule, subject, rule->excludes ? needs_out : needs_in);
    if (matched == true) return answer(!rule->excludes);
  }
  return answer(otherwise());
}

Filter::Answer Filter::any_below(const FilterSubject& directory) const {
  bool may_say_so = false, may_say_no = false;  // rules that may be of this bucket
  const auto answer = [&](bool included) {
    if (!(included ? may_say_no : may_say_so)) return Answer{included, {}};
    Needs needs;
    needs.bucket_tags = true;
    return Answer{std::nullopt, needs};
  };
  for (auto rule = rules_.rbegin(); rule != rules_.rend(); ++rule) {
    if (!is_of_bucket(*rule, directory)) continue;
    const Glob::Below below = rule->key.below(matched_text(*rule, directory));
    if (below == Glob::Below::kNone) continue;
    const auto of_bucket = bucket_holds(*rule, directory);
    if (of_bucket == false) continue;
    const bool decides =
        !rule->excludes || (below == Glob::Below::kAll && rule->predicates.empty());
    if (!decides) continue;
    if (of_bucket == true) return answer(!rule->excludes);
    (rule->excludes ? may_say_no : may_say_so) = true;
  }
  return answer(otherwise());
}

Filter::Needs Filter::needs() const {
  Needs needs;
  for (const FilterRule& rule : rules_) {
    for (const FilterPredicate& predicate : rule.bucket_predicates) note(needs, predicate, true);
    for (const FilterPredicate& predicate : rule.predicates) note(needs, predicate, false);
  }
  return needs;
}

}  // namespace cairn
