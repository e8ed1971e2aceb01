// put, set: an object from a file or a stream; what an object says beside its bytes.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "cache/base/log.h"
#include "cache/object_attrs.h"
#include "tools/commands.h"
#include "tools/interrupt.h"
#include "tools/output.h"
#include "tools/progress.h"
#include "tools/spool.h"
#include "tools/target.h"

namespace cairn {

namespace {

constexpr size_t kPutStep = 1 << 20;

struct PutArguments {
  std::string source, target;
  std::vector<std::string> metadata, tags;  // NAME=VALUE
  std::string content_type;
  bool if_absent = false;
  StoreOptions store;
  std::vector<std::string> typed;  // names of options
};

struct SetArguments {
  std::string target;
  std::vector<std::string> metadata, removed, tags, removed_tags;
  std::optional<std::string> content_type;
  StoreOptions store;
  std::vector<std::string> typed;  // names of options
};

using Pairs = std::vector<std::pair<std::string, std::string>>;

// As it travels.
Result<std::string> meta_name(std::string name) {
  for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (name.starts_with("cairn-"))
    return fail(Errc::kInvalid, "metadata 'cairn-*' is what mounts note for themselves");
  return name;
}

Result<Pairs> parse_pairs(const std::vector<std::string>& words, std::string_view option) {
  Pairs out;
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0)
      return fail(Errc::kInvalid, "--" + std::string(option) + " '" + word + "': write NAME=VALUE");
    std::string name = word.substr(0, equals);
    if (option == "meta") {
      TRY_ASSIGN(name, meta_name(std::move(name)));
    }
    out.emplace_back(std::move(name), word.substr(equals + 1));
  }
  return out;
}

// Metadata or tags.
void set_pair(Pairs& pairs, const std::string& name, const std::optional<std::string>& value) {
  std::erase_if(pairs, [&](const auto& each) { return each.first == name; });
  if (value) pairs.emplace_back(name, *value);
}

// ---- put

// What a put reads of it, for who watches: not less than is sent.
class WatchedFile final : public File {
 public:
  WatchedFile(std::unique_ptr<File> file, Progress& progress)
      : file_(std::move(file)), progress_(progress) {}
  Result<size_t> read_at(uint64_t offset, MutableBytes out) override {
    auto n = file_->read_at(offset, out);
    if (n) progress_.reach(offset + *n);
    return n;
  }
  Status write_at(uint64_t offset, Bytes data) override { return file_->write_at(offset, data); }
  Status sync_data() override { return file_->sync_data(); }
  Result<uint64_t> size() override { return file_->size(); }
  Result<uint64_t> allocated_bytes() override { return file_->allocated_bytes(); }
  Status allocate(uint64_t offset, uint64_t length) override {
    return file_->allocate(offset, length);
  }
  Status punch(uint64_t offset, uint64_t length) override { return file_->punch(offset, length); }
  Status truncate(uint64_t size) override { return file_->truncate(size); }

 private:
  const std::unique_ptr<File> file_;
  Progress& progress_;
};

// One whose size says how much there is: those of /proc have none and are read as streams.
bool is_plain_file(const std::string& path) {
  struct stat st{};
  return path != "-" && ::stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0;
}

// A descriptor to read a stream from: "-" is standard input.
Result<int> open_stream(const std::string& path) {
  if (path == "-") {
    const int flags = ::fcntl(STDIN_FILENO, F_GETFL);
    const int fd = ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    if (flags >= 0 && fd >= 0 && (flags & O_ACCMODE) != O_WRONLY) return fd;
    if (fd >= 0) ::close(fd);
    return fail_errno(EBADF, "standard input is closed");
  }
  // A pipe that nobody writes to yet is waited for by read_some, which can be interrupted.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fail_errno(errno, path);
  struct stat st{};
  if (::fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode)) return fd;
  ::close(fd);
  return fail_errno(EISDIR, path);
}

Result<std::shared_ptr<File>> open_plain(const std::string& path, Progress& progress) {
  TRY_ASSIGN(auto opened, posix_env().open(path, OpenMode::kRead));
  TRY_ASSIGN(const uint64_t size, opened->size());
  progress.set_total(size);
  return std::make_shared<WatchedFile>(std::move(opened), progress);
}

ReadStream stream_of(int fd, const CancelToken& cancel, Progress& progress) {
  return [fd, cancel, &progress](MutableBytes out) {
    auto n = read_some(fd, out, cancel);
    if (n) progress.add(*n);
    return n;
  };
}

