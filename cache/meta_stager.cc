#include "cache/meta_stager.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "cache/base/log.h"

namespace cairn {

Status MetaStager::add(const Cid& cid, Buffer bytes, std::span<const PackRun> runs) {
  const Digest digest = cid.digest();
  if (!added_.insert(digest).second) return {};
  const uint64_t length = bytes.size();
  if (!pack_.fits(length) || (!pack_.empty() && pack_.bytes() + length > pack_bytes_)) TRY(flush());
  TRY(pack_.add(cid, bytes));
  if (!runs.empty()) pack_.add_runs(digest, runs);
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
  return std::exchange(open_, {});
}

Status MetaStager::flush() {
  if (pack_.empty()) return {};
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
