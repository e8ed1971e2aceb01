#include "cache/meta_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <unordered_map>

#include "cache/base/log.h"
#include "cache/meta_files.h"
#include "cache/pack_file.h"
#include "cache/store_keys.h"
#include "cache/waiters.h"

namespace cairn {
namespace {
constexpr uint64_t kMemoryBytesMax = 4ULL << 20;  // of blocks just fetched
constexpr Duration kLogInterval = std::chrono::minutes(1);

// Bytes of a unit as they came from the store.
struct Fetched {
  Buffer bytes;
  uint64_t start = 0;  // offset of bytes[0] in the pack
};

// Whole sections that follow one another.
struct Window {
  ByteRange range{UINT64_MAX, 0};  // of the pack
  std::vector<PackEntry> blocks;   // at their offsets in the pack

  void add(const PackEntry& block) {
    const uint64_t start = section_start(block.offset, block.length);
    const uint64_t end = std::max(range.offset == UINT64_MAX ? 0 : range.end(),
                                  uint64_t{block.offset} + block.length);
    range.offset = std::min(range.offset, start);
    range.length = end - range.offset;
    blocks.push_back(block);
  }
  // The same blocks at their offsets in the range.
  std::vector<PackEntry> in_range() const {
    std::vector<PackEntry> moved = blocks;
    for (PackEntry& block : moved)
      block.offset = static_cast<uint32_t>(block.offset - range.offset);
    return moved;
  }
};

// A window has the sections that begin in it, so that every block is in exactly one. Those of the
// windows that `wanted` accepts.
std::map<uint32_t, Window> windows_of(const PackTail& tail,
                                      const std::function<bool(uint32_t)>& wanted) {
  std::map<uint32_t, Window> windows;
  for (const PackEntry& block : entries_of(tail)) {
    const uint64_t start = section_start(block.offset, block.length);
    const auto number = static_cast<uint32_t>(start / MetaUnit::kWindowBytes);
    if (wanted(number)) windows[number].add(block);
  }
  return windows;
}

MetaUnit window_of(const BlockPlace& place) {
  const uint64_t start = section_start(place.offset, place.length);
  return {place.pack, static_cast<uint32_t>(start / MetaUnit::kWindowBytes)};
}

// Of the sections from `from` on.
Window window_behind(const PackTail& tail, uint64_t from) {
  Window window;
  for (uint32_t i = 0; i < tail.size(); ++i) {
    const PackEntry block = tail.entry(i);
    if (section_start(block.offset, block.length) >= from) window.add(block);
  }
  return window;
}

class MetaCore : public std::enable_shared_from_this<MetaCore> {
 public:
  MetaCore(Env& env, Executor& run_on, PackStore& pack_store, const MetaBlocks::Options& opts)
      : executor(run_on),
        packs(pack_store),
        options(opts),
        files(env, opts.dir,
              {.disk_bytes = opts.disk_bytes_max,
               .memory_bytes = kMemoryBytesMax,
               .index_memory_bytes = opts.index_memory_bytes}) {}

  // Fetches a unit, or waits for whoever does, and keeps it on disk.
  void fetch_unit(const MetaUnit& unit, uint64_t pack_size, Context context,
                  Callback<Fetched> done);
  // Whether a pack of which so many windows are wanted comes whole. Who looks into one place has
  // what lies around it sooner; who looks into a second one has all of it, for a little more.
  bool takes_whole(const Digest& pack, uint64_t size, size_t windows) const {
    if (size > options.whole_pack_bytes_max) return false;
    return size <= 2 * MetaUnit::kWindowBytes || windows > 1 || files.has_window_of(pack);
  }
  std::optional<PackName> find_name(const Digest& pack) const;
  bool has_all_of(const Digest& pack) const { return files.has({pack, MetaUnit::kWhole}); }
  // What came with a tail.
  void keep_end(const PackTail& tail, const Buffer& end);

  Executor& executor;
  PackStore& packs;
  const MetaBlocks::Options options;
  MetaFiles files;

 private:
  void fetch_whole(const MetaUnit& unit, uint64_t pack_size, Context context);
  void fetch_window(const MetaUnit& unit, Context context);
  void keep(const MetaUnit& unit, const Fetched& fetched, const std::vector<PackEntry>& blocks);

