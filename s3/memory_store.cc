#include "s3/memory_store.h"

#include <fmt/format.h>

#include <mutex>

#include "s3/request.h"

namespace cairn {

MemoryStore::MemoryStore(Executor& executor, Clock& clock)
    : executor_(executor), clock_(clock), state_(std::make_shared<State>()) {}

void MemoryStore::get(std::string key, GetRange range, Context context, Callback<GetResult> done) {
  std::string what = "memory: get '" + key + "'";
  run_task<GetResult>(
      executor_, clock_, std::move(context), what, std::move(done),
      [state = state_, key = std::move(key), range, what](const Context&) -> Result<GetResult> {
        TRY(check_any_key(key));
        const std::lock_guard lock(state->mutex);
        const Object* found = find(*state, key, range.version);
        if (found == nullptr) return fail(Errc::kNotFound, what + ": no such object");
        const Object& object = *found;
        if (!range.if_match.empty() && range.if_match != object.etag)
          return fail(Errc::kPrecondition, what + ": the object is another version now");
        const ByteRange part = resolve_range(range, object.bytes.size());
        return GetResult{
            object.bytes.slice(static_cast<size_t>(part.offset), static_cast<size_t>(part.length)),
            object.bytes.size(), object.etag};
      });
}

void MemoryStore::head(std::string key, Context context, Callback<ObjectHead> done) {
  head_version(std::move(key), {}, std::move(context), std::move(done));
}

void MemoryStore::put(std::string key, Body body, PutHow how, Context context,
                      Callback<std::string> done) {
  std::string what = "memory: put '" + key + "'";
  run_task<std::string>(
      executor_, clock_, std::move(context), what, std::move(done),
      [state = state_, &clock = clock_, key = std::move(key), body = std::move(body),
       how = std::move(how), what](const Context& request) -> Result<std::string> {
        TRY(check_key(key));
        TRY(check_put(body, how));
        auto read = body.in_memory();
        if (!read)
          return tl::unexpected<Error>(std::move(read).error().wrap(what).with_no_effect());
        if (auto over = gave_up(request, clock, what))
          return tl::unexpected<Error>(std::move(*over).with_no_effect());
        const std::lock_guard lock(state->mutex);
        const auto there = state->objects.find(key);
        if (how.condition == PutCondition::kIfAbsent && there != state->objects.end())
          return fail(Errc::kPrecondition, what + ": it exists already");
        if (how.condition == PutCondition::kIfMatch &&
            (there == state->objects.end() || there->second.etag != how.if_match))
          return fail(Errc::kPrecondition, what + ": the object is another version now");
        TRY_ASSIGN(Buffer bytes, assemble(*state, *read, what));
        ObjectHeaders headers = how.headers;
        if (headers.content_type.empty()) headers.content_type = kDefaultContentType;
        const std::string etag = "m" + std::to_string(++state->puts);
        Object object;
        object.bytes = std::move(bytes);
        object.etag = etag;
        object.mtime_ns = clock.wall_ns();
        object.headers = std::move(headers);
        object.storage_class = how.storage_class;
        object.tags = how.tags ? *how.tags : tags_to_copy(*state, body);
        keep(*state, key, std::move(object));
        return etag;
      });
}

// With the lock held: the versions that ranges name are those of one moment.
Result<Buffer> MemoryStore::assemble(const State& state, const Body& body,
                                     const std::string& what) {
  if (!body.has_object_ranges()) return body.to_buffer();
  ByteVec out;
  out.reserve(static_cast<size_t>(body.size()));
  for (const Body::Section& section : body.sections()) {
    if (section.object == nullptr) {
      TRY_ASSIGN(const Buffer own, body.slice(section.at).to_buffer());
      append(out, own);
      continue;
    }
    const ObjectRange& source = *section.object;
    const auto it = state.objects.find(source.key);
    if (it == state.objects.end() || it->second.etag != source.etag ||
        it->second.bytes.size() != source.object_size)
      return fail(Errc::kPrecondition,
                  what + ": '" + source.key + "', which it takes a part of, has changed");
    const Bytes all = it->second.bytes;
    append(out, all.subspan(static_cast<size_t>(source.range.offset),
                            static_cast<size_t>(source.range.length)));
  }
  return Buffer(std::move(out));
}

void MemoryStore::remove(std::string key, Context context, Callback<void> done) {
  std::string what = "memory: remove '" + key + "'";
  run_task<void>(executor_, clock_, std::move(context), std::move(what), std::move(done),
                 [state = state_, &clock = clock_, key = std::move(key)](const Context&) -> Status {
                   TRY(check_key(key));
                   const std::lock_guard lock(state->mutex);
                   state->objects.erase(key);
                   if (!state->keeps_versions) return {};
                   Object marker;
                   marker.deleted = true;
                   marker.mtime_ns = clock.wall_ns();
                   marker.version = fmt::format("v{}", ++state->puts);
                   auto& versions = state->versions[key];
                   versions.insert(versions.begin(), std::move(marker));
                   return {};
                 });
}

void MemoryStore::list(ListScope scope, std::string after, uint32_t limit, Context context,
                       Callback<ListPage> done) {
  std::string what = "memory: list '" + scope.prefix + "'";
  run_task<ListPage>(executor_, clock_, std::move(context), std::move(what), std::move(done),
                     [state = state_, scope = std::move(scope), after = std::move(after),
                      limit](const Context&) -> Result<ListPage> {
                       TRY(check_list_limit(limit));
                       const std::lock_guard lock(state->mutex);
                       return scope.one_level ? list_level(*state, scope.prefix, after, limit)
                                              : list_all(*state, scope.prefix, after, limit);
                     });
}

ObjectInfo MemoryStore::info_of(const std::string& key, const Object& object) {
  return {key, object.bytes.size(), object.etag, object.mtime_ns};
}

ListPage MemoryStore::list_all(const State& state, const std::string& prefix,
                               const std::string& after, uint32_t limit) {
  ListPage page;
  auto it = after < prefix ? state.objects.lower_bound(prefix) : state.objects.upper_bound(after);
  for (; it != state.objects.end() && it->first.starts_with(prefix); ++it) {
    if (page.objects.size() == limit) {
      page.truncated = true;
      break;
    }
    page.objects.push_back(info_of(it->first, it->second));
  }
  return page;
}

namespace {
// The first string behind all that begin with `prefix`, which ends in '/'.
std::string behind_all(std::string prefix) {
  prefix.back() = '/' + 1;
  return prefix;
}
}  // namespace

// `after` is the last entry of the page before: as level_behind_key, or a prefix behind 'p'.
ListPage MemoryStore::list_level(const State& state, const std::string& prefix,
                                 const std::string& after, uint32_t limit) {
  ListPage page;
  auto it = state.objects.lower_bound(prefix);
  if (const auto key = key_of_level(after); !key.empty())
    it = state.objects.upper_bound(std::string(key));
  if (after.starts_with('p')) it = state.objects.lower_bound(behind_all(after.substr(1)));
  while (it != state.objects.end() && it->first.starts_with(prefix)) {
    if (page.objects.size() + page.prefixes.size() == limit) {
      page.truncated = true;
      return page;
    }
    const size_t slash = it->first.find('/', prefix.size());
    if (slash == std::string::npos) {
      page.objects.push_back(info_of(it->first, it->second));
      page.next = level_behind_key(it->first);
      ++it;
      continue;
    }
    page.prefixes.push_back(it->first.substr(0, slash + 1));
    page.next = "p" + page.prefixes.back();
    it = state.objects.lower_bound(behind_all(page.prefixes.back()));
  }
  return page;
}

void MemoryStore::put_foreign(const std::string& key, Buffer bytes) {
  const std::lock_guard lock(state_->mutex);
  const std::string etag = "m" + std::to_string(++state_->puts);
  Object object;
  object.bytes = std::move(bytes);
  object.etag = etag;
  object.mtime_ns = clock_.wall_ns();
  object.headers.content_type = kDefaultContentType;
  keep(*state_, key, std::move(object));
}

void MemoryStore::set_bucket_tags(ObjectTags tags) {
  const std::lock_guard lock(state_->mutex);
  state_->bucket_tags = std::move(tags);
}

std::unique_ptr<MemoryStore> MemoryStore::copy(Executor& executor) const {
  auto other = std::make_unique<MemoryStore>(executor, clock_);
  const std::lock_guard lock(state_->mutex);
  other->state_->objects = state_->objects;
  other->state_->puts = state_->puts;
  other->state_->versions = state_->versions;
  other->state_->bucket_tags = state_->bucket_tags;
  other->state_->keeps_versions = state_->keeps_versions;
  return other;
}

uint64_t MemoryStore::object_count() const {
  const std::lock_guard lock(state_->mutex);
  return state_->objects.size();
}

uint64_t MemoryStore::stored_bytes() const {
  const std::lock_guard lock(state_->mutex);
  uint64_t total = 0;
  for (const auto& [key, object] : state_->objects) total += object.bytes.size();
  return total;
}

}  // namespace cairn
