// ls: what lies at a remote, in a volume, or in a mount.
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <iostream>

#include "cache/base/log.h"
#include "tools/commands.h"
#include "tools/progress.h"
#include "tools/target.h"
#include "tools/volume_tree.h"

namespace cairn {

namespace {

constexpr size_t kPage = 1000;

struct LsArguments {
  std::string target;
  bool recursive = false, as_json = false, as_objects = false;
  StoreOptions store;
  std::vector<std::string> typed;  // names of options
};

// One line of what is printed.
struct Row {
  std::string name;  // of a directory with a '/' behind it
  bool is_directory = false;
  uint64_t size = 0;
  std::optional<int64_t> mtime_ns;
  std::string etag;
  std::string state;  // in a mount
  std::string key;    // of an object
};

class Printer {
 public:
  explicit Printer(bool as_json) : as_json_(as_json), on_terminal_(::isatty(STDOUT_FILENO) != 0) {}

  // False: nobody reads it any more.
  bool print(const Row& row) {
    any_ = true;
    std::cout << (as_json_ ? json(row) : text(row)) << "\n";
    return std::cout.good();
  }
  bool any() const { return any_; }

 private:
  std::string text(const Row& row) const {
    constexpr int64_t kSecond = 1'000'000'000;
    std::string time(19, ' ');
    if (row.mtime_ns)
      time = fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::gmtime(std::time_t(*row.mtime_ns / kSecond)));
    std::string line = fmt::format(
        "{:>15}  {}  ", row.is_directory ? std::string("-") : std::to_string(row.size), time);
    if (!row.state.empty()) line += fmt::format("{:<10}", row.state);
    return line + (on_terminal_ ? printable_name(row.name) : row.name);
  }
  static std::string json(const Row& row) {
    Json out{{"name", row.name}, {"type", row.is_directory ? "directory" : "file"}};
    if (!row.is_directory) out["size"] = row.size;
    if (row.mtime_ns) out["mtime"] = *row.mtime_ns;
    if (!row.etag.empty()) out["etag"] = row.etag;
    if (!row.key.empty()) out["key"] = row.key;
    if (!row.state.empty()) out["state"] = row.state;
    return json_line(out);
  }

  const bool as_json_;
  const bool on_terminal_;
  bool any_ = false;
};

// ---- objects

Row row_of(const ObjectInfo& object, size_t shown_from) {
  Row row;
  row.name = object.key.substr(shown_from);
  row.size = object.size;
  row.mtime_ns = object.mtime_ns;
  row.etag = bare_etag(object.etag);
  row.key = object.key;
  return row;
}

Status list_below(ObjectStore& store, const std::string& prefix, bool recursive, Printer& out) {
  std::string after;
  for (bool more = true; more;) {
    const ListScope scope = recursive ? ListScope(prefix) : ListScope::level(prefix);
    TRY_ASSIGN(const ListPage page,
               list_sync(store, scope, after, kPage, one_request(CancelToken())));
    // Both in the order of names, together.
    size_t next = 0;
    const auto print_prefixes = [&](const std::string* before) {
      while (next < page.prefixes.size() && (before == nullptr || page.prefixes[next] < *before)) {
        Row row;
        row.name = page.prefixes[next].substr(prefix.size());
        row.is_directory = true;
        row.key = page.prefixes[next++];
        if (!out.print(row)) return false;
      }
      return true;
    };
    for (const ObjectInfo& object : page.objects) {
      if (!print_prefixes(&object.key)) return {};
      Row row = row_of(object, prefix.size());
      if (row.name.empty()) row.name = "./";  // the directory's own object
      if (!out.print(row)) return {};
    }
    if (!print_prefixes(nullptr)) return {};
    more = page.truncated && (!recursive || !page.objects.empty());
    if (more) after = recursive ? page.objects.back().key : page.next;
  }
  return {};
}

Status list_objects_at(const Target& target, OpenTarget& open, bool recursive, Printer& out) {
  ObjectStore& store = *open.stack.store;
  if (!target.key.empty() && !target.key.ends_with('/')) {
    // The first key that begins so is the object, if there is one.
    TRY_ASSIGN(const ListPage first,
               list_sync(store, ListScope(target.key), "", 1, one_request(CancelToken())));
    for (const ObjectInfo& object : first.objects)
      if (object.key == target.key)
        out.print(row_of(object, target.key.size() - target.name().size()));
    if (first.objects.empty()) return {};
    return list_below(store, target.key + "/", recursive, out);
  }
  return list_below(store, target.key, recursive, out);
}

// ---- a volume

Row row_of(const std::string& name, const VolumeTree::Node& node) {
  Row row;
  row.is_directory = node.is_directory();
  row.name = name + (row.is_directory ? "/" : "");
  row.size = node.record.size;
  row.mtime_ns = node.record.mtime;
  return row;
}

Status list_tree(VolumeTree& tree, uint64_t dir, const std::string& shown, bool recursive,
                 Printer& out) {
  std::string after;
  while (true) {
    TRY_ASSIGN(const auto entries, tree.list(dir, after, kPage));
    for (const VolumeTree::Entry& entry : entries) {
      if (!out.print(row_of(shown + entry.name, entry.node))) return {};
      if (recursive && entry.node.is_directory())
        TRY(list_tree(tree, entry.node.ino, shown + entry.name + "/", true, out));
    }
    if (entries.size() < kPage) return {};
    after = entries.back().name;
  }
}

Status list_volume(const Target& target, const std::string& volume, const LsArguments& arguments,
                   Runtime& runtime, Printer& out) {
  TRY_ASSIGN(const OpenTree open,
             open_tree(target, volume, arguments.store, runtime, CancelToken()));
  VolumeTree* const tree = open.tree.get();
  TRY_ASSIGN(const VolumeTree::Node node, tree->find(target.key.substr(volume.size())));
  if (!node.is_directory()) return out.print(row_of(target.name(), node)), Status();
  return list_tree(*tree, node.ino, "", arguments.recursive, out);
}

// ---- a mount

// As `cairn status PATH` says it.
std::string state_of(const std::string& path) {
  std::array<char, 64> state{};
  const ssize_t length = ::lgetxattr(path.c_str(), "user.cairn.state", state.data(), state.size());
  return length > 0 ? std::string(state.data(), static_cast<size_t>(length)) : "unknown";
}

Status print_path(const std::string& path, const std::string& shown, Printer& out,
                  bool& is_directory) {
  struct stat st{};
  if (::lstat(path.c_str(), &st) != 0) {
    if (errno == ENOENT) return {};  // removed meanwhile
    return fail_errno(errno, path);
  }
  is_directory = S_ISDIR(st.st_mode);
  Row row;
  row.name = shown + (is_directory ? "/" : "");
  row.is_directory = is_directory;
  row.size = static_cast<uint64_t>(st.st_size);
  row.mtime_ns = int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec;
  if (!is_directory) row.state = state_of(path);
  if (!out.print(row)) return fail(Errc::kCancelled, "");
  return {};
}

Status list_path(const std::string& dir, const std::string& shown, bool recursive, Printer& out) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator at(dir, error), end; !error && at != end;
       at.increment(error))
    names.push_back(at->path().filename().string());
  if (error) return fail_errno(error.value(), dir);
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    bool is_directory = false;
    TRY(print_path(dir + "/" + name, shown + name, out, is_directory));
    if (is_directory && recursive) TRY(list_path(dir + "/" + name, shown + name + "/", true, out));
  }
  return {};
}

