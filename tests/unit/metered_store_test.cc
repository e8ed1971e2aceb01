#include "s3/metered_store.h"

#include <doctest/doctest.h>

#include "s3/memory_store.h"
#include "tests/support/faulty_store.h"
#include "tests/support/object_store_suite.h"

using namespace cairn;
using namespace cairn::test;

TEST_CASE("a metered store counts requests, bytes and failures") {
  ThreadExecutor executor("store", 2);
  const auto rng = make_seeded_rng(1);
  const auto faulty =
      std::make_shared<FaultyStore>(std::make_shared<MemoryStore>(executor, system_clock()),
                                    FaultyStore::Parts{executor, system_clock(), *rng});
  MeteredStore store(faulty);
  const Body body(Buffer::copy("12345"));
  REQUIRE(put_sync(store, "a", body, PutCondition::kIfAbsent, {}));
  CHECK_FALSE(put_sync(store, "a", body, PutCondition::kIfAbsent, {}));
  REQUIRE(get_sync(store, "a", GetRange::suffix(2), {}));
  CHECK_FALSE(get_sync(store, "b", GetRange::all(), {}));
  REQUIRE(list_sync(store, "", "", 10, {}));
  REQUIRE(remove_sync(store, "a", {}));
  faulty->add({.kind = FaultKind::kFail, .code = Errc::kPermission});
  CHECK_FALSE(remove_sync(store, "a", {}));

  const RequestCounts counts = store.counts();
  CHECK(counts.put == 2);
  CHECK(counts.get == 2);
  CHECK(counts.list == 1);
  CHECK(counts.remove == 2);
  CHECK(counts.total() == 7);
  CHECK(counts.head == 0);
  CHECK(counts.copy == 0);
  CHECK(counts.bytes_written == 5);
  CHECK(counts.bytes_read == 2);
  CHECK(counts.failed == 1);  // a lost race and a missing key are answers
  CHECK(counts.in_flight == 0);
}

TEST_CASE("heads and puts of what the store has are kinds of their own") {
  ThreadExecutor executor("store", 2);
  MeteredStore store(std::make_shared<MemoryStore>(executor, system_clock()));
  const std::string text(Body::kCopyBytesMin, 'x');
  const auto etag = put_sync(store, "a", Body(Buffer::copy(text)), {}, {});
  REQUIRE(etag);
  Body body;
  body.add(ObjectRange{"a", *etag, text.size(), {0, text.size()}});
  body.add(Buffer::copy("tail"));
  REQUIRE(put_sync(store, "b", body, {}, {}));
  REQUIRE(head_sync(store, "b", {}));
  CHECK_FALSE(head_sync(store, "c", {}));
  const RequestCounts counts = store.counts();
  CHECK(counts.put == 1);
  CHECK(counts.copy == 1);
  CHECK(counts.head == 2);
  CHECK(counts.total() == 4);
  CHECK(counts.bytes_written == text.size() + 4);  // what the store had did not travel
  CHECK(counts.failed == 0);
}
