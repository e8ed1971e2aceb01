#include "s3/byte_pool.h"

#include <doctest/doctest.h>

using namespace cairn;

namespace {
constexpr size_t kMiB = 1 << 20;

std::shared_ptr<BytePool> pool_of(uint64_t bytes_max) {
  return std::make_shared<BytePool>(bytes_max);
}

// A buffer with `size` bytes of the pool; where they are.
Buffer filled(const std::shared_ptr<BytePool>& pool, size_t size, char with) {
  ByteVec bytes = pool->take(size);
  bytes.resize(size, static_cast<std::byte>(with));
  return pool->share(std::move(bytes));
}
}  // namespace

TEST_CASE("byte pool: memory comes back with the last copy, not before") {
  const auto pool = pool_of(8 * kMiB);
  Buffer first = filled(pool, 2 * kMiB, 'a');
  const std::byte* const place = first.data();
  Buffer part = first.slice(kMiB, 10);
  first = Buffer();
  const Buffer second = filled(pool, 2 * kMiB, 'b');
  CHECK(second.data() != place);
  CHECK(to_string(part) == "aaaaaaaaaa");
  part = Buffer();
  const Buffer third = filled(pool, 2 * kMiB, 'c');
  CHECK(third.data() == place);
  CHECK(third.size() == 2 * kMiB);
}

TEST_CASE("byte pool: what it gives is empty, and no more than twice as large as asked for") {
  const auto pool = pool_of(64 * kMiB);
  (void)filled(pool, 8 * kMiB, 'a');
  const ByteVec small = pool->take(2 * kMiB);
  CHECK(small.empty());
  CHECK(small.capacity() == 2 * kMiB);
  const ByteVec large = pool->take(5 * kMiB);
  CHECK(large.empty());
  CHECK(large.capacity() == 8 * kMiB);
  CHECK(pool->take(100).capacity() == 100);
}

TEST_CASE("byte pool: keeps no more than its bound, and not for long") {
  const auto pool = pool_of(5 * kMiB);
  {
    const Buffer a = filled(pool, 2 * kMiB, 'a');
    const Buffer b = filled(pool, 2 * kMiB, 'b');
    const Buffer c = filled(pool, 2 * kMiB, 'c');
    const Buffer larger_than_all = filled(pool, 6 * kMiB, 'd');
  }
  CHECK(pool->kept_bytes() == 4 * kMiB);
  pool->trim(false);  // it came back since the last time
  CHECK(pool->kept_bytes() == 4 * kMiB);
  CHECK_FALSE(pool->rests());
  pool->trim(false);
  CHECK(pool->kept_bytes() == 0);
  CHECK(pool->rests());
}

TEST_CASE("byte pool: what comes back when nobody trims any more is not kept") {
  const auto pool = pool_of(8 * kMiB);
  Buffer late = filled(pool, 2 * kMiB, 'a');
  pool->trim(true);
  CHECK_FALSE(pool->rests());
  pool->trim(false);
  CHECK(pool->rests());
  late = Buffer();
  CHECK(pool->kept_bytes() == 0);
  late = filled(pool, 2 * kMiB, 'b');
  CHECK_FALSE(pool->rests());
  late = Buffer();
  CHECK(pool->kept_bytes() == 2 * kMiB);
}

TEST_CASE("byte pool: its buffers may outlive its owner") {
  auto pool = pool_of(8 * kMiB);
  const Buffer bytes = filled(pool, kMiB, 'x');
  pool.reset();
  CHECK(bytes.view().back() == std::byte{'x'});
}
