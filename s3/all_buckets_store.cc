#include "s3/all_buckets_store.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "s3/request.h"

namespace cairn {

AllBucketsStore::AllBucketsStore(std::shared_ptr<BucketSource> buckets, Executor& executor)
    : buckets_(std::move(buckets)), executor_(executor) {}

// Both are empty when the key names no object of a bucket.
AllBucketsStore::Place AllBucketsStore::place_of(std::string_view key) {
  const size_t slash = key.find('/');
  if (slash == std::string_view::npos || slash == 0 || slash + 1 == key.size()) return {};
  return {std::string(key.substr(0, slash)), std::string(key.substr(slash + 1))};
}

template <class T>
void AllBucketsStore::answer(const Callback<T>& done, Error error) const {
  executor_.submit([done, error = std::move(error)] { done(tl::unexpected<Error>(error)); });
}

// The object's store, and its key there; `outside` when the key is in no bucket.
Result<AllBucketsStore::Opened> AllBucketsStore::open(const std::string& key, const char* what,
                                                      Errc outside) const {
  Place place = place_of(key);
  if (place.key.empty())
    return fail(outside, std::string(what) + " '" + key + "': it is no key in a bucket");
  TRY_ASSIGN(auto store, buckets_->open(place.bucket));
  return Opened{std::move(place), std::move(store)};
}

void AllBucketsStore::get(std::string key, GetRange range, Context context,
                          Callback<GetResult> done) {
  auto at = open(key, "get", Errc::kNotFound);
  if (!at) return answer(done, at.error());
  at->store->get(std::move(at->place.key), std::move(range), std::move(context), std::move(done));
}

void AllBucketsStore::head(std::string key, Context context, Callback<ObjectHead> done) {
  head_version(std::move(key), {}, std::move(context), std::move(done));
}

void AllBucketsStore::put(std::string key, Body body, PutHow how, Context context,
                          Callback<std::string> done) {
  auto at = open(key, "put", Errc::kInvalid);
  if (!at) return answer(done, at.error());
  for (const Body::Section& section : body.sections())
    if (section.object != nullptr && place_of(section.object->key).bucket != at->place.bucket)
      return answer(done,
                    Error(Errc::kInvalid, "put '" + key + "': a part of it is in another bucket"));
  note_put(at->place.bucket);
  const auto in_bucket = [](const std::string& whole) { return place_of(whole).key; };
  at->store->put(std::move(at->place.key), body.with_keys(in_bucket), std::move(how),
                 std::move(context), std::move(done));
}

void AllBucketsStore::remove(std::string key, Context context, Callback<void> done) {
  auto at = open(key, "remove", Errc::kInvalid);
  if (!at) return answer(done, at.error());
  at->store->remove(std::move(at->place.key), std::move(context), std::move(done));
}

void AllBucketsStore::list(ListScope scope, std::string after, uint32_t limit, Context context,
                           Callback<ListPage> done) {
  const std::string what = "list '" + scope.prefix + "'";
  if (auto ok = check_list_limit(limit); !ok) return answer(done, std::move(ok).error().wrap(what));
  const size_t slash = scope.prefix.find('/');
  if (slash == std::string::npos && !scope.one_level)
    return answer(done, Error(Errc::kUnsupported, what + ": not all buckets are listed at once"));
  if (slash == std::string::npos)
    return list_buckets(scope.prefix, after, limit, std::move(context), std::move(done));
  const std::string bucket = scope.prefix.substr(0, slash);
  const auto store = buckets_->open(bucket);
  if (!store) return answer(done, store.error());
  const std::string front = bucket + "/";
  // Of one level it is the store's own word, unless it is a key.
  const std::string_view behind = scope.one_level ? key_of_level(after) : std::string_view(after);
  if (behind.starts_with(front)) after.erase(after.size() - behind.size(), front.size());
  scope.prefix.erase(0, front.size());
  (*store)->list(std::move(scope), std::move(after), limit, std::move(context),
                 [front, done = std::move(done)](Result<ListPage> page) {
                   if (!page) return done(std::move(page));
                   for (ObjectInfo& object : page->objects) object.key.insert(0, front);
                   for (std::string& prefix : page->prefixes) prefix.insert(0, front);
                   if (const auto key = key_of_level(page->next); !key.empty())
                     page->next = level_behind_key(front + std::string(key));
                   done(std::move(page));
                 });
}

void AllBucketsStore::head_version(std::string key, std::string version, Context context,
                                   Callback<ObjectHead> done) {
  auto at = open(key, "head", Errc::kNotFound);
  if (!at) return answer(done, at.error());
  at->store->head_version(std::move(at->place.key), std::move(version), std::move(context),
                          [key = std::move(key), done = std::move(done)](Result<ObjectHead> head) {
                            if (head) head->info.key = key;
                            done(std::move(head));
                          });
}

void AllBucketsStore::get_tags(std::string key, std::string version, Context context,
                               Callback<ObjectTags> done) {
  const size_t slash = key.find('/');
  if (slash != std::string::npos && slash > 0 && slash + 1 == key.size()) {  // of the bucket
    const auto store = buckets_->open(key.substr(0, slash));
    if (!store) return answer(done, store.error());
    return (*store)->get_tags({}, {}, std::move(context), std::move(done));
  }
  auto at = open(key, "tags of", Errc::kNotFound);
  if (!at) return answer(done, at.error());
  at->store->get_tags(std::move(at->place.key), std::move(version), std::move(context),
                      std::move(done));
}

void AllBucketsStore::put_tags(std::string key, std::string version, ObjectTags tags,
                               Context context, Callback<void> done) {
  auto at = open(key, "tags of", Errc::kInvalid);
  if (!at) return answer(done, at.error());
  at->store->put_tags(std::move(at->place.key), std::move(version), std::move(tags),
                      std::move(context), std::move(done));
}

void AllBucketsStore::list_versions(ListScope scope, std::string after, uint32_t limit,
                                    Context context, Callback<VersionPage> done) {
  const size_t slash = scope.prefix.find('/');
  if (slash == std::string::npos)
    return answer(done, Error(Errc::kUnsupported, "list versions of '" + scope.prefix +
                                                      "': not of all buckets at once"));
  const std::string bucket = scope.prefix.substr(0, slash);
  const auto store = buckets_->open(bucket);
  if (!store) return answer(done, store.error());
  const std::string front = bucket + "/";
  scope.prefix.erase(0, front.size());
  (*store)->list_versions(std::move(scope), std::move(after), limit, std::move(context),
                          [front, done = std::move(done)](Result<VersionPage> page) {
                            if (!page) return done(std::move(page));
                            for (ObjectVersion& each : page->versions)
                              each.info.key.insert(0, front);
                            for (std::string& prefix : page->prefixes) prefix.insert(0, front);
                            done(std::move(page));
                          });
}

void AllBucketsStore::keeps_versions(Context, Callback<bool> done) {
  executor_.submit([done = std::move(done)] { done(false); });
}

// The later pages are of the list that was brought for a first one.
void AllBucketsStore::list_buckets(const std::string& prefix, const std::string& after,
                                   uint32_t limit, Context context, Callback<ListPage> done) {
  std::shared_ptr<const std::vector<std::string>> listed;
  {
    const std::lock_guard lock(state_->mutex);
    listed = state_->listed;
  }
  if (!after.empty() && listed)
    return executor_.submit([listed, prefix, after, limit, done = std::move(done)] {
      done(page_of(*listed, prefix, after, limit));
    });
  buckets_->list(std::move(context), [state = state_, prefix, after, limit, done = std::move(done)](
                                         Result<std::vector<std::string>> names) {
    if (!names) return done(tl::unexpected<Error>(std::move(names).error()));
    // In the order of keys: "a-b/" comes before "a/".
    for (std::string& name : *names) name += "/";
    std::sort(names->begin(), names->end());
    names->erase(std::unique(names->begin(), names->end()), names->end());
    auto kept = std::make_shared<const std::vector<std::string>>(*std::move(names));
    {
      const std::lock_guard lock(state->mutex);
      state->listed = kept;
    }
    done(page_of(*kept, prefix, after, limit));
  });
}

ListPage AllBucketsStore::page_of(const std::vector<std::string>& listed, const std::string& prefix,
                                  const std::string& after, uint32_t limit) {
  ListPage page;
  for (auto next = std::upper_bound(listed.begin(), listed.end(), std::max(after, prefix));
       next != listed.end() && next->starts_with(prefix); ++next) {
    if (page.prefixes.size() == limit) {
      page.truncated = true;
      page.next = page.prefixes.back();
      break;
    }
    page.prefixes.push_back(*next);
  }
  return page;
}

void AllBucketsStore::note_put(const std::string& bucket) {
  std::function<void(const std::string&)> tell;
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->written.insert(bucket).second) tell = state_->first_put;
  }
  if (tell) executor_.submit([tell = std::move(tell), bucket] { tell(bucket); });
}

void AllBucketsStore::on_first_put(std::function<void(const std::string& bucket)> tell) {
  std::set<std::string> written;
  {
    const std::lock_guard lock(state_->mutex);
    state_->first_put = tell;
    written = state_->written;
  }
  for (const std::string& bucket : written) executor_.submit([tell, bucket] { tell(bucket); });
}

}  // namespace cairn
