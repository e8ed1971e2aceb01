// Rng: the only source of randomness. SeededRng repeats itself for one seed (tests, simulation);
// os_rng() is the kernel's generator, for nonces and identifiers. Thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "cache/base/bytes.h"

namespace cairn {

class Rng {
 public:
  virtual ~Rng() = default;
  virtual uint64_t next() = 0;
  // Uniform in [0, bound). Requires bound > 0.
  uint64_t below(uint64_t bound);
};

Rng& os_rng();
std::unique_ptr<Rng> make_seeded_rng(uint64_t seed);

using Uuid = std::array<std::byte, 16>;
Uuid make_uuid(Rng& rng);  // RFC 4122 version 4
std::string uuid_text(const Uuid& uuid);

}  // namespace cairn
