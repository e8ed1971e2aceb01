// PackWorld: packs behind a faulty store, in simulated time, for tests of who reads them.
#pragma once

#include <doctest/doctest.h>

#include <optional>

#include "cache/format/index.h"
#include "cache/pack_store.h"
#include "cache/store_keys.h"
#include "s3/memory_store.h"
#include "s3/metered_store.h"
#include "tests/support/faulty_store.h"
#include "tests/support/manual_clock.h"
#include "tests/support/test_pack.h"

namespace cairn::test {

// Two data packs, and one of metadata.
struct PackWorld {
  ManualClock clock;
  ManualExecutor executor{clock};
  std::unique_ptr<Rng> rng = make_seeded_rng(7);
  std::shared_ptr<MeteredStore> metered =
      std::make_shared<MeteredStore>(std::make_shared<MemoryStore>(executor, clock));
  FaultyStore store{metered, FaultyStore::Parts{executor, clock, *rng}};
  std::unique_ptr<PackStore> writer = PackStore::make(store, executor, clock, {});
  const PackStore::Options options;
  std::unique_ptr<PackStore> reader = PackStore::make(store, executor, clock, options);
  std::vector<Digest> digests;
  std::vector<ByteVec> bytes;
  std::vector<PackTail> tails;

  // Requests are counted block by block, so nothing comes around a block unless a test says so.
  explicit PackWorld(uint64_t around_bytes = 0) : options{.around_bytes = around_bytes} {
    put(PackKind::kData, 0, 3);
    put(PackKind::kData, 3, 3);
    put(PackKind::kMeta, 6, 2);
    reader->set_published(writer->packs(), {});
  }

  void put(PackKind kind, unsigned first, unsigned count) {
    TestPack pack(kind);
    for (unsigned n = first; n < first + count; ++n) {
      bytes.emplace_back(5000 + n, static_cast<std::byte>(n));
      digests.push_back(pack.add(Codec::kRaw, bytes.back()).digest());
    }
    const PackPlan plan = pack.plan();
    tails.push_back(plan.tail());
    std::optional<Status> stored;
    writer->put_pack(plan.tail(), Body(Buffer::copy(pack.object(plan))), {},
                     [&](Status status) { stored = std::move(status); });
    REQUIRE(run_until(executor, clock, [&] { return stored.has_value(); }));
    REQUIRE(*stored);
  }

  // The data packs are covered by an index segment now, nothing of which is here.
  void publish_segment() {
    reader = PackStore::make(store, executor, clock, options);
    reader->set_published({writer->packs()[2]}, {put_segment({1, 0})});
  }

  // Of these packs, the newest first.
  SegmentName put_segment(const std::vector<size_t>& packs) {
    std::vector<std::unique_ptr<IndexSource>> sources;
    for (const size_t pack : packs) sources.push_back(make_index_source(tails[pack]));
    MemorySink sink;
    const auto info = merge_index(sources, [](const Digest&) { return true; }, sink);
    REQUIRE(info);
    const SegmentName name{info->name, info->size, info->entries};
    std::optional<Status> stored;
    writer->put_segment(name, Body(Buffer(sink.take())), {},
                        [&](Status status) { stored = std::move(status); });
    REQUIRE(run_until(executor, clock, [&] { return stored.has_value(); }));
    REQUIRE(*stored);
    return name;
  }

  Result<std::vector<Buffer>> read(const std::vector<size_t>& which, const Context& context = {}) {
    std::vector<BlockWant> wants;
    for (const size_t i : which) wants.push_back({digests[i], std::nullopt});
    std::optional<Result<std::vector<Buffer>>> answer;
    reader->read_blocks(std::move(wants), PackKind::kData, context, {},
                        [&](Result<std::vector<Buffer>> got) { answer = std::move(got); });
    REQUIRE(run_until(executor, clock, [&] { return answer.has_value(); }));
    return *std::move(answer);
  }
  bool right(const std::vector<size_t>& which, const Result<std::vector<Buffer>>& got) const {
    if (!got || got->size() != which.size()) return false;
    for (size_t i = 0; i < which.size(); ++i)
      if (!std::ranges::equal(Bytes((*got)[i]), bytes[which[i]])) return false;
    return true;
  }
  uint64_t requests_of(const std::vector<size_t>& which) {
    const uint64_t before = store.requests();
    CHECK(right(which, read(which)));
    return store.requests() - before;
  }
};

}  // namespace cairn::test