  Waiters<MetaUnit, Fetched> flights_;
};

std::optional<PackName> MetaCore::find_name(const Digest& pack) const {
  for (const PackName& name : packs.packs())
    if (name.digest == pack) return name;
  return std::nullopt;
}

void MetaCore::fetch_unit(const MetaUnit& unit, uint64_t pack_size, Context context,
                          Callback<Fetched> done) {
  if (!flights_.join(unit, done, done)) return;
  if (unit.window == MetaUnit::kWhole)
    fetch_whole(unit, pack_size, std::move(context));
  else
    fetch_window(unit, std::move(context));
}

void MetaCore::fetch_whole(const MetaUnit& unit, uint64_t pack_size, Context context) {
  packs.read_range(unit.pack, {0, pack_size}, std::move(context),
                   [self = shared_from_this(), unit](Result<Buffer> bytes) {
                     if (!bytes)
                       return self->flights_.land(unit, tl::unexpected<Error>(bytes.error()));
                     const Fetched fetched{*bytes, 0};
                     MemorySource source(*bytes);
                     const auto tail = read_pack_tail(source, unit.pack);
                     // A damaged tail does not make every block wrong; it is just not kept.
                     if (tail)
                       self->keep(unit, fetched, entries_of(*tail));
                     else
                       log_once_per(kLogInterval, "metadata-tail", tail.error().message());
                     self->flights_.land(unit, fetched);
                   });
}

void MetaCore::fetch_window(const MetaUnit& unit, Context context) {
  const auto name = find_name(unit.pack).value_or(PackName{.digest = unit.pack});
  packs.read_tail(
      name, context, [self = shared_from_this(), unit, context](const Result<PackTail>& tail) {
        if (!tail) return self->flights_.land(unit, tl::unexpected<Error>(tail.error()));
        auto windows = windows_of(*tail, [&](uint32_t number) { return number == unit.window; });
        if (windows.empty())
          return self->flights_.land(
              unit, fail(Errc::kCorruption, pack_key(unit.pack) + ": its tail changed meanwhile"));
        const Window& window = windows.begin()->second;
        const ByteRange range = window.range;
        self->packs.read_range(
            unit.pack, range, context,
            [self, unit, range, blocks = window.in_range()](Result<Buffer> bytes) {
              if (!bytes) return self->flights_.land(unit, tl::unexpected<Error>(bytes.error()));
              const Fetched fetched{*bytes, range.offset};
              self->keep(unit, fetched, blocks);
              self->flights_.land(unit, fetched);
            });
      });
}

void MetaCore::keep(const MetaUnit& unit, const Fetched& fetched,
                    const std::vector<PackEntry>& blocks) {
  const Status stored = files.store(unit, fetched.bytes, blocks);
  // Reading goes on without the disk: what is wanted now stays in memory.
  if (!stored) log_once_per(kLogInterval, "metadata-cache", stored.error().message());
}

void MetaCore::keep_end(const PackTail& tail, const Buffer& end) {
  if (has_all_of(tail.name())) return;
  const uint64_t start = tail.object_size() - end.size();
  const Window window = window_behind(tail, start);
  if (window.blocks.empty()) return;
  const Buffer sections = end.slice(static_cast<size_t>(window.range.offset - start),
                                    static_cast<size_t>(window.range.length));
  keep({tail.name(), MetaUnit::kEnd}, {sections, window.range.offset}, window.in_range());
}

// One fetch call: places, then units, then the wanted blocks out of them.
class FetchOperation : public std::enable_shared_from_this<FetchOperation> {
 public:
  FetchOperation(std::shared_ptr<MetaCore> core, Context context, Callback<void> done)
      : core_(std::move(core)), context_(std::move(context)), done_(std::move(done)) {}

  void start(const std::vector<Digest>& digests) {
    const std::set<Digest> unique(digests.begin(), digests.end());
    for (const Digest& digest : unique)
      if (!core_->files.get(digest)) wanted_.push_back(digest);
    if (wanted_.empty()) return done_({});
    locate();
  }

 private:
  struct Wanted {
    Digest digest;
    BlockPlace place;
  };

