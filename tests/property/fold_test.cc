// A batch that is made in steps is the batch that one fold of all its records makes.
#include "cache/fold.h"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <string>

#include "cache/format/records.h"
#include "tests/support/memory_env.h"

using namespace cairn;
using cairn::test::MemoryEnv;

namespace {

constexpr uint32_t kChunk = 4096;

InodeRecord record_of(uint64_t size) {
  InodeRecord record;
  record.mode = mode_of_type(FileType::kRegular) | 0644;
  record.nlink = 1;
  record.size = size;
  return record;
}

// A few files under change, as records of a journal.
struct World {
  MemoryEnv env;
  std::unique_ptr<Journal> journal =
      Journal::open(env, {.dir = "/journal", .file_bytes_max = 600, .sync_data = {}}, 0, 0, {})
          .value();
  std::map<uint64_t, uint64_t> sizes;  // of the files that are there
  uint64_t segment_bytes = 0;

  void append(Change change) {
    const ByteVec payload = encode_change(change);
    const Bytes parts[] = {payload};
    REQUIRE(journal->append(kRecordChange, parts));
  }

  void put_size(Change& change, uint64_t inode, uint64_t size) {
    sizes[inode] = size;
    change.effects.emplace_back(PutKey{inode_key(inode), record_cid(record_of(size).encode())});
  }

  void step() {
    const uint64_t inode = make_ino(1, 1, static_cast<uint16_t>(*rc::gen::inRange(1, 5)));
    const auto offset = static_cast<uint64_t>(*rc::gen::inRange(0, 40'000));
    const auto length = static_cast<uint32_t>(*rc::gen::inRange(1, 9'000));
    const uint64_t size = sizes.contains(inode) ? sizes[inode] : 0;
    Change change;
    switch (*rc::gen::inRange(0, 9)) {
      case 0:
        change.effects.emplace_back(PutKey{inode_key(inode), std::nullopt});
        change.effects.emplace_back(ForgetContent{inode});
        sizes.erase(inode);
        break;
      case 1:
        change.effects.emplace_back(CutContent{inode, offset});
        put_size(change, inode, offset);
        break;
      case 2:
        change.effects.emplace_back(ZeroRange{inode, offset, length});
        put_size(change, inode, std::max(size, offset + length));
        break;
      case 3: {
        const std::string bytes(static_cast<size_t>(*rc::gen::inRange(1, 50)), 'x');
        change.effects.emplace_back(AddBlock{sha256(as_bytes(bytes)), as_bytes(bytes)});
        change.effects.emplace_back(OpenGroup{static_cast<uint32_t>(length)});
        append(change);
        return;
      }
      case 4: {  // only this cache's own
        const std::string text = "intent";
        const Bytes parts[] = {as_bytes(text)};
        REQUIRE(journal->append(kRecordCommitIntent, parts));
        return;
      }
      case 5: {
        const SharedLeaf leaf{sha256(as_bytes(std::to_string(offset))), kChunk, 0};
        change.effects.emplace_back(ShareLeaf{inode, offset / kChunk * kChunk, kChunk, leaf});
        put_size(change, inode, std::max(size, offset / kChunk * kChunk + kChunk));
        break;
      }
      default:
        change.effects.emplace_back(WriteData{
            inode, offset, length, 0, {DataRef::Kind::kSegment, 1, segment_bytes}, {}, {}});
        segment_bytes += length;
        put_size(change, inode, std::max(size, offset + length));
    }
    append(change);
  }
};

void check_same(const Fold& a, const Fold& b) {
  RC_ASSERT(a.written_bytes == b.written_bytes);
  RC_ASSERT(a.local_bytes == b.local_bytes);
  RC_ASSERT(a.records == b.records);
  RC_ASSERT(a.batch.lsn == b.batch.lsn);
  RC_ASSERT(a.batch.groups == b.batch.groups);
  RC_ASSERT(a.batch.edits.size() == b.batch.edits.size());
  for (size_t i = 0; i < a.batch.edits.size(); ++i) {
    RC_ASSERT(a.batch.edits[i].key == b.batch.edits[i].key);
    RC_ASSERT(a.batch.edits[i].value == b.batch.edits[i].value);
    RC_ASSERT(a.batch.edits[i].lsn == b.batch.edits[i].lsn);
  }
  RC_ASSERT(a.batch.files.size() == b.batch.files.size());
  for (size_t i = 0; i < a.batch.files.size(); ++i) {
    const FrozenFile& one = a.batch.files[i];
    const FrozenFile& other = b.batch.files[i];
    RC_ASSERT(one.inode == other.inode);
    RC_ASSERT(one.size == other.size);
    RC_ASSERT(one.base_limit == other.base_limit);
    RC_ASSERT(one.chunks.size() == other.chunks.size());
    for (size_t k = 0; k < one.chunks.size(); ++k) {
      RC_ASSERT(one.chunks[k].index == other.chunks[k].index);
      RC_ASSERT(one.chunks[k].extents == other.chunks[k].extents);
    }
  }
  RC_ASSERT(a.batch.blocks.size() == b.batch.blocks.size());
  for (size_t i = 0; i < a.batch.blocks.size(); ++i) {
    RC_ASSERT(a.batch.blocks[i].first == b.batch.blocks[i].first);
    RC_ASSERT(equal(a.batch.blocks[i].second, b.batch.blocks[i].second));
  }
}

TEST_CASE("a fold in steps is the fold of all, limits included") {
  const bool ok = rc::check([] {
    World world;
    const int steps = *rc::gen::inRange(1, 60);
    for (int i = 0; i < steps; ++i) world.step();
    const Lsn last = world.journal->appended();
    FoldLimits limits;
    if (*rc::gen::arbitrary<bool>())
      limits.data_bytes_max = static_cast<uint64_t>(*rc::gen::inRange(1, 100'000));
    if (*rc::gen::arbitrary<bool>())
      limits.records_max = static_cast<uint64_t>(*rc::gen::inRange(1, 40));
    const Lsn after = *rc::gen::inRange<Lsn>(0, last + 1);
    const auto whole = fold_journal(*world.journal, after, last, kChunk, limits);
    RC_ASSERT(whole.has_value());
    Lsn upto = *rc::gen::inRange<Lsn>(after, last + 1);
    auto grown = fold_journal(*world.journal, after, upto, kChunk, limits);
    while (grown && upto < last) {
      upto = *rc::gen::inRange<Lsn>(upto + 1, last + 1);
      grown = extend_fold(*world.journal, *std::move(grown), upto, kChunk, limits);
    }
    RC_ASSERT(grown.has_value());
    check_same(*grown, *whole);
  });
  CHECK(ok);
}

}  // namespace
