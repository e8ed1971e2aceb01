#include "s3/versions_at_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "s3/request.h"

namespace cairn {

namespace {

constexpr uint32_t kVersionsPage = 1000;
constexpr uint32_t kFewVersions = 20;  // mostly decide of a key, or whether there was anything
constexpr unsigned kVersionPagesMax = 1000;  // in a row, of one key or without anything to show
constexpr size_t kProbesAtOnce = 16;
constexpr size_t kKnownMax = 65'536;

}  // namespace

std::string etag_with_version(std::string_view etag, std::string_view version) {
  return fmt::format("{}@{}", bare_etag(etag), version);
}

std::string version_in(std::string_view etag) {
  const size_t at = etag.find('@');
  return at == std::string_view::npos ? std::string() : std::string(etag.substr(at + 1));
}

class VersionsAtStore::Known {
 public:
  void note(const std::string& key, const std::string& version) {
    const std::lock_guard lock(mutex_);
    if (versions_.size() >= kKnownMax) versions_.clear();
    versions_[key] = version;
  }
  std::string find(const std::string& key) const {
    const std::lock_guard lock(mutex_);
    const auto there = versions_.find(key);
    return there == versions_.end() ? std::string() : there->second;
  }

 private:
  mutable RankedMutex<Rank::kStore> mutex_;
  std::map<std::string, std::string> versions_;  // protected by mutex_
};

// Pages of versions below `prefix` until one is found that was there: of the key that the prefix
// is, or of any.
class VersionsAtStore::Lookup : public std::enable_shared_from_this<Lookup> {
 public:
  using Found = std::optional<ObjectVersion>;
  Lookup(std::shared_ptr<ObjectStore> base, int64_t at_ns, std::string prefix, bool one_key,
         Context context, Callback<Found> done)
      : base_(std::move(base)),
        at_ns_(at_ns),
        prefix_(std::move(prefix)),
        one_key_(one_key),
        context_(std::move(context)),
        done_(std::move(done)) {}

  void run() {
    base_->list_versions(
        ListScope(prefix_), after_, page_, context_,
        [self = shared_from_this()](Result<VersionPage> page) { self->answered(std::move(page)); });
  }

 private:
  void answered(Result<VersionPage> page) {
    if (!page) return done_(tl::unexpected<Error>(std::move(page).error()));
    for (ObjectVersion& version : page->versions) {
      if (one_key_ && version.info.key != prefix_) return done_(Found());
      if (version.info.key == decided_ || version.info.mtime_ns > at_ns_) continue;
      decided_ = version.info.key;
      if (!version.deleted) return done_(Found(std::move(version)));
      if (one_key_) return done_(Found());
    }
    if (!page->truncated) return done_(Found());
    if (page_ == kFewVersions) {
      // From the start: not every store goes on rightly inside of a key.
      page_ = kVersionsPage;
      decided_.clear();
      return run();
    }
    if (++pages_ == kVersionPagesMax)
      return done_(fail(Errc::kIo, "versions below '" + prefix_ + "' do not end"));
    after_ = std::move(page->next);
    run();
  }

  const std::shared_ptr<ObjectStore> base_;
  const int64_t at_ns_;
  const std::string prefix_;
  const bool one_key_;
  const Context context_;
  const Callback<Found> done_;
  // Only the one request under way touches these.
  uint32_t page_ = kFewVersions;
  std::string after_;
  std::string decided_;
  unsigned pages_ = 0;
};

class VersionsAtStore::Level : public std::enable_shared_from_this<Level> {
 public:
  Level(std::shared_ptr<ObjectStore> base, std::shared_ptr<Known> known, int64_t at_ns,
        ListScope scope, std::string after, uint32_t limit, Context context,
        Callback<ListPage> done)
      : base_(std::move(base)),
        known_(std::move(known)),
        at_ns_(at_ns),
        scope_(std::move(scope)),
        limit_(limit),
        context_(std::move(context)),
        done_(std::move(done)) {
    if (!scope_.one_level) {
      behind_ = std::move(after);
    } else if (const size_t colon = after.find(':'); colon != std::string::npos) {
      // The key that is decided already, its length before it, then where the store goes on.
      const size_t length =
          std::min<size_t>(std::strtoull(after.c_str(), nullptr, 10), after.size() - colon - 1);
      decided_ = after.substr(colon + 1, length);
      after_ = after.substr(colon + 1 + length);
    }
  }

