// ObjectStore: the port to a bucket-like store. Owned by the engine, implemented in s3/.
//
// What every implementation must give (tests/support/object_store_suite.h checks it):
// - read after write: an object is whole and visible once its put completed;
// - put is atomic: a reader sees the old object, the new one, or none, never a part;
// - kIfAbsent is decided by the store: of many concurrent puts of one key exactly one succeeds,
//   the others get kPrecondition. It is the only ordering the engine relies on;
// - list sees every completed put, in byte order of the keys.
//
// Threads: every method may be called from any thread and returns at once. `done` runs exactly
// once, as a task of the executor the implementation was given, never on the caller's stack.
// Deadlines and cancellation: when the context's deadline passes or its token is cancelled, `done`
// gets kTimeout or kCancelled soon; a write may have happened all the same.
// Errors: kNotFound, kPrecondition, kPermission, kInvalid, kUnsupported, kNoSpace, kTransient (try
// again), kTimeout, kCancelled, kIo. The message names the store, the operation and the key.
// After kTransient, kTimeout, kCancelled and kIo nothing is known of a write's outcome, unless the
// error says no_effect(); after the others it did not happen. An object that is named by its
// content is put with kAlways: repeating that is harmless. A create that decides something is put
// with kIfAbsent and never repeated blindly: its own success would answer kPrecondition.
// Keys that put and remove take: 1 to 1,024 bytes, no leading '/', no empty, "." or ".." component,
// no NUL byte. One that ends with '/' is a directory's own object, which has no bytes. A bucket may
// hold others, put there by other tools: get takes what list shows. Lifetime: a store may be
// destroyed while requests are under way; they complete all the same. Its executor, clock and
// environment must outlive them.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cache/base/bytes.h"
#include "cache/base/clock.h"
#include "cache/base/env.h"
#include "cache/base/pending.h"
#include "cache/base/result.h"

namespace cairn {

// Bytes of one version of an object of the same store.
struct ObjectRange {
  std::string key;
  std::string etag;  // the version; another one makes the put fail with kPrecondition
  uint64_t object_size = 0;
  ByteRange range;  // inside the object
};

// The bytes of a put: memory, ranges of files and of objects, in order, so that a pack goes from
// the cache to the store without being copied into memory, and what the store has already does not
// travel at all. Cheap to copy, immutable, may be read many times (retries) and by several threads.
// The files must not change while a Body refers to them.
// Each of its sections has at least kCopyBytesMin bytes, unless it is the last: stores join no
// smaller ones to ranges of objects. A range that is not its whole object is of one with more than
// kCopyBytesMin bytes.
class Body {
 public:
  static constexpr uint64_t kCopyBytesMin = 5ULL << 20;
  static constexpr uint64_t kBytesMax = 5ULL << 40;
  static constexpr size_t kSectionsMax = 5000;  // of a body with ranges of objects

  Body() = default;
  explicit Body(Buffer bytes) { add(std::move(bytes)); }
  void add(Buffer bytes);
  void add(std::shared_ptr<File> file, ByteRange range);
  void add(ObjectRange source);
  uint64_t size() const { return size_; }
  bool has_object_ranges() const { return objects_bytes_ > 0; }
  // What is not in the store yet: all but the ranges of objects.
  uint64_t own_bytes() const { return size_ - objects_bytes_; }
  // The whole of it in order: ranges of objects, and what lies between them as one each. The
  // pointers live as long as this body.
  struct Section {
    ByteRange at;                         // in the body
    const ObjectRange* object = nullptr;  // null: bytes that read_at reads
  };
  std::vector<Section> sections() const;
  // Fills `out` from `offset`; returns how much was read, less than out.size() only at the end.
  // Not of ranges of objects (kInvalid). A file that is shorter than its range is kCorruption.
  Result<size_t> read_at(uint64_t offset, MutableBytes out) const;
  // The same body, with other keys for its ranges of objects.
  Body with_keys(const std::function<std::string(const std::string&)>& key_of) const;
  // A part of this body that shares its memory and files. Requires range.end() <= size().
  Body slice(ByteRange range) const;
  // The whole body in memory.
  Result<Buffer> to_buffer() const;
  // The same body without files: what they hold is in memory.
  Result<Body> in_memory() const;

