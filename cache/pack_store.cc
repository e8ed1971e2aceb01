#include "cache/pack_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "cache/pack_store_core.h"
#include "cache/store_keys.h"

namespace cairn {

void PackStoreCore::ask_again(unsigned looks, Callback<void> done) {
  std::function<void(Callback<void>)> how;
  {
    const std::lock_guard lock(mutex);
    how = ask;
  }
  auto later = [self = shared_from_this(), looks, done = std::move(done)](Status asked) {
    self->pause(looks, [done, asked = std::move(asked)] { done(asked); });
  };
  if (how) return how(std::move(later));
  later({});
}

void PackStoreCore::pause(unsigned looks, Task then) {
  const auto wait = std::chrono::milliseconds(looks < 2 ? 0 : 25U << std::min(looks, 6U));
  executor.submit_at(clock.now() + wait, std::move(then));
}

namespace {
class PackStoreImpl final : public PackStore {
 public:
  PackStoreImpl(ObjectStore& store, Executor& executor, Clock& clock, Options options)
      : core_(std::make_shared<PackStoreCore>(store, executor, clock, options)) {}

  void set_published(std::vector<PackName> packs, std::vector<SegmentName> segments) override {
    core_->segments->set_segments(std::move(segments));
    std::set<Digest> dropped;
    const std::set<Digest> forgotten = covered_without_tail();
    {
      const std::lock_guard lock(core_->mutex);
      // A data pack that is not named any more is covered by a segment; a metadata pack is gone.
      for (const PackName& pack : core_->named)
        if (pack.kind == PackKind::kMeta) dropped.insert(pack.digest);
      auto covered = std::make_shared<std::set<Digest>>(*core_->covered);
      for (const auto* list : {&core_->named, &core_->own})
        for (const PackName& pack : *list)
          if (pack.kind == PackKind::kData) covered->insert(pack.digest);
      auto listed = std::make_shared<std::set<Digest>>();
      for (const PackName& pack : packs) {
        covered->erase(pack.digest);
        if (pack.kind == PackKind::kData) listed->insert(pack.digest);
      }
      for (const Digest& pack : forgotten) covered->erase(pack);
      core_->covered = std::move(covered);
      core_->listed = std::move(listed);
    }
    for (const PackName& pack : packs) dropped.erase(pack.digest);
    std::set<Digest> metadata;
    {
      const std::lock_guard lock(core_->mutex);
      core_->named = std::move(packs);
      std::erase_if(core_->own, [&](const PackName& own) {
        return std::any_of(core_->named.begin(), core_->named.end(),
                           [&](const PackName& named) { return named.digest == own.digest; });
      });
      for (const auto* list : {&core_->named, &core_->own})
        for (const PackName& pack : *list)
          if (pack.kind == PackKind::kMeta) metadata.insert(pack.digest);
    }
    later(core_->tails->erase(dropped));
    later(core_->tails->set_named(std::move(metadata)));
  }

  void set_condemned(std::vector<CondemnedName> packs) override {
    auto next = std::make_shared<PackStoreCore::Outgoing>();
    for (const CondemnedName& pack : packs) next->condemned.emplace(pack.digest, !pack.deleted);
    std::shared_ptr<const PackStoreCore::Outgoing> before;
    {
      const std::lock_guard lock(core_->mutex);
      before = core_->outgoing;
      next->suspects = before->suspects;
      core_->outgoing = next;
      const bool more = std::any_of(packs.begin(), packs.end(), [&](const CondemnedName& pack) {
        return !before->condemned.contains(pack.digest);
      });
      if (more) core_->covered = std::make_shared<std::set<Digest>>();
    }
    // What the tails of these say counts no more. One that is not condemned any more is deleted.
    std::set<Digest> gone;
    for (const auto& [pack, there] : before->condemned) gone.insert(pack);
    for (const CondemnedName& pack : packs) gone.insert(pack.digest);
    later(core_->tails->erase(gone));
  }

  void lost(const Digest& pack) override { later(core_->tails->erase({pack})); }

  void set_suspects(std::vector<Digest> packs) override {
    auto next = std::make_shared<PackStoreCore::Outgoing>();
    next->suspects.insert(packs.begin(), packs.end());
    const std::lock_guard lock(core_->mutex);
    next->condemned = core_->outgoing->condemned;
    if (!next->suspects.empty()) core_->covered = std::make_shared<std::set<Digest>>();
    core_->outgoing = std::move(next);
  }

  bool leaves(const Digest& pack) const override { return core_->going()->leaves(pack); }

  void also_look_in(std::vector<PackName> packs) override {
    const std::lock_guard lock(core_->mutex);
    core_->others = std::move(packs);
  }

