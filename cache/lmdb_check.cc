#include "cache/lmdb_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <vector>

#include "cache/base/coding.h"

namespace cairn {

namespace {

static_assert(sizeof(size_t) == 8 && std::endian::native == std::endian::little);

constexpr size_t kPageHeader = 16;
constexpr size_t kNodeHeader = 8;
constexpr size_t kDbBytes = 48;
constexpr size_t kMetaBytes = kPageHeader + 24 + 2 * kDbBytes + 16;
constexpr uint32_t kLmdbMagic = 0xBEEFC0DE;
constexpr uint32_t kVersion = 1;
constexpr uint64_t kNoPage = UINT64_MAX;
constexpr unsigned kDepthMax = 32;
constexpr uint16_t kBranch = 0x01, kLeaf = 0x02, kOverflow = 0x04, kMeta = 0x08, kDirty = 0x10;
constexpr uint16_t kBigData = 0x01, kSubTable = 0x02;

template <class T>
T at(Bytes in, size_t offset) {
  return get_le<T>(in.data() + offset);
}

struct LmdbTree {
  uint16_t depth = 0;
  uint64_t branches = 0, leaves = 0, overflows = 0, entries = 0;
  uint64_t root = kNoPage;
};

LmdbTree tree_in(Bytes in) {
  return {at<uint16_t>(in, 6),  at<uint64_t>(in, 8),  at<uint64_t>(in, 16),
          at<uint64_t>(in, 24), at<uint64_t>(in, 32), at<uint64_t>(in, 40)};
}

struct Node {
  uint32_t size = 0;  // of the data
  uint16_t flags = 0;
  std::string_view key;
  Bytes data;          // of a leaf
  uint64_t child = 0;  // of a branch
};

enum class Holds : uint8_t { kFreePages, kTables, kRows };

class LmdbCheck {
 public:
  LmdbCheck(std::string path, File& file, const RowIsGood& row_is_good)
      : path_(std::move(path)), file_(file), row_is_good_(row_is_good) {}

  Status run() {
    TRY_ASSIGN(const uint64_t size, file_.size());
    page_bytes_ = 4096;  // enough for the first meta page; it tells the real one
    TRY_ASSIGN(const Meta first, meta(0, size));
    page_bytes_ = first.page_bytes;
    TRY_ASSIGN(const Meta second, meta(1, size));
    if (second.page_bytes != page_bytes_) return bad(1, "the size of a page contradicts page 0");
    const Meta& newest = first.transaction < second.transaction ? second : first;
    last_page_ = newest.last_page;
    used_.assign(static_cast<size_t>(size / page_bytes_), false);
    read_ahead(size);
    TRY(walk(newest.tables, Holds::kTables));
    for (const LmdbTree& table : tables_) TRY(walk(table, Holds::kRows));
    return walk(newest.free, Holds::kFreePages);
  }

 private:
  // The walk goes from page to page in the order of the keys; what was read once in the order of
  // the file comes from memory then. What cannot be read the walk names.
  void read_ahead(uint64_t size) {
    ByteVec part(4U << 20);
    for (uint64_t at = 0; at < size; at += part.size())
      if (!file_.read_at(at, part)) return;
  }

  struct Meta {
    uint64_t page_bytes = 0;
    LmdbTree free, tables;
    uint64_t last_page = 0;
    uint64_t transaction = 0;
  };
  // The keys in order, through all pages of one tree.
  struct Walk {
    Holds holds;
    LmdbTree counted;
    std::optional<std::string> last;  // key seen
    std::string floor;                // what the next key may not be below
  };

  tl::unexpected<Error> bad(uint64_t page, std::string_view what) const {
    return fail(Errc::kCorruption, fmt::format("{}, page {}: {}", path_, page, what));
  }

