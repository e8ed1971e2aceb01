// ObjectAttrs: a file's attributes in the metadata of its object, as other tools keep them there.
//
// Names and forms: `mode` (st_mode, decimal), `uid`, `gid`, `mtime` (seconds since 1970, decimal,
// with a fraction) as s3fs and rclone read and write them. `cairn-writer` names the cache, the
// inode and the record that an object was written from, so that whoever did not hear the answer of
// a put can tell its own object from another's.
// What is there may be hostile: what cannot be parsed counts as absent.
// Pure functions, safe from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cache/base/random.h"
#include "cache/format/records.h"
#include "cache/journal.h"
#include "cache/object_store.h"

namespace cairn {

struct ObjectAttrs {
  std::optional<uint32_t> mode;  // with its type when it says one
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::optional<int64_t> mtime_ns;
  bool operator==(const ObjectAttrs&) const = default;
};
ObjectAttrs attrs_of(const ObjectHeaders& headers);
// Sets the attributes of the record; what else the headers hold stays.
void set_attrs(ObjectHeaders& headers, const InodeRecord& record);
// The same of those that are others than was shown: the object may have ones that nobody looked at.
void set_changed_attrs(ObjectHeaders& headers, const InodeRecord& record, const InodeRecord& shown);
// Stores take 2 KiB of metadata. Takes away of our own what is too much, the least needed first.
void fit_metadata(ObjectHeaders& headers);

struct ObjectWriter {
  Uuid cache{};
  uint64_t ino = 0;
  Lsn lsn = 0;
};
std::optional<ObjectWriter> writer_of(const ObjectHeaders& headers);
void set_writer(ObjectHeaders& headers, const ObjectWriter& writer);

// Of the copy that a directory's move made: the etag of what it is of.
std::optional<std::string> moved_from(const ObjectHeaders& headers);
void set_moved_from(ObjectHeaders& headers, std::string_view etag);

// Metadata, content type, tags and storage class as extended attributes: `user.s3.meta.NAME`,
// `user.s3.content-type`, `user.s3.tag.NAME`, `user.s3.storage-class`.
inline constexpr std::string_view kMetaXattr = "user.s3.meta.";
inline constexpr std::string_view kTypeXattr = "user.s3.content-type";
inline constexpr std::string_view kTagXattr = "user.s3.tag.";
inline constexpr std::string_view kClassXattr = "user.s3.storage-class";
inline constexpr std::string_view kVersionXattr = "user.s3.version-id";
inline constexpr std::string_view kStandardClass = "STANDARD";
// What is said of the class of an object when it is written anew: nothing of the standard one, nor
// of those that could not be read then.
std::string class_to_keep(const std::string& storage_class);
bool is_header_xattr(std::string_view name);  // metadata or content type
// The errno that setting or removing one is refused with, 0 when it is not: EPERM for what has a
// meaning of its own here, EINVAL for what cannot be a header, ENOTSUP for all other names.
int refuse_object_xattr(std::string_view name, std::string_view value);
std::optional<std::string> object_xattr(const ObjectHeaders& headers, std::string_view name);
std::vector<std::string> object_xattrs(const ObjectHeaders& headers);  // in order
// Sets one, or takes it away. False when there would be more than kUserMetadataMax; then nothing is
// done.
bool set_object_xattr(ObjectHeaders& headers, std::string_view name,
                      const std::optional<std::string>& value);
// What a pair counts for, and how much there may be beside our own, which has room then.
uint64_t metadata_bytes(std::string_view name, std::string_view value);
inline constexpr uint64_t kUserMetadataMax = 1600;
bool is_own_metadata(std::string_view name);
// The value of a tag; null: there is none.
const std::string* find_tag(const ObjectTags& tags, std::string_view name);
// What setting an attribute, or taking it away, does to tags; nothing when it is none of a tag.
// False when there are kTagsMax others already: then it is not among them.
bool set_tag_xattr(ObjectTags& tags, std::string_view xattr,
                   const std::optional<std::string>& value);

// By the ending of a name; empty when it is none of the known ones.
std::string_view content_type_of(std::string_view name);

}  // namespace cairn
