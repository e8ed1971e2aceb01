#include "cache/base/random.h"

#include <sys/random.h>

#include <cstdlib>
#include <mutex>

#include "cache/base/coding.h"

namespace cairn {

uint64_t Rng::below(uint64_t bound) {
  // Rejection keeps the distribution uniform.
  const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
  uint64_t value = next();
  while (value >= limit) value = next();
  return value % bound;
}

namespace {

class OsRng final : public Rng {
 public:
  uint64_t next() override {
    uint64_t value = 0;
    if (::getrandom(&value, sizeof value, 0) != sizeof value) std::abort();
    return value;
  }
};

// splitmix64 (Steele, Lea, Flood 2014): small, seekable by seed, good enough for tests.
class SeededRng final : public Rng {
 public:
  explicit SeededRng(uint64_t seed) : state_(seed) {}
  uint64_t next() override {
    const std::lock_guard lock(mutex_);
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }

 private:
  std::mutex mutex_;
  uint64_t state_;
};

}  // namespace

Rng& os_rng() {
  static OsRng rng;
  return rng;
}

std::unique_ptr<Rng> make_seeded_rng(uint64_t seed) { return std::make_unique<SeededRng>(seed); }

Uuid make_uuid(Rng& rng) {
  Uuid uuid;
  put_be64(uuid.data(), rng.next());
  put_be64(uuid.data() + 8, rng.next());
  uuid[6] = (uuid[6] & std::byte{0x0f}) | std::byte{0x40};
  uuid[8] = (uuid[8] & std::byte{0x3f}) | std::byte{0x80};
  return uuid;
}

std::string uuid_text(const Uuid& uuid) {
  std::string hex = to_hex(uuid);
  for (const size_t at : {20U, 16U, 12U, 8U}) hex.insert(at, "-");
  return hex;
}

}  // namespace cairn
