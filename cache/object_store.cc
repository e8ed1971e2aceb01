#include "cache/object_store.h"

#include <algorithm>
#include <set>

#include "cache/await.h"
#include "cache/base/coding.h"

namespace cairn {

void Body::add(Buffer bytes) {
  if (bytes.empty()) return;
  const uint64_t length = bytes.size();
  pieces_.push_back(Piece{size_, std::move(bytes), nullptr, {}, nullptr});
  size_ += length;
}

void Body::add(std::shared_ptr<File> file, ByteRange range) {
  if (range.length == 0) return;
  pieces_.push_back(Piece{size_, {}, std::move(file), range, nullptr});
  size_ += range.length;
}

void Body::add(ObjectRange source) {
  const uint64_t length = source.range.length;
  if (length == 0) return;
  pieces_.push_back(
      Piece{size_, {}, nullptr, {}, std::make_shared<const ObjectRange>(std::move(source))});
  size_ += length;
  objects_bytes_ += length;
}

std::vector<Body::Section> Body::sections() const {
  std::vector<Section> out;
  for (const Piece& piece : pieces_) {
    if (!piece.object && !out.empty() && out.back().object == nullptr) {
      out.back().at.length += piece.length();
    } else {
      out.push_back({{piece.start, piece.length()}, piece.object.get()});
    }
  }
  return out;
}

Result<size_t> Body::read_at(uint64_t offset, MutableBytes out) const {
  size_t done = 0;
  auto it = std::upper_bound(pieces_.begin(), pieces_.end(), offset,
                             [](uint64_t at, const Piece& piece) { return at < piece.start; });
  if (it != pieces_.begin()) --it;
  for (; it != pieces_.end() && done < out.size(); ++it) {
    const uint64_t inside = offset + done - it->start;
    if (inside >= it->length()) continue;
    const auto part =
        static_cast<size_t>(std::min<uint64_t>(it->length() - inside, out.size() - done));
    const MutableBytes target = out.subspan(done, part);
    if (it->object) return fail(Errc::kInvalid, "a range of an object cannot be read here");
    if (it->file) {
      TRY_ASSIGN(const size_t n, it->file->read_at(it->range.offset + inside, target));
      if (n != part) return fail(Errc::kCorruption, "a cached file is shorter than its range");
    } else {
      std::memcpy(target.data(), it->bytes.data() + inside, part);
    }
    done += part;
  }
  return done;
}

Body Body::slice(ByteRange range) const {
  Body part;
  for (const Piece& piece : pieces_) {
    const uint64_t from = std::max(range.offset, piece.start);
    const uint64_t to = std::min(range.end(), piece.start + piece.length());
    if (from >= to) continue;
    const uint64_t inside = from - piece.start;
    if (piece.object) {
      ObjectRange source = *piece.object;
      source.range = {source.range.offset + inside, to - from};
      part.add(std::move(source));
    } else if (piece.file) {
      part.add(piece.file, {piece.range.offset + inside, to - from});
    } else {
      part.add(piece.bytes.slice(static_cast<size_t>(inside), static_cast<size_t>(to - from)));
    }
  }
  return part;
}

Body Body::with_keys(const std::function<std::string(const std::string&)>& key_of) const {
  Body out = *this;
  for (Piece& piece : out.pieces_) {
    if (!piece.object) continue;
    ObjectRange source = *piece.object;
    source.key = key_of(source.key);
    piece.object = std::make_shared<const ObjectRange>(std::move(source));
  }
  return out;
}

Result<Buffer> Body::to_buffer() const {
  if (has_object_ranges()) return fail(Errc::kInvalid, "a range of an object cannot be read here");
  if (pieces_.size() == 1 && !pieces_.front().file) return pieces_.front().bytes;
  ByteVec out(size_);
  TRY(read_at(0, out));
  return Buffer(std::move(out));
}

Result<Body> Body::in_memory() const {
  Body out;
  for (const Section& section : sections()) {
    if (section.object != nullptr) {
      out.add(*section.object);
      continue;
    }
    TRY_ASSIGN(Buffer bytes, slice(section.at).to_buffer());
    out.add(std::move(bytes));
  }
  return out;
}

namespace {
tl::unexpected<Error> refuse_key(std::string_view key, const char* why) {
  return fail(Errc::kInvalid, "key '" + std::string(key.substr(0, 80)) + "': " + why);
}
}  // namespace

std::string_view bare_etag(std::string_view etag) {
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"')
    etag = etag.substr(1, etag.size() - 2);
  return etag;
}

Status check_any_key(std::string_view key) {
  constexpr size_t kKeySizeMax = 1024;
  if (key.empty()) return refuse_key(key, "it is empty");
  if (key.size() > kKeySizeMax) return refuse_key(key, "it is longer than 1024 bytes");
  if (key.find('\0') != std::string_view::npos) return refuse_key(key, "it has a NUL byte");
  return {};
}

Status check_key(std::string_view key) {
  TRY(check_any_key(key));
  const auto refuse = [whole = key](const char* why) { return refuse_key(whole, why); };
  while (true) {
    const size_t slash = key.find('/');
    const std::string_view part = key.substr(0, slash);
    if (part.empty()) return refuse("it has an empty component");
    if (part == "." || part == "..") return refuse("it has a component '.' or '..'");
    if (slash == std::string_view::npos) return {};
    key.remove_prefix(slash + 1);
    if (key.empty()) return {};  // a directory's own object
  }
}

namespace {

constexpr size_t kHeadersBytesMax = 8192;
constexpr size_t kContentTypeMax = 255;

bool is_token(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           kMarks.find(c) != std::string_view::npos;
  });
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f;
  });
}

}  // namespace

