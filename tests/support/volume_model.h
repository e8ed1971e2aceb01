// VolumeModel: what a tree of files holds, and the engine's side of publishing it, for tests of the
// remote. It keeps every file's bytes as they are now, and what was written since the last publish
// as extents over a log file, the way the engine does.
//
// One thread, but for the PublishHost methods, which are called while publish runs.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cache/format/records.h"
#include "cache/remote.h"

namespace cairn::test {

class VolumeModel final : public PublishHost {
 public:
  // `log` takes what is written; it must be empty.
  VolumeModel(std::shared_ptr<File> log, uint32_t chunk_bytes)
      : log_(std::move(log)), chunk_bytes_(chunk_bytes) {}

  // ---- operations on files, by inode number
  void create(Ino ino);
  void remove(Ino ino);
  void write(Ino ino, uint64_t offset, const std::string& bytes);
  void zero(Ino ino, uint64_t offset, uint64_t length);  // within the file
  void truncate(Ino ino, uint64_t size);
  // Bytes [offset, offset + length) of a chunk, which `from` has as it was published, become those
  // of the same place in `to`, by the name of the leaf. False when there is no such leaf.
  bool copy(Ino from, Ino to, uint64_t offset, uint64_t length);
  const std::map<Ino, std::string>& files() const { return files_; }

  // ---- publishing
  // Everything since the last `published`.
  PublishBatch batch();
  void published();  // the last batch is in the store

  Result<std::shared_ptr<File>> open_data(const DataRef& ref) override;
  Result<std::optional<Buffer>> resident(uint64_t inode, uint64_t chunk, const Leaf& leaf) override;
  void chunk_staged(uint64_t inode, uint64_t chunk, const Leaf& leaf, Buffer bytes) override;
  Result<bool> extend_batch() override { return grow && grow(); }
  Status commit_intended(uint64_t seq, Bytes record) override;
  void uploaded(uint64_t bytes) override;

  // Called when a batch is staged; true when it was made anew, with more.
  std::function<bool()> grow;
  // Called once, before the next commit is sent.
  std::function<void()> at_intent;
  std::map<std::pair<uint64_t, uint64_t>, Leaf> staged;  // since the last batch
  Buffer intended;                                       // the last record
  uint64_t uploaded_bytes = 0;

 private:
  struct Pending {
    std::map<uint64_t, Extents> chunks;
    uint64_t base_limit = UINT64_MAX;
  };
  void add_extent(Ino ino, uint64_t offset, uint64_t length, const Extent& source);

  std::shared_ptr<File> log_;
  const uint32_t chunk_bytes_;
  uint64_t log_size_ = 0;
  Lsn lsn_ = 0;
  std::map<Ino, std::string> files_;
  std::map<Ino, std::string> published_files_;
  std::map<Ino, Pending> pending_;
  std::set<Ino> changed_;  // created, changed or removed
  std::mutex mutex_;
};

// What a file of this size has allocated, in the model.
constexpr uint64_t allocated_by(uint64_t size) {
  return (size + 4095) / 4096 * 4096;
}

// The content CID of `bytes`, computed from the start; nullopt when there are none.
std::optional<Cid> content_of(const std::string& bytes, const VolumeParams& params);

// Reads every file that `remote` shows: bytes and content CIDs. Throws (doctest's way) when a file
// cannot be read.
struct ShownFile {
  std::string bytes;
  std::optional<Cid> content;
};
std::map<Ino, ShownFile> read_all(Remote& remote);

}  // namespace cairn::test