  Result<Meta> meta(uint64_t number, uint64_t size) {
    if (size < (number + 1) * page_bytes_)
      return fail(Errc::kCorruption, path_ + " is cut off");
    std::array<std::byte, kMetaBytes> in{};
    TRY_ASSIGN(const size_t got, file_.read_at(number * page_bytes_, in));
    const Bytes page(in);
    if (got < in.size() || (at<uint16_t>(page, 10) & kMeta) == 0 ||
        at<uint64_t>(page, 0) != number || at<uint32_t>(page, 16) != kLmdbMagic ||
        at<uint32_t>(page, 20) != kVersion)
      return bad(number, "it is not the start of a table file");
    constexpr size_t kTrees = kPageHeader + 24;
    Meta found;
    found.page_bytes = at<uint32_t>(page, kTrees);
    found.free = tree_in(page.subspan(kTrees));
    found.tables = tree_in(page.subspan(kTrees + kDbBytes));
    found.last_page = at<uint64_t>(page, kTrees + 2 * kDbBytes);
    found.transaction = at<uint64_t>(page, kTrees + 2 * kDbBytes + 8);
    constexpr uint64_t kPageBytesMin = 512, kPageBytesMax = 64 << 10;
    if (found.page_bytes < kPageBytesMin || found.page_bytes > kPageBytesMax ||
        !std::has_single_bit(found.page_bytes))
      return bad(number, "it has a wrong size of a page");
    return found;
  }

  // `count` pages are used, by nothing else.
  Status mark(uint64_t number, uint64_t count) {
    if (count == 0) return {};
    if (number < 2 || number > last_page_ || count > used_.size() ||
        number > used_.size() - count)
      return bad(number, "it lies outside of the file");
    for (uint64_t i = number; i < number + count; ++i) {
      if (used_[i]) return bad(i, "it is used twice");
      used_[i] = true;
    }
    return {};
  }

  // Reads `count` pages that nothing else has named.
  Result<ByteVec> take(uint64_t number, uint64_t count, uint16_t flags) {
    TRY(mark(number, count));
    ByteVec page(static_cast<size_t>(count * page_bytes_));
    TRY_ASSIGN(const size_t got, file_.read_at(number * page_bytes_, page));
    if (got < page.size()) return bad(number, "it is cut off");
    if (at<uint64_t>(page, 0) != number || (at<uint16_t>(page, 10) & ~kDirty) != flags)
      return bad(number, "it is not the page that belongs there");
    return page;
  }

  Status walk(const LmdbTree& tree, Holds holds) {
    Walk walk{holds, {}, std::nullopt, ""};
    if (tree.root != kNoPage) {
      if (tree.depth == 0 || tree.depth > kDepthMax) return bad(tree.root, "a tree of wrong depth");
      TRY(visit(tree.root, tree.depth, walk));
    }
    const LmdbTree& counted = walk.counted;
    if (counted.branches != tree.branches || counted.leaves != tree.leaves ||
        counted.overflows != tree.overflows || counted.entries != tree.entries)
      return bad(tree.root == kNoPage ? 0 : tree.root, "a table does not have what it says");
    return {};
  }

  Status visit(uint64_t number, unsigned depth, Walk& walk) {
    const bool is_leaf = depth == 1;
    TRY_ASSIGN(const ByteVec page, take(number, 1, is_leaf ? kLeaf : kBranch));
    ++(is_leaf ? walk.counted.leaves : walk.counted.branches);
    const size_t lower = at<uint16_t>(page, 12), upper = at<uint16_t>(page, 14);
    if (lower < kPageHeader || lower > upper || upper > page.size() || lower % 2 != 0)
      return bad(number, "its header is damaged");
    const size_t count = (lower - kPageHeader) / 2;
    if (count == 0 || (!is_leaf && count < 2)) return bad(number, "it is empty");
    for (size_t i = 0; i < count; ++i) {
      TRY_ASSIGN(const Node node, node_at(page, number, at<uint16_t>(page, kPageHeader + 2 * i),
                                          upper, is_leaf));
      if (is_leaf) {
        TRY(entry(number, node, walk));
        continue;
      }
      if (i > 0) {  // the key of the first child is not looked at
        std::string key = order_of(node.key, walk.holds);
        if (walk.last && key <= *walk.last) return bad(number, "its keys are out of order");
        walk.floor = std::move(key);
      }
      TRY(visit(node.child, depth - 1, walk));
    }
    return {};
  }