Status put_object_at(const Target& target, const PutArguments& arguments, const PutHow& how,
                     const CancelToken& cancel, Progress& progress) {
  Runtime runtime;
  TRY_ASSIGN(const OpenTarget open,
             open_target(target, arguments.store, runtime, true, false, one_request(cancel)));
  Result<std::string> etag = std::string();
  if (is_plain_file(arguments.source)) {
    TRY_ASSIGN(auto file, open_plain(arguments.source, progress));
    TRY_ASSIGN(const uint64_t size, file->size());
    Body body;
    body.add(std::move(file), {0, size});
    etag = put_sync(*open.stack.store, target.key, std::move(body), how, one_request(cancel, size));
  } else {
    TRY_ASSIGN(const int fd, open_stream(arguments.source));
    Context context;
    context.cancel = cancel;  // as long as the stream lasts
    etag = open.stack.put_stream(target.key, stream_of(fd, cancel, progress), how, context);
    ::close(fd);
  }
  if (!etag && etag.error().code() == Errc::kPrecondition && arguments.if_absent)
    return fail(Errc::kExists, target.text() + " is there already; nothing was changed");
  if (!etag) return tl::unexpected<Error>(etag.error());
  return {};
}

Status is_there_already(const std::string& path) {
  return fail(Errc::kExists, path + " is there already; nothing was changed");
}

// As any program writes there, under its name when it is whole.
Status put_in_volume(const ReadStream& read, const Target& target, bool if_absent) {
  TRY_ASSIGN(Output out, Output::open(target.path));
  ByteVec step(kPutStep);
  while (true) {
    TRY_ASSIGN(const size_t n, read(step));
    if (n == 0) break;
    TRY(out.write(Bytes(step).first(n)));
  }
  if (!if_absent) return out.finish();
  const Status done = out.finish_new();
  return !done && done.error().sys_errno() == EEXIST ? is_there_already(target.path) : done;
}

Status copy_to(int fd, File& source, const CancelToken& cancel, const std::string& path) {
  ByteVec step(kPutStep);
  for (uint64_t at = 0;;) {
    if (cancel.cancelled()) return fail(Errc::kCancelled, "interrupted");
    TRY_ASSIGN(const size_t n, source.read_at(at, step));
    if (n == 0) break;
    for (size_t written = 0; written < n;) {
      const ssize_t part = ::write(fd, step.data() + written, n - written);
      if (part < 0 && errno != EINTR) return fail_errno(errno, path);
      if (part > 0) written += static_cast<size_t>(part);
    }
    at += n;
  }
  return ::fsync(fd) == 0 ? Status() : fail_errno(errno, path);
}

// Another name would be an object, too, with the type of that name, and a rename a copy: so it has
// its own from the beginning. What it replaces is not given up for an interrupt.
Status put_in_objects(File& source, const Target& target, bool if_absent,
                      const CancelToken& cancel) {
  const std::string& path = target.path;
  std::byte first{};
  TRY(source.read_at(0, MutableBytes(&first, 1)));  // what cannot be read replaces nothing
  int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  const bool is_new = fd >= 0;
  if (!is_new && errno == EEXIST && if_absent) return is_there_already(path);
  if (!is_new && errno == EEXIST) fd = ::open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC);
  if (fd < 0) return fail_errno(errno, path);
  Status done = copy_to(fd, source, is_new ? cancel : CancelToken(), path);
  if (::close(fd) != 0 && done) done = fail_errno(errno, path);
  if (!done && is_new) ::unlink(path.c_str());
  if (!done && !is_new)
    return tl::unexpected<Error>(
        std::move(done).error().wrap(path + " has only a part of it now, and not what it had"));
  return done;
}

Status put_in_mount(const Target& target, const PutArguments& arguments, const CancelToken& cancel,
                    Progress& progress) {
  const std::string& path = target.path;
  struct stat there{}, source{};
  const bool is_there = ::stat(path.c_str(), &there) == 0;
  if (arguments.if_absent && ::lstat(path.c_str(), &source) == 0) return is_there_already(path);
  if (is_there && arguments.source != "-" && ::stat(arguments.source.c_str(), &source) == 0 &&
      source.st_dev == there.st_dev && source.st_ino == there.st_ino)
    return fail(Errc::kInvalid, path + " is the file that would be copied; nothing was changed");
  TRY_ASSIGN(const Json mount, ask(*target.mount, Json{{"command", "status"}}));
  const bool as_objects = mount["status"].value("view", "") == "objects";
  if (as_objects && is_plain_file(arguments.source)) {
    TRY_ASSIGN(auto file, open_plain(arguments.source, progress));
    return put_in_objects(*file, target, arguments.if_absent, cancel);
  }
  TRY_ASSIGN(const int fd, open_stream(arguments.source));
  const ReadStream read = stream_of(fd, cancel, progress);
  Status done;
  if (as_objects) {
    // A stream may take its time, or break off.
    const auto whole = spool(read);
    done = whole ? put_in_objects(*whole->file, target, arguments.if_absent, cancel)
                 : tl::unexpected<Error>(whole.error());
  } else {
    if (is_plain_file(arguments.source) && ::fstat(fd, &source) == 0)
      progress.set_total(static_cast<uint64_t>(source.st_size));
    done = put_in_volume(read, target, arguments.if_absent);
  }
  ::close(fd);
  return done;
}

