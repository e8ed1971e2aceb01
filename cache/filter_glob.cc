#include "cache/filter_glob.h"

#include <algorithm>

namespace cairn {

namespace {

char folded(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

}  // namespace

Result<Glob> Glob::parse(std::string_view pattern, Kind kind) {
  using Token = Glob::Token;
  Glob glob;
  glob.text_ = std::string(pattern);
  glob.folds_case_ = kind == Kind::kFoldCase;
  const bool of_key = kind == Kind::kOfKey;
  const auto add = [&glob](Token::Kind what, char byte = 0) {
    glob.tokens_.push_back({what, byte});
  };
  bool begins_part = true;
  for (size_t i = 0; i < pattern.size();) {
    const char c = pattern[i];
    const size_t stars = std::min(pattern.find_first_not_of('*', i), pattern.size()) - i;
    if (stars > 0) {
      i += stars;
      const bool parts =
          of_key && stars > 1 && begins_part && i < pattern.size() && pattern[i] == '/';
      begins_part = parts;
      if (parts) {
        ++i;
        add(Token::Kind::kParts);
        add(Token::Kind::kInsidePart);
      } else {
        add(of_key && stars == 1 ? Token::Kind::kAnyInPart : Token::Kind::kAny);
      }
      continue;
    }
    if (c == '\\' && i + 1 == pattern.size())
      return fail(Errc::kInvalid, "a '\\' is followed by the byte that it stands for");
    const char byte = c == '\\' ? pattern[++i] : c;
    ++i;
    if (c == '?') {
      add(of_key ? Token::Kind::kOneInPart : Token::Kind::kOne);
    } else {
      add(Token::Kind::kByte, glob.folds_case_ ? folded(byte) : byte);
    }
    begins_part = of_key && c == '/';
  }
  const bool ends_part = !pattern.empty() && begins_part;
  if (of_key && ends_part) add(Token::Kind::kAny);
  if (glob.tokens_.size() > kMost)
    return fail(Errc::kInvalid, "a pattern has at most " + std::to_string(kMost) + " bytes");
  for (const Token& token : glob.tokens_) {
    if (token.kind != Token::Kind::kByte) break;
    glob.literal_.push_back(token.byte);
  }
  return glob;
}

// What is reached without a byte. Ways lead forward only, so one pass is enough.
void Glob::close(States& states) const {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (!states[i]) continue;
    const Token::Kind kind = tokens_[i].kind;
    if (kind == Token::Kind::kAny || kind == Token::Kind::kAnyInPart) states.set(i + 1);
    if (kind == Token::Kind::kParts) states.set(i + 2);
  }
}

Glob::States Glob::start() const {
  States states;
  states.set(0);
  close(states);
  return states;
}

Glob::States Glob::step(const States& states, char byte) const {
  if (folds_case_) byte = folded(byte);
  const bool parts = byte == '/';
  States next;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (!states[i]) continue;
    switch (tokens_[i].kind) {
      case Token::Kind::kByte:
        if (byte == tokens_[i].byte) next.set(i + 1);
        break;
      case Token::Kind::kOne:
        next.set(i + 1);
        break;
      case Token::Kind::kOneInPart:
        if (!parts) next.set(i + 1);
        break;
      case Token::Kind::kAny:
        next.set(i);
        break;
      case Token::Kind::kAnyInPart:
        if (!parts) next.set(i);
        break;
      case Token::Kind::kParts:
        next.set(parts ? i : i + 1);
        break;
      case Token::Kind::kInsidePart:
        next.set(parts ? i - 1 : i);
        break;
    }
  }
  close(next);
  return next;
}

bool Glob::matches(std::string_view text) const {
  if (!folds_case_ && !text.starts_with(literal_)) return false;
  if (literal_.size() == tokens_.size() && !folds_case_) return text.size() == literal_.size();
  States states = start();
  for (const char byte : text) {
    states = step(states, byte);
    if (states.none()) return false;
  }
  return states[tokens_.size()];
}

Glob::Below Glob::below(std::string_view prefix) const {
  States states = start();
  for (const char byte : prefix) {
    states = step(states, byte);
    if (states.none()) return Below::kNone;
  }
  const size_t last = tokens_.size() - 1;
  const bool all = !tokens_.empty() && states[last] && tokens_[last].kind == Token::Kind::kAny;
  // Only the end is reached: the prefix itself is matched, and nothing behind it.
  return all ? Below::kAll : Below::kSome;
}

}  // namespace cairn
