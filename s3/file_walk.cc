#include "s3/file_walk.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <set>

namespace cairn {

std::string file_etag(const FileInfo& info) {
  return fmt::format("{:x}-{:x}-{:x}", info.size, static_cast<uint64_t>(info.mtime_ns), info.inode);
}

namespace {

constexpr unsigned kCheckEvery = 256;  // files looked at between two calls of `check`

// Whether keys can begin with `prefix` at all. This also keeps "../" from leaving the root.
bool possible_prefix(std::string_view prefix) {
  const size_t slash = prefix.rfind('/');
  return slash == std::string_view::npos || check_key(prefix.substr(0, slash)).has_value();
}

// The part of `bound` that concerns names in the directory `dir` ("" or "a/b/"): nothing when the
// bound is outside it.
std::string_view inside(std::string_view bound, std::string_view dir) {
  return bound.starts_with(dir) ? bound.substr(dir.size()) : std::string_view();
}

class Walk {
 public:
  Walk(Env& env, const std::string& root, const ListScope& scope, std::string_view after,
       uint32_t limit, const std::function<Status()>& check)
      : env_(env),
        root_(root),
        prefix_(scope.prefix),
        one_level_(scope.one_level),
        after_(after),
        limit_(limit),
        check_(check) {}

  Status directory(const std::string& dir);
  bool full() const { return page_.truncated; }
  ListPage take() { return std::move(page_); }

 private:
  // Whether a key below `dir` can be behind `after_`.
  bool behind_after(std::string_view dir) const { return after_ < dir || after_.starts_with(dir); }
  Status file(const std::string& dir, const std::string& name, std::set<std::string>& later);
  Status below(const std::string& dir);
  bool takes_another();
  Status skipped_directories(const std::string& dir, const std::vector<std::string>& names,
                             std::set<std::string>& later);

  Env& env_;
  const std::string& root_;
  const std::string_view prefix_;
  const bool one_level_;
  const std::string_view after_;  // a key, or of one level also a prefix
  const uint32_t limit_;
  const std::function<Status()>& check_;
  unsigned looked_at_ = 0;
  ListPage page_;
};

// Looks at one name: an object goes to the page, a directory to `later`, where it waits under the
// name with its slash until all names that sort before that are done.
Status Walk::file(const std::string& dir, const std::string& name, std::set<std::string>& later) {
  if (++looked_at_ % kCheckEvery == 0) TRY(check_());
  if (dir.empty() && name == kTemporaryDir) return {};
  const std::string key = dir + name;
  const auto info = env_.stat(root_ + "/" + key);
  if (!info) {
    if (is_missing(info.error())) return {};  // removed meanwhile, or a link to nowhere
    return tl::unexpected<Error>(info.error());
  }
  if (info->is_symlink) return {};
  if (info->is_directory) {
    later.insert(name + "/");
    return {};
  }
  if (!info->is_regular || key <= after_ || !check_key(key) || !takes_another()) return {};
  page_.objects.push_back({key, info->size, file_etag(*info), info->mtime_ns});
  page_.next = level_behind_key(key);
  return {};
}

bool Walk::takes_another() {
  if (page_.objects.size() + page_.prefixes.size() < limit_) return true;
  page_.truncated = true;
  return false;
}

// A directory, in its place among the names beside it.
Status Walk::below(const std::string& dir) {
  if (!check_key(dir + "x")) return {};
  if (!one_level_) return behind_after(dir) ? directory(dir) : Status();
  if (dir <= after_ || !takes_another()) return {};
  page_.prefixes.push_back(dir);
  page_.next = level_behind_key(dir);
  return {};
}

// A name at or before `after_` is no object of this page, but as a directory it may hold some:
// only when `after_` begins with it and goes on with a byte that sorts at or before the slash.
Status Walk::skipped_directories(const std::string& dir, const std::vector<std::string>& names,
                                 std::set<std::string>& later) {
  const std::string_view rest = inside(after_, dir);
  for (size_t length = 1; length <= rest.size(); ++length) {
    if (length < rest.size() && static_cast<unsigned char>(rest[length]) > '/') continue;
    const std::string name(rest.substr(0, length));
    if (name.starts_with(inside(prefix_, dir)) &&
        std::binary_search(names.begin(), names.end(), name))
      TRY(file(dir, name, later));
    if (name.find('/') != std::string::npos) break;
  }
  return {};
}

Status Walk::directory(const std::string& dir) {
  auto names = env_.list_dir(dir.empty() ? root_ : root_ + "/" + dir.substr(0, dir.size() - 1));
  if (!names) {
    if (!dir.empty() && is_missing(names.error())) return {};
    return tl::unexpected<Error>(std::move(names).error());
  }
  std::set<std::string> later;
  TRY(skipped_directories(dir, *names, later));
  const std::string_view wanted = inside(prefix_, dir);
  auto at = std::lower_bound(names->begin(), names->end(), wanted);
  if (const std::string_view seen = inside(after_, dir); !seen.empty())
    at = std::max(at, std::upper_bound(names->begin(), names->end(), seen));
  while (!full()) {
    const bool more = at != names->end() && at->starts_with(wanted);
    if (!later.empty() && (!more || *later.begin() < *at)) {
      const std::string name = *later.begin();
      later.erase(later.begin());
      TRY(below(dir + name));
    } else if (more) {
      TRY(file(dir, *at++, later));
    } else {
      break;
    }
  }
  return {};
}

}  // namespace

bool is_missing(const Error& error) {
  return error.code() == Errc::kNotFound || error.sys_errno() == ENOTDIR;
}

Result<ListPage> walk_objects(Env& env, const std::string& root, const ListScope& scope,
                              const std::string& behind, uint32_t limit,
                              const std::function<Status()>& check) {
  const std::string& prefix = scope.prefix;
  const std::string_view after = scope.one_level ? key_of_level(behind) : behind;
  if (!possible_prefix(prefix)) return ListPage{};
  const size_t slash = prefix.rfind('/');
  const std::string start = slash == std::string::npos ? "" : prefix.substr(0, slash + 1);
  if (start.starts_with(std::string(kTemporaryDir) + "/")) return ListPage{};
  // All keys of the prefix begin with `start`, so `after` either is inside or decides everything.
  if (!after.starts_with(start) && after > start) return ListPage{};
  Walk walk(env, root, scope, after, limit, check);
  TRY(walk.directory(start));
  return walk.take();
}

}  // namespace cairn
