// What the FUSE operations are written with: run an operation of the Volume, reply, or park the
// request until what it needs is here. Internal to fs/fuse_*.
#pragma once

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 312
#endif
#include <fuse_lowlevel.h>

#include <atomic>
#include <memory>
#include <unordered_map>

#include "fs/errno_map.h"
#include "fs/volume.h"

namespace cairn {

class Parked;

// State of one session that every operation sees (fuse_req_userdata).
struct FuseContext {
  Volume& volume;
  double cache_seconds = 0;
  bool changed_here_only = false;
  bool keep_cache = false;
  Duration io_timeout{};
  bool remote_durability = false;  // fsync waits for the store
  // When a request last waited its whole time for the store in vain; reset by the next answer.
  std::atomic<MonotonicTime> store_silent_at{MonotonicTime::min()};
  // Requests that wait for the store.
  RankedMutex<Rank::kHandleTable> mutex;
  ConditionVariable none_parked;
  std::unordered_map<Parked*, std::weak_ptr<Parked>> parked;
};

inline FuseContext& context_of(fuse_req_t req) {
  return *static_cast<FuseContext*>(fuse_req_userdata(req));
}

void reply_error(fuse_req_t req, const Error& error);

// One run of an operation: replies and returns nullopt, or returns the kNotLocal error with what
// is missing in `need`. It must own everything it uses.
using Attempt = std::function<std::optional<Error>(fuse_req_t, Need&)>;

// Takes the request over: satisfies the need, runs the attempt again, and so on until it replied,
// the deadline passed or the caller gave up.
void park(fuse_req_t req, Need need, Attempt attempt);

// Ends every wait: the session is over.
void interrupt_all(FuseContext& context);

// Runs `op(need)`; `reply(req, value)` answers. On kNotLocal both are kept and run again later, so
// what they capture must be owned by them.
template <class Op, class Reply>
void serve(fuse_req_t req, Op op, Reply reply) {
  const auto attempt = [op = std::move(op), reply = std::move(reply)](
                           fuse_req_t r, Need& need) -> std::optional<Error> {
    auto result = op(need);
    if (result) {
      if constexpr (std::is_same_v<decltype(result), Status>) {
        reply(r);
      } else {
        reply(r, *result);
      }
      return std::nullopt;
    }
    if (result.error().code() == Errc::kNotLocal && need.any()) return result.error();
    reply_error(r, result.error());
    return std::nullopt;
  };
  Need need;
  if (attempt(req, need)) park(req, std::move(need), attempt);
}

extern const fuse_lowlevel_ops kFuseOps;

}  // namespace cairn
