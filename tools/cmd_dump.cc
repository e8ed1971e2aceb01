// dump: what a volume holds, in the words of FORMAT.md, for developers.
#include <unistd.h>

#include <future>
#include <iostream>

#include "cache/base/log.h"
#include "cache/format/commit.h"
#include "cache/tree_remote.h"
#include "tools/commands.h"
#include "tools/scratch_dir.h"

namespace cairn {

namespace {

struct DumpArguments {
  std::string remote;
  bool keys = false;
  StoreOptions store;
};

Status fetch_missing(Remote& remote, const Missing& missing) {
  std::promise<Status> done;
  remote.fetch(missing, Context(), [&done](Status status) { done.set_value(std::move(status)); });
  return done.get_future().get();
}

// One line a key: the key in hex, a tab, the CID of its value.
Status dump_keys(Remote& remote) {
  constexpr size_t kPage = 1000;
  std::string from;
  while (true) {
    Missing missing;
    const auto page = remote.scan(from, "", kPage, missing);
    if (!page) {
      if (page.error().code() != Errc::kNotLocal || missing.empty())
        return tl::unexpected<Error>(page.error());
      TRY(fetch_missing(remote, missing));
      continue;
    }
    for (const TreeEntry& entry : *page)
      std::cout << to_hex(as_bytes(entry.key)) << '\t' << entry.value.text() << '\n';
    if (page->size() < kPage) return {};
    from = page->back().key + '\0';
  }
}

Status dump_commit(const TreeRemote& remote) {
  TRY_ASSIGN(const CommitRecord record, CommitRecord::decode(remote.commit_record()));
  const PublishedState state = remote.published();
  std::cout << "commit " << record.seq << "\n"
            << "root " << record.root.text() << "\n"
            << "epoch " << record.epoch << "\n"
            << "writer " << record.writer.host << " cache " << uuid_text(record.writer.cache_id)
            << " slot " << record.writer.slot << " lsn " << record.writer.lsn << "\n"
            << "files " << state.live_bytes << " bytes, " << state.inodes << " inodes, "
            << state.stored_bytes << " bytes stored\n";
  return {};
}

Status dump(const DumpArguments& arguments, Runtime& runtime) {
  TRY_ASSIGN(const RemoteUrl url, parse_remote_url(arguments.remote));
  TRY_ASSIGN(const StoreStack stack, open_store(url, arguments.store, false, runtime));
  const ScratchDir scratch("cairn-dump");
  if (scratch.path().empty()) return fail_errno(errno, "temporary directory");
  TreeRemote::Options options;
  options.mode = TreeRemote::Mode::kFollower;
  options.metadata_dir = scratch.path();
  TRY_ASSIGN(const auto remote,
             TreeRemote::open({*stack.store, posix_env(), system_clock(), os_rng(), runtime.work},
                              options, Context()));
  return arguments.keys ? dump_keys(*remote) : dump_commit(*remote);
}

int run_dump(const DumpArguments& arguments) {
  set_log_level(LogLevel::kError);
  Runtime runtime;
  const Status done = dump(arguments, runtime);
  return done ? kExitOk : complain(done.error());
}

}  // namespace

void add_dump_command(CommandLine& line) {
  auto arguments = std::make_shared<DumpArguments>();
  Command& command = line.add("dump", "Print a volume's newest commit (for developers)");
  command.argument("REMOTE", ValueKind::kRemote, arguments->remote, kRemoteHelp);
  command.flag("keys", arguments->keys, "print every tree key (hex) and its value's CID");
  add_store_options(command, arguments->store);
  command.run([arguments] { return run_dump(*arguments); });
}

}  // namespace cairn
