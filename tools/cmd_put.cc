// put, set: an object from a file or a stream; what an object says beside its bytes.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <iostream>

#include "cache/base/log.h"
#include "cache/object_attrs.h"
#include "tools/commands.h"
#include "tools/interrupt.h"
#include "tools/output.h"
#include "tools/progress.h"
#include "tools/target.h"

namespace cairn {

namespace {

struct PutArguments {
  std::string source, target;
  std::vector<std::string> metadata, tags;  // NAME=VALUE
  std::string content_type;
  bool if_absent = false;
  StoreOptions store;
};

struct SetArguments {
  std::string target;
  std::vector<std::string> metadata, removed, tags, removed_tags;
  std::optional<std::string> content_type;
  StoreOptions store;
};

using Pairs = std::vector<std::pair<std::string, std::string>>;

Result<Pairs> parse_pairs(const std::vector<std::string>& words, const char* option) {
  Pairs out;
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0)
      return fail(Errc::kInvalid, std::string("--") + option + " '" + word + "': write NAME=VALUE");
    std::string name = word.substr(0, equals);
    const bool is_meta = std::string_view(option) == "meta";
    if (is_meta)
      for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if (is_meta && name.starts_with("cairn-"))
      return fail(Errc::kInvalid, "metadata 'cairn-*' is what mounts note for themselves");
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

bool is_plain_file(const std::string& path) {
  struct stat st{};
  return path != "-" && ::stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode);
}

// A descriptor to read a stream from: "-" is standard input.
Result<int> open_stream(const std::string& path) {
  if (path == "-") return ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail_errno(errno, path);
  struct stat st{};
  if (::fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode)) return fd;
  ::close(fd);
  return fail_errno(EISDIR, path);
}

Status put_object_at(const Target& target, const PutArguments& arguments, const PutHow& how,
                     const CancelToken& cancel, Progress& progress) {
  Runtime runtime;
  TRY_ASSIGN(const OpenTarget open,
             open_target(target, arguments.store, runtime, true, false, one_request(cancel)));
  Result<std::string> etag = std::string();
  if (is_plain_file(arguments.source)) {
    TRY_ASSIGN(auto opened, posix_env().open(arguments.source, OpenMode::kRead));
    TRY_ASSIGN(const uint64_t size, opened->size());
    progress.set_total(size);
    Body body;
    body.add(std::make_shared<WatchedFile>(std::move(opened), progress), {0, size});
    etag = put_sync(*open.stack.store, target.key, std::move(body), how, one_request(cancel, size));
  } else {
    TRY_ASSIGN(const int fd, open_stream(arguments.source));
    Context context;
    context.cancel = cancel;  // as long as the stream lasts
    etag = open.stack.put_stream(
        target.key,
        [&](MutableBytes out) {
          auto n = read_some(fd, out, cancel);
          if (n) progress.add(*n);
          return n;
        },
        how, context);
    ::close(fd);
  }
  if (!etag && etag.error().code() == Errc::kPrecondition && arguments.if_absent)
    return fail(Errc::kExists, target.text() + " is there already; nothing was changed");
  if (!etag) return tl::unexpected<Error>(etag.error());
  return {};
}

// As any program writes there, under its name when it is whole.
Status put_in_mount(const Target& target, const PutArguments& arguments, const PutHow& how,
                    const CancelToken& cancel, Progress& progress) {
  if (!how.headers.metadata.empty() || how.tags || !arguments.content_type.empty())
    return fail(Errc::kInvalid,
                "in a mount metadata and tags are set afterwards, with 'cairn set'");
  struct stat st{};
  if (arguments.if_absent && ::lstat(target.path.c_str(), &st) == 0)
    return fail(Errc::kExists, target.path + " is there already; nothing was changed");
  TRY_ASSIGN(const int fd, open_stream(arguments.source));
  if (::fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
    progress.set_total(static_cast<uint64_t>(st.st_size));
  auto out = Output::open(target.path);
  Status done = out ? Status() : tl::unexpected<Error>(out.error());
  ByteVec step(1 << 20);
  while (done) {
    const auto n = read_some(fd, step, cancel);
    if (!n) done = tl::unexpected<Error>(n.error());
    if (!n || *n == 0) break;
    done = out->write(Bytes(step).first(*n));
    progress.add(*n);
  }
  ::close(fd);
  TRY(done);
  return out->finish();
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

Status put(const PutArguments& arguments, Target& target, const CancelToken& cancel) {
  if (target.root.is_all_buckets() && !target.mount)
    return fail(Errc::kInvalid, "s3:// is all buckets: name one of them");
  TRY(complete_target(target, arguments.source));
  PutHow how(arguments.if_absent ? PutCondition::kIfAbsent : PutCondition::kAlways);
  TRY_ASSIGN(how.headers.metadata, parse_pairs(arguments.metadata, "meta"));
  how.headers.content_type = arguments.content_type;
  if (how.headers.content_type.empty()) how.headers.content_type = content_type_of(target.name());
  TRY(check_headers(how.headers));
  if (!arguments.tags.empty()) {
    TRY_ASSIGN(how.tags, parse_pairs(arguments.tags, "tag"));
    TRY(check_tags(*how.tags));
  }
  Progress progress(target.name(), 0);
  if (target.mount) return put_in_mount(target, arguments, how, cancel, progress);
  TRY(check_key(target.key));
  return put_object_at(target, arguments, how, cancel, progress);
}

int run_put(const PutArguments& arguments) {
  set_log_level(LogLevel::kError);
  ::signal(SIGPIPE, SIG_IGN);
  auto target = find_target(arguments.target, true);
  if (!target) return complain(target.error()), kExitUsage;
  const Interrupt interrupt;
  const Status done = put(arguments, *target, interrupt.token());
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

int run_set(const SetArguments& arguments) {
  set_log_level(LogLevel::kError);
  const auto metadata = parse_pairs(arguments.metadata, "meta");
  if (!metadata) return complain(metadata.error()), kExitUsage;
  const auto tags = parse_pairs(arguments.tags, "tag");
  if (!tags) return complain(tags.error()), kExitUsage;
  if (!changes_headers(arguments) && !changes_tags(arguments))
    return complain(Error(Errc::kInvalid,
                          "there is nothing to set: say --tag NAME=VALUE, --meta "
                          "NAME=VALUE, --remove-tag NAME, --remove-meta NAME, "
                          "--content-type TYPE or --storage-class CLASS")),
           kExitUsage;
  const auto target = find_target(arguments.target);
  if (!target) return complain(target.error()), kExitUsage;
  if (!target->mount && target->key.empty())
    return complain(Error(Errc::kInvalid, target->text() + " is no object")), kExitUsage;
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
      "than 16 MiB goes in parts while it is read. A TARGET that ends with '/' takes the name of "
      "SOURCE. To a volume nothing is put without a mount.");
  command.example("cairn put report.pdf s3://bucket/reports/", "a file under its name");
  command.example("pg_dump db | cairn put - s3://bucket/db.sql", "a stream");
  add_store_options(command, arguments->store);
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
  command.run([arguments] { return run_set(*arguments); });
}

}  // namespace

void add_put_commands(CommandLine& line) {
  add_put_command(line);
  add_set_command(line);
}

}  // namespace cairn
