#include "tools/remote_status.h"

#include "cache/format/commit.h"
#include "cache/snapshots.h"
#include "tools/progress.h"
#include "tools/units.h"
#include "tools/volume_tree.h"

namespace cairn {

namespace {

Result<Json> volume_status(const Target& target, const std::string& volume,
                           const StoreOptions& options, Runtime& runtime) {
  TRY_ASSIGN(const OpenTree open, open_tree(target, volume, options, runtime, CancelToken()));
  VolumeTree* const tree = open.tree.get();
  const std::string path = target.key.substr(volume.size());
  Json out{{"remote", target.text()}};
  if (path.find_first_not_of('/') != std::string::npos) {
    TRY_ASSIGN(const VolumeTree::Node node, tree->find(path));
    out["kind"] = node.is_directory() ? "directory" : "file";
    out["size"] = node.record.size;
    out["mtime"] = node.record.mtime;
  } else {
    out["kind"] = "volume";
  }
  TRY_ASSIGN(const CommitRecord record, CommitRecord::decode(tree->remote().commit_record()));
  const PublishedState state = tree->remote().published();
  out["mode"] = record.writer.open ? "open" : "closed";
  out["writer"] = record.writer.host;
  out["commit"] = {{"seq", state.seq}, {"root", state.root.text()}, {"time", state.time_ns}};
  out["store"] = {{"file_bytes", state.live_bytes}, {"stored_bytes", state.stored_bytes}};
  return out;
}

Json object_status(const Target& target, const ObjectHead& head) {
  Json metadata = Json::object();
  for (const auto& [name, value] : head.headers.metadata) metadata[name] = value;
  Json out{{"remote", target.text()},
           {"kind", "object"},
           {"size", head.info.size},
           {"mtime", head.info.mtime_ns},
           {"etag", bare_etag(head.info.etag)},
           {"content_type", head.headers.content_type},
           {"metadata", metadata}};
  if (target.root.kind == RemoteUrl::Kind::kS3)
    out["storage_class"] = head.storage_class.empty() ? "STANDARD" : head.storage_class;
  if (!head.version_id.empty()) out["version_id"] = head.version_id;
  if (head.tag_count) out["tags"] = *head.tag_count;
  return out;
}

}  // namespace

Result<Json> remote_status(const Target& target, const StoreOptions& options) {
  Runtime runtime;
  TRY_ASSIGN(const OpenTarget open,
             open_target(target, options, runtime, false, false, one_request(CancelToken())));
  if (open.volume) return volume_status(target, *open.volume, options, runtime);
  ObjectStore& store = *open.stack.store;
  if (!target.key.empty() && !target.key.ends_with('/')) {
    const auto head = head_sync(store, target.key, one_request(CancelToken()));
    if (head) return object_status(target, *head);
    if (head.error().code() != Errc::kNotFound) return tl::unexpected<Error>(head.error());
  }
  const bool is_prefix = !target.key.empty() && !target.key.ends_with('/');
  TRY_ASSIGN(const ListPage page,
             list_sync(store, ListScope::level(target.key + (is_prefix ? "/" : "")), "", 1,
                       one_request(CancelToken())));
  const bool is_empty = page.objects.empty() && page.prefixes.empty();
  if (is_empty && !target.key.empty())
    return fail(Errc::kNotFound, "there is nothing at " + target.text());
  Json out{{"remote", target.text()},
           {"kind", target.root.is_all_buckets() ? "buckets"
                    : is_empty                   ? "empty"
                                                 : "objects"}};
  return out;
}

std::string remote_status_text(const Json& s) {
  const std::string kind = s.value("kind", "");
  std::string out = printable_name(s.value("remote", ""));
  if (kind == "buckets") return out + ": the buckets of this account\n";
  if (kind == "empty") return out + ": nothing is there\n";
  if (kind == "objects") return out + ": objects, no volume\n";
  const auto size = [&] { return format_size(s.value("size", uint64_t{0})); };
  const auto time = [](const Json& of, const char* name) {
    return utc_text(of.value(name, int64_t{0}));
  };
  if (kind == "object") {
    out += ": " + size() + ", " + time(s, "mtime") + ", " + s.value("content_type", "") + "\n";
    out += "  etag: " + printable_name(s.value("etag", "")) + "\n";
    if (s.contains("storage_class"))
      out += "  storage class: " + printable_name(s.value("storage_class", "")) + "\n";
    if (s.contains("version_id"))
      out += "  version: " + printable_name(s.value("version_id", "")) + "\n";
    if (s.contains("tags")) out += "  tags: " + std::to_string(s.value("tags", 0U)) + "\n";
    for (const auto& [name, value] : s["metadata"].items())
      out += "  " + printable_name(name + ": " + value.get<std::string>()) + "\n";
    return out;
  }
  if (kind != "volume") out += ": " + size() + ", " + time(s, "mtime") + " in";
  out += kind == "volume" ? ": a volume, " : " a volume, ";
  out += s.value("mode", "") == "open"
             ? "open for writing by " + printable_name(s.value("writer", "")) + "\n"
             : "closed\n";
  out += "  last commit: " + std::to_string(s["commit"].value("seq", uint64_t{0})) + " of " +
         time(s["commit"], "time") + "\n";
  return out + "  store: " + format_size(s["store"].value("stored_bytes", uint64_t{0})) + " for " +
         format_size(s["store"].value("file_bytes", uint64_t{0})) + " of files\n";
}

}  // namespace cairn