  Result<Node> node_at(Bytes page, uint64_t number, size_t offset, size_t upper,
                       bool is_leaf) const {
    if (offset < upper || offset + kNodeHeader > page.size())
      return bad(number, "a row lies outside of it");
    const Bytes in = page.subspan(offset);
    const uint32_t low = at<uint16_t>(in, 0) | uint32_t{at<uint16_t>(in, 2)} << 16;
    const size_t key_bytes = at<uint16_t>(in, 6);
    Node node;
    node.flags = at<uint16_t>(in, 4);
    if (!is_leaf) node.child = low | uint64_t{node.flags} << 32;
    if (is_leaf) node.size = low;
    if (is_leaf && (node.flags & ~(kBigData | kSubTable)) != 0)
      return bad(number, "a row has unknown flags");
    const size_t data_bytes = !is_leaf ? 0 : (node.flags & kBigData) != 0 ? 8 : node.size;
    if (kNodeHeader + key_bytes + data_bytes > in.size())
      return bad(number, "a row lies outside of it");
    node.key = as_chars(in.subspan(kNodeHeader, key_bytes));
    node.data = in.subspan(kNodeHeader + key_bytes, data_bytes);
    return node;
  }

  // Keys of the free list are numbers; as big-endian bytes they have the order of the others.
  static std::string order_of(std::string_view key, Holds holds) {
    std::string out(key);
    if (holds == Holds::kFreePages) std::reverse(out.begin(), out.end());
    return out;
  }

  Status entry(uint64_t number, const Node& node, Walk& walk) {
    std::string key = order_of(node.key, walk.holds);
    if (key.empty() || key < walk.floor || (walk.last && key <= *walk.last))
      return bad(number, "its keys are out of order");
    walk.last = std::move(key);
    ++walk.counted.entries;
    if (((node.flags & kSubTable) != 0) != (walk.holds == Holds::kTables))
      return bad(number, "a row is of the wrong kind");
    ByteVec large;
    Bytes data = node.data;
    if ((node.flags & kBigData) != 0) {
      const uint64_t first = at<uint64_t>(node.data, 0);
      // LMDB leaves a row that became shorter in the same transaction all the pages it had.
      const uint64_t needed = (kPageHeader - 1 + node.size) / page_bytes_ + 1;
      TRY_ASSIGN(large, take(first, needed, kOverflow));
      const uint64_t pages = at<uint32_t>(large, 12);
      if (pages < needed) return bad(first, "a long row has a wrong length");
      TRY(mark(first + needed, pages - needed));
      walk.counted.overflows += pages;
      data = Bytes(large).subspan(kPageHeader, node.size);
    }
    switch (walk.holds) {
      case Holds::kTables:
        if (data.size() != kDbBytes || at<uint16_t>(data, 4) != 0)
          return bad(number, "a table's description is damaged");
        tables_.push_back(tree_in(data));
        return {};
      case Holds::kRows:
        if (!row_is_good_(node.key, as_chars(data)))
          return bad(number, "the checksum of a row is wrong");
        return {};
      case Holds::kFreePages:
        return free_pages(number, node.key, data);
    }
    return {};
  }

  // A list of page numbers, the highest first.
  Status free_pages(uint64_t number, std::string_view key, Bytes data) {
    if (key.size() != 8 || data.size() < 8 || at<uint64_t>(data, 0) > data.size() / 8 - 1)
      return bad(number, "the list of free pages is damaged");
    const uint64_t count = at<uint64_t>(data, 0);
    uint64_t before = last_page_ + 1;
    for (uint64_t i = 1; i <= count; ++i) {
      const uint64_t page = at<uint64_t>(data, static_cast<size_t>(8 * i));
      if (page < 2 || page >= before) return bad(number, "the list of free pages is damaged");
      before = page;
      if (page >= used_.size()) continue;  // was never written
      if (used_[page]) return bad(page, "it is in use and in the list of free pages");
      used_[page] = true;
    }
    return {};
  }

  const std::string path_;
  File& file_;
  const RowIsGood& row_is_good_;
  uint64_t page_bytes_ = 0;
  uint64_t last_page_ = 0;
  std::vector<bool> used_;  // by page
  std::vector<LmdbTree> tables_;
};

}  // namespace

Status check_lmdb_file(Env& env, const std::string& path, const RowIsGood& row_is_good) {
  TRY_ASSIGN(const auto file, env.open(path, OpenMode::kRead));
  return LmdbCheck(path, *file, row_is_good).run();
}

}  // namespace cairn
