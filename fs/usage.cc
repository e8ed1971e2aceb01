#include "fs/usage.h"

#include "cache/base/coding.h"

namespace cairn {

namespace {

constexpr const char* kUsageKey = "usage";

uint64_t shifted(uint64_t sum, int64_t by) {
  const uint64_t less = by < 0 ? uint64_t{0} - static_cast<uint64_t>(by) : 0;
  return by < 0 ? sum - std::min(sum, less) : sum + static_cast<uint64_t>(by);
}

}  // namespace

Usage Usage::published(Engine& engine) {
  const PublishedState state = engine.remote().published();
  return {state.live_bytes, state.inodes};
}

Result<Usage> Usage::open(Engine& engine) {
  const LsnStatus lsn = engine.lsn_status();
  // The row of a cache that left nothing behind may be older than what others wrote since.
  if (lsn.published >= lsn.appended) return published(engine);
  TRY_ASSIGN(const auto row, engine.live().state(kUsageKey));
  if (!row) return published(engine);  // nothing that waits changed a sum
  if (row->size() != 16) return fail(Errc::kCorruption, "a damaged row of the volume's sums");
  const std::byte* b = as_bytes(*row).data();
  return Usage{get_le<uint64_t>(b), get_le<uint64_t>(b + 8)};
}

void Usage::add(int64_t more_bytes, int64_t more_inodes) {
  bytes = shifted(bytes, more_bytes);
  inodes = shifted(inodes, more_inodes);
}

Effect Usage::effect() const {
  ByteVec row;
  put_le(row, bytes);
  put_le(row, inodes);
  return PutState{kUsageKey, to_string(row)};
}

}  // namespace cairn
