// What the engine's inner operations cost, and how that grows with what they work on. Run
// `cairn_micro --help`; times are of this machine, growth is what counts.
//
// Files lie in a folder of their own below $TMPDIR (or /tmp) and go with the process. The index of
// 10^7 blocks takes 500 MB of disk, the tree of 10^6 keys 400 MB of memory; --benchmark_filter
// leaves out what is not wanted.
#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <bit>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "cache/base/coding.h"
#include "cache/base/digest.h"
#include "cache/base/env.h"
#include "cache/base/random.h"
#include "cache/chunk_cache.h"
#include "cache/file_sink.h"
#include "cache/format/index.h"
#include "cache/format/mst.h"
#include "cache/format/pack.h"
#include "cache/journal.h"
#include "cache/live_tables.h"
#include "tests/support/memory_blocks.h"

using namespace cairn;

namespace {

// What a benchmark cannot do without.
template <class T>
T need(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "cairn_micro: %s\n", result.error().message().c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

class Folder {
 public:
  Folder() {
    const char* top = getenv("TMPDIR");
    path_ = std::string(top != nullptr ? top : "/tmp") + "/cairn-micro-XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) {
      std::perror(path_.c_str());
      std::exit(1);
    }
  }
  ~Folder() { remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }

 private:
  static void remove_all(const std::string& path) {
    const auto names = posix_env().list_dir(path);
    if (!names) return;
    for (const std::string& name : *names) {
      const std::string inner = path + "/" + name;
      const auto info = posix_env().stat(inner);
      if (info && info->is_directory)
        remove_all(inner);
      else
        static_cast<void>(posix_env().remove(inner));
    }
    static_cast<void>(posix_env().remove_dir(path));
  }
  std::string path_;
};

ByteVec noise(size_t size, uint64_t seed) {
  const auto rng = make_seeded_rng(seed);
  ByteVec bytes;
  bytes.reserve(size + 8);
  while (bytes.size() < size) put_le(bytes, rng->next());
  bytes.resize(size);
  return bytes;
}

Digest number_digest(uint64_t n) {
  ByteVec key;
  put_le(key, n);
  return sha256(key);
}

void count_bytes(benchmark::State& state, uint64_t each) {
  state.SetBytesProcessed(static_cast<int64_t>(each) * state.iterations());
}

// ---- hashing

void hash_sha256(benchmark::State& state) {
  const ByteVec bytes = noise(static_cast<size_t>(state.range(0)), 1);
  for (auto _ : state) benchmark::DoNotOptimize(sha256(bytes));
  count_bytes(state, bytes.size());
}
BENCHMARK(hash_sha256)->Arg(64)->Arg(4 << 10)->Arg(256 << 10)->Arg(1 << 20);

void hash_crc32c(benchmark::State& state) {
  const ByteVec bytes = noise(static_cast<size_t>(state.range(0)), 1);
  for (auto _ : state) benchmark::DoNotOptimize(crc32c(bytes));
  count_bytes(state, bytes.size());
}
BENCHMARK(hash_crc32c)->Arg(4 << 10)->Arg(256 << 10);

// ---- the tree

// Decoded nodes stay, as a mount's node cache keeps them while there is room.
class KeptNodes final : public MstNodeReader {
 public:
  explicit KeptNodes(MemoryBlocks& blocks) : reader_(blocks, kMinFanoutBits) {}
  unsigned fanout_bits() const override { return kMinFanoutBits; }
  Result<std::shared_ptr<const MstNode>> node(const Digest& digest) override {
    const auto found = nodes_.find(digest);
    if (found != nodes_.end()) return found->second;
    TRY_ASSIGN(auto node, reader_.node(digest));
    nodes_.emplace(digest, node);
    return node;
  }

