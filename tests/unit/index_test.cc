#include "cache/format/index.h"

#include <doctest/doctest.h>

#include <map>

#include "cache/base/random.h"
#include "tests/support/test_pack.h"

using namespace cairn;

namespace {

Digest number_digest(uint64_t n) {
  ByteVec key;
  put_le(key, n);
  return sha256(key);
}

// What a segment should hold: digest -> (pack ordinal, offset).
using Model = std::map<Digest, IndexEntry>;

Model make_model(size_t count, uint32_t packs, uint64_t seed = 0) {
  Model model;
  for (size_t i = 0; i < count; ++i) {
    const Digest digest = number_digest(seed * 1000003 + i);
    const auto n = static_cast<uint32_t>(i);
    model[digest] = {digest, n % packs, n * 7, n % 5000, n % 3 == 0 ? Codec::kDagPb : Codec::kRaw};
  }
  return model;
}

struct Built {
  ByteVec bytes;
  IndexSegmentInfo info;
};

Built build(const Model& model, uint32_t packs, uint64_t entries_max) {
  MemorySink sink;
  IndexSegmentBuilder builder(entries_max, sink);
  for (const auto& [digest, entry] : model) REQUIRE(builder.add(entry));
  for (uint32_t i = 0; i < packs; ++i) REQUIRE(builder.add_pack(number_digest(~uint64_t{i})));
  Built built;
  built.info = builder.finish().value();
  built.bytes = sink.take();
  return built;
}

// Counts the reads and the largest of them.
class CountingSource final : public ByteSource {
 public:
  explicit CountingSource(Bytes bytes) : memory_(bytes) {}
  uint64_t size() const override { return memory_.size(); }
  Result<size_t> read_at(uint64_t offset, MutableBytes out) override {
    ++reads;
    largest = std::max(largest, out.size());
    return memory_.read_at(offset, out);
  }
  size_t reads = 0;
  size_t largest = 0;

 private:
  MemorySource memory_;
};

}  // namespace

TEST_CASE("a segment finds what was put into it, and nothing else") {
  for (const size_t count : {0, 1, 7, 5000, 40000}) {
    for (const uint64_t guess : {uint64_t{count}, uint64_t{count} * 40 + 1}) {
      CAPTURE(count);
      const Model model = make_model(count, 3);
      const Built built = build(model, 3, guess);
      CHECK(built.info.entries == count);
      CHECK(built.info.size == built.bytes.size());
      CHECK(built.info.name == sha256(built.bytes));
      MemorySource source(built.bytes);
      CHECK(verify_index_segment(source, built.info.name));
      CHECK_FALSE(verify_index_segment(source, Digest{}));
      const auto view = IndexSegmentView::open(source).value();
      for (const auto& [digest, entry] : model) {
        const auto found = view.find(digest).value();
        REQUIRE(found);
        CHECK(*found == IndexLocation{number_digest(~uint64_t{entry.pack}), entry.offset,
                                      entry.length, entry.codec});
        CHECK(view.find(digest, false).value() == found);
      }
      for (uint64_t i = 0; i < 2000; ++i) {
        CHECK_FALSE(view.find(number_digest(i + (uint64_t{1} << 40))).value());
        CHECK_FALSE(view.find(number_digest(i + (uint64_t{1} << 40)), false).value());
      }
    }
  }
}

TEST_CASE("digests at the ends of every range are found") {
  Model model;
  for (const unsigned first : {0x00U, 0x01U, 0x7fU, 0x80U, 0xfeU, 0xffU}) {
    for (const unsigned second : {0x00U, 0xffU}) {
      for (const unsigned rest : {0x00U, 0xffU}) {
        Digest digest;
        digest.bytes.fill(static_cast<std::byte>(rest));
        digest.bytes[0] = static_cast<std::byte>(first);
        digest.bytes[1] = static_cast<std::byte>(second);
        model[digest] = {digest, 0, first, second, Codec::kRaw};
      }
    }
  }
  for (const uint64_t guess : {uint64_t{24}, uint64_t{1} << 20, uint64_t{1} << 32}) {
    const Built built = build(model, 1, guess);
    MemorySource source(built.bytes);
    CHECK(verify_index_segment(source, built.info.name));
    const auto view = IndexSegmentView::open(source).value();
    for (const auto& [digest, entry] : model) CHECK(view.find(digest).value());
  }
}