  void locate() {
    core_->packs.locate(wanted_, PackKind::kMeta, context_,
                        [self = shared_from_this()](Result<std::vector<BlockPlace>> places) {
                          if (places) return self->fetch(*places);
                          self->done_(tl::unexpected<Error>(places.error()));
                        });
  }

  // A pack that was merged away and deleted is not where this mount knows it to be, and what broke
  // on the way comes anew.
  bool look_again() {
    const bool worth_it = error_->code() == Errc::kNotFound || error_->code() == Errc::kCorruption;
    if (!worth_it || looks_ >= kLooksMax || context_.cancel.cancelled()) return false;
    core_->packs.ask_again(looks_++, [self = shared_from_this()](const Status&) {
      std::erase_if(self->wanted_, [&](const Digest& digest) {
        return self->core_->files.get(digest).has_value();
      });
      if (self->wanted_.empty()) return self->done_({});
      self->error_.reset();
      self->locate();
    });
    return true;
  }

  void fetch(const std::vector<BlockPlace>& places) {
    std::map<Digest, std::vector<Wanted>> packs;
    for (size_t i = 0; i < places.size(); ++i) {
      if (core_->files.get(wanted_[i])) continue;  // it came with the tail
      packs[places[i].pack].push_back({wanted_[i], places[i]});
    }
    std::map<Digest, uint64_t> sizes;
    for (const PackName& pack : core_->packs.packs()) sizes[pack.digest] = pack.size;
    std::map<MetaUnit, std::vector<Wanted>> units;
    for (const auto& [pack, wanted] : packs) {
      std::map<MetaUnit, std::vector<Wanted>> windows;
      for (const Wanted& want : wanted) windows[window_of(want.place)].push_back(want);
      const auto size = sizes.find(pack);
      if (size != sizes.end() && core_->takes_whole(pack, size->second, windows.size()))
        units[{pack, MetaUnit::kWhole}] = wanted;
      else
        units.merge(windows);
    }
    if (units.empty()) return done_({});
    left_ = units.size();
    for (auto& [unit, wanted] : units)
      fetch_unit(unit, sizes[unit.pack], std::move(wanted), /*again=*/false);
  }

  void fetch_unit(const MetaUnit& unit, uint64_t pack_size, std::vector<Wanted> wanted,
                  bool again) {
    core_->fetch_unit(unit, pack_size, context_,
                      [self = shared_from_this(), unit, pack_size, wanted = std::move(wanted),
                       again](const Result<Fetched>& fetched) {
                        self->arrived(unit, pack_size, wanted, again, fetched);
                      });
  }

  void arrived(const MetaUnit& unit, uint64_t pack_size, const std::vector<Wanted>& wanted,
               bool again, const Result<Fetched>& fetched) {
    Status status;
    if (fetched)
      status = take(*fetched, wanted);
    else
      status = tl::unexpected<Error>(fetched.error());
    // Who fetched for us may have given up.
    const bool try_again =
        !status && !again && !context_.cancel.cancelled() &&
        (status.error().code() == Errc::kCancelled || status.error().code() == Errc::kTimeout);
    if (try_again) return fetch_unit(unit, pack_size, wanted, /*again=*/true);
    if (!status && status.error().code() == Errc::kNotFound) core_->packs.lost(unit.pack);
    if (!status) note(status.error());
    if (left_.fetch_sub(1) == 1) finish();
  }

  Status take(const Fetched& fetched, const std::vector<Wanted>& wanted) {
    for (const Wanted& want : wanted) {
      const uint64_t offset = want.place.offset - fetched.start;
      const bool inside = want.place.offset >= fetched.start && offset <= fetched.bytes.size() &&
                          want.place.length <= fetched.bytes.size() - offset;
      if (inside) {
        const Buffer block = fetched.bytes.slice(static_cast<size_t>(offset), want.place.length);
        if (sha256(block) == want.digest) {
          core_->files.remember(want.digest, block);
          continue;
        }
      }
      return fail(Errc::kCorruption,
                  fmt::format("{}: {} bytes at {} are not the block {}", pack_key(want.place.pack),
                              want.place.length, want.place.offset, want.digest.hex()));
    }
    return {};
  }

  void note(const Error& error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = error;
  }

  void finish() {
    if (error_ && look_again()) return;
    if (error_) return done_(tl::unexpected<Error>(*error_));
    done_({});
  }