 private:
  MstBlockNodeReader reader_;
  std::unordered_map<Digest, std::shared_ptr<const MstNode>> nodes_;
};

// Takes the new nodes and forgets them: an edit measured again finds the tree as it was.
class Counting final : public BlockSink {
 public:
  Status put(const Cid& cid, Buffer bytes) override {
    benchmark::DoNotOptimize(cid);
    ++blocks;
    size += bytes.size();
    return {};
  }
  uint64_t blocks = 0;
  uint64_t size = 0;
};

std::string dirent_key(uint64_t n) {
  char key[64];
  const int length =
      std::snprintf(key, sizeof key, "%016llx/d/%08llu", static_cast<unsigned long long>(n / 1000),
                    static_cast<unsigned long long>(n % 1000));
  return {key, static_cast<size_t>(length)};
}

struct TreeOf {
  explicit TreeOf(uint64_t keys) : count(keys) {
    need(
        blocks.put(Cid::from_digest(Codec::kDagCbor, empty_mst_root()), Buffer(empty_mst_block())));
    std::vector<MstEdit> edits;
    edits.reserve(keys);
    for (uint64_t n = 0; n < keys; ++n)
      edits.push_back({dirent_key(n), Cid::from_digest(Codec::kRaw, number_digest(n))});
    MstBlockNodeReader reader(blocks, kMinFanoutBits);
    root = need(mst_apply(reader, empty_mst_root(), edits, blocks));
  }
  // Made once for all benchmarks of a size; only the last one is kept.
  static TreeOf& get(uint64_t keys) {
    static std::unique_ptr<TreeOf> kept;
    if (!kept || kept->count != keys) {
      kept.reset();
      kept = std::make_unique<TreeOf>(keys);
    }
    return *kept;
  }
  uint64_t count;
  MemoryBlocks blocks;
  Digest root;
};

enum class Keep : uint8_t { kDecoded, kBlocks };

// `edits` new values for keys that lie together (a directory), as a commit of small work has.
void tree_apply(benchmark::State& state, Keep keep) {
  TreeOf& tree = TreeOf::get(static_cast<uint64_t>(state.range(0)));
  const auto edit_count = static_cast<uint64_t>(state.range(1));
  KeptNodes kept(tree.blocks);
  MstBlockNodeReader plain(tree.blocks, kMinFanoutBits);
  MstNodeReader& reader = keep == Keep::kDecoded ? static_cast<MstNodeReader&>(kept) : plain;
  const auto rng = make_seeded_rng(3);
  Counting sink;
  for (auto _ : state) {
    state.PauseTiming();
    const uint64_t first = rng->below(tree.count - edit_count);
    std::vector<MstEdit> edits;
    for (uint64_t n = 0; n < edit_count; ++n)
      edits.push_back(
          {dirent_key(first + n), Cid::from_digest(Codec::kRaw, number_digest(rng->next()))});
    state.ResumeTiming();
    benchmark::DoNotOptimize(need(mst_apply(reader, tree.root, edits, sink)));
  }
  const auto runs = static_cast<double>(state.iterations());
  state.counters["new_nodes"] = static_cast<double>(sink.blocks) / runs;
  state.counters["new_bytes"] = static_cast<double>(sink.size) / runs;
  state.SetItemsProcessed(static_cast<int64_t>(edit_count) * state.iterations());
}

void tree_find(benchmark::State& state) {
  TreeOf& tree = TreeOf::get(static_cast<uint64_t>(state.range(0)));
  KeptNodes reader(tree.blocks);
  const auto rng = make_seeded_rng(5);
  // Once without a watch: the allocator still tidies up after the making of the tree.
  static_cast<void>(need(mst_find(reader, tree.root, dirent_key(0))));
  for (auto _ : state) {
    const auto found = mst_find(reader, tree.root, dirent_key(rng->below(tree.count)));
    benchmark::DoNotOptimize(need(found));
  }
}

void tree_scan(benchmark::State& state, Keep keep) {
  TreeOf& tree = TreeOf::get(static_cast<uint64_t>(state.range(0)));
  KeptNodes kept(tree.blocks);
  MstBlockNodeReader plain(tree.blocks, kMinFanoutBits);
  MstNodeReader& reader = keep == Keep::kDecoded ? static_cast<MstNodeReader&>(kept) : plain;
  const auto rng = make_seeded_rng(7);
  constexpr size_t kEntries = 1000;
  for (auto _ : state) {
    const std::string from = dirent_key(rng->below(tree.count - kEntries));
    const auto found = need(mst_scan(reader, tree.root, from, false, {}, kEntries));
    if (found.size() != kEntries) state.SkipWithError("the scan is short");
  }
  state.SetItemsProcessed(static_cast<int64_t>(kEntries) * state.iterations());
}

// By size, so that each tree is made once.
void register_tree_benchmarks() {
  for (const int64_t keys : {10'000, 100'000, 1'000'000}) {
    benchmark::RegisterBenchmark("tree_find", tree_find)->Arg(keys);
    for (const int64_t edits : {1, 100})
      benchmark::RegisterBenchmark("tree_apply", tree_apply, Keep::kDecoded)->Args({keys, edits});
    benchmark::RegisterBenchmark("tree_apply/decoding", tree_apply, Keep::kBlocks)
        ->Args({keys, 100});
    benchmark::RegisterBenchmark("tree_scan", tree_scan, Keep::kDecoded)->Arg(keys);
    benchmark::RegisterBenchmark("tree_scan/decoding", tree_scan, Keep::kBlocks)->Arg(keys);
  }
}

// ---- packs

// A pack of 32 MiB from blocks of one size, whose digests are known: what is left of its making.
void pack_build(benchmark::State& state) {
  const auto block_bytes = static_cast<uint64_t>(state.range(0));
  const uint64_t blocks = (32 << 20) / block_bytes - 1;
  std::vector<Cid> cids;
  for (uint64_t n = 0; n < blocks; ++n)
    cids.push_back(Cid::from_digest(Codec::kRaw, number_digest(n)));
  for (auto _ : state) {
    PackBuilder builder(PackKind::kData);
    for (const Cid& cid : cids) need(builder.add(cid, block_bytes));
    benchmark::DoNotOptimize(need(builder.finish()));
  }
  state.SetItemsProcessed(static_cast<int64_t>(blocks) * state.iterations());
}
BENCHMARK(pack_build)->Arg(4 << 10)->Arg(64 << 10)->Arg(256 << 10);

// ---- journal

std::unique_ptr<Journal> open_journal(const Folder& folder) {
  Journal::Options options;
  options.dir = folder.path();
  return need(Journal::open(posix_env(), std::move(options), 0, 0, {}));
}

void trim_often(Journal& journal, Lsn lsn) {
  if (lsn % 4096 == 0) need(journal.trim(lsn));
}

void journal_append(benchmark::State& state) {
  const Folder folder;
  const auto journal = open_journal(folder);
  const ByteVec payload = noise(static_cast<size_t>(state.range(0)), 9);
  const Bytes parts[] = {payload};
  for (auto _ : state) {
    const Lsn lsn = need(journal->append(1, parts)).lsn;
    state.PauseTiming();
    trim_often(*journal, lsn);
    state.ResumeTiming();
  }
  count_bytes(state, payload.size());
}
BENCHMARK(journal_append)->Arg(100)->Arg(4 << 10);

void journal_append_sync(benchmark::State& state) {
  const Folder folder;
  const auto journal = open_journal(folder);
  const ByteVec payload = noise(100, 9);
  const Bytes parts[] = {payload};
  for (auto _ : state) need(journal->sync(need(journal->append(1, parts)).lsn));
}
BENCHMARK(journal_append_sync)->UseRealTime();

// ---- cache hit

// What a mount has between the kernel's read and its bytes, for chunks that are here.
struct Cached {
  explicit Cached(uint64_t count) : chunks(count) {
    Segments::Options options;
    options.dir = folder.path();
    segments = need(Segments::open(posix_env(), std::move(options), 1));
    cache = std::make_unique<ChunkCache>(live, *segments, 8 << 20);
    const Buffer bytes(noise(kChunkBytes, 11));
    leaf = {sha256(bytes), kChunkBytes};
    // Rows are by (inode, chunk): one content is enough for all, read from as many places.
    for (uint64_t n = 0; n < chunks; ++n) {
      const auto ref = need(segments->append(SegmentClass::kClean, bytes));
      cache->adopt(kInode, n, leaf, ref);
      if (n % 4096 == 4095) need(tables.checkpoint());
    }
    need(tables.checkpoint());
  }
  static constexpr uint32_t kChunkBytes = 16 << 10;
  static constexpr uint64_t kInode = 42;
  Folder folder;
  uint64_t chunks;
  Leaf leaf;
  LiveTables tables{need(open_lmdb_meta_store(folder.path(), 1ULL << 30))};
  LiveState live{tables, kChunkBytes};
  std::unique_ptr<Segments> segments;
  std::unique_ptr<ChunkCache> cache;
};

// Rows from the memtables and LMDB, bytes from a segment in the page cache.
void cache_hit(benchmark::State& state) {
  Cached cached(static_cast<uint64_t>(state.range(0)));
  const auto rng = make_seeded_rng(13);
  ByteVec out(4 << 10);
  for (uint64_t n = 0; n < cached.chunks; ++n)  // verified once, as a mount does
    need(cached.cache->read(Cached::kInode, n, cached.leaf, 0, out));
  for (auto _ : state) {
    const uint64_t chunk = rng->below(cached.chunks);
    if (!need(cached.cache->read(Cached::kInode, chunk, cached.leaf, 4096, out)))
      state.SkipWithError("a chunk that is here was missed");
  }
  count_bytes(state, out.size());
}
BENCHMARK(cache_hit)->Arg(1'000)->Arg(20'000);

// ---- index

class CountedFile final : public ByteSource {
 public:
  explicit CountedFile(File& file) : file_(file), size_(need(file.size())) {}
  uint64_t size() const override { return size_; }
  Result<size_t> read_at(uint64_t offset, MutableBytes out) override {
    ++reads;
    bytes += out.size();
    return file_.read_at(offset, out);
  }
  uint64_t reads = 0;
  uint64_t bytes = 0;

