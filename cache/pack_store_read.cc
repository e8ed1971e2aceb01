// Reading blocks: single flight, few requests, everything verified.
#include <fmt/format.h>

#include <atomic>

#include "cache/pack_store_core.h"
#include "cache/read_plan.h"
#include "cache/store_keys.h"

namespace cairn {
namespace {

constexpr uint64_t kVerifyBytesPerTask = 1ULL << 20;

// One read_blocks call.
class ReadOperation : public std::enable_shared_from_this<ReadOperation> {
 public:
  ReadOperation(std::shared_ptr<PackStoreCore> core, std::vector<BlockWant> wants, PackKind kind,
                Context context, EachBlock each, Callback<std::vector<Buffer>> done)
      : core_(std::move(core)),
        wants_(std::move(wants)),
        kind_(kind),
        context_(std::move(context)),
        each_(std::move(each)),
        done_(std::move(done)),
        blocks_(wants_.size()),
        missing_(wants_.size()) {}

  void start() {
    if (wants_.empty()) return complete({});
    std::vector<size_t> all(wants_.size());
    for (size_t i = 0; i < all.size(); ++i) all[i] = i;
    begin(all, /*again=*/false);
  }

 private:
  struct Wanted {  // a block that this operation fetches for all who wait for it
    Digest digest;
    BlockPlace place;
  };

  // Waits for each block; those that nobody fetches yet are fetched here.
  void begin(const std::vector<size_t>& indexes, bool again) {
    std::vector<BlockWant> mine;
    bool joined = false;
    for (const size_t index : indexes) {
      const auto waiter = [self = shared_from_this(), index, again](const Result<Buffer>& block) {
        self->arrived(index, block, again);
      };
      if (core_->flights.join(wants_[index].digest, waiter))
        mine.push_back(wants_[index]);
      else
        joined = true;
    }
    if (joined) watch_context();
    if (!mine.empty()) find_places(std::move(mine));
  }

  // A block that another operation fetches comes with that one's deadline and token; ours count
  // too.
  void watch_context() {
    const auto give_up = [weak = weak_from_this()](Errc code, const char* why) {
      if (const auto self = weak.lock()) self->complete(fail(code, why));
    };
    Executor& executor = core_->executor;
    if (context_.deadline.at() != MonotonicTime::max())
      executor.submit_at(context_.deadline.at(), [give_up] {
        give_up(Errc::kTimeout, "the deadline passed while waiting for a block on its way");
      });
    auto listener = context_.cancel.on_cancel([give_up, &executor] {
      executor.submit(
          [give_up] { give_up(Errc::kCancelled, "cancelled while waiting for a block"); });
    });
    const std::lock_guard lock(mutex_);
    listener_.swap(listener);  // an older one goes after the lock
  }

  void find_places(std::vector<BlockWant> wants) {
    std::vector<Wanted> placed;
    std::vector<Digest> unknown;
    for (const BlockWant& want : wants) {
      if (want.hint)
        placed.push_back({want.digest, *want.hint});
      else
        unknown.push_back(want.digest);
    }
    if (unknown.empty()) return read(std::move(placed), /*looks=*/1);
    locate(std::move(unknown), std::move(placed), /*looks=*/1);
  }

  void locate(std::vector<Digest> digests, std::vector<Wanted> placed, unsigned looks) {
    auto list = digests;
    core_->locate(std::move(digests), kind_, context_,
                  [self = shared_from_this(), list = std::move(list), placed = std::move(placed),
                   looks](Result<std::vector<BlockPlace>> places) mutable {
                    if (!places) {
                      for (const Digest& digest : list)
                        self->core_->flights.land(digest, tl::unexpected<Error>(places.error()));
                    } else {
                      for (size_t i = 0; i < list.size(); ++i)
                        placed.push_back({list[i], (*places)[i]});
                    }
                    self->read(std::move(placed), looks);
                  });
  }

