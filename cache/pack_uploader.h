// PackUploader: sends packs to the store, several at once, within bounds of number and memory.
//
// Owner: one publish, on its thread; the callbacks come from executor tasks. The destructor waits
// for what is under way. After the first failure nothing more is sent, and every call returns it.
// A pack is in `sent()` once it is durable in the store.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "cache/base/mutex.h"
#include "cache/line_pace.h"
#include "cache/open_pack.h"
#include "cache/pack_store.h"
#include "cache/remote.h"

namespace cairn {

class PackUploader {
 public:
  struct Options {
    PutPace pace;
    unsigned in_flight_max = 0;  // to begin with: what the one before ended with; 0: not known
    Duration io_timeout = std::chrono::seconds(60);
    uint64_t slowest_bytes_per_second = 32 << 10;  // more time for what is larger
  };
  // All references must outlive it.
  PackUploader(PackStore& packs, PublishHost& host, Clock& clock, Options options, Context context);
  ~PackUploader();
  PackUploader(const PackUploader&) = delete;
  PackUploader& operator=(const PackUploader&) = delete;

  // Waits for a free place, then starts. The memory of the body is held until it is sent.
  Status send(SealedPack pack);
  // Waits until at most `bytes` of memory are held by packs under way.
  Status wait_memory(uint64_t bytes);
  // Waits for everything that was started, also after a failure.
  Status finish();

  uint64_t memory_bytes() const;
  unsigned in_flight_max() const;  // as it is now; 0: nothing is known of the line yet
  std::vector<PackName> sent() const;
  // Data packs that went off, in that order; some may not be there yet.
  const std::vector<PackTail>& started() const { return started_; }

 private:
  struct State {
    RankedMutex<Rank::kLeaf> mutex;
    ConditionVariable changed;
    unsigned in_flight = 0;
    unsigned in_flight_max = 0;
    bool knows_line = false;
    uint64_t memory_bytes = 0;
    std::optional<Error> failed;
    std::vector<PackName> sent;
  };
  // Waits until `ready` or a failure.
  template <class Ready>
  Status wait(const Ready& ready);

  PackStore& packs_;
  PublishHost& host_;
  Clock& clock_;
  const Options options_;
  const Context context_;
  std::vector<PackTail> started_;
  std::shared_ptr<State> state_;
};

// A context for one request of `bytes` within `context`.
Context request_context(Clock& clock, const Context& context, Duration io_timeout, uint64_t bytes,
                        uint64_t slowest_bytes_per_second);

}  // namespace cairn