// "s3://bucket/dir/" and a directory of a mount take the name of the source.
Status complete_target(Target& target, const std::string& source) {
  struct stat st{};
  const bool is_dir = target.mount ? ::stat(target.path.c_str(), &st) == 0 && S_ISDIR(st.st_mode)
                                   : target.key.empty() || target.key.ends_with('/');
  if (!is_dir) return {};
  if (source == "-")
    return fail(Errc::kInvalid, "what comes from standard input needs a name: " + target.text() +
                                    " is a directory");
  const std::string name = source.substr(source.rfind('/') + 1);
  std::string& whole = target.mount ? target.path : target.key;
  if (target.mount && !whole.ends_with('/')) whole += "/";
  whole += name;
  return {};
}

Status check_put_in_mount(const PutArguments& arguments) {
  if (!arguments.metadata.empty() || !arguments.tags.empty() || !arguments.content_type.empty())
    return fail(Errc::kInvalid,
                "in a mount metadata and tags are set afterwards, with 'cairn set'");
  const auto& typed = arguments.typed;
  if (std::find(typed.begin(), typed.end(), "storage-class") != typed.end())
    return fail(Errc::kInvalid,
                "in a mount the storage class is set afterwards, with 'cairn set --storage-class'");
  return {};
}

// What can be wrong with the call itself.
Result<PutHow> check_put_call(const PutArguments& arguments, Target& target) {
  if (target.root.is_all_buckets() && !target.mount)
    return fail(Errc::kInvalid, "s3:// is all buckets: name one of them");
  TRY(complete_target(target, arguments.source));
  if (target.mount) TRY(check_put_in_mount(arguments));
  TRY(check_store_options(arguments.typed, target, StoreUse::kWritten));
  PutHow how(arguments.if_absent ? PutCondition::kIfAbsent : PutCondition::kAlways);
  TRY_ASSIGN(how.headers.metadata, parse_pairs(arguments.metadata, "meta"));
  how.headers.content_type = arguments.content_type;
  if (how.headers.content_type.empty()) how.headers.content_type = content_type_of(target.name());
  TRY(check_headers(how.headers));
  if (!arguments.tags.empty()) {
    TRY_ASSIGN(how.tags, parse_pairs(arguments.tags, "tag"));
    TRY(check_tags(*how.tags));
  }
  if (!target.mount) TRY(check_key(target.key));
  return how;
}

int run_put(const PutArguments& arguments) {
  set_log_level(LogLevel::kError);
  ::signal(SIGPIPE, SIG_IGN);
  auto target = find_target(arguments.target, true);
  if (!target) return refuse(target.error());
  const auto how = check_put_call(arguments, *target);
  if (!how) return refuse(how.error());
  const Interrupt interrupt;
  Progress progress(target->name(), 0);
  const Status done = target->mount
                          ? put_in_mount(*target, arguments, interrupt.token(), progress)
                          : put_object_at(*target, arguments, *how, interrupt.token(), progress);
  return done ? kExitOk : complain(done.error());
}

// ---- set

// The store copies the object onto itself, with other headers: only the version that was looked at.
Status copy_onto_itself(ObjectStore& store, const Target& target, const SetArguments& arguments,
                        const Pairs& metadata, const CancelToken& cancel) {
  TRY_ASSIGN(const ObjectHead head, head_sync(store, target.key, one_request(cancel)));
  PutHow how = PutHow::over(head.info.etag);
  how.headers = head.headers;
  if (arguments.store.s3.storage_class.empty()) how.storage_class = head.storage_class;
  for (const auto& [name, value] : metadata) set_pair(how.headers.metadata, name, value);
  for (const std::string& name : arguments.removed)
    set_pair(how.headers.metadata, name, std::nullopt);
  if (arguments.content_type) how.headers.content_type = *arguments.content_type;
  Body body;
  if (head.info.size > 0) {
    body.add(ObjectRange{target.key, head.info.etag, head.info.size, {0, head.info.size}});
    how.condition = PutCondition::kAlways;  // that of the source does it, and tags stay
  } else if (head.tag_count.value_or(1) > 0) {
    auto tags = get_tags_sync(store, target.key, "", one_request(cancel));
    if (!tags && tags.error().code() != Errc::kUnsupported)
      return tl::unexpected<Error>(tags.error());
    if (tags) how.tags = *std::move(tags);
  }
  const auto put =
      put_sync(store, target.key, std::move(body), how, one_request(cancel, head.info.size));
  if (!put && put.error().code() == Errc::kPrecondition)
    return fail(Errc::kPrecondition,
                target.text() + " was changed by somebody else meanwhile; nothing was set");
  TRY(put);
  return {};
}