  void read(std::vector<Wanted> wanted, unsigned looks) {
    // Who looks again wants the bytes anew, and nothing else.
    const bool around = looks == 1 && kind_ == PackKind::kData;
    if (around) take_what_is_here(wanted);
    for (PlannedRead& plan : plan(wanted)) {
      std::vector<Wanted> parts;
      parts.reserve(plan.wants.size());
      for (const size_t index : plan.wants) parts.push_back(wanted[index]);
      const ByteRange range =
          around ? core_->windows.widen(plan.pack, plan.range) : plan.range;
      get(plan.pack, range, std::move(parts), looks, /*window=*/range != plan.range);
    }
  }

  std::vector<PlannedRead> plan(const std::vector<Wanted>& wanted) const {
    std::vector<BlockPlace> places;
    places.reserve(wanted.size());
    for (const Wanted& want : wanted) places.push_back(want.place);
    const auto& options = core_->options;
    return plan_reads(places, options.gap_bytes_max, options.request_bytes_max);
  }

  // Removes from `wanted` what lies in a window that is here or on its way.
  void take_what_is_here(std::vector<Wanted>& wanted) {
    std::vector<std::pair<Wanted, Buffer>> here;
    bool waits = false;
    std::erase_if(wanted, [&](const Wanted& want) {
      Buffer bytes;
      const auto waiter = [self = shared_from_this(), want](bool came) {
        if (came)
          self->read({want}, /*looks=*/1);
        else
          self->get(want.place.pack, {want.place.offset, want.place.length}, {want}, 1, false);
      };
      const auto look = core_->windows.look(want.place, bytes, waiter);
      if (look == PackWindows::Look::kHere) here.emplace_back(want, std::move(bytes));
      waits |= look == PackWindows::Look::kComing;
      return look != PackWindows::Look::kMiss;
    });
    if (waits) watch_context();
    for (const auto& [want, bytes] : here) {
      follow(want.place);
      verify(want.place.offset, {want}, /*looks=*/1, bytes);
    }
  }

  // Nobody waits for it yet, so it goes on when this operation is given up.
  void follow(const BlockPlace& found) {
    const auto range = core_->windows.ahead(found);
    if (!range) return;
    Context context;
    context.deadline = context_.deadline;
    core_->gets->get(pack_key(found.pack), GetRange::from(range->offset, range->length), context,
                     [core = core_, pack = found.pack, range = *range](Result<GetResult> got) {
                       std::optional<Buffer> bytes;
                       if (got) bytes = got->bytes;
                       core->windows.arrived(pack, range, bytes);
                     });
  }

  void get(const Digest& pack, ByteRange range, std::vector<Wanted> parts, unsigned looks,
           bool window) {
    core_->gets->get(pack_key(pack), GetRange::from(range.offset, range.length), context_,
                     [self = shared_from_this(), pack, range, parts = std::move(parts), looks,
                      window](Result<GetResult> got) {
                       std::optional<Buffer> bytes;
                       if (got) bytes = got->bytes;
                       if (window) self->core_->windows.arrived(pack, range, bytes);
                       self->take(pack, range.offset, parts, looks, std::move(got));
                     });
  }

  void take(const Digest& pack, uint64_t start, const std::vector<Wanted>& parts, unsigned looks,
            Result<GetResult> got) {
    if (!got && got.error().code() == Errc::kNotFound) {
      if (const Task rest = core_->tails->erase({pack})) rest();
      // The collector may have moved what it held: what does the newest commit say?
      if (looks < kLooksMax)
        return core_->ask_again(looks, [self = shared_from_this(), parts, looks](const Status&) {
          self->look_again(parts, looks);
        });
      got =
          fail(Errc::kCorruption, "a pack that the volume names is gone: " + got.error().message());
    }
    if (!got) {
      for (const Wanted& part : parts)
        core_->flights.land(part.digest, tl::unexpected<Error>(Error(got.error())));
      return;
    }
    // Hashing is spread over the executor; what is small is done here.
    std::vector<Wanted> group;
    uint64_t bytes = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      group.push_back(parts[i]);
      bytes += parts[i].place.length;
      if (i + 1 == parts.size()) break;
      if (bytes < kVerifyBytesPerTask) continue;
      core_->executor.submit([self = shared_from_this(), start, group = std::move(group), looks,
                              bytes = got->bytes] { self->verify(start, group, looks, bytes); });
      group.clear();
      bytes = 0;
    }
    verify(start, group, looks, got->bytes);
  }

