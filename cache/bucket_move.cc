// A directory that moves: everything below it is copied to its new place, then removed at the old.
//
// In between it is at both. When all is copied the directory has moved here, too, and a row says
// that the old place is to be cleared, which survives us.
#include <algorithm>

#include "cache/base/log.h"
#include "cache/bucket_names.h"
#include "cache/bucket_publish.h"
#include "cache/object_attrs.h"

namespace cairn {

namespace {
constexpr uint32_t kPage = 1000;
constexpr size_t kCopiedMax = 100'000;
}  // namespace

Status BucketPublisher::each_page(const std::string& prefix,
                                  const std::function<Status(const ListPage&)>& visit) {
  std::string after;
  for (bool more = true; more;) {
    TRY_ASSIGN(const ListPage page, list_sync(parts_.store, prefix, after, kPage, request()));
    TRY(visit(page));
    more = page.truncated && !page.objects.empty();
    if (more) after = page.objects.back().key;
  }
  return {};
}

// Old keys that earlier publications left.
Status BucketPublisher::finish_leftovers() {
  while (true) {
    TRY_ASSIGN(const auto left, parts_.tree.leftovers());
    if (left.empty()) return {};
    for (const auto& [from, to] : left)
      if (from.ends_with('/')) TRY(remove_below(from, to));
    const Status removed = each(left.size(), [&](size_t i) -> Status {
      const auto& [key, etag] = left[i];
      if (!key.ends_with('/')) TRY(remove_if_same(key, etag));
      parts_.tree.forget_leftover(key);
      return {};
    });
    TRY(removed);
  }
}

Status BucketPublisher::move_directory() {
  for (const auto& [ino, to] : moved_) {
    TRY_ASSIGN(auto node, parts_.tree.node(ino));
    TRY_ASSIGN(const std::string from, parts_.tree.prefix_of(ino));
    TRY_ASSIGN(const Place place, place_of(ino, to.first, to.second));
    const std::string target = place.key + (place.key.ends_with('/') ? "" : "/");
    if (target.starts_with(from))
      return fail(Errc::kInvalid, "a directory cannot move below itself");
    const auto copy_page = [&](const ListPage& page) {
      return each(page.objects.size(), [&](size_t i) -> Status {
        const ObjectInfo& object = page.objects[i];
        return copy_object(object, target + object.key.substr(from.size()));
      });
    };
    TRY(each_page(from, copy_page));
    parts_.tree.note_leftover(from, target);
    node->part = place.part;
    TRY(parts_.tree.place(place.dir, place.name, ino, *std::move(node)));
    TRY(note_copied(from, target));
    TRY(parts_.tree.checkpoint());
  }
  TRY(finish_leftovers());
  return collect_directory_records();
}

// To its new key, unless it is there already. What somebody else has there stays, and ours goes
// beside it; what the new key cannot be (too long) goes to the top.
Status BucketPublisher::copy_object(const ObjectInfo& object, const std::string& to) {
  const auto head = head_sync(parts_.store, object.key, request());
  if (!head && head.error().code() == Errc::kNotFound) return {};
  TRY(head);
  const std::string from_etag(bare_etag(head->info.etag));
  std::string key = to;
  if (!parts_.tree.check_key(key)) {
    key = std::string(parts_.tree.bucket_of(to)) + "recovered-" +
          sha256(as_bytes(key)).hex().substr(0, 16);
    log_warn("'{}' cannot be '{}': it is '{}' instead", object.key, to, key);
    ++conflicts_;
  }
  std::string etag;
  for (int attempt = 0; etag.empty(); ++attempt) {
    const auto there = head_sync(parts_.store, key, request());
    const bool absent = !there && there.error().code() == Errc::kNotFound;
    if (!absent) TRY(there);
    const auto of = absent ? std::nullopt : moved_from(there->headers);
    const bool same =
        !absent && there->info.size == head->info.size && bare_etag(there->info.etag) == from_etag;
    if (same || (of && *of == from_etag)) {
      etag = there->info.etag;
    } else if (absent) {
      TRY_ASSIGN(etag, put_copy(*head, object.key, key));
    } else if (attempt == 0) {
      key = to + ".conflict-" + sha256(as_bytes(object.key + from_etag)).hex().substr(0, 12);
      log_warn("'{}' is there already: what is renamed to it is '{}'", to, key);
      ++conflicts_;
    } else {
      return fail(Errc::kPrecondition, "'" + key + "' is another object");
    }
  }
  const std::lock_guard lock(mutex_);
  // What is not noted is looked at once more before it is removed.
  if (copied_.size() >= kCopiedMax && bare_etag(etag) == from_etag) return {};
  copied_.insert_or_assign(object.key, Copied{head->info.etag, std::move(etag)});
  return {};
}

Result<std::string> BucketPublisher::put_copy(const ObjectHead& head, const std::string& from,
                                              const std::string& to) {
  Body body;
  if (head.info.size > 0)
    body.add(ObjectRange{from, head.info.etag, head.info.size, {0, head.info.size}});
  PutHow how(PutCondition::kIfAbsent);
  how.headers = head.headers;
  set_moved_from(how.headers, bare_etag(head.info.etag));
  fit_metadata(how.headers);
  how.storage_class = class_to_keep(head.storage_class);
  auto etag = put_sync(parts_.store, to, std::move(body), std::move(how), request(head.info.size));
  if (etag) parts_.host.progressed();
  return etag;
}

// A copy may have another etag than what it is of.
Status BucketPublisher::note_copied(const std::string& from, const std::string& to) {
  for (const auto& [key, copied] : copied_) {
    if (bare_etag(copied.from_etag) == bare_etag(copied.to_etag)) continue;
    TRY_ASSIGN(const auto ino, parts_.tree.ino_of(to + key.substr(from.size())));
    if (!ino) continue;
    TRY_ASSIGN(auto node, parts_.tree.node(*ino));
    if (!node || bare_etag(node->etag) != bare_etag(copied.from_etag)) continue;
    node->etag = copied.to_etag;
    TRY(parts_.tree.update(*ino, *node));
  }
  return {};
}

// What is new at the old place since it was copied follows.
Status BucketPublisher::remove_below(const std::string& from, const std::string& to) {
  const auto remove_page = [&](const ListPage& page) {
    return each(page.objects.size(), [&](size_t i) -> Status {
      const ObjectInfo& object = page.objects[i];
      bool is_copied = false;
      {
        const std::lock_guard lock(mutex_);
        const auto copied = copied_.find(object.key);
        is_copied = copied != copied_.end() &&
                    bare_etag(copied->second.from_etag) == bare_etag(object.etag);
      }
      if (!is_copied) TRY(copy_object(object, to + object.key.substr(from.size())));
      return remove_if_same(object.key, object.etag);
    });
  };
  std::set<std::string> directories{from};
  const auto visit = [&](const ListPage& page) -> Status {
    if (options_.directories_are_real)
      for (const ObjectInfo& object : page.objects)
        for (size_t at = object.key.find('/', from.size()); at != std::string::npos;
             at = object.key.find('/', at + 1))
          directories.insert(object.key.substr(0, at + 1));
    return remove_page(page);
  };
  TRY(each_page(from, visit));
  // Where a directory is more than what keys have in common: what is below comes first.
  if (!options_.directories_are_real) return {};
  for (auto dir = directories.rbegin(); dir != directories.rend(); ++dir)
    if (parts_.tree.check_key(*dir)) TRY(remove_sync(parts_.store, *dir, request()));
  return {};
}

}  // namespace cairn
