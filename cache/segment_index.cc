#include "cache/segment_index.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <set>

#include "cache/format/index.h"
#include "cache/segment_pages.h"
#include "cache/store_keys.h"

namespace cairn {
namespace {
constexpr uint64_t kPageBytes = 16 << 10;
// The first touch of a segment brings its header, and its footer, pack names and fan-out table.
constexpr uint64_t kEndBytes = 320 << 10;
// Small segments come whole, as many as fit half of the memory for pages: else nearly every digest
// that is looked up costs a page of its own.
constexpr uint64_t kWholeBytes = 2 << 20;
constexpr uint64_t kGapPagesMax = 4;
constexpr size_t kBatchMax = 256;  // digests of one pass, each of which may need a page
// Every pass brings a page that was missing; a look-up touches far fewer.
constexpr int kPassesMax = 64;
constexpr int kCutOffMax = 3;  // answers

using PageId = SegmentPages::Id;

// A segment as far as its pages are here. Notes the pages that were asked for in vain.
class PagedSource final : public ByteSource {
 public:
  PagedSource(SegmentPages& pages, std::map<PageId, Buffer>& held, std::set<PageId>& missing,
              const SegmentName& segment)
      : pages_(pages), held_(held), missing_(missing), segment_(segment) {}

  uint64_t size() const override { return segment_.size; }

  Result<size_t> read_at(uint64_t offset, MutableBytes out) override {
    if (offset >= segment_.size) return size_t{0};
    const uint64_t end = std::min<uint64_t>(segment_.size, offset + out.size());
    bool complete = true;
    for (uint64_t page = offset / kPageBytes; page * kPageBytes < end; ++page)
      complete = copy(page, offset, end, out) && complete;
    if (!complete) return fail(Errc::kNotLocal, "a page of an index segment is not here");
    return static_cast<size_t>(end - offset);
  }

 private:
  bool copy(uint64_t page, uint64_t offset, uint64_t end, MutableBytes out) {
    const PageId id{segment_.digest, page};
    auto it = held_.find(id);
    if (it == held_.end()) {
      auto cached = pages_.find(id);
      if (!cached) {
        missing_.insert(id);
        return false;
      }
      it = held_.emplace(id, *std::move(cached)).first;
    }
    const uint64_t start = page * kPageBytes;
    const uint64_t from = std::max(start, offset);
    const uint64_t to = std::min(end, start + it->second.size());
    if (from < to)
      std::memcpy(out.data() + (from - offset), it->second.data() + (from - start),
                  static_cast<size_t>(to - from));
    return to == std::min(end, start + kPageBytes);
  }

  SegmentPages& pages_;
  std::map<PageId, Buffer>& held_;
  std::set<PageId>& missing_;
  const SegmentName& segment_;
};

struct IndexSegment {
  SegmentName name;
  uint64_t first_bytes = 0;  // of its end, that the first touch brings
};

void add_first_pages(const IndexSegment& segment, std::set<PageId>& pages) {
  const auto& [digest, size, entries] = segment.name;
  if (size == 0) return;
  pages.insert({digest, 0});
  const uint64_t last = (size - 1) / kPageBytes;
  uint64_t page = (size - segment.first_bytes) / kPageBytes;
  for (; page <= last; ++page) pages.insert({digest, page});
}

using Places = std::vector<std::optional<BlockPlace>>;

// One find call: passes over what is here, with the pages each pass missed fetched in between.
class Lookup : public std::enable_shared_from_this<Lookup> {
 public:
  Lookup(std::shared_ptr<GetLimiter> gets, std::shared_ptr<SegmentPages> pages,
         std::vector<IndexSegment> newest_first, std::vector<Digest> digests, Context context,
         Callback<Places> done)
      : gets_(std::move(gets)),
        pages_(std::move(pages)),
        segments_(std::move(newest_first)),
        digests_(std::move(digests)),
        context_(std::move(context)),
        done_(std::move(done)),
        places_(digests_.size()) {}

  // Brings these pages first.
  void run_with(const std::set<PageId>& pages) {
    if (pages.empty()) return run();
    fetch(pages);
  }

  void run() {
    while (batch_ < digests_.size()) {
      std::set<PageId> missing;
      const Status status = pass(missing);
      if (!status) return done_(tl::unexpected<Error>(status.error()));
      if (!missing.empty()) {
        if (++passes_ > kPassesMax)
          return done_(fail(Errc::kCorruption, "an index segment leads nowhere"));
        return fetch(missing);
      }
      batch_ += kBatchMax;
      passes_ = 0;
      held_.clear();
    }
    done_(std::move(places_));
  }