Status set_tags(ObjectStore& store, const Target& target, const SetArguments& arguments,
                const Pairs& changed, const CancelToken& cancel) {
  TRY_ASSIGN(ObjectTags tags, get_tags_sync(store, target.key, "", one_request(cancel)));
  for (const auto& [name, value] : changed) set_pair(tags, name, value);
  for (const std::string& name : arguments.removed_tags) set_pair(tags, name, std::nullopt);
  TRY(check_tags(tags));
  return put_tags_sync(store, target.key, "", std::move(tags), one_request(cancel));
}

bool changes_headers(const SetArguments& arguments) {
  return !arguments.metadata.empty() || !arguments.removed.empty() || arguments.content_type ||
         !arguments.store.s3.storage_class.empty();
}

bool changes_tags(const SetArguments& arguments) {
  return !arguments.tags.empty() || !arguments.removed_tags.empty();
}

Status set_object(const Target& target, const SetArguments& arguments, const Pairs& metadata,
                  const Pairs& tags, const CancelToken& cancel) {
  Runtime runtime;
  TRY_ASSIGN(const OpenTarget open,
             open_target(target, arguments.store, runtime, true, false, one_request(cancel)));
  ObjectStore& store = *open.stack.store;
  if (changes_headers(arguments)) TRY(copy_onto_itself(store, target, arguments, metadata, cancel));
  if (changes_tags(arguments)) TRY(set_tags(store, target, arguments, tags, cancel));
  return {};
}

Status set_xattr(const std::string& path, const std::string& name,
                 const std::optional<std::string>& value) {
  const int done = value ? ::setxattr(path.c_str(), name.c_str(), value->data(), value->size(), 0)
                         : ::removexattr(path.c_str(), name.c_str());
  if (done == 0 || (!value && errno == ENODATA)) return {};
  return fail_errno(errno, path + ": " + name);
}

Status set_in_mount(const Target& target, const SetArguments& arguments, const Pairs& metadata,
                    const Pairs& tags) {
  const std::string tag(kTagXattr);
  for (const auto& [name, value] : metadata)
    TRY(set_xattr(target.path, std::string(kMetaXattr) + name, value));
  for (const std::string& name : arguments.removed)
    TRY(set_xattr(target.path, std::string(kMetaXattr) + name, std::nullopt));
  if (arguments.content_type)
    TRY(set_xattr(target.path, std::string(kTypeXattr), *arguments.content_type));
  if (const std::string& storage_class = arguments.store.s3.storage_class; !storage_class.empty())
    TRY(set_xattr(target.path, std::string(kClassXattr), storage_class));
  for (const auto& [name, value] : tags) TRY(set_xattr(target.path, tag + name, value));
  for (const std::string& name : arguments.removed_tags)
    TRY(set_xattr(target.path, tag + name, std::nullopt));
  return {};
}

int run_set(SetArguments arguments) {
  set_log_level(LogLevel::kError);
  // What the environment and a file say is for new objects.
  const auto& typed = arguments.typed;
  if (std::find(typed.begin(), typed.end(), "storage-class") == typed.end())
    arguments.store.s3.storage_class.clear();
  for (std::string& name : arguments.removed) {
    auto as_it_travels = meta_name(name);
    if (!as_it_travels) return refuse(as_it_travels.error());
    name = *std::move(as_it_travels);
  }
  const auto metadata = parse_pairs(arguments.metadata, "meta");
  if (!metadata) return refuse(metadata.error());
  const auto tags = parse_pairs(arguments.tags, "tag");
  if (!tags) return refuse(tags.error());
  if (!changes_headers(arguments) && !changes_tags(arguments))
    return refuse(Error(Errc::kInvalid,
                        "there is nothing to set: say --tag NAME=VALUE, --meta NAME=VALUE, "
                        "--remove-tag NAME, --remove-meta NAME, --content-type TYPE or "
                        "--storage-class CLASS"));
  const auto target = find_target(arguments.target);
  if (!target) return refuse(target.error());
  if (!target->mount && target->key.empty())
    return refuse(Error(Errc::kInvalid, target->text() + " is no object"));
  // Of a file in a mount that one is an attribute.
  std::vector<std::string> of_store = typed;
  const StoreUse use = changes_headers(arguments) ? StoreUse::kWritten : StoreUse::kRead;
  if (target->mount) std::erase(of_store, "storage-class");
  if (const Status fine = check_store_options(of_store, *target, use); !fine)
    return refuse(fine.error());
  const Interrupt interrupt;
  const Status done = target->mount
                          ? set_in_mount(*target, arguments, *metadata, *tags)
                          : set_object(*target, arguments, *metadata, *tags, interrupt.token());
  return done ? kExitOk : complain(done.error());
}

