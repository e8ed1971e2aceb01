// What a recovery asks of a bucket that may be gone: one answer decides, or a few.
#include "tools/recovery_store.h"

#include <doctest/doctest.h>

#include "cache/base/executor.h"
#include "s3/memory_store.h"
#include "tests/support/faulty_store.h"

using namespace cairn;
using namespace cairn::test;

namespace {

struct Bucket {
  Bucket() {
    for (const char* key : {"a", "b", "c"})
      objects->put_foreign(key, Buffer::copy(std::string(key)));
  }
  void refuse(const std::string& prefix, Errc code, unsigned count = FaultyStore::kForever) {
    faults->add({.ops = StoreOp::kGet, .prefix = prefix, .count = count, .code = code});
  }
  bool reads(const std::string& key) {
    return get_sync(store, key, GetRange::all(), Context()).has_value();
  }

  ThreadExecutor io{"io", 1};
  std::shared_ptr<MemoryStore> objects = std::make_shared<MemoryStore>(io, system_clock());
  std::shared_ptr<FaultyStore> faults =
      std::make_shared<FaultyStore>(objects, FaultyStore::Parts{io, system_clock(), os_rng()});
  RecoveryStore store{faults, Status(), "the bucket", io};
};

}  // namespace

TEST_CASE("recovery store: who may read nothing is not asked again") {
  for (const Errc code : {Errc::kPermission, Errc::kTimeout, Errc::kTransient}) {
    Bucket w;
    w.refuse("", code, 1);
    CHECK_FALSE(w.reads("a"));
    CHECK(w.store.away().error().code() == code);
    const uint64_t asked = w.faults->requests();
    CHECK_FALSE(w.reads("b"));
    CHECK(w.faults->requests() == asked);
  }
}

TEST_CASE("recovery store: what is refused of one object keeps no other back") {
  Bucket w;
  CHECK_FALSE(w.reads("none"));
  CHECK(w.store.away());
  CHECK(w.reads("a"));
  w.refuse("b", Errc::kPermission);
  CHECK_FALSE(w.reads("b"));
  CHECK(w.store.away());
  CHECK(w.reads("c"));
}

TEST_CASE("recovery store: three late answers in a row are of the store, one is not") {
  Bucket w;
  CHECK(w.reads("a"));
  w.refuse("b", Errc::kTimeout);
  for (int i = 0; i < 2; ++i) CHECK_FALSE(w.reads("b"));
  CHECK(w.reads("a"));
  for (int i = 0; i < 2; ++i) CHECK_FALSE(w.reads("b"));
  CHECK(w.store.away());
  CHECK_FALSE(w.reads("b"));
  CHECK_FALSE(w.store.away());
  CHECK_FALSE(w.reads("a"));
}

TEST_CASE("recovery store: it changes nothing, and without a store says why") {
  Bucket w;
  CHECK(put_sync(w.store, "d", Body(Buffer::copy("x")), PutCondition::kAlways, Context())
            .error()
            .code() == Errc::kUnsupported);
  CHECK(w.faults->requests() == 0);
  RecoveryStore gone(nullptr, fail(Errc::kPermission, "no keys"), "the bucket", w.io);
  CHECK(get_sync(gone, "a", GetRange::all(), Context()).error().code() == Errc::kPermission);
}
