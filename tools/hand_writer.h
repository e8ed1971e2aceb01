// HandWriter: a subcommand that writes to a volume nobody has mounted for writing (gc, repair).
//
// It becomes the volume's writer, keeps nothing on this machine, and leaves with a closing commit.
// All of them are one cache to the volume, so that they use up one slot of inode numbers. One that
// was killed leaves the volume open under the name "HOST (cairn)"; the next one closes it.
// Owner: the subcommand, on its thread. Errors: kPrecondition when a node has the volume open.
#pragma once

#include <memory>

#include "cache/tree_remote.h"
#include "tools/compose.h"
#include "tools/scratch_dir.h"

namespace cairn {

class HandWriter {
 public:
  // `read_only`: look at the volume and take no part.
  static Result<std::unique_ptr<HandWriter>> open(ObjectStore& store, Runtime& runtime,
                                                  bool read_only, const Context& context);
  ~HandWriter();
  TreeRemote& remote() { return *remote_; }
  PublishHost& host() { return *host_; }
  // Not to be interrupted: otherwise the next mount would have to take over.
  Status close();

 private:
  HandWriter();
  ScratchDir scratch_;
  std::unique_ptr<PublishHost> host_;
  std::unique_ptr<TreeRemote> remote_;
  bool writing_ = false;
};

}  // namespace cairn