  void verify(uint64_t start, const std::vector<Wanted>& parts, unsigned looks,
              const Buffer& bytes) {
    std::vector<Wanted> wrong;
    for (const Wanted& part : parts) {
      const uint64_t offset = part.place.offset - start;
      const bool inside = offset <= bytes.size() && part.place.length <= bytes.size() - offset;
      if (inside) {
        Buffer block = bytes.slice(static_cast<size_t>(offset), part.place.length);
        if (sha256(block) == part.digest) {
          core_->flights.land(part.digest, block);
          continue;
        }
      }
      wrong.push_back(part);
    }
    if (wrong.empty()) return;
    for (const Wanted& part : wrong) core_->windows.erase(part.place.pack);
    if (looks < kLooksMax)
      return core_->pause(
          looks, [self = shared_from_this(), wrong, looks] { self->look_again(wrong, looks); });
    for (const Wanted& part : wrong)
      core_->flights.land(
          part.digest, fail(Errc::kCorruption,
                            fmt::format("{}: {}, {} bytes at {}, are not the block {}",
                                        core_->store.description(), pack_key(part.place.pack),
                                        part.place.length, part.place.offset, part.digest.hex())));
  }

  void look_again(const std::vector<Wanted>& parts, unsigned looks) {
    std::vector<Digest> digests;
    digests.reserve(parts.size());
    for (const Wanted& part : parts) digests.push_back(part.digest);
    locate(std::move(digests), {}, looks + 1);
  }

  void arrived(size_t index, const Result<Buffer>& block, bool again) {
    if (!block) {
      // The one who fetched it gave up; that is no reason for us to.
      const bool gave_up =
          block.error().code() == Errc::kCancelled || block.error().code() == Errc::kTimeout;
      if (gave_up && !again && !context_.cancel.cancelled()) return begin({index}, /*again=*/true);
      return complete(tl::unexpected<Error>(Error(block.error())));
    }
    if (each_ && !give(index, *block)) return;
    blocks_[index] = *block;
    if (missing_.fetch_sub(1) == 1) complete({});
  }

  // False when the operation is over. Its end waits until the sink returned.
  bool give(size_t index, const Buffer& block) {
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return false;
      ++giving_;
    }
    each_(index, block);
    bool over = false;
    {
      const std::lock_guard lock(mutex_);
      --giving_;
      over = ended_.has_value();
    }
    if (over) end();
    return !over;
  }

  void complete(Status status) {
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return;
      ended_ = std::move(status);
    }
    end();
  }

  void end() {
    Callback<std::vector<Buffer>> done;
    CancelToken::Listener listener;
    {
      const std::lock_guard lock(mutex_);
      if (giving_ > 0) return;
      done.swap(done_);
      listener.swap(listener_);
    }
    if (!done) return;
    if (*ended_)
      done(std::move(blocks_));
    else
      done(tl::unexpected<Error>(Error(ended_->error())));
  }

  const std::shared_ptr<PackStoreCore> core_;
  const std::vector<BlockWant> wants_;
  const PackKind kind_;
  const Context context_;
  const EachBlock each_;
  RankedMutex<Rank::kLeaf> mutex_;
  std::optional<Status> ended_;
  size_t giving_ = 0;                   // calls of the sink under way
  Callback<std::vector<Buffer>> done_;  // empty once called
  CancelToken::Listener listener_;
  std::vector<Buffer> blocks_;  // each written by the task that brings it
  std::atomic<size_t> missing_;
};
}  // namespace

void PackStoreCore::read(std::vector<BlockWant> wants, PackKind kind, Context context,
                         EachBlock each, Callback<std::vector<Buffer>> done) {
  std::make_shared<ReadOperation>(shared_from_this(), std::move(wants), kind, std::move(context),
                                  std::move(each), std::move(done))
      ->start();
}

}  // namespace cairn
