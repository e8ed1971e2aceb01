#include "cache/bucket_pages.h"

namespace cairn {

namespace {

constexpr size_t kDeepest = 16;  // levels below the first; a page must not make 500,000 of them

class Splitter {
 public:
  explicit Splitter(std::string_view prefix) { open(std::string(prefix)); }

  Status take(const ObjectInfo& object) {
    const std::string& key = object.key;
    const bool follows = key.starts_with(out_.front().prefix) && key > last_;
    if (!follows) return fail(Errc::kIo, "a listing's keys are not in order");
    last_ = key;
    while (!key.starts_with(top().prefix)) open_.pop_back();
    while (true) {
      const size_t slash = key.find('/', top().prefix.size());
      if (slash == std::string::npos) break;
      std::string below = key.substr(0, slash + 1);
      auto& prefixes = top().level.prefixes;
      if (prefixes.empty() || prefixes.back() != below) prefixes.push_back(below);
      if (open_.size() > kDeepest) return {};
      open(std::move(below));
    }
    top().level.objects.push_back(object);
    return {};
  }

  // The page ends here, and the listing does not.
  void cut() {
    for (size_t i = 0; i < open_.size(); ++i) {
      DirectoryPage& each = out_[open_[i]];
      each.complete = false;
      const auto& prefixes = each.level.prefixes;
      const bool inside_another = !prefixes.empty() && last_.starts_with(prefixes.back());
      each.behind = inside_another ? level_behind_prefix(prefixes.back()) : level_behind_key(last_);
    }
  }

  std::vector<DirectoryPage> done() { return std::move(out_); }

 private:
  DirectoryPage& top() { return out_[open_.back()]; }
  void open(std::string prefix) {
    open_.push_back(out_.size());
    out_.emplace_back().prefix = std::move(prefix);
  }

  std::vector<DirectoryPage> out_;
  std::vector<size_t> open_;  // those that the last key is in, from the first down
  std::string last_;
};

}  // namespace

Result<std::vector<DirectoryPage>> directories_of(std::string_view prefix, const ListPage& page) {
  Splitter splitter(prefix);
  for (const ObjectInfo& object : page.objects) TRY(splitter.take(object));
  if (page.truncated) splitter.cut();
  return splitter.done();
}

std::string_view prefix_above(std::string_view prefix) {
  const size_t slash = prefix.substr(0, prefix.size() - 1).rfind('/');
  return slash == std::string_view::npos ? std::string_view() : prefix.substr(0, slash + 1);
}

std::string_view part_in_prefix(std::string_view prefix) {
  const size_t above = prefix_above(prefix).size();
  return prefix.substr(above, prefix.size() - 1 - above);
}

}  // namespace cairn
