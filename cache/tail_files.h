// TailFiles: tails of metadata packs in a directory of the cache, so that what says where metadata
// blocks lie is bounded by disk and survives restarts.
//
// One file a tail, `<hex>.tail`, mapped while the tail is used. Written under another name and
// renamed, never synced: a tail is named by the digest of its bytes, so what power loss leaves is
// noticed when it is loaded. Nothing here is precious.
// Owner: PackTails, which says what is kept; shared with its tasks. Thread-safe; file operations
// run without the lock. Errors: kIo of the directory (open).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/base/env.h"
#include "cache/base/mutex.h"
#include "cache/pack_store.h"

namespace cairn {

class TailFiles {
 public:
  // Smaller ones are not worth a file.
  static constexpr uint64_t kBytesMin = 32ULL << 10;

  // Takes over what an earlier life left in `dir`.
  static Result<std::shared_ptr<TailFiles>> open(Env& env, std::string dir, uint64_t bytes_max);

  bool has(const Digest& pack) const;
  std::vector<Digest> packs() const;
  // How much more may come; nothing after the disk or the bound has refused one, until `forget`.
  uint64_t room() const;
  // The tail, mapped; nullopt when it is not here. A damaged file is removed.
  std::optional<PackTail> load(const PackName& pack);
  // Keeps the tail; the same one, mapped, unless there is no room for it, or the disk refuses.
  std::optional<PackTail> keep(const PackTail& tail);
  // These are not here any more. Those that had files are returned, which go with `unlink`.
  std::vector<Digest> forget(const std::vector<Digest>& packs);
  void unlink(const std::vector<Digest>& packs);

 private:
  TailFiles(Env& env, std::string dir, uint64_t bytes_max)
      : env_(env), dir_(std::move(dir)), bytes_max_(bytes_max) {}
  Status adopt();
  std::string path(const Digest& pack) const;
  Result<Buffer> write(const Digest& pack, uint64_t number, Bytes bytes);
  Result<PackTail> map(const PackName& pack);

  Env& env_;
  const std::string dir_;
  const uint64_t bytes_max_;
  mutable RankedMutex<Rank::kLeaf> mutex_;
  std::map<Digest, uint64_t> bytes_of_;
  std::map<Digest, uint64_t> incoming_;  // being written, by which call
  uint64_t calls_ = 0;
  uint64_t bytes_ = 0;  // of both
  bool refused_ = false;
};

}  // namespace cairn
