#include "cache/pack_uploader.h"

#include <algorithm>
#include <utility>

namespace cairn {

Context request_context(Clock& clock, const Context& context, Duration io_timeout, uint64_t bytes,
                        uint64_t slowest_bytes_per_second) {
  Context request = context;
  const Duration most = io_timeout + std::chrono::seconds(bytes / slowest_bytes_per_second);
  request.deadline = Deadline(std::min(context.deadline.at(), clock.now() + most));
  return request;
}

PackUploader::PackUploader(PackStore& packs, PublishHost& host, Clock& clock, Options options,
                           Context context)
    : packs_(packs),
      host_(host),
      clock_(clock),
      options_(options),
      context_(std::move(context)),
      state_(std::make_shared<State>()) {
  state_->in_flight_max = std::max(options_.in_flight_max, options_.pace.fewest);
  state_->knows_line = options_.in_flight_max > 0;
}

PackUploader::~PackUploader() {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [&] { return state_->in_flight == 0; });
}

template <class Ready>
Status PackUploader::wait(const Ready& ready) {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [&] { return state_->failed || ready(*state_); });
  if (state_->failed) return tl::unexpected<Error>(*state_->failed);
  return {};
}

Status PackUploader::send(SealedPack sealed) {
  const PackName pack = name_of(sealed.tail);
  const uint64_t memory_bytes = sealed.memory_bytes;
  TRY(wait([&](const State& state) { return state.in_flight < state.in_flight_max; }));
  if (context_.cancel.cancelled()) return fail(Errc::kCancelled, "publishing was cancelled");
  unsigned at_once = 0;
  {
    const std::lock_guard lock(state_->mutex);
    at_once = ++state_->in_flight;
    state_->memory_bytes += memory_bytes;
  }
  // The host outlives the callback: the destructor waits for it.
  auto done = [state = state_, host = &host_, clock = &clock_, began = clock_.now(),
               pace = options_.pace, at_once, pack, memory_bytes](Status result) {
    if (result) host->uploaded(pack.size);
    const PutSeen seen{pack.size, clock->now() - began, at_once, result.has_value()};
    const std::lock_guard lock(state->mutex);
    state->in_flight_max = next_puts_in_flight(state->in_flight_max, pace, seen);
    if (result) {
      state->sent.push_back(pack);
      state->knows_line |= tells(seen);
    } else if (!state->failed) {
      state->failed = std::move(result).error().wrap("pack " + pack.digest.hex());
    }
    --state->in_flight;
    state->memory_bytes -= memory_bytes;
    state->changed.notify_all();
  };
  if (pack.kind == PackKind::kData) started_.push_back(sealed.tail);
  packs_.put_pack(std::move(sealed.tail), std::move(sealed.body),
                  request_context(clock_, context_, options_.io_timeout, pack.size,
                                  options_.slowest_bytes_per_second),
                  std::move(done));
  return {};
}

Status PackUploader::wait_memory(uint64_t bytes) {
  return wait([&](const State& state) { return state.memory_bytes <= bytes; });
}

Status PackUploader::finish() {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [&] { return state_->in_flight == 0; });
  if (state_->failed) return tl::unexpected<Error>(*state_->failed);
  return {};
}

uint64_t PackUploader::memory_bytes() const {
  const std::lock_guard lock(state_->mutex);
  return state_->memory_bytes;
}

unsigned PackUploader::in_flight_max() const {
  const std::lock_guard lock(state_->mutex);
  return state_->knows_line ? state_->in_flight_max : 0;
}

std::vector<PackName> PackUploader::sent() const {
  const std::lock_guard lock(state_->mutex);
  return state_->sent;
}

}  // namespace cairn
