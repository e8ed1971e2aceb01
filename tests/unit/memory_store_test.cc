#include "s3/memory_store.h"

#include <doctest/doctest.h>

#include "tests/support/object_store_suite.h"

using namespace cairn;

TEST_CASE("a memory store passes the conformance suite") {
  ThreadExecutor executor("store", 4);
  const auto store = std::make_shared<MemoryStore>(executor, system_clock());
  object_store_suite({.store = store, .prefix = "", .takes_any_bytes = true});
  CHECK(store->object_count() == 0);
  CHECK(store->stored_bytes() == 0);
}

TEST_CASE("a memory store that keeps versions passes the conformance suite") {
  ThreadExecutor executor("store", 4);
  const auto store = std::make_shared<MemoryStore>(executor, system_clock());
  store->keep_versions();
  object_store_suite(
      {.store = store, .prefix = "", .takes_any_bytes = true, .keeps_versions = true});
}

TEST_CASE("a memory store completes what was under way when it is destroyed") {
  ManualExecutor executor(system_clock());
  auto store = std::make_unique<MemoryStore>(executor, system_clock());
  bool put = false;
  bool got = false;
  store->put("k", Body(Buffer::copy("v")), PutCondition::kIfAbsent, {},
             [&](const Result<std::string>& etag) { put = etag.has_value(); });
  store->get("k", GetRange::all(), {}, [&](const Result<GetResult>& result) {
    got = result && as_chars(result->bytes) == "v";
  });
  CHECK(store->object_count() == 0);  // nothing happens on the caller's stack
  store.reset();
  executor.run_all();
  CHECK(put);
  CHECK(got);
}
