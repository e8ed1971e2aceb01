#include "cache/format/superblock.h"

#include <algorithm>
#include <utility>

namespace cairn {
namespace {

// Features that exist today: none. A name goes here together with the code that honours it.
bool known_feature(std::string_view) {
  return false;
}

constexpr size_t kMaxPolicyName = 64;

Result<std::string> short_text(CborReader& in) {
  TRY_ASSIGN(const std::string_view text, in.text());
  if (text.empty() || text.size() > kMaxPolicyName) return in.bad("a name too long or empty");
  return std::string(text);
}

Result<uint64_t> number(CborReader& in, uint64_t min, uint64_t max) {
  TRY_ASSIGN(const uint64_t value, in.uint_at_most(max));
  if (value < min) return in.bad("integer out of range");
  return value;
}

// Reads the value of a known key into its place; false when the key is not known.
Result<bool> read_field(CborReader& in, std::string_view key, Superblock& out) {
  if (key == "format") {
    TRY_ASSIGN(out.format, in.uint());
    if (out.format != Superblock::kFormat)
      return fail(Errc::kUnsupported, "superblock: format " + std::to_string(out.format) +
                                          " is not known here: use a newer cairn");
  } else if (key == "compat") {
    TRY_ASSIGN(out.features.compat, read_feature_set(in));
  } else if (key == "ro_compat") {
    TRY_ASSIGN(out.features.ro_compat, read_feature_set(in));
  } else if (key == "incompat") {
    TRY_ASSIGN(out.features.incompat, read_feature_set(in));
  } else if (key == "uuid") {
    TRY_ASSIGN(const Bytes uuid, in.bytes());
    if (uuid.size() != out.uuid.size()) return in.bad("a uuid of another length");
    std::copy(uuid.begin(), uuid.end(), out.uuid.begin());
  } else if (key == "chunk_size") {
    TRY_ASSIGN(out.chunk_size, number(in, Superblock::kMinChunkSize, Superblock::kMaxChunkSize));
    if (out.chunk_size % Superblock::kMinChunkSize != 0) return in.bad("an odd chunk size");
  } else if (key == "links_per_node") {
    TRY_ASSIGN(out.links_per_node, number(in, Superblock::kMinLinks, Superblock::kMaxLinks));
  } else if (key == "fanout_bits") {
    TRY_ASSIGN(out.fanout_bits, number(in, Superblock::kMinFanoutBits, Superblock::kMaxFanoutBits));
  } else if (key == "profile") {
    TRY_ASSIGN(out.profile, short_text(in));
  } else if (key == "quota_bytes") {
    TRY_ASSIGN(out.quota_bytes, in.uint());
  } else if (key == "name_policy") {
    TRY_ASSIGN(out.name_policy, short_text(in));
  } else {
    return false;
  }
  return true;
}

constexpr size_t kKnownFields = 11;

}  // namespace

Result<Access> check_features(const Features& features) {
  for (const std::string& name : features.incompat) {
    if (!known_feature(name))
      return fail(Errc::kUnsupported, "the volume needs the feature \"" + name +
                                          "\", which this cairn does not have: use a newer one");
  }
  const bool writable = std::all_of(features.ro_compat.begin(), features.ro_compat.end(),
                                    [](const std::string& name) { return known_feature(name); });
  return writable ? Access::kReadWrite : Access::kReadOnly;
}

void write_feature_set(CborWriter& out, const std::vector<std::string>& names) {
  std::vector<std::string> sorted = names;
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  out.array(sorted.size());
  for (const std::string& name : sorted) out.text(name);
}

Result<std::vector<std::string>> read_feature_set(CborReader& in) {
  TRY_ASSIGN(const uint64_t count, in.array());
  if (count > Features::kMaxFeatures) return in.bad("too many features");
  std::vector<std::string> names;
  for (uint64_t i = 0; i < count; ++i) {
    TRY_ASSIGN(const std::string_view name, in.text());
    if (name.empty() || name.size() > Features::kMaxName) return in.bad("a feature's name");
    if (!names.empty() && names.back() >= name) return in.bad("features not in order");
    names.emplace_back(name);
  }
  return names;
}

ByteVec Superblock::encode() const {
  CborFields fields = unknown;
  const auto uint = [&](std::string_view key, uint64_t value) {
    put_cbor_field(fields, key, [&](CborWriter& w) { w.uint(value); });
  };
  const auto text = [&](std::string_view key, std::string_view value) {
    put_cbor_field(fields, key, [&](CborWriter& w) { w.text(value); });
  };
  const auto set = [&](std::string_view key, const std::vector<std::string>& names) {
    put_cbor_field(fields, key, [&](CborWriter& w) { write_feature_set(w, names); });
  };
  uint("format", format);
  set("compat", features.compat);
  set("ro_compat", features.ro_compat);
  set("incompat", features.incompat);
  put_cbor_field(fields, "uuid", [&](CborWriter& w) { w.bytes(uuid); });
  uint("chunk_size", chunk_size);
  uint("links_per_node", links_per_node);
  uint("fanout_bits", fanout_bits);
  text("profile", profile);
  uint("quota_bytes", quota_bytes);
  text("name_policy", name_policy);
  ByteVec out;
  CborWriter writer(out);
  write_cbor_map(writer, fields);
  return out;
}

Result<Superblock> Superblock::decode(Bytes bytes) {
  CborReader in(bytes);
  Superblock out;
  TRY_ASSIGN(CborMap map, in.map());
  size_t known = 0;
  while (map.left > 0) {
    TRY_ASSIGN(const std::string_view key, in.key(map));
    TRY_ASSIGN(const bool read, read_field(in, key, out));
    if (read) {
      ++known;
      continue;
    }
    TRY_ASSIGN(const Bytes value, in.raw());
    out.unknown.emplace(std::string(key), to_vec(value));
  }
  TRY(in.finish());
  if (known != kKnownFields) return in.bad("a superblock without all of its fields");
  return out;
}

}  // namespace cairn
