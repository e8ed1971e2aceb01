#include "cache/chunk_fetches.h"

#include <atomic>
#include <memory>

namespace cairn {

void ChunkFetches::fetch(Remote& remote, std::vector<Need::Chunk> wanted, const Context& context,
                         Callback<void> done) {
  // The wait, which ends with the caller's patience, and the requests made here.
  const auto both = all_of(2, std::move(done));
  const auto wait = std::make_shared<Pending<void>>(executor_, clock_, context,
                                                    "waiting for a chunk on its way", both);
  const auto left = std::make_shared<std::atomic<size_t>>(wanted.size());
  std::vector<Need::Chunk> mine;
  for (Need::Chunk& chunk : wanted) {
    // Without it the operation looks again, and asks for itself: why another one failed, which may
    // have been for another chunk, is no answer to this one.
    const auto waiter = [this, chunk, wait, left](const Result<Buffer>& bytes) {
      if (bytes) keep_(chunk, *bytes);
      if (--*left == 0) wait->finish({});
    };
    if (flights_.join(chunk.leaf.digest, waiter)) mine.push_back(std::move(chunk));
  }
  // What is requested here ends by itself when the caller's patience does.
  if (mine.size() < wanted.size()) wait->watch();
  std::erase_if(mine, [this](const Need::Chunk& chunk) {
    const auto here = chunks_.whole(chunk.inode, chunk.chunk, chunk.leaf);
    if (!here || !*here) return false;
    flights_.land(chunk.leaf.digest, **here);
    return true;
  });
  if (mine.empty()) return both({});
  const auto failed = [wait](const Error& why) { wait->finish(tl::unexpected<Error>(why)); };
  fetch_now(remote, std::move(mine), context, failed, [both] { both({}); });
}

void ChunkFetches::fetch_now(Remote& remote, std::vector<Need::Chunk> chunks,
                             const Context& context, std::function<void(const Error&)> failed,
                             std::function<void()> done) {
  std::vector<Leaf> leaves;
  for (const Need::Chunk& chunk : chunks) leaves.push_back(chunk.leaf);
  const auto landed = std::make_shared<std::vector<char>>(leaves.size());
  const auto each = [this, leaves, landed](size_t i, const Buffer& bytes) {
    (*landed)[i] = 1;
    flights_.land(leaves[i].digest, bytes);
  };
  const auto end = [this, leaves, landed, failed = std::move(failed),
                    done = std::move(done)](const Result<std::vector<Buffer>>& fetched) {
    const Error why = fetched ? Error(Errc::kCancelled, "to be looked for again") : fetched.error();
    // Of who fetches it is the answer, before those who wait are told that there is none.
    if (!fetched) failed(why);
    for (size_t i = 0; i < leaves.size(); ++i)
      if ((*landed)[i] == 0) flights_.land(leaves[i].digest, tl::unexpected<Error>(why));
    done();
  };
  remote.fetch_leaves(leaves, context, each, end);
}

}  // namespace cairn
