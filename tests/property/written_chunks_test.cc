// Chunks written in many small pieces: their rows against extents that are kept beside them.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include "cache/live_state.h"

using namespace cairn;

namespace {

constexpr uint32_t kChunk = 1024;
constexpr uint64_t kFile = 4 * kChunk;

// The rows that a LiveState should have, made without any of its shortcuts.
class Model {
 public:
  void write(uint64_t inode, uint64_t offset, uint64_t length, Extent source, Lsn lsn) {
    source.lsn = lsn;
    (void)each_chunk_extent(kChunk, offset, length, source,
                            [&](uint64_t chunk, const Extent& extent) -> Status {
                              write_extent(chunks_[{inode, chunk}], extent);
                              return {};
                            });
  }
  void cut(uint64_t inode, uint64_t limit) {
    for (auto& [where, extents] : chunks_) {
      if (where.first != inode || (where.second + 1) * kChunk <= limit) continue;
      const uint64_t begin = where.second * kChunk;
      cut_extents(extents, limit > begin ? static_cast<uint32_t>(limit - begin) : 0);
    }
  }
  void forget(uint64_t inode) {
    std::erase_if(chunks_, [inode](const auto& row) { return row.first.first == inode; });
  }
  void drop_published(Lsn published) {
    for (auto& [where, extents] : chunks_) cairn::drop_published(extents, published);
  }
  Extents extents(uint64_t inode, uint64_t chunk) const {
    const auto it = chunks_.find({inode, chunk});
    return it == chunks_.end() ? Extents() : it->second;
  }

 private:
  std::map<std::pair<uint64_t, uint64_t>, Extents> chunks_;
};

struct World {
  LiveTables tables{make_memory_meta_store()};
  LiveState live{tables, kChunk};
  Model model;
  Lsn lsn = 0;

  void apply(const Change& change) {
    auto step = live.prepare(change);
    RC_ASSERT(step.has_value());
    live.apply(std::move(*step), change, ++lsn, [](uint64_t) { return false; });
  }
  WriteData write_of(uint64_t inode) {
    WriteData write;
    write.inode = inode;
    write.offset = *rc::gen::inRange<uint64_t>(0, kFile);
    // Now and then over several chunks.
    const bool is_large = *rc::gen::inRange(0, 60) == 0;
    const uint64_t end = std::min(kFile, write.offset + (is_large ? 2 * kChunk : 6));
    write.length = *rc::gen::inRange<uint32_t>(1, static_cast<uint32_t>(end - write.offset) + 1);
    write.ref = {DataRef::Kind::kJournal, 1, *rc::gen::inRange<uint64_t>(0, 1 << 20)};
    return write;
  }
  void write_some() {
    const auto inode = *rc::gen::inRange<uint64_t>(1, 3);
    for (int i = *rc::gen::inRange(1, 150); i > 0; --i) {
      Change change;
      for (int n = *rc::gen::inRange(1, 4); n > 0; --n)
        change.effects.emplace_back(write_of(inode));
      apply(change);
      for (const Effect& effect : change.effects) {
        const auto& write = std::get<WriteData>(effect);
        model.write(inode, write.offset, write.length, Extent::at_ref(write.ref), lsn);
      }
    }
  }
  // A write and a cut in one change.
  void cut() {
    const auto inode = *rc::gen::inRange<uint64_t>(1, 3);
    const WriteData write = write_of(inode);
    const auto limit = *rc::gen::inRange<uint64_t>(0, kFile);
    apply({0, {write, CutContent{inode, limit}}});
    model.write(inode, write.offset, write.length, Extent::at_ref(write.ref), lsn);
    model.cut(inode, limit);
  }
  void forget() {
    const auto inode = *rc::gen::inRange<uint64_t>(1, 3);
    const WriteData before = write_of(inode);
    const WriteData after = write_of(inode);
    apply({0, {before, ForgetContent{inode}, after}});
    model.forget(inode);
    model.write(inode, after.offset, after.length, Extent::at_ref(after.ref), lsn);
  }
  void publish() {
    const auto upto = *rc::gen::inRange<Lsn>(0, lsn + 1);
    RC_ASSERT(live.drop_published(upto).has_value());
    model.drop_published(upto);
  }
  void check() const {
    for (uint64_t inode = 1; inode < 3; ++inode) {
      const auto scanned = live.scan_extents(inode, 0, UINT64_MAX, SIZE_MAX);
      RC_ASSERT(scanned.has_value());
      size_t with_extents = 0;
      for (uint64_t chunk = 0; chunk < kFile / kChunk; ++chunk) {
        const Extents expected = model.extents(inode, chunk);
        const auto got = live.extents(inode, chunk);
        RC_ASSERT(got.has_value());
        RC_ASSERT(*got == expected);
        if (expected.empty()) continue;
        RC_ASSERT(with_extents < scanned->size());
        RC_ASSERT((*scanned)[with_extents].chunk == chunk);
        RC_ASSERT((*scanned)[with_extents].extents == expected);
        ++with_extents;
      }
      RC_ASSERT(scanned->size() == with_extents);
    }
  }
};

}  // namespace

TEST_CASE("a chunk that is written in small pieces has the rows of one that is not") {
  CHECK(rc::check("model", [] {
    World world;
    for (int round = *rc::gen::inRange(1, 8); round > 0; --round) {
      const int kind = *rc::gen::inRange(0, 9);
      if (kind < 4) world.write_some();
      if (kind == 4) world.cut();
      if (kind == 5) world.forget();
      if (kind == 6) world.publish();
      if (kind == 7) RC_ASSERT(world.tables.checkpoint().has_value());
      if (kind == 8) world.tables.freeze();
      if (*rc::gen::arbitrary<bool>()) world.check();
    }
    world.check();
  }));
}

TEST_CASE("a small write to a chunk of many extents leaves its row as it is until it is read") {
  LiveTables tables(make_memory_meta_store());
  LiveState live(tables, 1U << 20);
  for (Lsn lsn = 1; lsn <= 100; ++lsn) {
    WriteData write;
    write.inode = 1;
    write.offset = lsn * 10;
    write.length = 4;
    write.ref = {DataRef::Kind::kJournal, 1, lsn * 100};
    const Change change{0, {write}};
    auto step = live.prepare(change);
    REQUIRE(step);
    live.apply(std::move(*step), change, lsn, [](uint64_t) { return false; });
  }
  CHECK(tables.decoded(Table::kDirty, chunk_key(1, 0)) != nullptr);
  CHECK(live.extents(1, 0).value().size() == 100);
  REQUIRE(tables.checkpoint());
  CHECK(tables.decoded(Table::kDirty, chunk_key(1, 0)) == nullptr);
  CHECK(live.extents(1, 0).value().size() == 100);
}
