#include "cache/bucket_deep.h"

#include <algorithm>
#include <mutex>

#include "cache/bucket_names.h"
#include "cache/bucket_past.h"

namespace cairn {

namespace {

constexpr size_t kRememberedMax = 16'384;
constexpr size_t kSmallKeys = 250;      // below a directory that is worth its neighbours, too
constexpr size_t kMostlySmall = 8;      // directories of a page, at least, to go on as deep
constexpr uint64_t kDeepPagesMax = 16;  // in a row, of one directory

bool is_behind(std::string_view key, std::string_view prefix) {
  return key > prefix && !key.starts_with(prefix);
}

size_t whole_ones_in(const std::vector<DirectoryPage>& pages, std::string_view prefix) {
  return static_cast<size_t>(
      std::count_if(pages.begin() + 1, pages.end(), [prefix](const DirectoryPage& each) {
        return each.complete && prefix_above(each.prefix) == prefix;
      }));
}

}  // namespace

// Of a page: what it begins behind, and the directories of it that are known here.
struct DeepPages::Below {
  std::string after, last;
  int64_t asked_ns = 0;
  BucketTree::Keys& keys;
  std::map<std::string, uint64_t, std::less<>> inos;
};

ListScope DeepPages::scope_of(const std::string& prefix, How how) {
  if (how == How::kLevel) return ListScope::level(prefix);
  return how == How::kWalk ? ListScope(std::string(prefix_above(prefix))) : ListScope(prefix);
}

Result<DeepPages::Next> DeepPages::first(uint64_t dir, const std::string& prefix, bool deep) {
  const int64_t now = tree_.now_ns();
  const bool of_buckets = tree_.has_buckets() && dir == BucketTree::kRoot;
  deep = deep && !of_buckets && !is_past_ino(dir);
  if (deep && dir != BucketTree::kRoot) {
    TRY_ASSIGN(const auto node, tree_.node(dir));
    if (node && walks(node->parent))
      return Next{How::kWalk, prefix.substr(0, prefix.size() - 1), now, 0};
  }
  if (auto begun = take_begun(dir, prefix)) return *std::move(begun);
  const std::lock_guard lock(mutex_);
  return Next{deep && !shallow_.contains(dir) ? How::kDeep : How::kLevel, {}, now, 0};
}

void DeepPages::leave(uint64_t dir, const std::string& prefix, Next next) {
  const int64_t now = tree_.now_ns();
  const std::lock_guard lock(mutex_);
  if (begun_.size() >= kRememberedMax) begun_.clear();
  begun_[dir] = {prefix, std::move(next), now};
}

void DeepPages::forget(uint64_t dir) {
  const std::lock_guard lock(mutex_);
  begun_.erase(dir);
}

std::optional<DeepPages::Next> DeepPages::take_begun(uint64_t dir, const std::string& prefix) {
  const int64_t now = tree_.now_ns();
  const std::lock_guard lock(mutex_);
  auto there = begun_.extract(dir);
  if (!there) return std::nullopt;
  Begun& begun = there.mapped();
  const int64_t age = now - begun.next.started_ns;
  if (begun.prefix != prefix || age < 0 || age >= begun_for_.count()) return std::nullopt;
  begun.next.idle_ns += now - begun.left_ns;
  return std::move(begun.next);
}

bool DeepPages::walks(uint64_t parent) {
  const std::lock_guard lock(mutex_);
  return walked_.contains(parent);
}

void DeepPages::note_walk(uint64_t parent, bool pays) {
  if (tree_.has_buckets() && parent == BucketTree::kRoot) return;
  const std::lock_guard lock(mutex_);
  if (!pays) {
    walked_.erase(parent);
    return;
  }
  if (walked_.size() >= kRememberedMax) walked_.clear();
  walked_.insert(parent);
}

void DeepPages::note_depth(uint64_t dir, bool pays) {
  const std::lock_guard lock(mutex_);
  if (pays) {
    shallow_.erase(dir);
    return;
  }
  if (shallow_.size() >= kRememberedMax) shallow_.clear();
  shallow_.insert(dir);
}

Result<DeepPages::Taken> DeepPages::take(uint64_t dir, const std::string& prefix, const Next& asked,
                                         const ListPage& page, int64_t asked_ns) {
  const std::string listed = scope_of(prefix, asked.how).prefix;
  TRY_ASSIGN(const auto pages, directories_of(listed, page));
  TRY_ASSIGN(const auto node, tree_.node(dir));
  if (!node) return Taken{};
  const std::string last = page.objects.empty() ? std::string() : page.objects.back().key;
  const auto own = std::find_if(pages.begin(), pages.end(), [&prefix](const DirectoryPage& each) {
    return each.prefix == prefix;
  });
  Taken taken;
  taken.next = {How::kDeep, {}, asked.started_ns, asked.pages + 1, asked.idle_ns};
  Below below{asked.after, last, asked_ns, taken.keys, {{listed, dir}}};
  if (asked.how == How::kWalk) {
    // Where the directory was moved meanwhile the page is of another one.
    TRY_ASSIGN(const std::string above, tree_.prefix_of(node->parent));
    if (above != listed) return taken;
    // Names of the directory above, too, as far as it goes.
    TRY_ASSIGN(taken.keys, tree_.note_page(node->parent, listed, pages.front().level, asked_ns));
    below.inos = {{listed, node->parent}};
    note_walk(node->parent, whole_ones_in(pages, listed) > 1);
    // Nothing of it in the page: there is nothing, or what is before it filled the page.
    taken.complete = own == pages.end() && (!page.truncated || is_behind(last, prefix));
  }
  if (own != pages.end()) {
    TRY_ASSIGN(auto keys, tree_.note_page(dir, prefix, own->level, asked_ns));
    taken.keys.insert(taken.keys.end(), keys.begin(), keys.end());
    below.inos[prefix] = dir;
    taken.complete = own->complete;
    taken.next.how = How::kLevel;
    taken.next.after = own->behind;
    taken.next.cut = last;
    const size_t whole = whole_ones_in(pages, prefix);
    if (asked.how != How::kWalk) note_depth(dir, own->complete || whole > 1);
    if (whole > 1) note_walk(dir, true);
    if (!own->complete && whole >= kMostlySmall && taken.next.pages < kDeepPagesMax) {
      taken.next.how = How::kDeepOn;
      taken.next.after = last;
    }
    const bool small = own->complete && asked.how == How::kDeep && page.objects.size() < kSmallKeys;
    if (small && dir != BucketTree::kRoot) note_walk(node->parent, true);
  }
  TRY(take_below(below, pages));
  return taken;
}

// Not one that was made or moved here since, and is not in the bucket as it was asked for.
Result<std::optional<uint64_t>> DeepPages::directory_in(uint64_t above, std::string_view prefix,
                                                        int64_t asked_ns) {
  const std::string_view part = part_in_prefix(prefix);
  const std::string name = shown_name(part);
  TRY_ASSIGN(const auto entry, tree_.entry(above, name));
  if (!entry || !entry->is_dir || tree_.changed_since(above, name, asked_ns))
    return std::optional<uint64_t>();
  TRY_ASSIGN(const auto node, tree_.node(entry->ino));
  const bool is_it = node && node->parent == above && node->part == part;
  return is_it ? std::optional(entry->ino) : std::nullopt;
}

// Of directories whose parents are known, too; the first one, and the one that was asked for, are
// the caller's.
Status DeepPages::take_below(Below& below, const std::vector<DirectoryPage>& pages) {
  for (const DirectoryPage& each : pages) {
    if (below.inos.contains(each.prefix)) continue;
    const auto above = below.inos.find(prefix_above(each.prefix));
    if (above == below.inos.end()) continue;
    TRY_ASSIGN(const auto entry, directory_in(above->second, each.prefix, below.asked_ns));
    if (!entry) continue;
    const std::string& prefix = each.prefix;
    below.inos[prefix] = *entry;
    TRY_ASSIGN(auto keys, tree_.note_page(*entry, prefix, each.level, below.asked_ns));
    below.keys.insert(below.keys.end(), keys.begin(), keys.end());
    Next next{How::kLevel, each.behind, below.asked_ns, 1, 0, below.last};
    if (below.after.starts_with(prefix)) {
      // The page begins inside of it: it goes on with what is begun, or says too little.
      const auto begun = take_begun(*entry, prefix);
      if (!begun || begun->cut != below.after) continue;
      next.started_ns = begun->started_ns;
      next.idle_ns = begun->idle_ns;
      next.pages = begun->pages + 1;
    }
    if (!each.complete) {
      leave(*entry, prefix, std::move(next));
      continue;
    }
    forget(*entry);
    TRY_ASSIGN(keys, tree_.finish_listing(*entry, next.started_ns, next.pages, next.idle_ns));
    below.keys.insert(below.keys.end(), keys.begin(), keys.end());
  }
  return {};
}

}  // namespace cairn