  void on_lost(std::function<void(Callback<void>)> ask) override {
    const std::lock_guard lock(core_->mutex);
    core_->ask = std::move(ask);
  }

  void on_all_here(std::function<bool(const Digest& pack)> here) override {
    const std::lock_guard lock(core_->mutex);
    core_->all_here = std::move(here);
  }

  void on_pack_end(std::function<void(const PackTail&, const Buffer&)> keep) override {
    core_->tails->on_end(std::move(keep));
  }

  void ask_again(unsigned looks, Callback<void> done) override {
    core_->ask_again(looks, std::move(done));
  }

  void put_pack(PackTail tail, Body body, Context context, Callback<void> done) override {
    core_->store.put(pack_key(tail.name()), std::move(body), PutCondition::kAlways,
                     std::move(context),
                     [core = core_, tail, done = std::move(done)](Result<std::string> put) {
                       if (!put) return done(tl::unexpected<Error>(std::move(put).error()));
                       if (tail.kind() == PackKind::kMeta) core->tails->add_named(tail.name());
                       core->tails->insert(tail);
                       {
                         const std::lock_guard lock(core->mutex);
                         core->own.push_back(name_of(tail));
                         if (tail.kind() == PackKind::kData) {
                           auto listed = std::make_shared<std::set<Digest>>(*core->listed);
                           listed->insert(tail.name());
                           core->listed = std::move(listed);
                         }
                       }
                       done({});
                     });
  }

  void forget_put() override {
    std::set<Digest> gone;
    {
      const std::lock_guard lock(core_->mutex);
      auto listed = std::make_shared<std::set<Digest>>(*core_->listed);
      for (const PackName& pack : std::exchange(core_->own, {})) {
        gone.insert(pack.digest);
        listed->erase(pack.digest);
      }
      core_->listed = std::move(listed);
    }
    later(core_->tails->erase(gone));
  }

  void put_segment(SegmentName segment, Body body, Context context, Callback<void> done) override {
    core_->store.put(index_key(segment.digest), std::move(body), PutCondition::kAlways,
                     std::move(context), [done = std::move(done)](Result<std::string> put) {
                       if (!put) return done(tl::unexpected<Error>(std::move(put).error()));
                       done({});
                     });
  }

  bool contains(const Digest& digest) override {
    std::shared_ptr<const PackStoreCore::Outgoing> going;
    std::shared_ptr<const std::set<Digest>> covered;
    std::shared_ptr<const std::set<Digest>> listed;
    {
      const std::lock_guard lock(core_->mutex);
      going = core_->outgoing;
      covered = core_->covered;
      listed = core_->listed;
    }
    const auto skip = [&](const PackTail& tail) {
      const Digest& pack = tail.name();
      if (tail.kind() != PackKind::kData || going->leaves(pack)) return true;
      return !covered->contains(pack) && !listed->contains(pack);
    };
    return core_->tails->find_in_memory(digest, skip).has_value();
  }

  void locate(std::vector<Digest> digests, PackKind kind, Context context,
              Callback<std::vector<BlockPlace>> done) override {
    core_->executor.submit([core = core_, digests = std::move(digests), kind,
                            context = std::move(context), done = std::move(done)]() mutable {
      core->locate(std::move(digests), kind, std::move(context), std::move(done));
    });
  }

  void read_blocks(std::vector<BlockWant> wants, PackKind kind, Context context, EachBlock each,
                   Callback<std::vector<Buffer>> done) override {
    core_->executor.submit([core = core_, wants = std::move(wants), kind,
                            context = std::move(context), each = std::move(each),
                            done = std::move(done)]() mutable {
      core->read(std::move(wants), kind, std::move(context), std::move(each), std::move(done));
    });
  }

  void read_index_ahead(uint64_t bytes_max, Context context, Callback<void> done) override {
    core_->executor.submit(
        [core = core_, bytes_max, context = std::move(context), done = std::move(done)]() mutable {
          core->segments->read_ahead(bytes_max, std::move(context), std::move(done));
        });
  }

  bool has_room_for_tails(const std::vector<PackName>& packs) const override {
    return core_->tails->have_room_for(packs);
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
  // The caller may hold a lock.
  void later(Task task) {
    if (task) core_->executor.submit(std::move(task));
  }

  // Only a tail that is here makes a pack count: what is kept has its bound.
  std::set<Digest> covered_without_tail() const {
    std::shared_ptr<const std::set<Digest>> covered;
    {
      const std::lock_guard lock(core_->mutex);
      covered = core_->covered;
    }
    std::set<Digest> without;
    for (const Digest& pack : *covered)
      if (!core_->tails->has(pack)) without.insert(pack);
    return without;
  }

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