 private:
  File& file_;
  uint64_t size_;
};

// Digests as evenly spread as sums are, in ascending order without being sorted.
class SpreadDigests {
 public:
  explicit SpreadDigests(uint64_t count) : step_(UINT64_MAX / count) {}
  Digest at(uint64_t n) const {
    const uint64_t mixed = (n + 1) * 0x9e3779b97f4a7c15ULL;
    const uint64_t head = n * step_ + (mixed ^ mixed >> 29) % step_;
    Digest digest;
    for (size_t i = 0; i < 32; ++i) {
      const uint64_t word = i < 8 ? head : std::rotl(mixed * (i / 8 + 1), static_cast<int>(i) * 7);
      digest.bytes[i] = static_cast<std::byte>(word >> (56 - 8 * (i % 8)));
    }
    return digest;
  }

 private:
  uint64_t step_;
};

struct IndexOf {
  explicit IndexOf(uint64_t entries) : count(entries), digests(entries) {
    file = need(posix_env().open(folder.path() + "/index", OpenMode::kCreateNew));
    FileSink sink(*file);
    IndexSegmentBuilder builder(count, sink);
    const uint32_t packs = static_cast<uint32_t>(count / 128 + 1);
    for (uint64_t n = 0; n < count; ++n) {
      const auto ordinal = static_cast<uint32_t>(n * 7919 % packs);
      need(builder.add({digests.at(n), ordinal, static_cast<uint32_t>(n), 262144, Codec::kRaw}));
    }
    for (uint32_t n = 0; n < packs; ++n) need(builder.add_pack(number_digest(n)));
    bytes = need(builder.finish()).size;
  }
  static IndexOf& get(uint64_t entries) {
    static std::unique_ptr<IndexOf> kept;
    if (!kept || kept->count != entries) {
      kept.reset();
      kept = std::make_unique<IndexOf>(entries);
    }
    return *kept;
  }
  Folder folder;
  uint64_t count;
  SpreadDigests digests;
  std::unique_ptr<File> file;
  uint64_t bytes = 0;
};

enum class Ask : uint8_t { kThere, kMissing };

void index_find(benchmark::State& state, Ask ask) {
  IndexOf& index = IndexOf::get(static_cast<uint64_t>(state.range(0)));
  CountedFile source(*index.file);
  const auto view = need(IndexSegmentView::open(source));
  const auto rng = make_seeded_rng(17);
  source.reads = source.bytes = 0;
  for (auto _ : state) {
    const Digest digest =
        ask == Ask::kThere ? index.digests.at(rng->below(index.count)) : number_digest(rng->next());
    const bool found = need(view.find(digest)).has_value();
    if (found != (ask == Ask::kThere)) state.SkipWithError("the index answers wrongly");
  }
  const auto finds = static_cast<double>(state.iterations());
  state.counters["reads"] = static_cast<double>(source.reads) / finds;
  state.counters["read_bytes"] = static_cast<double>(source.bytes) / finds;
  state.counters["index_MB"] = static_cast<double>(index.bytes) / 1e6;
}

void register_index_benchmarks() {
  for (const int64_t entries : {100'000, 1'000'000, 10'000'000}) {
    benchmark::RegisterBenchmark("index_find", index_find, Ask::kThere)->Arg(entries);
    benchmark::RegisterBenchmark("index_find/missing", index_find, Ask::kMissing)->Arg(entries);
  }
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  register_tree_benchmarks();
  register_index_benchmarks();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
