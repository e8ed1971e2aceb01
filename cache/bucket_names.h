// How a part of an object's key stands as a name in a directory, and back.
//
// A key is split at each '/'; what lies between is a part. A part that can be a name (1 to 255
// bytes, no NUL, not "." or "..") is shown as it is. Others, and what would be taken for one of
// these forms, are shown in one of them; fs/SEMANTICS.md says so to users:
//   %key%TEXT         the part, percent-encoded: empty, ".", "..", or it begins like these forms
//   %file%TEXT        an object whose part is a directory's name too ("a" beside "a/b")
//   %marker%          inside a directory: the object that has the directory's own key ("a/"), when
//                     it holds bytes
//   %cut%TEXT~HASH    a part of more than 255 bytes, cut; HASH are 32 digits of its SHA-256
//   %cutfile%TEXT~HASH  likewise, of an object beside a directory
// All but the cut ones give their key back by computation; of those the listing knows the key.
// Pure functions, safe from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cairn {

inline constexpr std::string_view kMarkerName = "%marker%";

std::string shown_name(std::string_view part);
// Of an object whose part is the name of a directory beside it.
std::string shown_beside(std::string_view part);

// The same name where keys are UTF-8: what is none as %XX. For what is to be seen, not to be read
// back.
std::string as_utf8(std::string_view name);

// What a name stands for.
struct NameMeaning {
  enum class Kind : uint8_t {
    kPart,    // an object or a directory with this part
    kBeside,  // an object with this part, beside a directory
    kMarker,  // the directory's own object
    kCut,     // only a listing can tell
    kNone,    // nothing is ever shown under this name
  };
  Kind kind = Kind::kNone;
  std::string part;
};
NameMeaning meaning_of(std::string_view name);

}  // namespace cairn
