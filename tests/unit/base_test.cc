#include <doctest/doctest.h>

#include <atomic>

#include "cache/base/clock.h"
#include "cache/base/coding.h"
#include "cache/base/digest.h"
#include "cache/base/executor.h"
#include "cache/base/random.h"

using namespace cairn;

TEST_CASE("a stopped executor has run what was due and keeps nothing else") {
  ThreadExecutor executor("test", 2);
  const auto held = std::make_shared<int>();
  std::atomic<int> ran{0};
  for (int i = 0; i < 100; ++i) executor.submit([&] { ++ran; });
  executor.submit_at(system_clock().now() + std::chrono::hours(1), [held, &ran] { ++ran; });
  executor.stop();
  CHECK(ran == 100);
  executor.submit([held, &ran] { ++ran; });
  executor.submit_at(system_clock().now(), [held, &ran] { ++ran; });
  executor.stop();
  CHECK(held.use_count() == 1);
  CHECK(ran == 100);
}

TEST_CASE("crc32c gives the published check value") {
  CHECK(crc32c(as_bytes("123456789")) == 0xe3069283);
  CHECK(crc32c(as_bytes("6789"), crc32c(as_bytes("12345"))) == 0xe3069283);
  CHECK(crc32c({}) == 0);
}

TEST_CASE("sha256 and hmac give the published values") {
  CHECK(sha256(as_bytes("abc")).hex() ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  // RFC 4231, test case 2.
  CHECK(hmac_sha256(as_bytes("Jefe"), as_bytes("what do ya want for nothing?")).hex() ==
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  Sha256 stream;
  stream.update(as_bytes("a"));
  stream.update(as_bytes("bc"));
  CHECK(stream.finish() == sha256(as_bytes("abc")));
  CHECK(to_base64(as_bytes("foob")) == "Zm9vYg==");
}

TEST_CASE("varints round-trip and refuse what is not canonical") {
  for (const uint64_t value : {0ULL, 1ULL, 127ULL, 128ULL, 300ULL, (1ULL << 63) - 1}) {
    ByteVec out;
    put_varint(out, value);
    CHECK(out.size() == varint_size(value));
    Bytes in = out;
    CHECK(take_varint(in).value() == value);
    CHECK(in.empty());
    Bytes cut = Bytes(out).first(out.size() - 1);
    CHECK_FALSE(take_varint(cut));
  }
  const ByteVec padded{std::byte{0x80}, std::byte{0x00}};
  Bytes in = padded;
  CHECK_FALSE(take_varint(in));
  const ByteVec endless(10, std::byte{0xff});
  in = endless;
  CHECK_FALSE(take_varint(in));
}

TEST_CASE("hex and base32 round-trip and refuse other characters") {
  const ByteVec bytes = to_vec(as_bytes(std::string("\x00\xff\x10 cairn", 9)));
  CHECK(from_hex(to_hex(bytes)).value() == bytes);
  CHECK(from_base32(to_base32(bytes)).value() == bytes);
  CHECK(to_base32(as_bytes("foobar")) == "mzxw6ytboi");
  CHECK_FALSE(from_hex("0"));
  CHECK_FALSE(from_hex("0G"));
  CHECK_FALSE(from_base32("1"));
  CHECK_FALSE(from_base32("mzxw6ytboj"));  // the unused bits are not zero
}

TEST_CASE("a thread executor runs every task, and parallel_for every index once") {
  std::atomic<int> ran{0};
  std::array<std::atomic<int>, 100> seen{};
  {
    ThreadExecutor executor("test", 3);
    for (int i = 0; i < 100; ++i) executor.submit([&] { ++ran; });
    parallel_for(executor, 3, seen.size(), [&](size_t i) { ++seen[i]; });
    parallel_for(executor, 3, 0, [&](size_t) { ++ran; });
  }
  CHECK(ran == 100);
  for (const auto& count : seen) CHECK(count == 1);
}

TEST_CASE("a seeded generator repeats itself and a uuid has its version") {
  CHECK(make_seeded_rng(7)->next() == make_seeded_rng(7)->next());
  CHECK(make_seeded_rng(7)->next() != make_seeded_rng(8)->next());
  CHECK(uuid_text(make_uuid(os_rng()))[14] == '4');
}

TEST_CASE("a cancel token tells its listeners once, and those that left not at all") {
  CancelToken token;
  int first = 0;
  int second = 0;
  int late = 0;
  const auto stays = token.on_cancel([&] { ++first; });
  auto leaves = token.on_cancel([&] { ++second; });
  leaves.reset();
  const CancelToken copy = token;
  token.cancel();
  token.cancel();
  CHECK(copy.cancelled());
  CHECK(first == 1);
  CHECK(second == 0);
  CHECK_FALSE(copy.on_cancel([&] { ++late; }));
  CHECK(late == 1);
}

TEST_CASE("an error keeps its hints when it is wrapped") {
  const Error plain(Errc::kTransient, "busy");
  CHECK(plain.retry_after().count() == 0);
  CHECK_FALSE(plain.no_effect());
  const Error told = Error(Errc::kTransient, "busy")
                         .with_retry_after(std::chrono::seconds(3))
                         .with_no_effect()
                         .wrap("put x");
  CHECK(told.retry_after() == std::chrono::seconds(3));
  CHECK(told.no_effect());
  CHECK(told.message() == "put x: busy");
}
