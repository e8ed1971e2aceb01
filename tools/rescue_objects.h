// What the cache of a bucket's objects has and the bucket does not: told, and brought out.
//
// It is read from the rows of unpublished changes, and not from the tree: no directory is listed,
// and no request is made but for the bytes of partly changed files. Names are those of the mount.
#pragma once

#include <string>
#include <vector>

#include "cache/cache_dir.h"
#include "fs/volume.h"
#include "tools/rescue.h"

namespace cairn {

struct UnpublishedItem {
  // kSet: only mode, owner, time or metadata.
  enum class Kind : uint8_t { kFile, kLink, kDirectory, kRenamed, kSet, kRemoved };
  Kind kind = Kind::kFile;
  Ino ino = 0;
  bool held = false;  // by --filter-upload
  std::string path;   // from the mount point, with its '/'; of a directory without one behind it
  std::string from;   // not empty: where the bucket has it
  bool is_dir = false;
  bool nameless = false;       // its name is lost: the path is made up
  uint64_t size = 0;           // of a file
  uint64_t only_in_store = 0;  // bytes of it that were not written here
  bool base_lost = false;      // these are not known any more
};

// In the order of paths. `mount` was opened with MountOptions::recover and shows objects. What is
// damaged is logged and left out; then `complete` is false.
Result<std::vector<UnpublishedItem>> unpublished_items(const OpenedMount& mount, Volume& volume,
                                                       bool& complete);

// Makes files, links and directories among them below `target`, an empty directory.
Result<RescueReport> rescue_objects(const OpenedMount& mount, Volume& volume,
                                    const std::vector<UnpublishedItem>& items,
                                    const std::string& target);

}  // namespace cairn
