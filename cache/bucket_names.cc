#include "cache/bucket_names.h"

#include <algorithm>
#include <array>
#include <optional>

#include "cache/base/coding.h"
#include "cache/base/digest.h"
#include "cache/format/records.h"

namespace cairn {

namespace {

constexpr std::string_view kKey = "%key%";
constexpr std::string_view kFile = "%file%";
constexpr std::string_view kCut = "%cut%";
constexpr std::string_view kCutFile = "%cutfile%";
constexpr std::array<std::string_view, 5> kForms{kKey, kFile, kMarkerName, kCut, kCutFile};
constexpr size_t kHashDigits = 32;
constexpr std::string_view kHex = "0123456789ABCDEF";

bool looks_like_a_form(std::string_view part) {
  return std::any_of(kForms.begin(), kForms.end(),
                     [part](std::string_view form) { return part.starts_with(form); });
}

bool must_be_encoded(unsigned char c) {
  return c < 0x20 || c == 0x7f || c == '%' || c == '/';
}

std::string percent(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return {'%', kHex[byte >> 4], kHex[byte & 15]};
}

std::string encode(std::string_view part) {
  std::string out;
  for (const char c : part) {
    if (must_be_encoded(static_cast<unsigned char>(c)))
      out += percent(c);
    else
      out.push_back(c);
  }
  return out;
}

// Only what `encode` writes.
std::optional<std::string> decode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const size_t high = kHex.find(text[i + 1]);
    const size_t low = kHex.find(text[i + 2]);
    if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
    out.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  if (encode(out) != text) return std::nullopt;
  return out;
}

// Where text of at most `most` bytes may end: not inside an escape or a UTF-8 character.
size_t cut_point(std::string_view text, size_t most) {
  size_t at = std::min(most, text.size());
  for (size_t back = 1; back <= 2 && back <= at; ++back)
    if (text[at - back] == '%') at -= back;
  while (at > 0 && at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
  return at;
}

std::string in_form(std::string_view form, std::string_view cut_form, std::string_view part) {
  const std::string text = encode(part);
  if (form.size() + text.size() <= kMaxName) return std::string(form) + text;
  const size_t room = kMaxName - cut_form.size() - 1 - kHashDigits;
  return std::string(cut_form) + text.substr(0, cut_point(text, room)) + "~" +
         sha256(as_bytes(part)).hex().substr(0, kHashDigits);
}

}  // namespace

std::string shown_name(std::string_view part) {
  if (valid_name(part) && !looks_like_a_form(part)) return std::string(part);
  return in_form(kKey, kCut, part);
}

std::string shown_beside(std::string_view part) {
  return in_form(kFile, kCutFile, part);
}

std::string as_utf8(std::string_view name) {
  std::string out;
  while (!name.empty()) {
    size_t size = 1;
    while (size < 4 && size < name.size() && !is_utf8(name.substr(0, size))) ++size;
    if (is_utf8(name.substr(0, size))) {
      out.append(name.substr(0, size));
    } else {
      size = 1;
      out.append(percent(name.front()));
    }
    name.remove_prefix(size);
  }
  return out;
}

NameMeaning meaning_of(std::string_view name) {
  using Kind = NameMeaning::Kind;
  if (!valid_name(name)) return {};
  if (name == kMarkerName) return {Kind::kMarker, ""};
  if (name.starts_with(kCut) || name.starts_with(kCutFile)) return {Kind::kCut, ""};
  if (!looks_like_a_form(name)) return {Kind::kPart, std::string(name)};
  const bool beside = name.starts_with(kFile);
  const auto part = decode(name.substr(beside ? kFile.size() : kKey.size()));
  // A part ends at the first '/': with one in it, it is no name of this directory.
  if (!part || part->find('/') != std::string::npos) return {};
  // One part has one name.
  if (name != (beside ? shown_beside(*part) : shown_name(*part))) return {};
  return {beside ? Kind::kBeside : Kind::kPart, *part};
}

}  // namespace cairn
