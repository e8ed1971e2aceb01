// get: the bytes of an object, of a file in a volume, or of a file in a mount.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <deque>
#include <iostream>

#include "cache/await.h"
#include "cache/base/log.h"
#include "tools/commands.h"
#include "tools/interrupt.h"
#include "tools/output.h"
#include "tools/progress.h"
#include "tools/target.h"
#include "tools/volume_tree.h"

namespace cairn {

namespace {

// One connection to a large store is slow: many small pieces come sooner than few large ones.
constexpr uint64_t kPieceBytes = 4ULL << 20;
constexpr size_t kPiecesAhead = 8;

struct GetArguments {
  std::string source, destination;
  bool as_objects = false;
  StoreOptions store;
  std::vector<std::string> typed;  // names of options
};

// Pieces of one version, several under way, in order. What does not fit the first is refused:
// nothing is a mixture of two versions.
class ObjectReader {
 public:
  ObjectReader(ObjectStore& store, const Target& target, const CancelToken& cancel)
      : store_(store),
        target_(target),
        given_up_(cancel.on_cancel([token = cancel_]() mutable { token.cancel(); })) {}
  // Whoever gives up leaves no request behind: the store goes next.
  ~ObjectReader() {
    cancel_.cancel();
    for (auto& piece : pieces_) (void)piece.get();
  }
  ObjectReader(const ObjectReader&) = delete;
  ObjectReader& operator=(const ObjectReader&) = delete;

  Status copy_to(Output& out, Progress& progress) {
    TRY_ASSIGN(const GetResult first, get_sync(store_, target_.key, GetRange::from(0, kPieceBytes),
                                               one_request(cancel_, kPieceBytes)));
    size_ = first.object_size;
    etag_ = first.etag;
    progress.set_total(size_);
    asked_ = std::min(kPieceBytes, size_);
    if (first.bytes.size() != asked_) return sent_other_bytes();
    ask_more();
    TRY(out.write(first.bytes));
    progress.add(first.bytes.size());
    for (uint64_t at = asked_first_; at < size_;) {
      Awaited<GetResult> next = std::move(pieces_.front());
      pieces_.pop_front();
      const auto piece = next.get();
      if (!piece && piece.error().code() == Errc::kPrecondition) return was_replaced();
      if (!piece && piece.error().code() == Errc::kNotFound) return was_replaced();
      TRY(piece);
      if (piece->object_size != size_ || piece->etag != etag_) return was_replaced();
      if (piece->bytes.size() != std::min(kPieceBytes, size_ - at)) return sent_other_bytes();
      ask_more();
      TRY(out.write(piece->bytes));
      progress.add(piece->bytes.size());
      at += piece->bytes.size();
    }
    return {};
  }

 private:
  void ask_more() {
    if (asked_first_ == 0) asked_first_ = asked_;
    while (asked_ < size_ && pieces_.size() < kPiecesAhead) {
      GetRange range = GetRange::from(asked_, kPieceBytes);
      range.if_match = etag_;
      pieces_.emplace_back();
      store_.get(target_.key, range, one_request(cancel_, kPieceBytes * kPiecesAhead),
                 pieces_.back().callback());
      asked_ = std::min(asked_ + kPieceBytes, size_);
    }
  }
  Status was_replaced() const {
    return fail(Errc::kPrecondition,
                target_.text() + " was replaced or removed while it was read: get it again");
  }
  Status sent_other_bytes() const {
    return fail(Errc::kIo, target_.text() + ": the store sent other bytes than were asked for");
  }

