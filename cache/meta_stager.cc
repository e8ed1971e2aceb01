#include "cache/meta_stager.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "cache/base/log.h"

namespace cairn {

Status MetaStager::add(const Cid& cid, Buffer bytes, bool upper) {
  const Digest digest = cid.digest();
  if (!added_.insert(digest).second) return {};
  const uint64_t length = bytes.size();
  if (!pack_.fits(length) || (!open_.empty() && open_bytes() + length > pack_bytes_)) TRY(flush());
  if (upper) {
    upper_.push_back({cid, bytes});
    upper_bytes_ += car_frame_size(length) + length + kPackEntrySize;
  } else {
    TRY(pack_.add(cid, bytes));
  }
  open_.emplace(digest, PendingBlock{cid, std::move(bytes)});
  return {};
}

std::optional<Buffer> MetaStager::find(const Digest& digest) const {
  const auto found = open_.find(digest);
  if (found == open_.end()) return std::nullopt;
  return found->second.bytes;
}

std::unordered_map<Digest, PendingBlock> MetaStager::take_open() {
  for (const auto& [digest, block] : open_) added_.erase(digest);
  pack_ = OpenPack(PackKind::kMeta, salt_);
  upper_.clear();
  upper_bytes_ = 0;
  return std::exchange(open_, {});
}

Status MetaStager::flush() {
  upper_bytes_ = 0;
  for (PendingBlock& block : std::exchange(upper_, {})) {
    if (!pack_.fits(block.bytes.size())) TRY(seal());
    TRY(pack_.add(block.cid, std::move(block.bytes)));
  }
  return pack_.empty() ? Status() : seal();
}

Status MetaStager::seal() {
  TRY_ASSIGN(SealedPack sealed, pack_.seal());
  const PackName name = name_of(sealed.tail);
  packs_.push_back(name);
  open_.clear();
  const Status kept = blocks_.add_local(name, sealed.body);
  if (std::find(sent_before_.begin(), sent_before_.end(), name) == sent_before_.end())
    TRY(uploader_.send(std::move(sealed)));
  if (kept) return {};
  // A full disk must not keep what is waiting for the store from getting there.
  log_once_per(std::chrono::minutes(1), "metadata cache",
               "cannot keep a metadata pack in the cache: " + kept.error().message());
  return uploader_.finish();  // from now on it is read from the store
}

Result<std::shared_ptr<const MstNode>> StagedNodes::node(const Digest& digest) {
  if (const auto open = staged_.find(digest)) return MstNode::decode(*open, fanout_bits());
  return nodes_.node(digest);
}

Result<Buffer> StagedNodes::get(const Digest& digest) {
  if (auto open = staged_.find(digest)) return *std::move(open);
  return blocks_.get(digest, missing_);
}

}  // namespace cairn