void add_put_command(CommandLine& line) {
  auto arguments = std::make_shared<PutArguments>();
  Command& command = line.add("put", "Copy a file or a stream to a remote, or into a mount");
  command.argument("SOURCE", ValueKind::kFile, arguments->source, "a file, or '-': standard input");
  command.argument("TARGET", ValueKind::kRemote, arguments->target, kTargetHelp);
  command.text("meta", "NAME=VALUE", arguments->metadata, "metadata of the object; repeatable")
      .repeatable()
      .only_typed();
  command.text("tag", "NAME=VALUE", arguments->tags, "tag of the object; repeatable")
      .repeatable()
      .only_typed();
  command.text("content-type", "TYPE", arguments->content_type, "content type of the object")
      .fallback("by the ending of its name")
      .only_typed();
  command.flag("if-absent", arguments->if_absent, "only where nothing is").only_typed();
  command.about(
      "The object is there when all of it is, and what it replaces stays until then; when the copy "
      "fails or is interrupted, nothing is left of it. A stream may have any length: what is more "
      "than 16 MiB goes in parts while it is read. A TARGET that ends with '/', or is a directory, "
      "takes the name of SOURCE. To a volume nothing is put without a mount. There the new file "
      "takes the place of the old one, as with 'install': it has the mode of that, but the owner "
      "of who puts it, no extended attributes and no ACL, and other hard links stay with the old "
      "file; 'cat SOURCE > TARGET' writes into the old file. In a mount of objects "
      "a file is written under its name from the beginning, a stream when all of it is in a file "
      "in $TMPDIR; what it replaces goes when the writing begins, and is not back when that "
      "fails.");
  command.example("cairn put report.pdf s3://bucket/reports/", "a file under its name");
  command.example("pg_dump db | cairn put - s3://bucket/db.sql", "a stream");
  add_store_options(command, arguments->store);
  command.note_typed(arguments->typed);
  command.run([arguments] { return run_put(*arguments); });
}

void add_set_command(CommandLine& line) {
  auto arguments = std::make_shared<SetArguments>();
  Command& command = line.add("set", "Change what an object says beside its bytes");
  command.argument("TARGET", ValueKind::kRemote, arguments->target, kTargetHelp);
  command.text("meta", "NAME=VALUE", arguments->metadata, "metadata to set; repeatable")
      .repeatable()
      .only_typed();
  command.text("remove-meta", "NAME", arguments->removed, "metadata to take away; repeatable")
      .repeatable()
      .only_typed();
  command.text("tag", "NAME=VALUE", arguments->tags, "tag to set; repeatable")
      .repeatable()
      .only_typed();
  command.text("remove-tag", "NAME", arguments->removed_tags, "tag to take away; repeatable")
      .repeatable()
      .only_typed();
  command.text("content-type", "TYPE", arguments->content_type, "the new content type")
      .only_typed();
  command.about(
      "Everything else stays as it is, the bytes, too. Tags are set by themselves; for metadata, "
      "content type and storage class the store copies the object onto itself, which gives it a "
      "new time. Of a file in a mount the extended attributes user.s3.* are set.");
  command.example("cairn set --tag state=done s3://bucket/key", "one tag more");
  command.example("cairn set --meta project=x s3://bucket/key", "x-amz-meta-project: x");
  command.example("cairn set --content-type text/html /mnt/index", "through a mount");
  add_store_options(command, arguments->store);
  command.note_typed(arguments->typed);
  command.run([arguments] { return run_set(*arguments); });
}

}  // namespace

void add_put_commands(CommandLine& line) {
  add_put_command(line);
  add_set_command(line);
}

}  // namespace cairn
