// Glob: a pattern over the bytes of a key, of a bucket's name or of a value.
//
//   ?   one byte          of a key: no '/'
//   *   any bytes         of a key: no '/', it stays inside its part
//   **  any bytes, '/' too
//   **/ where a part of a key begins: no part, or some of them ("**/x" matches "x" and "a/b/x")
//   \c  the byte c        a '/' at the end of a key's pattern: all that lies below
//
// The time of a match is the length of the pattern times that of the text, whatever both are.
// Immutable; pure; safe from any thread.
#pragma once

#include <bitset>
#include <string>
#include <string_view>
#include <vector>

#include "cache/base/result.h"

namespace cairn {

class Glob {
 public:
  static constexpr size_t kMost = 1024;  // tokens, more than any key has bytes
  // kOfKey: '/' parts it.  kFoldCase: letters of ASCII count as their small ones.
  enum class Kind : uint8_t { kOfKey, kPlain, kFoldCase };

  Glob() = default;
  // kInvalid when it is too long, or ends in the middle of an escape.
  static Result<Glob> parse(std::string_view pattern, Kind kind);
  bool matches(std::string_view text) const;
  // Of the texts that begin with `prefix`: is one matched, or is everyone?
  enum class Below : uint8_t { kNone, kSome, kAll };
  Below below(std::string_view prefix) const;
  // A pattern that means the same.
  const std::string& text() const { return text_; }

 private:
  struct Token {
    enum class Kind : uint8_t { kByte, kOne, kOneInPart, kAny, kAnyInPart, kParts, kInsidePart };
    Kind kind = Kind::kByte;
    char byte = 0;
  };
  using States = std::bitset<kMost + 1>;

  States start() const;
  States step(const States& states, char byte) const;
  void close(States& states) const;

  std::vector<Token> tokens_;
  std::string literal_;  // what every match begins with
  std::string text_;
  bool folds_case_ = false;
};

}  // namespace cairn