  void run() {
    // Of a flat listing the limit is of names: many versions may come before the first.
    base_->list_versions(
        scope_, after_, scope_.one_level ? limit_ : kVersionsPage, context_,
        [self = shared_from_this()](Result<VersionPage> page) { self->answered(std::move(page)); });
  }

 private:
  void answered(Result<VersionPage> page) {
    if (!page) return done_(tl::unexpected<Error>(std::move(page).error()));
    for (ObjectVersion& version : page->versions) take(version);
    truncated_ = page->truncated;
    after_ = std::move(page->next);
    prefixes_ = std::move(page->prefixes);
    is_there_.assign(prefixes_.size(), false);
    if (prefixes_.empty()) return next_page();
    const size_t first = std::min(prefixes_.size(), kProbesAtOnce);
    {
      const std::lock_guard lock(mutex_);
      next_ = first;
      left_ = prefixes_.size();
    }
    for (size_t i = 0; i < first; ++i) probe(i);
  }

  void take(ObjectVersion& version) {
    const std::string& key = version.info.key;
    if (key == decided_ || version.info.mtime_ns > at_ns_) return;
    decided_ = key;
    if (version.deleted || (!behind_.empty() && key <= behind_)) return;
    if (!scope_.one_level && out_.objects.size() == limit_) {
      out_.truncated = true;
      return;
    }
    known_->note(key, version.version_id);
    version.info.etag = etag_with_version(version.info.etag, version.version_id);
    out_.objects.push_back(std::move(version.info));
  }

  void probe(size_t i) {
    std::make_shared<Lookup>(base_, at_ns_, prefixes_[i], false, context_,
                             [self = shared_from_this(), i](Result<Lookup::Found> found) {
                               self->probed(i, std::move(found));
                             })
        ->run();
  }

  void probed(size_t i, Result<Lookup::Found> found) {
    size_t next = 0;
    {
      const std::lock_guard lock(mutex_);
      if (!found && !failed_) failed_ = std::move(found).error();
      is_there_[i] = found && *found;
      next = failed_ || next_ >= prefixes_.size() ? prefixes_.size() : next_++;
      --left_;
      // Those that were not begun are not waited for.
      if (failed_) left_ -= prefixes_.size() - std::exchange(next_, prefixes_.size());
      if (next >= prefixes_.size() && left_ > 0) return;
    }
    if (next < prefixes_.size()) return probe(next);
    if (failed_) return done_(tl::unexpected<Error>(*failed_));
    for (size_t each = 0; each < prefixes_.size(); ++each)
      if (is_there_[each]) out_.prefixes.push_back(std::move(prefixes_[each]));
    next_page();
  }

  void next_page() {
    const bool shows = !out_.objects.empty() || !out_.prefixes.empty();
    const bool full = !scope_.one_level && out_.truncated;
    if (full) return done_(std::move(out_));
    if (!truncated_) return done_(std::move(out_));
    const bool enough = scope_.one_level ? shows : out_.objects.size() == limit_;
    if (enough) {
      out_.truncated = true;
      out_.next = fmt::format("{}:{}{}", decided_.size(), decided_, after_);
      return done_(std::move(out_));
    }
    if (++pages_ == kVersionPagesMax)
      return done_(fail(Errc::kIo, "versions below '" + scope_.prefix + "' do not end"));
    run();
  }

  const std::shared_ptr<ObjectStore> base_;
  const std::shared_ptr<Known> known_;
  const int64_t at_ns_;
  const ListScope scope_;
  const uint32_t limit_;
  const Context context_;
  const Callback<ListPage> done_;
  // Only the one request under way touches these, or all probes do together.
  std::string behind_;  // of a flat listing: keys up to it are left out
  std::string after_;
  std::string decided_;
  ListPage out_;
  bool truncated_ = false;
  unsigned pages_ = 0;
  std::vector<std::string> prefixes_;

