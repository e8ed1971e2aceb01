// Read-ahead while little may be on its way unasked: what did not fit is asked for later, and a
// stream meets no hole.
#include <doctest/doctest.h>

#include "tests/support/faulty_mount.h"

using namespace cairn;
using namespace cairn::test;

namespace {

constexpr uint64_t kChunk = 256 << 10;
constexpr uint64_t kChunks = 12;

struct ColdFile : FaultyMount {
  explicit ColdFile(uint64_t read_ahead_bytes) {
    REQUIRE(mount.format(kChunk, 174));
    REQUIRE(mount.open());
    ByteVec bytes(kChunks * kChunk);
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i >> 18);
    const auto created =
        mount.run([](Volume& v, Need& n) { return v.create(kRootIno, "file", 0644, {}, n); });
    REQUIRE(created);
    REQUIRE(mount.run([&](Volume& v, Need& n) { return v.write(created->handle, 0, bytes, n); }));
    mount.volume().release_file(created->handle);
    REQUIRE(mount.close());
    mount.options.engine.read_ahead_bytes = read_ahead_bytes;
    mount.options.engine.idle_ahead_bytes = 0;
    REQUIRE(mount.open("/another"));
    const auto found = mount.run([](Volume& v, Need& n) { return v.lookup(kRootIno, "file", n); });
    REQUIRE(found);
    inode = found->ino;
    const auto opened = mount.run([&](Volume& v, Need& n) { return v.open_file(inode, n); });
    REQUIRE(opened);
    handle = *opened;
  }

  // False when the chunk at `offset` is not here when all that was asked for has come.
  bool comes(uint64_t offset) {
    REQUIRE(comes_true([this] { return mount.engine().read_ahead_bytes() == 0; }));
    Need need;
    return mount.engine().read(inode, {}, kChunks * kChunk, offset, 1, need).has_value();
  }

  uint64_t inode = 0;
  HandleId handle{};
};

}  // namespace

TEST_CASE("a stream meets no hole where read-ahead had no room") {
  ColdFile file(kChunk);
  for (uint64_t offset = 0; offset < kChunks * kChunk; offset += kChunk / 2) {
    CAPTURE(offset);
    // The first two reads begin the stream; what lies behind them comes unasked.
    const bool is_here = file.comes(offset);
    if (offset >= 2 * kChunk) REQUIRE(is_here);
    const auto bytes = file.mount.run(
        [&](Volume& v, Need& n) { return v.read(file.handle, offset, kChunk / 2, n); });
    REQUIRE(bytes);
    CHECK(bytes->data()[0] == static_cast<std::byte>(offset / kChunk));
  }
}

TEST_CASE("read-ahead says where it stopped") {
  ColdFile file(3 * kChunk);
  // What is known of the file is here, its content is not.
  REQUIRE(file.mount.run([&](Volume& v, Need& n) { return v.read(file.handle, 0, 1, n); }));
  StoreFault hold;
  hold.kind = FaultKind::kHold;
  hold.ops = StoreOp::kGet;
  hold.count = FaultyStore::kForever;
  file.store.add(hold);
  Engine& engine = file.mount.engine();
  constexpr uint64_t kRest = (kChunks - 1) * kChunk;
  CHECK(engine.prefetch(file.inode, {}, kChunk, kRest) == 4 * kChunk);
  CHECK(engine.prefetch(file.inode, {}, 4 * kChunk, kRest - 3 * kChunk) == 4 * kChunk);
  // What is here already takes no room.
  CHECK(engine.prefetch(file.inode, {}, 0, kChunk) == kChunk);
  file.store.clear();
  file.store.release();
}
