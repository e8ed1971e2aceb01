#include "cache/pack_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "cache/pack_store_core.h"
#include "cache/store_keys.h"

namespace cairn {

bool PackStoreCore::join_flight(const Digest& digest, Waiter waiter) {
  const std::lock_guard lock(mutex);
  const auto [it, begun] = flights_.try_emplace(digest);
  it->second.push_back(std::move(waiter));
  return begun;
}

void PackStoreCore::land(const Digest& digest, const Result<Buffer>& result) {
  std::vector<Waiter> waiters;
  {
    const std::lock_guard lock(mutex);
    const auto it = flights_.find(digest);
    if (it == flights_.end()) return;
    waiters = std::move(it->second);
    flights_.erase(it);
  }
  for (const Waiter& waiter : waiters) waiter(result);
}

namespace {
class PackStoreImpl final : public PackStore {
 public:
  PackStoreImpl(ObjectStore& store, Executor& executor, Clock& clock, Options options)
      : core_(std::make_shared<PackStoreCore>(store, executor, clock, options)) {}

  void set_published(std::vector<PackName> packs, std::vector<SegmentName> segments) override {
    core_->segments->set_segments(std::move(segments));
    const std::lock_guard lock(core_->mutex);
    core_->named = std::move(packs);
    std::erase_if(core_->own, [&](const PackName& own) {
      return std::any_of(core_->named.begin(), core_->named.end(),
                         [&](const PackName& named) { return named.digest == own.digest; });
    });
  }

  void set_condemned(std::vector<Digest> packs) override {
    auto condemned = std::make_shared<const std::set<Digest>>(packs.begin(), packs.end());
    const std::lock_guard lock(core_->mutex);
    core_->condemned = std::move(condemned);
  }

  void put_pack(PackTail tail, Body body, Context context, Callback<void> done) override {
    core_->store.put(pack_key(tail.name()), std::move(body), PutCondition::kAlways,
                     std::move(context),
                     [core = core_, tail, done = std::move(done)](Result<std::string> put) {
                       if (!put) return done(tl::unexpected<Error>(std::move(put).error()));
                       core->tails->insert(tail);
                       {
                         const std::lock_guard lock(core->mutex);
                         core->own.push_back(name_of(tail));
                       }
                       done({});
                     });
  }

  void put_segment(SegmentName segment, Body body, Context context, Callback<void> done) override {
    core_->store.put(index_key(segment.digest), std::move(body), PutCondition::kAlways,
                     std::move(context), [done = std::move(done)](Result<std::string> put) {
                       if (!put) return done(tl::unexpected<Error>(std::move(put).error()));
                       done({});
                     });
  }

  bool contains(const Digest& digest) override {
    std::shared_ptr<const std::set<Digest>> condemned;
    {
      const std::lock_guard lock(core_->mutex);
      condemned = core_->condemned;
    }
    const auto skip = [&](const Digest& pack) { return condemned->contains(pack); };
    return core_->tails->find(digest, skip).has_value();
  }

  void locate(std::vector<Digest> digests, PackKind kind, Context context,
              Callback<std::vector<BlockPlace>> done) override {
    core_->executor.submit([core = core_, digests = std::move(digests), kind,
                            context = std::move(context), done = std::move(done)]() mutable {
      core->locate(std::move(digests), kind, std::move(context), std::move(done));
    });
  }

  void read_blocks(std::vector<BlockWant> wants, PackKind kind, Context context,
                   Callback<std::vector<Buffer>> done) override {
    core_->executor.submit([core = core_, wants = std::move(wants), kind,
                            context = std::move(context), done = std::move(done)]() mutable {
      core->read(std::move(wants), kind, std::move(context), std::move(done));
    });
  }

  void read_tail(PackName pack, Context context, Callback<PackTail> done) override {
    core_->executor.submit(
        [core = core_, pack, context = std::move(context), done = std::move(done)]() mutable {
          core->tails->fetch(pack, std::move(context), std::move(done));
        });
  }

  void read_range(const Digest& pack, ByteRange range, Context context,
                  Callback<Buffer> done) override {
    core_->gets->get(pack_key(pack), GetRange::from(range.offset, range.length), std::move(context),
                     [done = std::move(done)](Result<GetResult> got) {
                       if (!got) return done(tl::unexpected<Error>(std::move(got).error()));
                       done(std::move(got->bytes));
                     });
  }

  std::vector<PackName> packs() const override {
    const std::lock_guard lock(core_->mutex);
    std::vector<PackName> all = core_->named;
    all.insert(all.end(), core_->own.begin(), core_->own.end());
    return all;
  }

 private:
  const std::shared_ptr<PackStoreCore> core_;
};
}  // namespace

PackName name_of(const PackTail& tail) {
  return {tail.name(), tail.object_size(), tail.size(), tail.kind()};
}

std::unique_ptr<PackStore> PackStore::make(ObjectStore& store, Executor& executor, Clock& clock,
                                           Options options) {
  return std::make_unique<PackStoreImpl>(store, executor, clock, options);
}

}  // namespace cairn
