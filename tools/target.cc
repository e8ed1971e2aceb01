#include "tools/target.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "cache/await.h"
#include "cache/store_keys.h"
#include "cache/volume_format.h"
#include "tools/progress.h"

namespace cairn {

namespace {

constexpr Duration kRequestPatience = std::chrono::seconds(60);
constexpr uint64_t kLeastBytesPerSecond = 256 * 1024;  // who is slower than that has given up
constexpr size_t kLevelsMax = 32;
constexpr uint64_t kVolumeFileMost = 64 << 10;

// Also what cannot be looked at.
bool is_there(const std::string& path) {
  struct stat st{};
  return ::lstat(path.c_str(), &st) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

bool is_directory(const std::string& path) {
  struct stat st{};
  return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

// "bucket:key", and not a file of such a name.
bool names_a_bucket(const std::string& text) {
  return text.substr(0, text.find('/')).find(':') != std::string::npos && !is_there(text);
}

// The path itself, or the nearest one above it that is there.
std::string nearest_of(std::string at) {
  while (true) {
    while (at.size() > 1 && at.ends_with('/')) at.pop_back();
    if (at == "/" || at == "." || is_there(at)) return at;
    const size_t slash = at.rfind('/');
    at = slash == std::string::npos ? "." : at.substr(0, std::max<size_t>(slash, 1));
  }
}

// Null: it lies in none. What lies in one whose daemon does not answer is nothing else: it would be
// taken for a store.
Result<std::unique_ptr<ControlClient>> mount_of(const std::string& text) {
  std::string mountpoint;
  auto client = connect_to(nearest_of(text), mountpoint);
  if (client || client.error().code() == Errc::kTransient) return client;
  return std::unique_ptr<ControlClient>();
}

Result<Target> in_bucket(const std::string& text, size_t name_at, char separator) {
  Target target;
  const size_t split = text.find(separator, name_at);
  TRY_ASSIGN(target.root, parse_remote_url(text.substr(0, split), true));
  if (split != std::string::npos) target.key = text.substr(split + 1);
  if (target.root.is_all_buckets() && !target.key.empty())
    return fail(Errc::kInvalid, "'" + text + "' names no bucket");
  if (!target.key.empty()) TRY(check_any_key(target.key));
  return target;
}

Result<Target> in_directory(const std::string& text, bool is_new) {
  Target target;
  TRY_ASSIGN(target.root, parse_remote_url(text));
  const std::string whole = target.root.directory;
  const auto is_store = [](const std::string& path) {
    return is_directory(path + "/.tmp") || is_there(path + "/cairn.json");
  };
  std::string at = whole;
  while (at != "/" && !is_store(at)) {
    at = std::filesystem::path(at).parent_path().string();
  }
  if (at == "/" && is_directory(whole)) at = whole;
  if (at == "/") {
    // What is to be put makes the directories that are missing.
    at = std::filesystem::path(whole).parent_path().string();
    while (at != "/" && !is_directory(at)) at = std::filesystem::path(at).parent_path().string();
  }
  target.root.directory = at;
  if (at != whole) target.key = whole.substr(at == "/" ? 1 : at.size() + 1);
  // What is put there goes into it.
  const bool is_dir = text.ends_with('/') || (is_new && is_directory(whole));
  if (!target.key.empty() && is_dir) target.key += "/";
  return target;
}

}  // namespace

std::string Target::text_of(const std::string& below) const {
  if (below.empty()) return root.text();
  return root.text() + (root.is_all_buckets() ? "" : "/") + below;
}

std::string Target::name() const {
  std::string whole = mount ? path : key;
  while (whole.ends_with('/')) whole.pop_back();
  return whole.substr(whole.rfind('/') + 1);
}

Result<Target> find_target(const std::string& text, bool is_new) {
  if (text.empty()) return fail(Errc::kInvalid, "an empty word names nothing");
  if (text.starts_with("s3://")) return in_bucket(text, 5, '/');
  if (text.starts_with("file:")) return in_directory(text, is_new);
  if (text.find("://") != std::string::npos)
    return fail(Errc::kInvalid,
                "'" + text + "' is no remote: write s3://bucket/key or file:///path");
  if (!names_a_bucket(text)) {
    Target target;
    TRY_ASSIGN(target.mount, mount_of(text));
    target.path = text;
    if (target.mount && !is_new && !is_there(text))
      return fail(Errc::kNotFound, "there is no " + printable_name(text) + " in the mount", ENOENT);
    if (target.mount) return target;
    if (text.starts_with('/')) return in_directory(text, is_new);
    if (text.starts_with('.')) return in_directory("./" + text, is_new);  // ".hidden", too
  }
  return in_bucket(text, 0, ':');
}

Result<std::optional<std::string>> find_volume(ObjectStore& store, const std::string& key,
                                               const Context& context) {
  std::vector<std::string> above{""};
  for (size_t slash = key.find('/'); slash != std::string::npos; slash = key.find('/', slash + 1))
    above.push_back(key.substr(0, slash));
  if (!key.empty() && !key.ends_with('/')) above.push_back(key);
  if (above.size() > kLevelsMax) above.resize(kLevelsMax);
  std::vector<Awaited<GetResult>> answers(above.size());
  for (size_t i = 0; i < above.size(); ++i)
    store.get(above[i] + (above[i].empty() ? "" : "/") + std::string(kVolumeKey),
              GetRange::from(0, kVolumeFileMost), context, answers[i].callback());
  std::optional<std::string> found;
  Status failed;
  for (size_t i = 0; i < above.size(); ++i) {
    const auto got = answers[i].get();
    if (got) {
      const auto file = VolumeFile::decode(got->bytes);
      const bool is_newer = !file && file.error().code() == Errc::kUnsupported;
      if (!found && (file || is_newer)) found = above[i];
      continue;
    }
    const Errc code = got.error().code();
    // Who may not read it, or where no key can be so long, mounts no volume.
    if (code != Errc::kNotFound && code != Errc::kPermission && code != Errc::kInvalid && failed)
      failed = tl::unexpected<Error>(got.error());
  }
  if (!found) TRY(failed);
  return found;
}

RemoteUrl url_of_volume(const Target& target, const std::string& volume) {
  RemoteUrl url = target.root;
  if (url.kind == RemoteUrl::Kind::kFile && !volume.empty()) url.directory += "/" + volume;
  if (url.kind == RemoteUrl::Kind::kS3) url.prefix = volume;
  return url;
}

Result<OpenTarget> open_target(const Target& target, const StoreOptions& options, Runtime& runtime,
                               bool writes, bool as_objects, const Context& context) {
  OpenTarget open;
  TRY_ASSIGN(open.stack, open_store(target.root, options, false, runtime));
  if (as_objects || target.root.is_all_buckets()) return open;
  auto volume = find_volume(*open.stack.store, target.key, context);
  if (!volume) {
    // In the words of the first minute.
    TRY(open.stack.check_access(context));
    return tl::unexpected<Error>(volume.error());
  }
  open.volume = *std::move(volume);
  if (writes && open.volume)
    return fail(Errc::kInvalid, target.text() + " is in the volume " +
                                    target.text_of(*open.volume) +
                                    ": mount it to write, nothing was changed");
  return open;
}

Context one_request(const CancelToken& cancel, uint64_t bytes) {
  Context context;
  context.cancel = cancel;
  context.deadline = Deadline::after(
      system_clock(), kRequestPatience + std::chrono::seconds(bytes / kLeastBytesPerSecond));
  return context;
}

}  // namespace cairn
