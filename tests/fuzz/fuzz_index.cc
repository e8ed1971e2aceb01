// Index segments: a damaged one is read in bounds, and what verifies is what a builder writes.
//
// A segment has a fan-out table of 256 KiB, too long to be an input. So an input is (1) entries
// for a builder and (2) changes to the file that it built, after which the footer's checksum is
// put right when the first byte is odd.
#include <map>

#include "cache/format/index.h"
#include "tests/fuzz/fuzz.h"

using namespace cairn;

namespace {

constexpr size_t kFooterSize = 48;
constexpr size_t kHeaderSize = 16;

ByteVec build(fuzz::Choices& choices, std::map<Digest, IndexEntry>& entries) {
  // Up to 1,024 partitions: more take long to walk and are no different.
  const auto partition_bits = static_cast<uint32_t>(choices.below(11));
  const auto packs = static_cast<uint32_t>(1 + choices.below(4));
  const size_t count = choices.below(40);
  for (size_t i = 0; i < count; ++i) {
    IndexEntry entry;
    // Few different bytes: neighbours and equal prefixes are what is interesting.
    entry.digest.bytes.fill(static_cast<std::byte>(choices.number(1)));
    entry.digest.bytes[choices.below(32)] = static_cast<std::byte>(choices.number(1));
    entry.pack = static_cast<uint32_t>(choices.below(packs));
    entry.offset = static_cast<uint32_t>(choices.number(2));
    entry.length = static_cast<uint32_t>(choices.number(1));
    entries[entry.digest] = entry;
  }
  MemorySink sink;
  IndexSegmentBuilder builder(entries.size(), partition_bits, sink);
  for (const auto& [digest, entry] : entries)
    fuzz::require(builder.add(entry).has_value(), "sorted entries can be added");
  for (uint32_t i = 0; i < packs; ++i)
    fuzz::require(builder.add_pack(Digest{}).has_value(), "packs can be added");
  const auto info = builder.finish();
  fuzz::require(info.has_value(), "a segment can be finished");
  MemorySource source(sink.bytes());
  fuzz::require(verify_index_segment(source, info->name).has_value(), "what is built verifies");
  const auto view = IndexSegmentView::open(source);
  for (const auto& [digest, entry] : entries) {
    const auto found = view->find(digest);
    fuzz::require(found && *found && (*found)->offset == entry.offset, "entries are found");
  }
  return sink.take();
}

void damage(fuzz::Choices& choices, ByteVec& file) {
  while (!choices.empty() && !file.empty()) {
    const uint64_t where = choices.number(3);
    // Half of the changes near the end, where the packs and the footer are.
    size_t at = static_cast<size_t>(where >> 1) % file.size();
    if (where % 2 == 1) at = file.size() - 1 - at % std::min<size_t>(file.size(), 200);
    file[at] = static_cast<std::byte>(choices.number(1));
  }
}

void put_checksum_right(ByteVec& file) {
  if (file.size() < kHeaderSize + kFooterSize) return;
  const Bytes all = file;
  const uint32_t sum = crc32c(all.subspan(all.size() - kFooterSize, kFooterSize - 4),
                              crc32c(all.first(kHeaderSize)));
  for (size_t i = 0; i < 4; ++i) file[file.size() - 4 + i] = static_cast<std::byte>(sum >> (8 * i));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Choices choices(fuzz::input(data, size));
  const bool right = choices.number(1) % 2 == 1;
  std::map<Digest, IndexEntry> entries;
  ByteVec file = build(choices, entries);
  damage(choices, file);
  if (right) put_checksum_right(file);
  MemorySource source(file);
  const auto view = IndexSegmentView::open(source);
  if (!view) return 0;
  const bool verified = verify_index_segment(source, sha256(file)).has_value();
  for (const auto& [digest, entry] : entries) {
    const auto found = view->find(digest);
    const auto without_filter = view->find(digest, false);
    if (!verified) continue;
    fuzz::require(found && without_filter && *found == *without_filter,
                  "the filter of a sound segment hides nothing");
  }
  const auto reader = make_index_source(*view);
  for (uint64_t i = 0;; ++i) {
    const auto entry = reader->next();
    if (!entry || !*entry) break;
    fuzz::require(i < view->entry_count(), "no more entries than the footer says");
  }
  return 0;
}
