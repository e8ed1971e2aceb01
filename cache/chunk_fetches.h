// ChunkFetches: chunks that are being fetched, each once however many want it.
//
// A reader that comes to what is on its way for read-ahead waits for that. And between looking for
// a chunk and asking for it, it may have come: who is the first to ask looks once more.
// Owner: the engine, which outlives every `done`. Thread-safe.
#pragma once

#include <functional>
#include <vector>

#include "cache/base/executor.h"
#include "cache/base/pending.h"
#include "cache/chunk_cache.h"
#include "cache/flights.h"
#include "cache/need.h"

namespace cairn {

class ChunkFetches {
 public:
  // Puts a chunk where the next reader finds it; from several threads.
  using Keep = std::function<void(const Need::Chunk& chunk, const Buffer& bytes)>;

  ChunkFetches(ChunkCache& chunks, Executor& executor, Clock& clock, Keep keep)
      : chunks_(chunks), executor_(executor), clock_(clock), keep_(std::move(keep)) {}

  // Success: each was kept, or whoever else fetched it could not; the operation looks again.
  // `done` comes when nothing that this call began is under way.
  void fetch(Remote& remote, std::vector<Need::Chunk> wanted, const Context& context,
             Callback<void> done);

 private:
  void fetch_now(Remote& remote, std::vector<Need::Chunk> chunks, const Context& context,
                 std::function<void(const Error&)> failed, std::function<void()> done);

  ChunkCache& chunks_;
  Executor& executor_;
  Clock& clock_;
  const Keep keep_;
  Flights flights_;
};

}  // namespace cairn