TEST_CASE("a look-up reads little, and the filter answers most misses") {
  const size_t count = 200000;
  const Built built = build(make_model(count, 2), 2, count);
  CountingSource source(built.bytes);
  const auto view = IndexSegmentView::open(source).value();
  source.reads = 0;
  const size_t misses = 20000;
  size_t passed = 0;  // look-ups that read a window of entries
  for (uint64_t i = 0; i < misses; ++i) {
    source.largest = 0;
    CHECK_FALSE(view.find(number_digest(i + (uint64_t{1} << 40))).value());
    passed += source.largest > 4 ? 1 : 0;
  }
  // 10 bits a key and 7 probes: 0.8 % in theory. Empty buckets never get as far.
  CHECK(passed < misses * 12 / 1000);
  CHECK(source.reads < misses * 8);
  source.largest = 0;
  for (uint64_t i = 0; i < 1000; ++i) CHECK(view.find(number_digest(i)).value());
  CHECK(source.largest <= (16 << 10));
}

TEST_CASE("entries out of order, one too many, or in no pack are refused") {
  MemorySink sink;
  const Model model = make_model(3, 1);
  const IndexEntry first = model.begin()->second;
  const IndexEntry second = std::next(model.begin())->second;
  const IndexEntry third = std::next(model.begin(), 2)->second;
  IndexSegmentBuilder builder(2, sink);
  CHECK(builder.add(second));
  CHECK_FALSE(builder.add(second));
  CHECK_FALSE(builder.add(first));
  CHECK(builder.add(third));
  Digest last;
  last.bytes.fill(std::byte{0xff});
  CHECK_FALSE(builder.add({last, 0, 0, 0, Codec::kRaw}));
  CHECK_FALSE(builder.finish());
}

TEST_CASE("digests that are not spread like sums do not take our memory") {
  MemorySink sink;
  IndexSegmentBuilder builder(uint64_t{1} << 32, sink);
  IndexEntry entry;
  uint64_t count = 0;
  for (; count <= (1 << 20); ++count) {
    put_be64(&entry.digest.bytes[24], count);
    if (!builder.add(entry)) break;
  }
  CHECK(count == (1 << 20));
}

TEST_CASE("changed, cut and lengthened segments are refused") {
  const Built built = build(make_model(300, 2), 2, 300);
  const auto valid = [&](Bytes bytes) {
    MemorySource source(bytes);
    return verify_index_segment(source, built.info.name).has_value();
  };
  REQUIRE(valid(built.bytes));
  // Every byte of header, packs and footer; samples of entries, filter and fan-out.
  for (size_t at = 0; at < built.bytes.size();
       at += at < 64 || at + 128 > built.bytes.size() ? 1 : 379) {
    ByteVec changed = built.bytes;
    changed[at] ^= std::byte{0x04};
    CHECK_FALSE(valid(changed));
    // A view of it may be wrong, but it stays in bounds.
    MemorySource source(changed);
    if (const auto view = IndexSegmentView::open(source)) {
      for (uint64_t i = 0; i < 3; ++i) (void)view->find(number_digest(i)).has_value();
    }
  }
  for (size_t cut = 0; cut < built.bytes.size(); cut += 211)
    CHECK_FALSE(valid(Bytes(built.bytes).first(cut)));
  ByteVec longer = built.bytes;
  longer.push_back(std::byte{0});
  CHECK_FALSE(valid(longer));
}

