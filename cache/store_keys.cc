#include "cache/store_keys.h"

#include <fmt/format.h>

#include <charconv>

namespace cairn {
namespace {
constexpr size_t kSeqDigits = 20;

std::string content_key(std::string_view prefix, const Digest& digest, std::string_view suffix) {
  const std::string hex = digest.hex();
  return fmt::format("{}{}/{}{}", prefix, hex.substr(0, 2), hex, suffix);
}

std::optional<Digest> parse_content_key(std::string_view key, std::string_view prefix,
                                        std::string_view suffix) {
  if (!key.starts_with(prefix) || !key.ends_with(suffix)) return std::nullopt;
  key.remove_prefix(prefix.size());
  key.remove_suffix(std::min(suffix.size(), key.size()));
  if (key.size() != 2 + 1 + 64 || key[2] != '/' || key.substr(0, 2) != key.substr(3, 2))
    return std::nullopt;
  return Digest::from_hex(key.substr(3));
}

std::optional<uint64_t> parse_decimal(std::string_view digits) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}
}  // namespace

std::string commit_key(uint64_t seq) {
  return fmt::format("{}{:020}", kCommitPrefix, seq);
}
std::string pack_key(const Digest& pack) {
  return content_key(kPackPrefix, pack, ".car");
}
std::string index_key(const Digest& segment) {
  return content_key(kIndexPrefix, segment, ".idx");
}
std::string ref_key(std::string_view name) {
  return fmt::format("{}{}", kRefPrefix, name);
}

std::optional<uint64_t> parse_commit_key(std::string_view key) {
  if (!key.starts_with(kCommitPrefix)) return std::nullopt;
  key.remove_prefix(kCommitPrefix.size());
  if (key.size() != kSeqDigits) return std::nullopt;
  return parse_decimal(key);
}

std::optional<Digest> parse_pack_key(std::string_view key) {
  return parse_content_key(key, kPackPrefix, ".car");
}
std::optional<Digest> parse_index_key(std::string_view key) {
  return parse_content_key(key, kIndexPrefix, ".idx");
}

std::string number_text(uint64_t number) {
  return fmt::format("{}\n", number);
}

std::optional<uint64_t> parse_number_text(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  return parse_decimal(text);
}

}  // namespace cairn