  ObjectStore& store_;
  const Target& target_;
  CancelToken cancel_;
  const CancelToken::Listener given_up_;
  uint64_t size_ = 0, asked_ = 0, asked_first_ = 0;
  std::string etag_;
  std::deque<Awaited<GetResult>> pieces_;
};

Status get_from_volume(const Target& target, const std::string& volume,
                       const GetArguments& arguments, Runtime& runtime, const CancelToken& cancel,
                       Output& out, Progress& progress) {
  TRY_ASSIGN(const OpenTree open, open_tree(target, volume, arguments.store, runtime, cancel));
  VolumeTree* const tree = open.tree.get();
  TRY_ASSIGN(const VolumeTree::Node file, tree->find(target.key.substr(volume.size())));
  if (file.record.type() != FileType::kRegular)
    return fail(Errc::kInvalid, target.text() + " is no file");
  progress.set_total(file.record.size);
  for (uint64_t at = 0; at < file.record.size;) {
    TRY_ASSIGN(const auto pieces, tree->read(file, at, kPieceBytes * kPiecesAhead));
    for (const Buffer& piece : pieces) {
      if (cancel.cancelled()) return fail(Errc::kCancelled, "interrupted");
      TRY(out.write_sparse(piece));
      progress.add(piece.size());
      at += piece.size();
    }
  }
  return out.finish(file.record.mtime);
}

Status get_from_mount(const Target& target, const CancelToken& cancel, Output& out,
                      Progress& progress) {
  const int fd = ::open(target.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fail_errno(errno, target.path);
  struct stat st{};
  Status done = ::fstat(fd, &st) == 0 ? Status() : fail_errno(errno, target.path);
  if (done && !S_ISREG(st.st_mode)) done = fail(Errc::kInvalid, target.path + " is no file");
  if (done) progress.set_total(static_cast<uint64_t>(st.st_size));
  ByteVec step(1 << 20);
  while (done) {
    const auto n = read_some(fd, step, cancel);
    if (!n) done = tl::unexpected<Error>(Error(n.error()).wrap(target.path));
    if (!n || *n == 0) break;
    done = out.write(Bytes(step).first(*n));
    progress.add(*n);
  }
  ::close(fd);
  TRY(done);
  return out.finish();
}

// Where it goes: a file in the directory that was named, or in this one.
std::string destination_of(const GetArguments& arguments, const Target& target) {
  const std::string& named = arguments.destination;
  struct stat st{};
  if (named.empty()) return "./" + target.name();
  if (!is_standard_output(named) &&
      (named.ends_with('/') || (::stat(named.c_str(), &st) == 0 && S_ISDIR(st.st_mode))))
    return named + (named.ends_with('/') ? "" : "/") + target.name();
  return named;
}

Status get(const GetArguments& arguments, const Target& target, const CancelToken& cancel) {
  // Before anything is made on the disk.
  std::unique_ptr<Runtime> runtime;
  OpenTarget open;
  if (!target.mount) {
    runtime = std::make_unique<Runtime>();
    TRY_ASSIGN(open, open_target(target, arguments.store, *runtime, false, arguments.as_objects,
                                 one_request(cancel)));
  }
  TRY_ASSIGN(Output out, Output::open(destination_of(arguments, target)));
  Progress progress(target.name(), 0);
  if (target.mount) return get_from_mount(target, cancel, out, progress);
  if (open.volume)
    return get_from_volume(target, *open.volume, arguments, *runtime, cancel, out, progress);
  TRY(ObjectReader(*open.stack.store, target, cancel).copy_to(out, progress));
  return out.finish();
}

// What can be wrong with the call itself.
Status check_get_call(const GetArguments& arguments, const Target& target) {
  if (target.name().empty()) return fail(Errc::kInvalid, target.text() + " is no object");
  return check_store_options(arguments.typed, target, StoreUse::kRead);
}

int run_get(const GetArguments& arguments) {
  set_log_level(LogLevel::kError);
  ::signal(SIGPIPE, SIG_IGN);
  const auto target = find_target(arguments.source);
  if (!target) return refuse(target.error());
  if (const Status fine = check_get_call(arguments, *target); !fine) return refuse(fine.error());
  // What goes to a pipe leaves nothing behind: there Ctrl-C just ends it, whatever it waits for.
  std::unique_ptr<Interrupt> interrupt;
  if (!is_written_as_it_is(arguments.destination)) interrupt = std::make_unique<Interrupt>();
  const Status done = get(arguments, *target, interrupt ? interrupt->token() : CancelToken());
  if (done) return kExitOk;
  if (is_standard_output(arguments.destination) && done.error().sys_errno() == EPIPE)
    return kExitFailed;
  return complain(done.error());
}

}  // namespace

void add_get_command(CommandLine& line) {
  auto arguments = std::make_shared<GetArguments>();
  Command& command = line.add("get", "Copy an object or a file out of a remote, or of a mount");
  command.argument("SOURCE", ValueKind::kRemote, arguments->source, kTargetHelp);
  command.argument("DESTINATION", ValueKind::kFile, arguments->destination,
                   "a file, a directory, or '-' for standard output (default: a file here)", false);
  command.flag("objects", arguments->as_objects, "an object that a volume is made of").only_typed();
  command.about(
      "All bytes are of one version: what is replaced meanwhile is refused. A file appears under "
      "its name when it is whole, and is not there when the copy failed or was interrupted. Of a "
      "volume it is the file at its newest commit, with holes where its chunks are zeroes.");
  command.example("cairn get s3://bucket/photos/one.jpg", "into this directory");
  command.example("cairn get s3://bucket/logs/today.gz - | zcat", "into a pipe");
  add_store_options(command, arguments->store);
  command.note_typed(arguments->typed);
  command.run([arguments] { return run_get(*arguments); });
}

}  // namespace cairn
