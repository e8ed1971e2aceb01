// check_volume: is everything that the volume's head names there, whole, and in agreement?
//
// Reads only. Blocks; one thread; never on a task of the store's executor. What is wrong with the
// volume is a problem in the report, named by the object's key; an Error is returned only when the
// check itself could not go on (no access, no network, no volume there).
//
// Looked at: cairn.json, HEAD, gc.boundary; every commit from the boundary to the head, each
// against its predecessor; every metadata pack byte by byte; data packs by their tails, or byte by
// byte with `data`; index segments byte by byte, and against the packs' tails; the tree node by
// node (keys in order, layers, the superblock), every inode, dirent and xattr, and for every file
// its nodes and that every leaf is in a pack that is there, with the right length. Every snapshot
// and its tree likewise. What is condemned may be gone, and nothing that is needed may be there;
// but a snapshot of a commit that is older than the collection may need it until the next one.
// Memory: 44 bytes a block that the head's packs hold, some 40 bytes an inode and a name, and one
// index segment at a time.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cache/base/clock.h"
#include "cache/object_store.h"

namespace cairn {

struct CheckProblem {
  std::string object;  // key in the store, and what in it
  std::string what;
};

struct CheckCounts {
  uint64_t commits = 0;
  uint64_t snapshots = 0;
  uint64_t metadata_packs = 0;
  uint64_t data_packs = 0;
  uint64_t index_segments = 0;
  uint64_t index_entries = 0;
  uint64_t nodes = 0;  // of the tree
  uint64_t keys = 0;   // in it
  uint64_t inodes = 0;
  uint64_t files = 0;  // regular ones
  uint64_t file_bytes = 0;
  uint64_t allocated_bytes = 0;
  uint64_t leaves = 0;  // of all files, with repetition
  uint64_t blocks_hashed = 0;
  uint64_t unreferenced = 0;  // packs and segments that the head does not name; no problem
};

struct CheckReport {
  static constexpr size_t kProblemsMax = 1000;  // kept; all are counted
  std::vector<CheckProblem> problems;
  uint64_t problem_count = 0;
  CheckCounts counts;
  uint64_t head = 0;  // number of the commit that was checked
  bool clean() const { return problem_count == 0; }
};

struct CheckOptions {
  bool data = false;  // read every block
  Context context;
  // Called now and then with what is being looked at.
  std::function<void(std::string_view step, const CheckCounts& counts)> progress;
};

Result<CheckReport> check_volume(ObjectStore& store, const CheckOptions& options);

}  // namespace cairn
