#include "cache/prefix_index.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "cache/base/log.h"
#include "cache/format/pack.h"

namespace cairn {
namespace {
using Entry = PrefixIndex::Entry;
constexpr size_t kWriteEntries = 4096;  // at once
constexpr Duration kIndexLogInterval = std::chrono::minutes(1);

bool by_prefix(const Entry& a, const Entry& b) {
  return a.prefix < b.prefix;
}

// Entries of two runs in order, to `take`.
template <class Take>
void merge_runs(std::span<const Entry> older, std::span<const Entry> newer,
                const std::set<uint32_t>* alive, const Take& take) {
  auto a = older.begin();
  auto b = newer.begin();
  while (a != older.end() || b != newer.end()) {
    const bool first = b == newer.end() || (a != older.end() && !by_prefix(*b, *a));
    const Entry& next = first ? *a++ : *b++;
    if (alive == nullptr || alive->contains(next.file)) take(next);
  }
}

// The part of a run where chance puts the prefix; few pages of it are touched.
std::span<const Entry> likely_part(std::span<const Entry> run, const Digest& digest,
                                   const Entry& wanted) {
  const auto likely = likely_entries(digest, static_cast<uint32_t>(run.size()));
  const size_t end = size_t{likely.first} + likely.count;
  const bool below = likely.first == 0 || by_prefix(run[likely.first - 1], wanted);
  const bool above = end == run.size() || by_prefix(wanted, run[end]);
  return below && above ? run.subspan(likely.first, likely.count) : run;
}
}  // namespace

std::set<uint32_t> PrefixIndex::add(std::vector<Entry> entries, const Alive& alive) {
  if (entries.empty()) return {};
  std::sort(entries.begin(), entries.end(), by_prefix);
  const std::lock_guard turn(changing_);
  Runs next = *runs();
  RunPtr last;
  if (entries.size() * sizeof(Entry) > run_bytes_max_) last = merge({}, entries, nullptr);
  if (!last) {
    const auto run = std::make_shared<Run>();
    run->own = std::move(entries);
    run->entries = run->own;
    last = run;
  }
  next.push_back(std::move(last));
  std::set<uint32_t> there;
  while (next.size() >= 2) {
    const RunPtr& older = next[next.size() - 2];
    const RunPtr& newer = next.back();
    if (newer->entries.size() * 2 < older->entries.size()) break;
    if (there.empty()) there = alive();
    RunPtr merged = merge(older->entries, newer->entries, &there);
    if (!merged) break;
    next.resize(next.size() - 2);
    next.push_back(std::move(merged));
  }
  std::set<uint32_t> forgotten = forget_oldest(next);
  set_runs(std::move(next));
  return forgotten;
}

// Where files cannot be written, what memory has no room for is not known any more.
std::set<uint32_t> PrefixIndex::forget_oldest(Runs& runs) const {
  std::set<uint32_t> files;
  uint64_t bytes = 0;
  for (const RunPtr& run : runs) bytes += run->own.size() * sizeof(Entry);
  const auto too_much = [&](const RunPtr& run) {
    const uint64_t own = run->own.size() * sizeof(Entry);
    if (own == 0 || bytes <= 4 * run_bytes_max_ || run == runs.back()) return false;
    bytes -= own;
    for (const Entry& entry : run->own) files.insert(entry.file);
    return true;
  };
  std::erase_if(runs, too_much);
  return files;
}

PrefixIndex::RunPtr PrefixIndex::merge(Entries older, Entries newer,
                                       const std::set<uint32_t>* alive) {
  if ((older.size() + newer.size()) * sizeof(Entry) <= run_bytes_max_) {
    const auto run = std::make_shared<Run>();
    run->own.reserve(older.size() + newer.size());
    merge_runs(older, newer, alive, [&](const Entry& entry) { run->own.push_back(entry); });
    run->entries = run->own;
    return run;
  }
  auto run = merge_into_file(older, newer, alive);
  if (run) return *std::move(run);
  log_once_per(kIndexLogInterval, "metadata-index", run.error().message());
  return nullptr;
}

Result<PrefixIndex::RunPtr> PrefixIndex::merge_into_file(Entries older, Entries newer,
                                                         const std::set<uint32_t>* alive) {
  TRY_ASSIGN(const auto file, env_.open(scratch_, OpenMode::kCreate));
  TRY(env_.remove(scratch_));
  TRY(file->truncate(0));
  uint64_t offset = 0;
  Status status;
  std::vector<Entry> part;
  const auto write = [&] {
    const Bytes bytes = std::as_bytes(std::span<const Entry>(part));
    if (status) status = file->write_at(offset, bytes);  // after the first failure nothing
    offset += bytes.size();
    part.clear();
  };
  merge_runs(older, newer, alive, [&](const Entry& entry) {
    part.push_back(entry);
    if (part.size() == kWriteEntries) write();
  });
  write();
  TRY(status);
  const auto run = std::make_shared<Run>();
  TRY_ASSIGN(run->mapped, file->map());
  if (run->mapped.size() != offset) return fail(Errc::kIo, scratch_ + " is not as it was written");
  run->entries = {reinterpret_cast<const Entry*>(run->mapped.data()), offset / sizeof(Entry)};
  return run;
}

void PrefixIndex::find(const Digest& digest, const std::function<bool(const Entry&)>& visit) const {
  const Entry wanted{.prefix = prefix_of(digest)};
  const auto now = runs();
  for (auto run = now->rbegin(); run != now->rend(); ++run) {
    const auto part = likely_part((*run)->entries, digest, wanted);
    const auto [first, last] = std::equal_range(part.begin(), part.end(), wanted, by_prefix);
    for (auto it = first; it != last; ++it)
      if (visit(*it)) return;
  }
}

void PrefixIndex::sweep(const Alive& alive) {
  const std::lock_guard turn(changing_);
  const std::set<uint32_t> there = alive();
  Runs next;
  const auto now = runs();
  for (const RunPtr& run : *now) {
    RunPtr swept = merge(run->entries, {}, &there);
    if (!swept) swept = run;
    if (!swept->entries.empty()) next.push_back(std::move(swept));
  }
  set_runs(std::move(next));
}

size_t PrefixIndex::size() const {
  size_t total = 0;
  const auto now = runs();
  for (const RunPtr& run : *now) total += run->entries.size();
  return total;
}

uint64_t PrefixIndex::disk_bytes() const {
  uint64_t total = 0;
  const auto now = runs();
  for (const RunPtr& run : *now) total += run->mapped.size();
  return total;
}

std::shared_ptr<const PrefixIndex::Runs> PrefixIndex::runs() const {
  const std::lock_guard lock(mutex_);
  return runs_;
}

void PrefixIndex::set_runs(Runs runs) {
  auto next = std::make_shared<const Runs>(std::move(runs));
  const std::lock_guard lock(mutex_);
  runs_.swap(next);  // what nobody uses any more goes without the lock
}

}  // namespace cairn