 private:
  Status pass(std::set<PageId>& missing) {
    const size_t end = std::min(digests_.size(), batch_ + kBatchMax);
    // Of these a newer segment may still say where they are: older ones are only made to come.
    std::vector<bool> unsure(end - batch_);
    for (const IndexSegment& segment : segments_) {
      if (missing.empty() && all_placed(end)) break;
      PagedSource source(*pages_, held_, missing, segment.name);
      const auto view = IndexSegmentView::open(source);
      if (!view) {
        if (view.error().code() != Errc::kNotLocal) return wrong(segment.name, view.error());
        add_first_pages(segment, missing);
        unsure.assign(unsure.size(), true);
        continue;
      }
      for (size_t i = batch_; i < end; ++i) {
        if (places_[i]) continue;
        const auto found = view->find(digests_[i], /*use_filter=*/false);
        if (!found && found.error().code() == Errc::kNotLocal) {
          unsure[i - batch_] = true;
          continue;
        }
        if (!found) return wrong(segment.name, found.error());
        if (*found && !unsure[i - batch_])
          places_[i] = BlockPlace{(*found)->pack, (*found)->offset, (*found)->length};
      }
    }
    return {};
  }

  bool all_placed(size_t end) const {
    return std::all_of(places_.begin() + static_cast<ptrdiff_t>(batch_),
                       places_.begin() + static_cast<ptrdiff_t>(end),
                       [](const auto& place) { return place.has_value(); });
  }

  Status wrong(const SegmentName& segment, Error error) {
    return tl::unexpected<Error>(
        std::move(error).wrap(gets_->store().description() + ": " + index_key(segment.digest)));
  }

  struct PageRun {
    std::vector<PageId> pages;  // that nobody else brings; more lie between them
    uint64_t first() const { return pages.front().page; }
    uint64_t last() const { return pages.back().page; }
  };

  static std::vector<PageRun> runs_of(const std::set<PageId>& missing) {
    std::vector<PageRun> runs;
    for (const PageId& id : missing) {
      if (runs.empty() || runs.back().pages.front().segment != id.segment ||
          id.page > runs.back().last() + kGapPagesMax)
        runs.emplace_back();
      runs.back().pages.push_back(id);
    }
    return runs;
  }

  uint64_t size_of(const Digest& segment) const {
    for (const IndexSegment& one : segments_)
      if (one.name.digest == segment) return one.name.size;
    return 0;
  }

  void fetch(const std::set<PageId>& missing) {
    left_ = missing.size();
    const auto own_landed = [self = shared_from_this()](const Status& status) {
      if (!status) self->note(status.error());
      self->landed();
    };
    const auto landed = [self = shared_from_this()](const Status& status) {
      // Who brought it for us may have given up: the next pass misses the page and asks itself.
      const bool gave_up = !status && (status.error().code() == Errc::kCancelled ||
                                       status.error().code() == Errc::kTimeout);
      if (!status && !gave_up) self->note(status.error());
      self->landed();
    };
    std::set<PageId> own;
    for (const PageId& id : missing) {
      if (!pages_->waiters.join(id, own_landed, landed)) continue;
      // It may have landed since it was missed.
      if (pages_->find(id))
        pages_->waiters.land(id, Status());
      else
        own.insert(id);
    }
    for (const PageRun& run : runs_of(own)) {
      const ByteRange range{run.first() * kPageBytes, (run.last() - run.first() + 1) * kPageBytes};
      gets_->get(index_key(run.pages.front().segment), GetRange::from(range.offset, range.length),
                 context_, [self = shared_from_this(), run](const Result<GetResult>& got) {
                   self->arrived(run, got);
                 });
    }
  }

  void arrived(const PageRun& run, const Result<GetResult>& got) {
    Status status;
    if (got)
      take(run, got->bytes);
    else
      status = tl::unexpected<Error>(got.error());
    for (const PageId& id : run.pages) pages_->waiters.land(id, status);
  }

