#include <algorithm>
#include <limits>
#include <queue>

#include "cache/format/index.h"

namespace cairn {

namespace {

constexpr uint32_t kDropped = std::numeric_limits<uint32_t>::max();

class PackTailSource final : public IndexSource {
 public:
  explicit PackTailSource(PackTail tail) : tail_(std::move(tail)) {}
  uint64_t entry_count() const override { return tail_.size(); }
  uint32_t pack_count() const override { return 1; }
  Result<Digest> pack(uint32_t) const override { return tail_.name(); }
  Result<std::optional<IndexEntry>> next() override {
    if (next_ == tail_.size()) return std::optional<IndexEntry>{};
    const PackEntry entry = tail_.entry(next_++);
    return std::optional<IndexEntry>({entry.digest, 0, entry.offset, entry.length, entry.codec});
  }

 private:
  PackTail tail_;
  uint32_t next_ = 0;
};

class Merger {
 public:
  Merger(std::span<const std::unique_ptr<IndexSource>> sources, ByteSink& sink)
      : sources_(sources), ordinals_(sources.size()), builder_(total(sources), sink) {}

  Result<IndexSegmentInfo> run(const std::function<bool(const Digest&)>& keep) {
    TRY(number_packs(keep));
    for (size_t i = 0; i < sources_.size(); ++i) TRY(pull(i));
    std::optional<Digest> last;
    while (!heads_.empty()) {
      const Head head = heads_.top();
      heads_.pop();
      if (last != head.entry.digest) TRY(builder_.add(head.entry));
      last = head.entry.digest;
      TRY(pull(head.source));
    }
    for (size_t i = 0; i < sources_.size(); ++i) {
      for (uint32_t pack = 0; pack < ordinals_[i].size(); ++pack) {
        if (ordinals_[i][pack] == kDropped) continue;
        TRY_ASSIGN(const Digest name, sources_[i]->pack(pack));
        TRY(builder_.add_pack(name));
      }
    }
    return builder_.finish();
  }

 private:
  struct Head {
    IndexEntry entry;  // its pack already as an ordinal of the result
    size_t source;
    // std::priority_queue gives the greatest first: the smallest digest, of the newest source.
    bool operator<(const Head& other) const {
      const auto order = entry.digest <=> other.entry.digest;
      return order != 0 ? order > 0 : source > other.source;
    }
  };

  static uint64_t total(std::span<const std::unique_ptr<IndexSource>> sources) {
    uint64_t sum = 0;
    for (const auto& source : sources) sum += source->entry_count();
    return sum;
  }

  Status number_packs(const std::function<bool(const Digest&)>& keep) {
    uint32_t next = 0;
    for (size_t i = 0; i < sources_.size(); ++i) {
      for (uint32_t pack = 0; pack < sources_[i]->pack_count(); ++pack) {
        TRY_ASSIGN(const Digest name, sources_[i]->pack(pack));
        ordinals_[i].push_back(keep(name) ? next++ : kDropped);
      }
    }
    return {};
  }

  // The next entry of a source that is not in a dropped pack goes to the heads.
  Status pull(size_t i) {
    while (true) {
      TRY_ASSIGN(auto entry, sources_[i]->next());
      if (!entry) return {};
      if (entry->pack >= ordinals_[i].size())
        return fail(Errc::kCorruption, "index: an entry names no pack of its source");
      entry->pack = ordinals_[i][entry->pack];
      if (entry->pack == kDropped) continue;
      heads_.push({*entry, i});
      return {};
    }
  }

  std::span<const std::unique_ptr<IndexSource>> sources_;
  std::vector<std::vector<uint32_t>> ordinals_;  // by source and its pack: the result's pack
  IndexSegmentBuilder builder_;
  std::priority_queue<Head> heads_;
};

}  // namespace

std::unique_ptr<IndexSource> make_index_source(PackTail tail) {
  return std::make_unique<PackTailSource>(std::move(tail));
}

Result<IndexSegmentInfo> merge_index(std::span<const std::unique_ptr<IndexSource>> newest_first,
                                     const std::function<bool(const Digest& pack)>& keep,
                                     ByteSink& sink) {
  return Merger(newest_first, sink).run(keep);
}

}  // namespace cairn
