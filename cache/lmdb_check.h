// Is this file what LMDB left there? LMDB maps it and believes every page: a damaged one ends the
// process, or is taken for the truth. So each page that a lookup could reach is looked at before,
// with plain reads: its place, its nodes, the order of the keys, the counts, the list of free
// pages, and every row by the caller's own checksum.
//
// A pure reader of one closed file (format of LMDB 0.9, 64-bit little-endian). Takes one page at a
// time and a bit a page. Errors: kCorruption with file and page; those of reading.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "cache/base/env.h"
#include "cache/base/result.h"

namespace cairn {

using RowIsGood = std::function<bool(std::string_view key, std::string_view stored)>;

Status check_lmdb_file(Env& env, const std::string& path, const RowIsGood& row_is_good);

}  // namespace cairn
