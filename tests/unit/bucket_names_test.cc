#include <doctest/doctest.h>

#include <set>
#include <string>

#include "cache/base/coding.h"
#include "cache/bucket_names.h"
#include "cache/format/records.h"

using namespace cairn;
using Kind = NameMeaning::Kind;

TEST_CASE("parts that can be names are shown as they are") {
  for (const std::string part :
       {"a", "a b", "100%", "a%20b", "%2F", "%keys", ".hidden", "...", "new\nline", "\xff\xfe",
        "caf\xc3\xa9", "%", "%key"}) {
    CHECK(shown_name(part) == part);
    const NameMeaning meaning = meaning_of(part);
    CHECK(meaning.kind == Kind::kPart);
    CHECK(meaning.part == part);
  }
  CHECK(shown_name(std::string(255, 'x')) == std::string(255, 'x'));
}

TEST_CASE("every part has a name, and the name gives it back") {
  CHECK(shown_name("") == "%key%");
  CHECK(shown_name(".") == "%key%.");
  CHECK(shown_name("..") == "%key%..");
  CHECK(shown_name("%key%x") == "%key%%25key%25x");
  CHECK(shown_name("%marker%") == "%key%%25marker%25");
  CHECK(shown_beside("a") == "%file%a");
  std::set<std::string> names;
  for (const std::string part : {"", ".", "..", "a", "a%", "%key%", "%key%.", "%file%a", "%file%",
                                 "%cut%x", "%cutfile%x", "%marker%", "%marker%2", "x\x01y"}) {
    for (const bool beside : {false, true}) {
      const std::string name = beside ? shown_beside(part) : shown_name(part);
      CHECK(valid_name(name));
      CHECK_MESSAGE(names.insert(name).second, name);
      const NameMeaning meaning = meaning_of(name);
      CHECK(meaning.kind == (beside ? Kind::kBeside : Kind::kPart));
      CHECK(meaning.part == part);
    }
  }
  CHECK(meaning_of(kMarkerName).kind == Kind::kMarker);
}

TEST_CASE("parts over 255 bytes are cut, at a character, and stay apart by their digest") {
  std::string accents;
  while (accents.size() < 300) accents += "\xc3\xa9";
  std::set<std::string> names;
  for (const std::string& part : {std::string(256, 'x'), std::string(257, 'x'), accents,
                                  "y" + accents, std::string(300, '%'), std::string(1000, 'x')}) {
    for (const std::string& name : {shown_name(part), shown_beside(part)}) {
      CHECK(valid_name(name));
      CHECK(names.insert(name).second);
      CHECK(meaning_of(name).kind == Kind::kCut);
    }
  }
  const std::string cut = shown_name(accents);
  const size_t tilde = cut.rfind('~');
  REQUIRE(tilde != std::string::npos);
  CHECK(cut.substr(tilde - 2, 2) == "\xc3\xa9");
}

TEST_CASE("what is shown for nothing means nothing") {
  for (const std::string name : {"%key%a", "%key%%", "%key%%2", "%key%%2f", "%key%%41",
                                 "%file%%2F%", "%key%%7e", "%marker%2", "", ".", ".."})
    CHECK_MESSAGE(meaning_of(name).kind == Kind::kNone, name);
}

TEST_CASE("what is not UTF-8 is said in UTF-8, and cut between characters") {
  CHECK(as_utf8("caf\xc3\xa9 100%") == "caf\xc3\xa9 100%");
  CHECK(as_utf8("caf\xe9") == "caf%E9");
  CHECK(as_utf8("\xff\xc3\xa9\xc3") == "%FF\xc3\xa9%C3");
  CHECK(as_utf8("\xed\xa0\x80\xf0\x9f\xaa\xa8") == "%ED%A0%80\xf0\x9f\xaa\xa8");
  const std::string text = "a\xc3\xa9\xf0\x9f\xaa\xa8";
  CHECK(utf8_prefix(text, 9) == text);
  for (const size_t most : {3U, 4U, 5U, 6U}) CHECK(utf8_prefix(text, most) == "a\xc3\xa9");
  for (const size_t most : {1U, 2U}) CHECK(utf8_prefix(text, most) == "a");
  CHECK(utf8_prefix(text, 0).empty());
  CHECK(utf8_prefix("\x80\x80\x80\x80\x80\x80", 5).size() == 5);
}
