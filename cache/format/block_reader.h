// BlockReader, BlockSink: where trees of blocks (UnixFS files, the MST) are read from and written
// to. Owned by the caller; the format code calls them on its own thread and keeps no reference
// after it returned.
//
// Errors: kNotLocal says that the block exists but has to be fetched first. Every tree function
// can be run again from its start once the missing blocks are there, and where it can it asks for
// all blocks of a level before it gives up, so that a reader which notes what it was asked for can
// fetch them together. kNotFound and kCorruption end the call.
#pragma once

#include <memory>
#include <utility>

#include "cache/base/bytes.h"
#include "cache/base/digest.h"
#include "cache/base/result.h"
#include "cache/format/cid.h"

namespace cairn {

struct UnixfsLinks;

class BlockReader {
 public:
  virtual ~BlockReader() = default;
  // The block's bytes, which the reader has verified against `digest`.
  virtual Result<Buffer> get(const Digest& digest) = 0;
  // The links of the inner node of a file that the block is; a reader may know them decoded.
  virtual Result<std::shared_ptr<const UnixfsLinks>> links(const Digest& digest);
};

class BlockSink {
 public:
  virtual ~BlockSink() = default;
  // Takes a new block. `bytes` hash to `cid`. The same block may be put several times.
  virtual Status put(const Cid& cid, Buffer bytes) = 0;
  // The same for a node of a tree, by who wants to know its layer.
  virtual Status put_node(const Cid& cid, Buffer bytes, int /*layer*/) {
    return put(cid, std::move(bytes));
  }
};

}  // namespace cairn