  RankedMutex<Rank::kStore> mutex_;
  std::vector<bool> is_there_;  // protected by mutex_, as is all below
  size_t next_ = 0;
  size_t left_ = 0;
  std::optional<Error> failed_;
};

VersionsAtStore::VersionsAtStore(std::shared_ptr<ObjectStore> base, Executor& executor,
                                 int64_t at_ns)
    : base_(std::move(base)),
      executor_(executor),
      at_ns_(at_ns),
      known_(std::make_shared<Known>()) {}

template <class T>
void VersionsAtStore::refuse(const char* what, Callback<T> done) {
  executor_.submit([text = fmt::format("{} {}: what was is read only", what, description()),
                    done = std::move(done)] {
    done(tl::unexpected<Error>(Error(Errc::kUnsupported, text).with_no_effect()));
  });
}

// The version of a key; kNotFound when there was none.
void VersionsAtStore::find(const std::string& key, const Context& context,
                           Callback<std::string> done) {
  if (auto known = known_->find(key); !known.empty())
    return executor_.submit([known, done = std::move(done)] { done(known); });
  std::make_shared<Lookup>(
      base_, at_ns_, key, true, context,
      [key, known = known_, done = std::move(done)](Result<Lookup::Found> found) {
        if (!found) return done(tl::unexpected<Error>(std::move(found).error()));
        if (!*found) return done(fail(Errc::kNotFound, "'" + key + "': there was no such object"));
        known->note(key, (*found)->version_id);
        done((*found)->version_id);
      })
      ->run();
}

void VersionsAtStore::get(std::string key, GetRange range, Context context,
                          Callback<GetResult> done) {
  const auto read = [base = base_, key, range, context,
                     done = std::move(done)](Result<std::string> version) {
    if (!version) return done(tl::unexpected<Error>(std::move(version).error()));
    GetRange of = range;
    of.if_match.clear();  // the bytes of a version never change
    of.version = *version;
    base->get(key, of, context, [version = *version, done](Result<GetResult> got) {
      if (got) got->etag = etag_with_version(got->etag, version);
      done(std::move(got));
    });
  };
  if (!range.version.empty()) return read(range.version);
  if (const std::string version = version_in(range.if_match); !version.empty())
    return read(version);
  find(key, context, read);
}

void VersionsAtStore::head(std::string key, Context context, Callback<ObjectHead> done) {
  head_version(std::move(key), {}, std::move(context), std::move(done));
}

void VersionsAtStore::head_version(std::string key, std::string version, Context context,
                                   Callback<ObjectHead> done) {
  const auto ask = [base = base_, key, context, done = std::move(done)](Result<std::string> found) {
    if (!found) return done(tl::unexpected<Error>(std::move(found).error()));
    base->head_version(key, *found, context, [found = *found, done](Result<ObjectHead> head) {
      if (head) head->info.etag = etag_with_version(head->info.etag, found);
      done(std::move(head));
    });
  };
  if (!version.empty()) return ask(std::move(version));
  find(key, context, ask);
}

void VersionsAtStore::get_tags(std::string key, std::string version, Context context,
                               Callback<ObjectTags> done) {
  const auto ask = [base = base_, key, context, done](Result<std::string> found) {
    if (!found) return done(tl::unexpected<Error>(std::move(found).error()));
    base->get_tags(key, *found, context, done);
  };
  if (key.empty()) return base_->get_tags({}, {}, context, done);  // the bucket's, as they are
  if (!version.empty()) return ask(std::move(version));
  find(key, context, ask);
}

void VersionsAtStore::list(ListScope scope, std::string after, uint32_t limit, Context context,
                           Callback<ListPage> done) {
  if (auto ok = check_list_limit(limit); !ok)
    return executor_.submit(
        [error = std::move(ok).error(), done = std::move(done)] { done(tl::unexpected(error)); });
  std::make_shared<Level>(base_, known_, at_ns_, std::move(scope), std::move(after), limit,
                          std::move(context), std::move(done))
      ->run();
}

void VersionsAtStore::put(std::string, Body, PutHow, Context, Callback<std::string> done) {
  refuse("put to", std::move(done));
}

void VersionsAtStore::remove(std::string, Context, Callback<void> done) {
  refuse("remove from", std::move(done));
}

void VersionsAtStore::put_tags(std::string, std::string, ObjectTags, Context, Callback<void> done) {
  refuse("put tags to", std::move(done));
}

void VersionsAtStore::list_versions(ListScope scope, std::string after, uint32_t limit,
                                    Context context, Callback<VersionPage> done) {
  base_->list_versions(std::move(scope), std::move(after), limit, std::move(context),
                       std::move(done));
}

void VersionsAtStore::keeps_versions(Context context, Callback<bool> done) {
  base_->keeps_versions(std::move(context), std::move(done));
}

}  // namespace cairn