bool is_kept_header(std::string_view name) {
  return std::find(kKeptHeaders.begin(), kKeptHeaders.end(), name) != kKeptHeaders.end();
}

Status check_headers(const ObjectHeaders& headers) {
  const auto refuse = [](std::string_view name, const char* why) {
    return fail(Errc::kInvalid, "metadata '" + std::string(name.substr(0, 80)) + "': " + why);
  };
  const std::string& type = headers.content_type;
  const bool plain =
      std::all_of(type.begin(), type.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
  if (!plain || type.size() > kContentTypeMax || type.starts_with(' ') || type.ends_with(' '))
    return refuse("content-type", "it is no content type");
  size_t bytes = 0;
  std::set<std::string_view> names;
  for (const auto& [name, value] : headers.metadata) {
    if (!is_token(name)) return refuse(name, "the name is no lower-case HTTP token");
    if (!names.insert(name).second) return refuse(name, "it comes twice");
    if (has_control(value)) return refuse(name, "the value has a control character in it");
    if (!is_utf8(value)) return refuse(name, "the value is not UTF-8");
    bytes += name.size() + value.size();
  }
  names.clear();
  for (const auto& [name, value] : headers.kept) {
    if (!is_kept_header(name)) return refuse(name, "it is no header that stores keep");
    if (!names.insert(name).second) return refuse(name, "it comes twice");
    const bool trims = value.starts_with(' ') || value.ends_with(' ');
    if (value.empty() || trims || has_control(value))
      return refuse(name, "the value is none of a header");
    bytes += name.size() + value.size();
  }
  if (bytes > kHeadersBytesMax) return refuse("", "there is more than 8 KiB of it");
  return {};
}

namespace {

size_t characters(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

bool is_tag_text(std::string_view text) {
  constexpr std::string_view kMarks = " +-=._:/@";
  return is_utf8(text) && std::all_of(text.begin(), text.end(), [&](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  static_cast<unsigned char>(c) >= 0x80 || kMarks.find(c) != std::string_view::npos;
         });
}

}  // namespace

Status check_tags(const ObjectTags& tags) {
  constexpr size_t kNameMax = 128;
  constexpr size_t kValueMax = 256;
  const auto refuse = [](std::string_view name, const char* why) {
    return fail(Errc::kInvalid, "tag '" + std::string(name.substr(0, 80)) + "': " + why);
  };
  if (tags.size() > kTagsMax) return refuse("", "an object has at most 10");
  std::set<std::string_view> names;
  for (const auto& [name, value] : tags) {
    if (name.empty()) return refuse(name, "it has no name");
    if (!is_tag_text(name) || !is_tag_text(value))
      return refuse(name, "tags have letters, digits, blanks and + - = . _ : / @");
    if (name.starts_with("aws:")) return refuse(name, "names with aws: belong to the store");
    if (characters(name) > kNameMax) return refuse(name, "the name has more than 128 characters");
    if (characters(value) > kValueMax)
      return refuse(name, "the value has more than 256 characters");
    if (!names.insert(name).second) return refuse(name, "it comes twice");
  }
  return {};
}

Status check_put(const Body& body, const PutHow& how) {
  TRY(check_headers(how.headers));
  if (how.tags) TRY(check_tags(*how.tags));
  constexpr size_t kClassMax = 64;
  if (how.storage_class.size() > kClassMax ||
      !std::all_of(how.storage_class.begin(), how.storage_class.end(), [](char c) {
        return c == '_' || c == '-' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
               (c >= 'a' && c <= 'z');
      }))
    return fail(Errc::kInvalid, "a put names no storage class");
  if (how.condition == PutCondition::kIfMatch &&
      (how.if_match.empty() || has_control(how.if_match)))
    return fail(Errc::kInvalid, "a put over a version names no version");
  const auto refuse = [](const char* why) {
    return fail(Errc::kInvalid, std::string("the body of a put: ") + why);
  };
  if (body.size() > Body::kBytesMax) return refuse("it has more than 5 TiB");
  if (!body.has_object_ranges()) return {};
  const auto sections = body.sections();
  if (sections.size() > Body::kSectionsMax) return refuse("it has more than 5,000 sections");
  for (const Body::Section& section : sections) {
    if (&section != &sections.back() && section.at.length < Body::kCopyBytesMin)
      return refuse("a section before the last is smaller than 5 MiB");
    if (section.object == nullptr) continue;
    const ObjectRange& source = *section.object;
    TRY(check_any_key(source.key));
    if (source.etag.empty() || has_control(source.etag))
      return refuse("a range of an object without a version");
    if (source.range.offset > source.object_size ||
        source.range.length > source.object_size - source.range.offset)
      return refuse("a range is outside its object");
    if (source.range.length < source.object_size && source.object_size <= Body::kCopyBytesMin)
      return refuse("a part of an object of at most 5 MiB");
  }
  return {};
}

namespace {
constexpr char kBehindKey = 'k';  // what stores have of their own begins otherwise
}  // namespace

std::string level_behind_key(std::string_view key) {
  return kBehindKey + std::string(key);
}

std::string level_behind_prefix(std::string_view prefix) {
  return level_behind_key(prefix).append(kLastCharacter);
}

std::string_view key_of_level(std::string_view after) {
  return after.starts_with(kBehindKey) ? after.substr(1) : std::string_view();
}

bool outcome_unknown(const Error& error) {
  if (error.no_effect()) return false;
  switch (error.code()) {
    case Errc::kTransient:
    case Errc::kTimeout:
    case Errc::kCancelled:
    case Errc::kIo:
      return true;
    default:
      return false;
  }
}

Result<GetResult> get_sync(ObjectStore& store, std::string key, GetRange range, Context context) {
  return await<GetResult>([&](Callback<GetResult> done) {
    store.get(std::move(key), range, std::move(context), std::move(done));
  });
}

Result<ObjectHead> head_sync(ObjectStore& store, std::string key, Context context) {
  return await<ObjectHead>([&](Callback<ObjectHead> done) {
    store.head(std::move(key), std::move(context), std::move(done));
  });
}

Result<std::string> put_sync(ObjectStore& store, std::string key, Body body, PutHow how,
                             Context context) {
  return await<std::string>([&](Callback<std::string> done) {
    store.put(std::move(key), std::move(body), std::move(how), std::move(context), std::move(done));
  });
}

Status remove_sync(ObjectStore& store, std::string key, Context context) {
  return await<void>([&](Callback<void> done) {
    store.remove(std::move(key), std::move(context), std::move(done));
  });
}

Result<ListPage> list_sync(ObjectStore& store, ListScope scope, std::string after, uint32_t limit,
                           Context context) {
  return await<ListPage>([&](Callback<ListPage> done) {
    store.list(std::move(scope), std::move(after), limit, std::move(context), std::move(done));
  });
}

Result<ObjectHead> head_version_sync(ObjectStore& store, std::string key, std::string version,
                                     Context context) {
  return await<ObjectHead>([&](Callback<ObjectHead> done) {
    store.head_version(std::move(key), std::move(version), std::move(context), std::move(done));
  });
}

Result<ObjectTags> get_tags_sync(ObjectStore& store, std::string key, std::string version,
                                 Context context) {
  return await<ObjectTags>([&](Callback<ObjectTags> done) {
    store.get_tags(std::move(key), std::move(version), std::move(context), std::move(done));
  });
}

Status put_tags_sync(ObjectStore& store, std::string key, std::string version, ObjectTags tags,
                     Context context) {
  return await<void>([&](Callback<void> done) {
    store.put_tags(std::move(key), std::move(version), std::move(tags), std::move(context),
                   std::move(done));
  });
}

Result<VersionPage> list_versions_sync(ObjectStore& store, ListScope scope, std::string after,
                                       uint32_t limit, Context context) {
  return await<VersionPage>([&](Callback<VersionPage> done) {
    store.list_versions(std::move(scope), std::move(after), limit, std::move(context),
                        std::move(done));
  });
}

Result<bool> keeps_versions_sync(ObjectStore& store, Context context) {
  return await<bool>(
      [&](Callback<bool> done) { store.keeps_versions(std::move(context), std::move(done)); });
}

}  // namespace cairn