TEST_CASE("a merge keeps every digest once, from the newest source, without dropped packs") {
  const auto tail_of = [](std::initializer_list<const char*> blocks) {
    TestPack pack(PackKind::kData);
    for (const char* block : blocks) pack.add(Codec::kRaw, as_bytes(block));
    return pack.plan().tail();
  };
  const auto where = [](const IndexSegmentView& view, std::string_view block) {
    const auto found = view.find(sha256(as_bytes(block))).value();
    return found ? found->pack : Digest{};
  };
  const PackTail oldest = tail_of({"a", "b", "c"});
  const PackTail middle = tail_of({"b", "d"});
  const PackTail newest = tail_of({"c", "e"});
  const auto keep_all = [](const Digest&) { return true; };

  MemorySink first_sink;
  std::vector<std::unique_ptr<IndexSource>> packs;
  packs.push_back(make_index_source(middle));
  packs.push_back(make_index_source(oldest));
  const auto first_info = merge_index(packs, keep_all, first_sink).value();
  CHECK(first_info.entries == 4);
  CHECK(first_info.packs == 2);
  MemorySource first_source(first_sink.bytes());
  REQUIRE(verify_index_segment(first_source, first_info.name));
  const auto first = IndexSegmentView::open(first_source).value();
  CHECK(where(first, "a") == oldest.name());
  CHECK(where(first, "b") == middle.name());

  const auto merge_with = [&](const std::function<bool(const Digest&)>& keep, MemorySink& sink) {
    std::vector<std::unique_ptr<IndexSource>> sources;
    sources.push_back(make_index_source(newest));
    sources.push_back(make_index_source(first));
    return merge_index(sources, keep, sink).value();
  };
  MemorySink all_sink;
  CHECK(merge_with(keep_all, all_sink).entries == 5);
  MemorySource all_source(all_sink.bytes());
  const auto all = IndexSegmentView::open(all_source).value();
  CHECK(where(all, "c") == newest.name());
  CHECK(where(all, "a") == oldest.name());

  MemorySink some_sink;
  const auto some_info =
      merge_with([&](const Digest& pack) { return pack != newest.name() && pack != middle.name(); },
                 some_sink);
  CHECK(some_info.packs == 1);
  MemorySource some_source(some_sink.bytes());
  CHECK(verify_index_segment(some_source, some_info.name));
  const auto some = IndexSegmentView::open(some_source).value();
  CHECK(where(some, "c") == oldest.name());
  CHECK(where(some, "b") == Digest{});  // the merge before forgot the older place
  CHECK(where(some, "e") == Digest{});
}

TEST_CASE("merging many segments equals building one from all their entries") {
  Model expected;
  std::vector<Built> segments;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    // Overlaps with the one before; the later one is newer.
    Model model = make_model(3000, 2, seed / 2);
    for (auto& [digest, entry] : model) entry.offset += static_cast<uint32_t>(seed);
    segments.push_back(build(model, 2, model.size()));
    for (auto& [digest, entry] : model) expected[digest] = entry;
  }
  std::vector<std::unique_ptr<MemorySource>> sources;
  std::vector<std::unique_ptr<IndexSource>> newest_first;
  for (auto segment = segments.rbegin(); segment != segments.rend(); ++segment) {
    sources.push_back(std::make_unique<MemorySource>(segment->bytes));
    newest_first.push_back(make_index_source(IndexSegmentView::open(*sources.back()).value()));
  }
  MemorySink sink;
  const auto info = merge_index(newest_first, [](const Digest&) { return true; }, sink).value();
  CHECK(info.entries == expected.size());
  MemorySource merged(sink.bytes());
  REQUIRE(verify_index_segment(merged, info.name));
  const auto reader = make_index_source(IndexSegmentView::open(merged).value());
  for (const auto& [digest, entry] : expected) {
    const auto next = reader->next().value();
    REQUIRE(next);
    CHECK(next->digest == digest);
    CHECK(next->offset == entry.offset);
  }
  CHECK_FALSE(reader->next().value());
}
