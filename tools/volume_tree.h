// VolumeTree: the tree of a volume at its newest commit, for commands that read it without a mount.
//
// Keeps what it fetches in a temporary directory. Owner: the subcommand, on its thread; it blocks.
// Errors: kNotFound for a path that is not there; those of the store. Symbolic links are not
// followed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cache/format/records.h"
#include "tools/hand_writer.h"
#include "tools/target.h"

namespace cairn {

class VolumeTree {
 public:
  static Result<std::unique_ptr<VolumeTree>> open(ObjectStore& store, Runtime& runtime,
                                                  const CancelToken& cancel);
  struct Node {
    uint64_t ino = 0;
    InodeRecord record;
    bool is_directory() const { return record.type() == FileType::kDirectory; }
  };
  // Parts between slashes; empty ones mean nothing.
  Result<Node> find(const std::string& path);
  struct Entry {
    std::string name;
    Node node;
  };
  // The next names behind `after`, at most `limit`, in order.
  Result<std::vector<Entry>> list(uint64_t dir, const std::string& after, size_t limit);
  // Of a file, clipped at its end.
  Result<std::vector<Buffer>> read(const Node& file, uint64_t offset, uint64_t length);
  const TreeRemote& remote() const { return writer_->remote(); }

 private:
  VolumeTree(std::unique_ptr<HandWriter> writer, CancelToken cancel)
      : writer_(std::move(writer)), cancel_(std::move(cancel)) {}
  // Runs `look` until all that it needs is here.
  template <class Look>
  auto here(const Look& look) -> decltype(look(std::declval<Missing&>()));
  Result<Node> node(uint64_t ino);
  Result<Buffer> bytes_of(const Cid& value);

  std::unique_ptr<HandWriter> writer_;
  const CancelToken cancel_;
};

// The volume that a target lies in (find_volume), with the store under it.
struct OpenTree {
  StoreStack stack;
  std::unique_ptr<VolumeTree> tree;
};
Result<OpenTree> open_tree(const Target& target, const std::string& volume,
                           const StoreOptions& options, Runtime& runtime,
                           const CancelToken& cancel);

}  // namespace cairn
