// Finding and reading blocks: few requests, everything verified, and a store that forgets an object
// for a moment or breaks bytes on the way is asked again.
#include <doctest/doctest.h>

#include <algorithm>

#include "cache/pack_windows.h"
#include "tests/support/pack_world.h"

namespace cairn::test {
namespace {
using namespace std::chrono_literals;
using World = PackWorld;
}  // namespace

TEST_CASE("neighbours in a pack come with one request, a tail is read once") {
  World world;
  CHECK(world.requests_of({0, 1, 2}) == 2 + 1);  // the tails of both data packs, one read
  CHECK(world.requests_of({5, 3}) == 1);
  CHECK(world.requests_of({2, 3}) == 2);
  CHECK(world.requests_of({7}) == 1 + 1);  // metadata is looked at when no data pack has it
}

TEST_CASE("a block is found when there is no memory for the tails of all packs") {
  World world;
  PackStore::Options options;
  options.tail_bytes = 1;  // one tail
  world.reader = PackStore::make(world.store, world.executor, world.clock, options);
  world.reader->set_published(world.writer->packs(), {});
  for (const size_t i : {0, 3, 6, 1, 4, 7}) CHECK(world.right({i}, world.read({i})));
  CHECK(world.right({0, 5, 2, 7}, world.read({0, 5, 2, 7})));
}

TEST_CASE("a block on its way is waited for") {
  World world;
  REQUIRE(world.right({0}, world.read({0})));
  const uint64_t before = world.store.requests();
  int answers = 0;
  for (int i = 0; i < 3; ++i)
    world.reader->read_blocks({{world.digests[1], std::nullopt}}, PackKind::kData, {}, {},
                              [&](const Result<std::vector<Buffer>>& got) {
                                CHECK(got);
                                ++answers;
                              });
  REQUIRE(run_until(world.executor, world.clock, [&] { return answers == 3; }));
  CHECK(world.store.requests() - before == 1);
}

TEST_CASE("a pack or its tail that is not to be seen for a moment is asked for again") {
  for (const uint32_t skip : {0U, 1U, 2U}) {  // a tail, the other one, the read
    World world;
    world.store.add({.kind = FaultKind::kStale,
                     .ops = StoreOp::kGet,
                     .prefix = "p/",
                     .skip = skip,
                     .count = 4});
    CHECK(world.right({0, 4}, world.read({0, 4})));
  }
}

TEST_CASE("a pack that stays away is an error, and soon") {
  World world;
  world.store.add({.kind = FaultKind::kStale,
                   .ops = StoreOp::kGet,
                   .prefix = "p/",
                   .count = FaultyStore::kForever});
  const MonotonicTime start = world.clock.now();
  const auto none = world.read({0});
  REQUIRE_FALSE(none);
  CHECK(none.error().code() == Errc::kNotFound);
  CHECK(world.clock.now() - start < 5s);

  // Known from its tail, then gone: what the volume names must be there.
  World other;
  REQUIRE(other.right({0}, other.read({0})));
  other.store.add({.kind = FaultKind::kStale,
                   .ops = StoreOp::kGet,
                   .prefix = "p/",
                   .count = FaultyStore::kForever});
  const auto gone = other.read({1});
  REQUIRE_FALSE(gone);
  CHECK(gone.error().message().find("p/") != std::string::npos);
}

TEST_CASE("wrong bytes are never handed out: they are asked for again, then refused") {
  for (const FaultKind kind : {FaultKind::kFlipByte, FaultKind::kTruncate}) {
    World world;
    REQUIRE(world.right({0}, world.read({0})));  // the tails are here
    world.store.add({.kind = kind, .ops = StoreOp::kGet, .prefix = "p/", .count = 3});
    CHECK(world.right({1, 2}, world.read({1, 2})));
    world.store.add(
        {.kind = kind, .ops = StoreOp::kGet, .prefix = "p/", .count = FaultyStore::kForever});
    const auto wrong = world.read({2});
    REQUIRE_FALSE(wrong);
    CHECK(wrong.error().code() == Errc::kCorruption);
    CHECK(wrong.error().message().find(world.digests[2].hex()) != std::string::npos);
  }
}

TEST_CASE("where the newest index segments came ahead, older ones are not asked for in vain") {
  World world;
  const SegmentName old = world.put_segment({0});
  const SegmentName young = world.put_segment({1});
  world.reader = PackStore::make(world.store, world.executor, world.clock, world.options);
  world.reader->set_published({world.writer->packs()[2]}, {old, young});
  const auto ahead = [&](uint64_t bytes) {
    const uint64_t before = world.store.requests();
    std::optional<Status> came;
    world.reader->read_index_ahead(bytes, {}, [&](Status status) { came = std::move(status); });
    REQUIRE(run_until(world.executor, world.clock, [&] { return came.has_value(); }));
    CHECK(came->has_value());
    return world.store.requests() - before;
  };
  CHECK(ahead(young.size - 1) == 0);
  CHECK(ahead(young.size) == 1);
  const auto in_pack = [&](size_t pack) {
    for (unsigned n = 0;; ++n)
      if (world.tails[pack].find(world.digests[n])) return n;
  };
  CHECK(world.requests_of({in_pack(1)}) == 1);
  CHECK(world.requests_of({in_pack(0)}) == 1 + 1);
}

TEST_CASE("small index segments come whole, as far as half of the memory for pages goes") {
  for (const bool room : {true, false}) {
    CAPTURE(room);
    World world;
    TestPack pack(PackKind::kData);
    std::vector<Digest> digests;
    for (int i = 0; i < 4000; ++i)
      digests.push_back(pack.add(Codec::kRaw, as_bytes("block " + std::to_string(i))).digest());
    std::sort(digests.begin(), digests.end());
    world.tails.push_back(pack.plan().tail());
    const SegmentName segment = world.put_segment({world.tails.size() - 1});
    CHECK(segment.size > 400'000);
    PackStore::Options options;
    options.page_bytes = 2 * segment.size - (room ? 0 : 1);
    world.reader = PackStore::make(world.store, world.executor, world.clock, options);
    world.reader->set_published({}, {segment});
    const auto requests_of = [&](const Digest& digest) {
      const uint64_t before = world.store.requests();
      std::optional<Result<std::vector<BlockPlace>>> answer;
      world.reader->locate({digest}, PackKind::kData, {}, [&](auto got) { answer = got; });
      REQUIRE(run_until(world.executor, world.clock, [&] { return answer.has_value(); }));
      REQUIRE(answer->has_value());
      CHECK((**answer)[0].pack == world.tails.back().name());
      return world.store.requests() - before;
    };
    CHECK(requests_of(digests.front()) == (room ? 1 : 2));  // the other page is the first
    CHECK(requests_of(digests[1500]) == (room ? 0 : 1));
    CHECK(requests_of(digests[1501]) == 0);
  }
}

TEST_CASE("a page of the index that came cut off is not kept, it is asked for again") {
  World world;
  world.publish_segment();
  world.store.add({.kind = FaultKind::kTruncate, .ops = StoreOp::kGet, .prefix = "x/", .count = 2});
  CHECK(world.right({0, 4}, world.read({0, 4})));
  CHECK(world.store.hits() == 2);

  World other;
  other.publish_segment();
  other.store.add({.kind = FaultKind::kTruncate,
                   .ops = StoreOp::kGet,
                   .prefix = "x/",
                   .count = FaultyStore::kForever});
  const auto wrong = other.read({1});
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().code() == Errc::kCorruption);
  CHECK(other.store.hits() < 20);
  other.store.clear();
  CHECK(other.right({1}, other.read({1})));
}

TEST_CASE("a page of the index comes once however many wait, and who gives up keeps nobody") {
  for (const bool first_gives_up : {false, true}) {
    CAPTURE(first_gives_up);
    World world;
    world.publish_segment();
    world.store.add({.kind = FaultKind::kHold, .ops = StoreOp::kGet, .prefix = "x/"});
    const uint64_t before = world.metered->counts().get;
    Context hasty;
    std::vector<std::optional<Result<std::vector<BlockPlace>>>> answers(2);
    for (size_t i = 0; i < answers.size(); ++i)
      world.reader->locate({world.digests[i * 4]}, PackKind::kData, i == 0 ? hasty : Context(),
                           [&answers, i](auto places) { answers[i] = std::move(places); });
    REQUIRE(run_until(world.executor, world.clock, [&] { return world.store.held() == 1; }));
    if (first_gives_up)
      hasty.cancel.cancel();
    else
      world.store.release();
    REQUIRE(run_until(world.executor, world.clock,
                      [&] { return answers[0].has_value() && answers[1].has_value(); }));
    REQUIRE((*answers[1]).has_value());
    CHECK((*answers[1])->at(0).pack == world.tails[1].name());
    if (first_gives_up) continue;
    REQUIRE((*answers[0]).has_value());
    CHECK((*answers[0])->at(0).pack == world.tails[0].name());
    CHECK(world.metered->counts().get - before == 1);
  }
}

TEST_CASE("a wrong hint costs a request and no more") {
  World world;
  REQUIRE(world.right({0, 3}, world.read({0, 3})));
  const uint64_t before = world.store.requests();
  std::optional<Result<std::vector<Buffer>>> answer;
  const Digest elsewhere = world.writer->packs()[1].digest;
  world.reader->read_blocks({{world.digests[1], BlockPlace{elsewhere, 100, 5001}}}, PackKind::kData,
                            {}, {},
                            [&](Result<std::vector<Buffer>> got) { answer = std::move(got); });
  REQUIRE(run_until(world.executor, world.clock, [&] { return answer.has_value(); }));
  CHECK(world.right({1}, *answer));
  CHECK(world.store.requests() - before == 2);
}

TEST_CASE("only what is known to be in a pack that stays is deduplicated") {
  World world;
  CHECK_FALSE(world.reader->contains(world.digests[0]));  // nothing here knows yet
  REQUIRE(world.right({0}, world.read({0})));
  CHECK(world.reader->contains(world.digests[0]));
  world.reader->set_condemned({{world.writer->packs()[0].digest, false}});
  CHECK_FALSE(world.reader->contains(world.digests[0]));
  CHECK(world.reader->contains(world.digests[3]));
}

TEST_CASE("what only a covered pack's tail says is no duplicate once a pack is condemned") {
  // Where a block is in two packs a segment lists one: when that is condemned, nobody finds it.
  for (const bool suspect : {false, true}) {
    World world;
    world.publish_segment();
    const std::vector<PackName> packs = world.writer->packs();
    CHECK(world.writer->contains(world.digests[0]));  // it was put here
    world.writer->set_published({packs[2]}, {});
    CHECK(world.writer->contains(world.digests[0]));  // covered meanwhile
    if (suspect)
      world.writer->set_suspects({packs[1].digest});
    else
      world.writer->set_condemned({{packs[1].digest, false}});
    CHECK_FALSE(world.writer->contains(world.digests[0]));
    world.put(PackKind::kData, 8, 1);
    CHECK(world.writer->contains(world.digests[8]));
  }
}

namespace {
constexpr uint64_t kAroundBytes = 4ULL << 20;

// Blocks 8 to 8 + `count` lie in one pack.
struct SmallBlocks : World {
  explicit SmallBlocks(unsigned count) : World(kAroundBytes) {
    put_more(8, count);
    REQUIRE(right({0, 3}, read({0, 3})));
  }
  void put_more(unsigned first, unsigned count) {
    put(PackKind::kData, first, count);
    reader->set_published(writer->packs(), {});
  }
};
}  // namespace

TEST_CASE("small blocks that lie together come with few requests, in either direction") {
  for (const bool backwards : {false, true}) {
    constexpr unsigned kCount = 240;  // 1.2 MB
    SmallBlocks world(kCount);
    uint64_t requests = 0;
    for (unsigned n = 0; n < kCount; ++n)
      requests += world.requests_of({8 + (backwards ? kCount - 1 - n : n)});
    CHECK(requests >= 2);
    CHECK(requests <= 5);  // windows of 128 KiB, 512 KiB, 2 MiB; the tail of that pack
  }
}

TEST_CASE("what lies in a window on its way is waited for, and asked for when it does not come") {
  SmallBlocks world(20);
  REQUIRE(world.right({8}, world.read({8})));
  const auto read_all = [&](unsigned first, unsigned count) {
    unsigned answers = 0;
    for (unsigned n = first; n < first + count; ++n)
      world.reader->read_blocks({{world.digests[n], std::nullopt}}, PackKind::kData, {}, {},
                                [&, n](const Result<std::vector<Buffer>>& got) {
                                  CHECK(world.right({n}, got));
                                  ++answers;
                                });
    REQUIRE(run_until(world.executor, world.clock, [&] { return answers == count; }));
  };
  world.put_more(28, 20);
  REQUIRE(world.right({0}, world.read({0})));
  const uint64_t before = world.store.requests();
  read_all(28, 20);
  CHECK(world.store.requests() - before == 1 + 1);  // the tail, a window

  SmallBlocks other(20);
  REQUIRE(other.requests_of({8}) == 1);
  other.put_more(28, 20);
  unsigned failed = 0;
  unsigned answered = 0;
  other.store.add({.kind = FaultKind::kFail,
                   .ops = StoreOp::kGet,
                   .prefix = "p/",
                   .skip = 1,
                   .code = Errc::kTimeout});
  for (unsigned n = 28; n < 48; ++n)
    other.reader->read_blocks({{other.digests[n], std::nullopt}}, PackKind::kData, {}, {},
                              [&, n](const Result<std::vector<Buffer>>& got) {
                                ++answered;
                                if (!got)
                                  ++failed;
                                else
                                  CHECK(other.right({n}, got));
                              });
  REQUIRE(run_until(other.executor, other.clock, [&] { return answered == 20; }));
  CHECK(failed <= 1);  // who asked for the window, when the store is asked only once
}

TEST_CASE("small blocks that are read in another order than they lie come with few requests") {
  constexpr unsigned kFolders = 20;
  constexpr unsigned kEach = 10;  // 1.1 MB in all
  SmallBlocks world(kFolders * kEach);
  const uint64_t before = world.metered->counts().bytes_read;
  uint64_t requests = 0;
  for (unsigned n = 0; n < kEach; ++n)
    for (unsigned folder = 0; folder < kFolders; ++folder)
      requests += world.requests_of({8 + folder * kEach + n});
  CHECK(requests <= 5);  // 128, 256, 512, 1,024 KiB less what was here; the tail
  uint64_t all = 0;
  for (unsigned n = 8; n < 8 + kFolders * kEach; ++n) all += world.bytes[n].size();
  CHECK(world.metered->counts().bytes_read - before < all * 3 / 2);
}

TEST_CASE("wrong bytes in a window cost a request and are not kept") {
  SmallBlocks world(20);
  world.store.add({.kind = FaultKind::kFlipByte, .ops = StoreOp::kGet, .prefix = "p/"});
  for (unsigned n = 8; n < 28; ++n) CHECK(world.right({n}, world.read({n})));
  CHECK(world.store.hits() == 1);
}

TEST_CASE("a window that is no larger than what was asked for is none") {
  PackWindows windows(4ULL << 20);
  const Digest pack = sha256(as_bytes("pack"));
  // Two windows with ten bytes between them, because the answer for the second was too short.
  const ByteRange after = windows.widen(pack, {PackWindows::kFirstBytes, 100});
  windows.arrived(pack, after, Buffer(ByteVec(after.length)));
  const ByteRange before = windows.widen(pack, {0, 100});
  REQUIRE(before.end() == after.offset);
  windows.arrived(pack, before, Buffer(ByteVec(before.length - 10)));
  const ByteRange range{after.offset - 10, 10};
  CHECK(windows.widen(pack, range) == range);
  // Nobody says that it arrived, so nobody may wait for it.
  Buffer bytes;
  CHECK(windows.look({pack, range.offset, 10}, bytes, [](bool) {}) == PackWindows::Look::kMiss);
}

TEST_CASE("a block that lies across two windows needs no request of its own") {
  PackWindows windows(4ULL << 20);
  const Digest pack = sha256(as_bytes("pack"));
  ByteVec content(2 * PackWindows::kFirstBytes);
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<std::byte>(i * 7 >> 3);
  Buffer bytes;
  const BlockPlace across{pack, PackWindows::kFirstBytes - 60, 100};
  const auto bring = [&](uint64_t offset) {
    const ByteRange window = windows.widen(pack, {offset, 10});
    REQUIRE(window.end() <= content.size());
    windows.arrived(pack, window,
                    Buffer::copy(Bytes(content).subspan(window.offset, window.length)));
    return window;
  };
  CHECK(bring(0) == ByteRange{0, PackWindows::kFirstBytes});
  CHECK(windows.look(across, bytes, [](bool) {}) == PackWindows::Look::kMiss);
  CHECK(bring(PackWindows::kFirstBytes + 50).offset == PackWindows::kFirstBytes);
  REQUIRE(windows.look(across, bytes, [](bool) {}) == PackWindows::Look::kHere);
  const Bytes wanted = Bytes(content).subspan(across.offset, across.length);
  CHECK(std::ranges::equal(bytes.view(), wanted));
}

TEST_CASE("a pack that is read in order costs a request a window, wherever blocks lie") {
  PackWindows windows(8ULL << 20);
  const Digest pack = sha256(as_bytes("pack"));
  constexpr uint32_t kBlock = 4136;  // no power of two: blocks lie across the ends of windows
  constexpr uint64_t kPack = 24ULL << 20;
  unsigned requests = 0;
  for (uint64_t offset = 0; offset + kBlock <= kPack; offset += kBlock) {
    Buffer bytes;
    const auto look = windows.look({pack, offset, kBlock}, bytes, [](bool) {});
    if (look == PackWindows::Look::kHere) continue;
    const ByteRange window = windows.widen(pack, {offset, kBlock});
    ++requests;
    CHECK(window.length > kBlock);
    windows.arrived(pack, window, Buffer(ByteVec(window.length)));
  }
  CHECK(requests <= 2 + kPack / PackWindows::kMostAtFirstBytes);
}

TEST_CASE("windows are no larger than what lately paid") {
  for (const bool pays : {false, true}) {
    PackWindows windows(8ULL << 20);
    const Digest pack = sha256(as_bytes("pack"));
    uint64_t largest = 0, last = 0, came = 0;
    for (uint64_t at = 0; at < 100; ++at) {
      const ByteRange window = windows.widen(pack, {at << 23, 100});
      windows.arrived(pack, window, Buffer(ByteVec(window.length)));
      largest = std::max(largest, window.length);
      last = window.length;
      came += window.length;
      // Two neighbours are wanted, small ones or nearly all.
      const auto length = static_cast<uint32_t>(pays ? window.length / 5 * 2 : 100);
      for (const uint64_t part : {0, 1}) {
        Buffer bytes;
        const BlockPlace place{pack, window.offset + part * length, length};
        CHECK(windows.look(place, bytes, [](bool) {}) == PackWindows::Look::kHere);
      }
    }
    CHECK(largest == (pays ? PackWindows::kMostBytes : PackWindows::kMostAtFirstBytes));
    CHECK(last == (pays ? PackWindows::kMostBytes : PackWindows::kLeastBytes));
    // What it costs to find out that nothing pays.
    if (!pays) CHECK(came < (16ULL << 20) + 100 * PackWindows::kLeastBytes);
  }
}

TEST_CASE("who goes through a pack in order finds the next window on its way") {
  for (const bool backwards : {false, true}) {
    CAPTURE(backwards);
    PackWindows windows(8ULL << 20);
    const Digest pack = sha256(as_bytes("pack"));
    constexpr uint32_t kBlock = 4136;
    constexpr uint64_t kPack = 24ULL << 20;
    // Longer than from the middle of the first such window to its end.
    constexpr unsigned kReadsUntilItComes = 100;
    std::optional<ByteRange> coming;
    unsigned reads_left = 0;
    unsigned misses = 0;
    unsigned asked_ahead = 0;
    uint64_t bytes = 0;
    const auto land = [&](const ByteRange& range) {
      const uint64_t there =
          range.offset < kPack ? std::min(range.length, kPack - range.offset) : 0;
      bytes += there;
      windows.arrived(pack, range, Buffer(ByteVec(there)));
    };
    const uint64_t blocks = kPack / kBlock;
    for (uint64_t i = 0; i < blocks; ++i) {
      const BlockPlace place{pack, (backwards ? blocks - 1 - i : i) * kBlock, kBlock};
      if (coming && --reads_left == 0) land(*std::exchange(coming, std::nullopt));
      Buffer found;
      const auto look = windows.look(place, found, [](bool came) { CHECK(came); });
      if (look == PackWindows::Look::kMiss) {
        CHECK_FALSE((coming && place.offset + kBlock > coming->offset));  // it is on its way
        ++misses;
        land(windows.widen(pack, {place.offset, kBlock}));
      }
      if (look != PackWindows::Look::kHere) continue;
      const auto next = windows.ahead(place);
      if (!next) continue;
      CHECK_FALSE(coming);
      CHECK(next->offset < kPack);
      coming = next;
      reads_left = kReadsUntilItComes;
      ++asked_ahead;
    }
    if (backwards) {
      CHECK(asked_ahead == 0);
    } else {
      CHECK(misses <= 3);  // until a window is large enough to tell
      CHECK(asked_ahead >= 5);
    }
    CHECK(bytes <= kPack * 5 / 4);
  }
}

TEST_CASE("the window behind is asked for by a find, and serves who comes to it") {
  constexpr unsigned kCount = 240;  // 1.2 MB
  SmallBlocks world(kCount);
  // One request that nobody waited for, made by the read of a block that was here.
  StoreFault hold{.kind = FaultKind::kHold, .ops = StoreOp::kGet, .prefix = "p/"};
  unsigned n = 0;
  for (; n < kCount && world.store.held() == 0; ++n) {
    if (n > 30) world.store.add(hold);
    CHECK(world.right({8 + n}, world.read({8 + n})));
    if (n > 30 && world.store.held() == 0) world.store.clear();
  }
  REQUIRE(world.store.held() == 1);
  CHECK(n < kCount);
  world.store.clear();
  world.store.release();
  uint64_t requests = 0;
  for (; n < kCount; ++n) requests += world.requests_of({8 + n});
  CHECK(requests == 0);
}
}  // namespace cairn::test
