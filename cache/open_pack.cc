#include "cache/open_pack.h"

#include <utility>

namespace cairn {
namespace {
// What a block costs in memory besides its bytes: its entry, its frame and its place in the body.
constexpr uint64_t kBlockBytes = 400;
}  // namespace

Status OpenPack::add(const Cid& cid, Buffer bytes) {
  TRY(builder_.add(cid, bytes.size()));
  memory_bytes_ += kBlockBytes + bytes.size();
  Payload payload;
  payload.bytes = std::move(bytes);
  payloads_.push_back(std::move(payload));
  return {};
}

Status OpenPack::add(const Cid& cid, std::shared_ptr<File> file, ByteRange range) {
  TRY(builder_.add(cid, range.length));
  memory_bytes_ += kBlockBytes;
  Payload payload;
  payload.file = std::move(file);
  payload.range = range;
  payloads_.push_back(std::move(payload));
  return {};
}

Result<SealedPack> OpenPack::seal() {
  auto plan = std::exchange(builder_, PackBuilder(kind_, salt_)).finish();
  std::vector<Payload> payloads = std::exchange(payloads_, {});
  SealedPack sealed;
  sealed.memory_bytes = std::exchange(memory_bytes_, 0);
  if (!plan) return tl::unexpected<Error>(std::move(plan).error());
  sealed.tail = plan->tail();
  for (size_t i = 0; i < payloads.size(); ++i) {
    Payload& payload = payloads[i];
    sealed.body.add(plan->prefix(i));
    if (payload.file) {
      sealed.body.add(std::move(payload.file), payload.range);
    } else {
      sealed.body.add(std::move(payload.bytes));
    }
  }
  sealed.body.add(plan->trailer());
  return sealed;
}

}  // namespace cairn
