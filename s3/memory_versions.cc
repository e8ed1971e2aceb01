// MemoryStore: tags and versions.
#include <fmt/format.h>

#include <mutex>
#include <utility>

#include "s3/memory_store.h"
#include "s3/request.h"

namespace cairn {

void MemoryStore::keep_versions() {
  const std::lock_guard lock(state_->mutex);
  if (std::exchange(state_->keeps_versions, true)) return;
  for (const auto& [key, object] : state_->objects) state_->versions[key] = {object};
}

// With the lock held, as all that take the state.
void MemoryStore::keep(State& state, const std::string& key, Object object) {
  if (state.keeps_versions) {
    object.version = fmt::format("v{}", state.puts);
    auto& versions = state.versions[key];
    versions.insert(versions.begin(), object);
  }
  state.objects[key] = std::move(object);
}

MemoryStore::Object* MemoryStore::find(State& state, const std::string& key,
                                       const std::string& version) {
  const auto current = state.objects.find(key);
  if (current != state.objects.end() && (version.empty() || current->second.version == version))
    return &current->second;
  const auto kept = state.versions.find(key);
  if (version.empty() || kept == state.versions.end()) return nullptr;
  for (Object& object : kept->second)
    if (object.version == version) return object.deleted ? nullptr : &object;
  return nullptr;
}

// Those of a whole object go with its copy.
ObjectTags MemoryStore::tags_to_copy(const State& state, const Body& body) {
  const ObjectRange* source = copied_object(body);
  if (source == nullptr) return {};
  const auto it = state.objects.find(source->key);
  return it == state.objects.end() ? ObjectTags() : it->second.tags;
}

void MemoryStore::head_version(std::string key, std::string version, Context context,
                               Callback<ObjectHead> done) {
  std::string what = "memory: head '" + key + "'";
  run_task<ObjectHead>(executor_, clock_, std::move(context), what, std::move(done),
                       [state = state_, key = std::move(key), version = std::move(version),
                        what](const Context&) -> Result<ObjectHead> {
                         TRY(check_any_key(key));
                         const std::lock_guard lock(state->mutex);
                         const Object* object = find(*state, key, version);
                         if (object == nullptr)
                           return fail(Errc::kNotFound, what + ": no such object");
                         ObjectHead head{info_of(key, *object), object->headers};
                         head.storage_class = object->storage_class;
                         if (state->keeps_versions) head.version_id = object->version;
                         head.tag_count = static_cast<uint32_t>(object->tags.size());
                         return head;
                       });
}

void MemoryStore::get_tags(std::string key, std::string version, Context context,
                           Callback<ObjectTags> done) {
  std::string what = "memory: get the tags of '" + key + "'";
  run_task<ObjectTags>(executor_, clock_, std::move(context), what, std::move(done),
                       [state = state_, key = std::move(key), version = std::move(version),
                        what](const Context&) -> Result<ObjectTags> {
                         if (key.empty()) {
                           const std::lock_guard lock(state->mutex);
                           return state->bucket_tags;
                         }
                         TRY(check_any_key(key));
                         const std::lock_guard lock(state->mutex);
                         const Object* object = find(*state, key, version);
                         if (object == nullptr)
                           return fail(Errc::kNotFound, what + ": no such object");
                         return object->tags;
                       });
}

void MemoryStore::put_tags(std::string key, std::string version, ObjectTags tags, Context context,
                           Callback<void> done) {
  std::string what = "memory: put the tags of '" + key + "'";
  run_task<void>(executor_, clock_, std::move(context), what, std::move(done),
                 [state = state_, key = std::move(key), version = std::move(version),
                  tags = std::move(tags), what](const Context&) -> Status {
                   TRY(check_any_key(key));
                   TRY(check_tags(tags));
                   const std::lock_guard lock(state->mutex);
                   Object* object = find(*state, key, version);
                   if (object == nullptr) return fail(Errc::kNotFound, what + ": no such object");
                   object->tags = tags;
                   const auto kept = state->versions.find(key);
                   if (kept == state->versions.end()) return {};
                   for (Object& each : kept->second)
                     if (each.version == object->version) each.tags = tags;
                   return {};
                 });
}

// `after` is the last entry of the page before: 'p' and a prefix, or 'k', a key, a NUL byte and a
// version.
VersionPage MemoryStore::list_kept(const State& state, const ListScope& scope,
                                   const std::string& after, uint32_t limit) {
  Versions current;
  if (!state.keeps_versions)
    for (const auto& [key, object] : state.objects) current[key] = {object};
  const Versions& all = state.keeps_versions ? state.versions : current;
  VersionPage page;
  auto it = all.lower_bound(scope.prefix);
  std::string behind;  // of the first key: the version that was last
  if (after.starts_with('p')) {
    std::string end = after.substr(1);
    end.back() = '/' + 1;
    it = all.lower_bound(end);
  } else if (after.starts_with('k')) {
    const size_t nul = after.find('\0');
    it = all.lower_bound(after.substr(1, nul - 1));
    behind = after.substr(nul + 1);
  }
  while (it != all.end() && it->first.starts_with(scope.prefix)) {
    const std::string& key = it->first;
    const size_t slash = scope.one_level ? key.find('/', scope.prefix.size()) : std::string::npos;
    if (slash != std::string::npos) {
      if (page.versions.size() + page.prefixes.size() == limit) {
        page.truncated = true;
        return page;
      }
      page.prefixes.push_back(key.substr(0, slash + 1));
      page.next = "p" + page.prefixes.back();
      std::string end = page.prefixes.back();
      end.back() = '/' + 1;
      it = all.lower_bound(end);
      continue;
    }
    for (size_t i = 0; i < it->second.size(); ++i) {
      const Object& object = it->second[i];
      if (!behind.empty()) {
        if (object.version == behind) behind.clear();
        continue;
      }
      if (page.versions.size() + page.prefixes.size() == limit) {
        page.truncated = true;
        return page;
      }
      page.versions.push_back({info_of(key, object), object.version, i == 0, object.deleted});
      page.next = "k" + key + '\0' + object.version;
    }
    ++it;
  }
  page.next.clear();
  return page;
}

void MemoryStore::list_versions(ListScope scope, std::string after, uint32_t limit, Context context,
                                Callback<VersionPage> done) {
  std::string what = "memory: list versions of '" + scope.prefix + "'";
  run_task<VersionPage>(executor_, clock_, std::move(context), std::move(what), std::move(done),
                        [state = state_, scope = std::move(scope), after = std::move(after),
                         limit](const Context&) -> Result<VersionPage> {
                          TRY(check_list_limit(limit));
                          const std::lock_guard lock(state->mutex);
                          return list_kept(*state, scope, after, limit);
                        });
}

void MemoryStore::keeps_versions(Context context, Callback<bool> done) {
  run_task<bool>(executor_, clock_, std::move(context), "memory: versioning", std::move(done),
                 [state = state_](const Context&) -> Result<bool> {
                   const std::lock_guard lock(state->mutex);
                   return state->keeps_versions;
                 });
}

}  // namespace cairn
