// The rows of BucketTree, as bytes.
//
// Pure functions; what is decoded comes from the local disk and may be damaged: kCorruption then.
// kForm names the form; rows of another are thrown away with all others.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "cache/bucket_tree.h"

namespace cairn::bucket_rows {

inline constexpr std::string_view kForm = "3";

// All rows are in one table, by their first letter.
inline constexpr Table kTable = Table::kTree;
inline constexpr char kLeftRow = 'm';  // then the old key
// What is left of something that moved; without `what` the row goes. A key that is too long for a
// row of its own stands in the value, and its digest for it.
TableChange left_row(std::string_view from, const std::optional<std::string>& what);
Result<std::pair<std::string, std::string>> decode_left(std::string_view key,
                                                        std::string_view value);
std::string node_key(uint64_t ino);
std::string entry_key(uint64_t dir, std::string_view name = {});
std::string listing_key(uint64_t dir);
// The directory and the name.
Result<std::pair<uint64_t, std::string>> decode_entry_key(std::string_view key);

std::string encode(const BucketNode& node);
Result<BucketNode> decode_node(std::string_view in);
std::string encode(const BucketEntry& entry);
Result<BucketEntry> decode_entry(std::string_view in);
std::string encode(const BucketListing& listing);
Result<BucketListing> decode_listing(std::string_view in);

}  // namespace cairn::bucket_rows