  void take(const PageRun& run, const Buffer& bytes) {
    const Digest& segment = run.pages.front().segment;
    const uint64_t size = size_of(segment);
    for (uint64_t page = run.first(); page <= run.last() && page * kPageBytes < size; ++page) {
      const uint64_t start = (page - run.first()) * kPageBytes;
      const auto length =
          static_cast<size_t>(std::min<uint64_t>(kPageBytes, size - page * kPageBytes));
      if (start + length > bytes.size()) {
        // An answer that was cut off: the next pass misses the page and asks again.
        if (++cut_off_ > kCutOffMax)
          note(Error(Errc::kCorruption, index_key(segment) + " is shorter than the commit says"));
        return;
      }
      const Buffer own = Buffer::copy(bytes.view().subspan(start, length));
      pages_->insert({segment, page}, own);
      const std::lock_guard lock(mutex_);
      arrived_.emplace(PageId{segment, page}, own);
    }
  }

  void note(const Error& error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = error;
  }

  void landed() {
    if (left_.fetch_sub(1) != 1) return;
    if (error_) return done_(tl::unexpected<Error>(*error_));
    held_.merge(arrived_);
    arrived_.clear();
    run();
  }

  const std::shared_ptr<GetLimiter> gets_;
  const std::shared_ptr<SegmentPages> pages_;
  const std::vector<IndexSegment> segments_;  // newest first
  const std::vector<Digest> digests_;
  const Context context_;
  const Callback<Places> done_;
  Places places_;
  size_t batch_ = 0;  // the first digest of the batch that is looked up
  int passes_ = 0;
  std::map<PageId, Buffer> held_;  // of this batch, whatever the cache drops meanwhile
  RankedMutex<Rank::kLeaf> mutex_;
  std::map<PageId, Buffer> arrived_;
  std::optional<Error> error_;
  std::atomic<int> cut_off_{0};
  std::atomic<size_t> left_{0};
};

class SegmentIndexImpl final : public SegmentIndex {
 public:
  SegmentIndexImpl(std::shared_ptr<GetLimiter> gets, uint64_t page_bytes_max)
      : gets_(std::move(gets)),
        whole_bytes_max_(page_bytes_max / 2),
        pages_(std::make_shared<SegmentPages>(page_bytes_max)) {}

  void set_segments(std::vector<SegmentName> segments) override {
    std::vector<IndexSegment> newest_first;
    uint64_t whole_bytes = 0;
    for (auto name = segments.rbegin(); name != segments.rend(); ++name) {
      IndexSegment segment{*name, std::min(name->size, kEndBytes)};
      if (name->size <= kWholeBytes && whole_bytes + name->size <= whole_bytes_max_) {
        segment.first_bytes = name->size;
        whole_bytes += name->size;
      }
      newest_first.push_back(segment);
    }
    const std::lock_guard lock(mutex_);
    newest_first_ = std::move(newest_first);
  }

  void find(std::vector<Digest> digests, Context context, Callback<Places> done) override {
    std::vector<IndexSegment> segments = newest_first();
    if (segments.empty()) return done(Places(digests.size()));
    lookup(std::move(segments), std::move(digests), std::move(context), std::move(done))->run();
  }

  void read_ahead(uint64_t bytes_max, Context context, Callback<void> done) override {
    std::vector<IndexSegment> segments = newest_first();
    std::set<PageId> pages;
    for (const IndexSegment& segment : segments) {
      if (segment.first_bytes > bytes_max) break;
      bytes_max -= segment.first_bytes;
      add_first_pages(segment, pages);
    }
    lookup(std::move(segments), {}, std::move(context),
           [done = std::move(done)](const Result<Places>& came) {
             done(came ? Status() : tl::unexpected<Error>(came.error()));
           })
        ->run_with(pages);
  }

 private:
  std::vector<IndexSegment> newest_first() const {
    const std::lock_guard lock(mutex_);
    return newest_first_;
  }

  std::shared_ptr<Lookup> lookup(std::vector<IndexSegment> newest_first,
                                 std::vector<Digest> digests, Context context,
                                 Callback<Places> done) {
    return std::make_shared<Lookup>(gets_, pages_, std::move(newest_first), std::move(digests),
                                    std::move(context), std::move(done));
  }

  const std::shared_ptr<GetLimiter> gets_;
  const uint64_t whole_bytes_max_;
  const std::shared_ptr<SegmentPages> pages_;
  mutable RankedMutex<Rank::kBlockCache> mutex_;
  std::vector<IndexSegment> newest_first_;
};
}  // namespace

std::shared_ptr<SegmentIndex> SegmentIndex::make(std::shared_ptr<GetLimiter> gets,
                                                 uint64_t page_bytes_max) {
  return std::make_shared<SegmentIndexImpl>(std::move(gets), page_bytes_max);
}

}  // namespace cairn
