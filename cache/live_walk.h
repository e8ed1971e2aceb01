// LiveWalk: which leaves a tree needs, for the collector.
//
// Goes through a tree in key order and names every leaf of every file (again for every use; zeroes
// that stand for a whole subtree once). Metadata that is not on this machine is fetched.
// Owner: one collection, on its thread; blocks on the store. Memory: the way to one node.
// Errors: kCancelled, those of reading metadata; kCorruption names the key.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "cache/format/mst.h"
#include "cache/format/unixfs_file.h"
#include "cache/tree_remote_impl.h"

namespace cairn {

class LiveWalk {
 public:
  using Visit = std::function<void(const Digest& leaf)>;

  // `remote` must outlive it.
  LiveWalk(TreeRemote::Impl& remote, Context context);

  Status tree(const Digest& root, const Visit& visit);
  // Only what differs from `base`, which is walked besides.
  Status beyond(const Digest& base, const Digest& root, const Visit& visit);
  Status content(const UnixfsRoot& file, const Visit& visit);

  // The metadata blocks read, with repetition, and their bytes.
  uint64_t metadata_blocks() const { return blocks_.count; }
  uint64_t metadata_bytes() const { return blocks_.bytes; }
  uint64_t content_node_bytes() const { return content_bytes_; }  // of these, of nodes of files

 private:
  class Blocks final : public BlockReader {
   public:
    Blocks(TreeRemote::Impl& remote, const Context& context) : remote_(remote), context_(context) {}
    Result<Buffer> get(const Digest& digest) override;
    uint64_t count = 0;
    uint64_t bytes = 0;

   private:
    TreeRemote::Impl& remote_;
    const Context& context_;
  };
  Status entry(std::string_view key, const Cid& value, const Visit& visit);
  Status go_on() const;

  TreeRemote::Impl& remote_;
  const Context context_;
  Blocks blocks_;
  uint64_t content_bytes_ = 0;
  MstBlockNodeReader nodes_;
};

}  // namespace cairn
