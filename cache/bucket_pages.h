// What one page of keys of any depth says of each directory: the pure half of BucketLister.
//
// A flat page is a run of keys in byte order, so it holds directories one after the other, each
// whole but for the last few, which end where the page does. Pure, safe from any thread.
// Errors: kIo for keys that are not in order or have not the prefix: pages are hostile.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cache/object_store.h"

namespace cairn {

struct DirectoryPage {
  std::string prefix;  // of its keys: "" or "a/b/"
  ListPage level;      // what one level of it holds, as far as the page goes
  // All up to its end is in the page. Else where a listing of its level goes on.
  bool complete = true;
  std::string behind;
};

// Directories from `prefix` (the first; there even when it is empty) down, each before those in it.
// What is very deep stays out: the directory that it is in is as if only its names were listed.
Result<std::vector<DirectoryPage>> directories_of(std::string_view prefix, const ListPage& page);

// What the keys of the directory above begin with; of a prefix that is not empty.
std::string_view prefix_above(std::string_view prefix);
// The part of a key or prefix behind that.
std::string_view part_in_prefix(std::string_view prefix);

}  // namespace cairn
