#include "cache/index_writer.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "cache/await.h"
#include "cache/base/failpoint.h"
#include "cache/file_sink.h"
#include "cache/format/index.h"
#include "cache/meta_files.h"
#include "cache/pack_uploader.h"
#include "cache/store_keys.h"

namespace cairn {
namespace {

constexpr uint64_t kYoungBlocksMax = 400'000;  // some 20 MB of tails
constexpr size_t kSegmentsATier = 8;
constexpr uint64_t kSegmentReadBytes = 1 << 20;  // of a segment at once
constexpr uint64_t kSlowest = 32 << 10;   // bytes a second

// A segment in the store, read in large pieces.
class ObjectSource final : public ByteSource {
 public:
  ObjectSource(ObjectStore& store, std::string key, uint64_t size, Context context)
      : store_(store), key_(std::move(key)), size_(size), context_(std::move(context)) {}
  uint64_t size() const override { return size_; }
  Result<size_t> read_at(uint64_t offset, MutableBytes out) override {
    size_t done = 0;
    while (done < out.size() && offset + done < size_) {
      const uint64_t at = offset + done;
      if (at < start_ || at - start_ >= piece_.size()) {
        TRY_ASSIGN(GetResult got,
                   get_sync(store_, key_, GetRange::from(at, kSegmentReadBytes), context_));
        if (got.bytes.empty())
          return fail(Errc::kCorruption, key_ + " is shorter than the commit says");
        start_ = at;
        piece_ = std::move(got.bytes);
      }
      const Bytes here = piece_.view().subspan(static_cast<size_t>(at - start_));
      const size_t count = std::min(here.size(), out.size() - done);
      std::copy_n(here.begin(), count, out.begin() + static_cast<ptrdiff_t>(done));
      done += count;
    }
    return done;
  }

 private:
  ObjectStore& store_;
  const std::string key_;
  const uint64_t size_;
  const Context context_;
  uint64_t start_ = 0;
  Buffer piece_;
};

unsigned tier_of_segment(uint64_t entries) {
  unsigned tier = 0;
  for (; entries >= kSegmentsATier * 1024; entries /= kSegmentsATier) ++tier;
  return tier;
}

}  // namespace

IndexStep next_index_step(std::span<const PackName> young, std::span<const SegmentName> segments,
                          const IndexLimits& limits) {
  IndexStep step;
  step.segments_from = segments.size();
  uint64_t entries = 0;
  for (const PackName& pack : young) entries += pack.blocks;
  if (young.size() < limits.young_packs_max && entries < kYoungBlocksMax) return step;
  step.packs = young.size();
  // The new segment would be one more of its tier; when that is one too many it takes them in.
  while (step.segments_from > 0) {
    const unsigned tier = tier_of_segment(entries);
    size_t from = step.segments_from;
    while (from > 0 && tier_of_segment(segments[from - 1].entries) <= tier) --from;
    if (step.segments_from - from + 1 < limits.segments_a_tier) break;
    while (step.segments_from > from) entries += segments[--step.segments_from].entries;
  }
  return step;
}

IndexWriter::IndexWriter(ObjectStore& store, PackStore& packs, Env& env, Clock& clock,
                         Options options, Context context)
    : store_(store),
      packs_(packs),
      env_(env),
      clock_(clock),
      options_(std::move(options)),
      context_(std::move(context)) {}

Context IndexWriter::request(uint64_t bytes) const {
  return request_context(clock_, context_, options_.io_timeout, bytes, kSlowest);
}

Result<SegmentName> IndexWriter::write(std::span<const PackName> packs,
                                       std::span<const PackTail> known,
                                       std::span<const SegmentName> segments,
                                       const std::function<bool(const Digest& pack)>& keep) {
  CAIRN_FAILPOINT("index.planned");
  std::vector<std::unique_ptr<IndexSource>> sources;  // the newest first
  for (auto pack = packs.rbegin(); pack != packs.rend(); ++pack) {
    const auto here = std::find_if(known.begin(), known.end(), [&](const PackTail& tail) {
      return tail.name() == pack->digest;
    });
    if (here != known.end()) {
      sources.push_back(make_index_source(*here));
      continue;
    }
    TRY_ASSIGN(auto tail, await<PackTail>([&](Callback<PackTail> done) {
                 packs_.read_tail(*pack, request(pack->blocks * kPackEntrySize), std::move(done));
               }));
    sources.push_back(make_index_source(std::move(tail)));
  }
  std::vector<std::unique_ptr<ObjectSource>> objects;
  std::vector<std::unique_ptr<IndexSegmentView>> views;
  for (auto segment = segments.rbegin(); segment != segments.rend(); ++segment) {
    objects.push_back(std::make_unique<ObjectSource>(store_, index_key(segment->digest),
                                                     segment->size, request(segment->size)));
    TRY(verify_index_segment(*objects.back(), segment->digest));
    TRY_ASSIGN(IndexSegmentView view, IndexSegmentView::open(*objects.back()));
    views.push_back(std::make_unique<IndexSegmentView>(view));
    sources.push_back(make_index_source(*views.back()));
  }
  if (!segments.empty()) CAIRN_FAILPOINT("index.merging");

  TRY(env_.make_dirs(options_.dir));
  // A name that MetaFiles removes when it finds it: the process may die before it has none.
  const std::string path = options_.dir + "/index-segment" + std::string(MetaFiles::kPartSuffix);
  TRY_ASSIGN(std::shared_ptr<File> file, env_.open(path, OpenMode::kCreate));
  CAIRN_FAILPOINT("index.file_made");
  TRY(file->truncate(0));
  // From here on the file has no name; it goes with its last reader.
  TRY(env_.remove(path));
  FileSink sink(*file);
  TRY_ASSIGN(const IndexSegmentInfo info, merge_index(sources, keep, sink));
  const SegmentName name{info.name, info.size, info.entries};
  CAIRN_FAILPOINT("index.built");
  Body body;
  body.add(file, {0, info.size});
  TRY(await<void>([&](Callback<void> done) {
    packs_.put_segment(name, std::move(body), request(info.size), std::move(done));
  }));
  CAIRN_FAILPOINT("index.sent");
  return name;
}

}  // namespace cairn
