// Names of the objects of a volume, relative to its prefix. Pure functions.
//
//   cairn.json             says that this is a volume, for people and for `identify`
//   c/<20 digits>          commit records, each created once
//   p/<aa>/<64 hex>.car    packs, named by their digest      x/<aa>/<64 hex>.idx  index segments
//   r/<name>               refs: trees that the collector keeps
//   HEAD, gc.boundary      decimal numbers: a recent commit (a hint), and the number below which
//                          commit records may be gone
//   gc.time                written by the collector to learn the time of the store's own clock
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "cache/base/digest.h"

namespace cairn {

inline constexpr std::string_view kVolumeKey = "cairn.json";
inline constexpr std::string_view kHeadKey = "HEAD";
inline constexpr std::string_view kBoundaryKey = "gc.boundary";
inline constexpr std::string_view kClockKey = "gc.time";
inline constexpr std::string_view kCommitPrefix = "c/";
inline constexpr std::string_view kPackPrefix = "p/";
inline constexpr std::string_view kIndexPrefix = "x/";
inline constexpr std::string_view kRefPrefix = "r/";

std::string commit_key(uint64_t seq);
std::string pack_key(const Digest& pack);
std::string index_key(const Digest& segment);
std::string ref_key(std::string_view name);

// The inverse; nullopt for every key that the functions above would not have made.
std::optional<uint64_t> parse_commit_key(std::string_view key);
std::optional<Digest> parse_pack_key(std::string_view key);
std::optional<Digest> parse_index_key(std::string_view key);

// The content of HEAD and gc.boundary: decimal digits and a line feed.
std::string number_text(uint64_t number);
std::optional<uint64_t> parse_number_text(std::string_view text);

}  // namespace cairn