  const std::shared_ptr<MetaCore> core_;
  const Context context_;
  const Callback<void> done_;
  std::vector<Digest> wanted_;
  std::atomic<size_t> left_{0};
  unsigned looks_ = 1;  // by steps that follow one another
  RankedMutex<Rank::kLeaf> mutex_;
  std::optional<Error> error_;
};

class MetaBlocksImpl final : public MetaBlocks {
 public:
  explicit MetaBlocksImpl(std::shared_ptr<MetaCore> core) : core_(std::move(core)) {}

  Result<Buffer> get(const Digest& digest, Missing& missing) override {
    if (auto block = core_->files.get(digest)) return *std::move(block);
    missing.add(digest);
    return fail(Errc::kNotLocal, "block " + digest.hex() + " is not here");
  }

  void fetch(std::vector<Digest> digests, Context context, Callback<void> done) override {
    core_->executor.submit([core = core_, digests = std::move(digests),
                            context = std::move(context), done = std::move(done)]() mutable {
      std::make_shared<FetchOperation>(core, std::move(context), std::move(done))->start(digests);
    });
  }

  Status add_local(const PackName& pack, const Body& body) override {
    TRY_ASSIGN(const Buffer bytes, body.to_buffer());
    MemorySource source(bytes);
    TRY_ASSIGN(const PackTail tail, read_pack_tail(source, pack.digest));
    if (pack.size <= core_->options.whole_pack_bytes_max)
      return core_->files.store({pack.digest, MetaUnit::kWhole}, bytes, entries_of(tail));
    for (const auto& [number, window] : windows_of(tail, [](uint32_t) { return true; })) {
      const Buffer part = bytes.slice(window.range.offset, window.range.length);
      TRY(core_->files.store({pack.digest, number}, part, window.in_range()));
    }
    return {};
  }

  void prefetch(std::vector<PackName> packs, Context context, Callback<void> done) override {
    std::erase_if(packs, [&](const PackName& pack) {
      return core_->has_all_of(pack.digest) || pack.size > core_->options.whole_pack_bytes_max;
    });
    if (packs.empty()) return core_->executor.submit([done] { done({}); });
    struct State {
      std::atomic<size_t> left;
      RankedMutex<Rank::kLeaf> mutex;
      std::optional<Error> error;
    };
    const auto state = std::make_shared<State>();
    state->left = packs.size();
    for (const PackName& pack : packs)
      core_->fetch_unit({pack.digest, MetaUnit::kWhole}, pack.size, context,
                        [state, done](const Result<Fetched>& fetched) {
                          if (!fetched) {
                            const std::lock_guard lock(state->mutex);
                            if (!state->error) state->error = fetched.error();
                          }
                          if (state->left.fetch_sub(1) != 1) return;
                          if (state->error) return done(tl::unexpected<Error>(*state->error));
                          done({});
                        });
  }

  uint64_t whole_pack_bytes_max() const override { return core_->options.whole_pack_bytes_max; }

  bool has_all_of(const Digest& pack) const override { return core_->has_all_of(pack); }

  uint64_t disk_bytes() const override { return core_->files.disk_bytes(); }

 private:
  const std::shared_ptr<MetaCore> core_;
};
}  // namespace

Result<std::unique_ptr<MetaBlocks>> MetaBlocks::open(Env& env, Executor& executor, PackStore& packs,
                                                     Options options) {
  // A pack that takes most of the room would drive out what it was fetched beside.
  options.whole_pack_bytes_max = std::min(options.whole_pack_bytes_max, options.disk_bytes_max / 8);
  auto core = std::make_shared<MetaCore>(env, executor, packs, options);
  TRY(core->files.open());
  packs.on_all_here([weak = std::weak_ptr<MetaCore>(core)](const Digest& pack) {
    const auto alive = weak.lock();
    return alive && alive->has_all_of(pack);
  });
  packs.on_pack_end(
      [weak = std::weak_ptr<MetaCore>(core)](const PackTail& tail, const Buffer& end) {
        if (const auto alive = weak.lock()) alive->keep_end(tail, end);
      });
  return std::make_unique<MetaBlocksImpl>(std::move(core));
}

}  // namespace cairn