 private:
  struct Piece {
    uint64_t start;  // offset in the body
    Buffer bytes;
    std::shared_ptr<File> file;  // when set, `range` of it instead of `bytes`
    ByteRange range;
    std::shared_ptr<const ObjectRange> object;  // when set, that instead
    uint64_t length() const {
      if (object) return object->range.length;
      return file ? range.length : bytes.size();
    }
  };
  std::vector<Piece> pieces_;
  uint64_t size_ = 0;
  uint64_t objects_bytes_ = 0;
};

// kIfMatch: only over the version that an etag names.
enum class PutCondition : uint8_t { kAlways, kIfAbsent, kIfMatch };

// What an object carries beside its bytes. Names of metadata are in lower case, without the
// "x-amz-meta-" that they travel with; the order means nothing. A head gives back what was put,
// without blanks at the ends of a value.
struct ObjectHeaders {
  std::string content_type;  // empty: application/octet-stream
  std::vector<std::pair<std::string, std::string>> metadata;
  // Headers of HTTP that a store keeps and answers with: of kKeptHeaders, as they are there.
  std::vector<std::pair<std::string, std::string>> kept = {};
};
inline constexpr std::array<std::string_view, 6> kKeptHeaders{
    "cache-control",    "content-disposition",
    "content-encoding", "content-language",
    "expires",          "x-amz-website-redirect-location"};
bool is_kept_header(std::string_view name);

// What an object is labelled with: names once each, in an order that means nothing. Unlike headers
// they can be changed without a new version of the object, by anybody, at any time.
using ObjectTags = std::vector<std::pair<std::string, std::string>>;

struct PutHow {
  PutCondition condition = PutCondition::kAlways;
  std::string if_match;   // the etag of kIfMatch
  ObjectHeaders headers;  // all of them: a put keeps nothing of what the object had
  // Not said: the body is a whole object and its tags go with it, or there are none.
  std::optional<ObjectTags> tags;
  std::string storage_class;  // empty: what the store usually takes
  PutHow() = default;
  PutHow(PutCondition how) : condition(how) {}  // NOLINT(google-explicit-constructor)
  static PutHow over(std::string etag) {
    PutHow how(PutCondition::kIfMatch);
    how.if_match = std::move(etag);
    return how;
  }
};

struct ObjectInfo {
  std::string key;
  uint64_t size = 0;
  std::string etag;  // opaque
  int64_t mtime_ns = 0;
};

// Stores write an etag with and without its quotes.
std::string_view bare_etag(std::string_view etag);

// What a head tells of an object.
struct ObjectHead {
  ObjectInfo info;
  ObjectHeaders headers;
  std::string storage_class = {};          // empty: the store's standard
  std::string version_id = {};             // empty: the store keeps one version only
  std::optional<uint32_t> tag_count = {};  // not said: the store did not tell
};

// One version of a key as a list of versions has it.
struct ObjectVersion {
  ObjectInfo info;         // of a delete marker without size and etag
  std::string version_id;  // "null": from before the store kept versions
  bool latest = false;
  bool deleted = false;  // a delete marker: from then on there was no object
};

struct VersionPage {
  std::vector<ObjectVersion> versions;  // keys in byte order, of each the newest version first
  std::vector<std::string> prefixes;    // of one level: what other keys begin with
  bool truncated = false;               // more follow, behind `next`
  std::string next;                     // opaque
};

// What a get asks for. kSuffix: the last `length` bytes (or all, when the object is smaller).
// With `if_match`, an etag, other versions of the object are kPrecondition. With `version` it is of
// that one instead of the newest.
struct GetRange {
  enum class Kind : uint8_t { kAll, kFrom, kSuffix };
  Kind kind = Kind::kAll;
  uint64_t offset = 0;
  uint64_t length = 0;
  std::string if_match = {};
  std::string version = {};
  static GetRange all() { return {}; }
  static GetRange from(uint64_t offset, uint64_t length) {
    return {Kind::kFrom, offset, length, {}, {}};
  }
  static GetRange suffix(uint64_t length) { return {Kind::kSuffix, 0, length, {}, {}}; }
};

struct GetResult {
  Buffer bytes;              // exactly what was asked for, clipped at the object's end
  uint64_t object_size = 0;  // of the whole object
  std::string etag;
};

// What a list looks at: all keys with the prefix, or one level of them: keys without a '/' behind
// the prefix, and of the others what they begin with, up to and including that '/'.
struct ListScope {
  std::string prefix;
  bool one_level = false;
  ListScope(std::string keys_with) : prefix(std::move(keys_with)) {}
  ListScope(const char* keys_with) : prefix(keys_with) {}
  static ListScope level(std::string prefix) {
    ListScope scope(std::move(prefix));
    scope.one_level = true;
    return scope;
  }
};

struct ListPage {
  std::vector<ObjectInfo> objects;
  bool truncated = false;  // more follow: list again after the last key, of a level after `next`
  std::vector<std::string> prefixes;  // of one level: what other keys begin with
  std::string next;                   // of one level: where it goes on; opaque
};

// What a list of one level takes for `after`, too: behind a key, or behind all that begins with a
// prefix, which ends with '/'. Not of a store as of a time (s3/versions_at_store.h).
std::string level_behind_key(std::string_view key);
std::string level_behind_prefix(std::string_view prefix);
// The key that one of these is behind; empty: it is another one.
std::string_view key_of_level(std::string_view after);
// Sorts behind every key that begins with a prefix which it is appended to: the last character
// there is, in UTF-8, which keys are.
inline constexpr std::string_view kLastCharacter = "\xf4\x8f\xbf\xbf";

// kInvalid when `key` breaks the rule for put and remove; the message says how.
Status check_key(std::string_view key);
// kInvalid when no bucket can hold `key`: it is empty, over 1,024 bytes or has a NUL byte.
Status check_any_key(std::string_view key);

inline constexpr std::string_view kDefaultContentType = "application/octet-stream";
// kInvalid when no store can keep them: names that are no lower-case HTTP tokens or come twice,
// values with control characters or that are not UTF-8, kept headers of other names, or more than
// 8 KiB in all.
Status check_headers(const ObjectHeaders& headers);
// kInvalid when S3 would not take them: more than 10, one that comes twice, a name that is empty,
// begins with "aws:" or has more than 128 characters, a value of more than 256, ASCII other than
// letters, digits, blanks and + - = . _ : / @, or what is not UTF-8.
inline constexpr size_t kTagsMax = 10;
Status check_tags(const ObjectTags& tags);
// kInvalid when a put of `body` breaks a rule of Body, of its headers or of its condition.
Status check_put(const Body& body, const PutHow& how);

// After a failed write: may it have happened?
bool outcome_unknown(const Error& error);

class ObjectStore {
 public:
  virtual ~ObjectStore() = default;
  // A range that starts at or behind the object's end gives no bytes and the size.
  virtual void get(std::string key, GetRange range, Context context, Callback<GetResult> done) = 0;
  virtual void head(std::string key, Context context, Callback<ObjectHead> done) = 0;
  // Completes with the new object's etag. kPrecondition: the condition did not hold (also where
  // there is no object to match), or a range's object is another version.
  virtual void put(std::string key, Body body, PutHow how, Context context,
                   Callback<std::string> done) = 0;
  // Removing what is not there succeeds.
  virtual void remove(std::string key, Context context, Callback<void> done) = 0;
  // Keys in the scope that sort after `after` (empty: from the start), at most `limit` (1..1000),
  // prefixes counted.
  virtual void list(ListScope scope, std::string after, uint32_t limit, Context context,
                    Callback<ListPage> done) = 0;
  // Of the newest version where `version` is empty; kNotFound when there is no such version, or it
  // is a delete marker.
  virtual void head_version(std::string key, std::string version, Context context,
                            Callback<ObjectHead> done) = 0;
  // Without a key: those of the bucket itself; kUnsupported where a bucket has none.
  virtual void get_tags(std::string key, std::string version, Context context,
                        Callback<ObjectTags> done) = 0;
  // All of them: what is not named is gone. Repeating it is harmless.
  virtual void put_tags(std::string key, std::string version, ObjectTags tags, Context context,
                        Callback<void> done) = 0;
  // Versions behind `after` (empty: from the start, else the `next` of the page before), at most
  // `limit` (1..1000), prefixes counted. A store that keeps one version of a key lists those.
  virtual void list_versions(ListScope scope, std::string after, uint32_t limit, Context context,
                             Callback<VersionPage> done) = 0;
  // Does it keep what is overwritten and removed (or did it: versioning may be suspended)?
  virtual void keeps_versions(Context context, Callback<bool> done) = 0;
  // For messages: "s3://bucket/prefix", "file:///dir".
  virtual std::string description() const = 0;
};

// Calls that wait for the answer. Never from a task of the store's executor.
Result<GetResult> get_sync(ObjectStore& store, std::string key, GetRange range, Context context);
Result<ObjectHead> head_sync(ObjectStore& store, std::string key, Context context);
Result<std::string> put_sync(ObjectStore& store, std::string key, Body body, PutHow how,
                             Context context);
Status remove_sync(ObjectStore& store, std::string key, Context context);
Result<ListPage> list_sync(ObjectStore& store, ListScope scope, std::string after, uint32_t limit,
                           Context context);
Result<ObjectHead> head_version_sync(ObjectStore& store, std::string key, std::string version,
                                     Context context);
Result<ObjectTags> get_tags_sync(ObjectStore& store, std::string key, std::string version,
                                 Context context);
Status put_tags_sync(ObjectStore& store, std::string key, std::string version, ObjectTags tags,
                     Context context);
Result<VersionPage> list_versions_sync(ObjectStore& store, ListScope scope, std::string after,
                                       uint32_t limit, Context context);
Result<bool> keeps_versions_sync(ObjectStore& store, Context context);

}  // namespace cairn