Status list_mounted(const Target& target, bool recursive, Printer& out) {
  struct stat st{};
  if (::stat(target.path.c_str(), &st) != 0) return fail_errno(errno, target.path);
  if (S_ISDIR(st.st_mode)) return list_path(target.path, "", recursive, out);
  bool is_directory = false;
  return print_path(target.path, target.name(), out, is_directory);
}

Status list_remote(const Target& target, const LsArguments& arguments, Printer& out) {
  Runtime runtime;
  TRY_ASSIGN(OpenTarget open, open_target(target, arguments.store, runtime, false,
                                          arguments.as_objects, one_request(CancelToken())));
  if (open.volume) return list_volume(target, *open.volume, arguments, runtime, out);
  TRY(list_objects_at(target, open, arguments.recursive, out));
  if (out.any() || target.key.empty()) return {};
  return fail(Errc::kNotFound, "there is nothing at " + target.text());
}

// What can be wrong with the call itself.
Status check_ls_call(const LsArguments& arguments, const Target& target) {
  if (!target.mount && target.root.is_all_buckets() && arguments.recursive)
    return fail(Errc::kInvalid, "ls -r of all buckets at once is not offered: name one of them");
  return check_store_options(arguments.typed, target, StoreUse::kRead);
}

int run_ls(const LsArguments& arguments) {
  set_log_level(LogLevel::kError);
  const auto target = find_target(arguments.target.empty() ? "." : arguments.target);
  if (!target) return refuse(target.error());
  if (const Status fine = check_ls_call(arguments, *target); !fine) return refuse(fine.error());
  Printer out(arguments.as_json);
  const Status done = target->mount ? list_mounted(*target, arguments.recursive, out)
                                    : list_remote(*target, arguments, out);
  if (done || done.error().code() == Errc::kCancelled) return kExitOk;
  return complain(done.error());
}

}  // namespace

void add_ls_command(CommandLine& line) {
  auto arguments = std::make_shared<LsArguments>();
  Command& command = line.add("ls", "List what lies at a remote, in a volume or in a mount");
  command.argument("TARGET", ValueKind::kRemote, arguments->target, kTargetHelp, false);
  command.flag("recursive", arguments->recursive, "all that is below, too")
      .letter('r')
      .only_typed();
  command.flag("json", arguments->as_json, "one JSON object a line, for programs").only_typed();
  command.flag("objects", arguments->as_objects, "the objects that a volume is made of")
      .only_typed();
  command.about(
      "Size, time of the last change (UTC) and name of everything at TARGET. Of a volume it is the "
      "tree "
      "of its newest commit; in a mount it is what the mount shows, with its state: local, queued, "
      "uploading, stored, or held by --filter-upload. 's3://' lists the buckets.");
  command.example("cairn ls s3://bucket/photos/", "one level of keys");
  command.example("cairn ls -r --json s3://bucket", "every object, for programs");
  command.example("cairn ls /mnt", "what of the mount is in the store");
  add_store_options(command, arguments->store);
  command.note_typed(arguments->typed);
  command.run([arguments] { return run_ls(*arguments); });
}

}  // namespace cairn
