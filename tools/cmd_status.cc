// status, flush, umount: clients of the control socket.
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <iostream>
#include <vector>

#include "cache/base/env.h"
#include "tools/commands.h"
#include "tools/control.h"
#include "tools/units.h"

namespace cairn {

namespace {

tl::unexpected<Error> not_mounted(const std::string& path) {
  return fail(Errc::kNotFound, path +
                                   " is not a mount of cairn, or its daemon is gone (then: "
                                   "fusermount3 -uz " +
                                   path + ")");
}

// The mount that `path` lies in: the path itself or one of its parents.
Result<std::unique_ptr<ControlClient>> connect_to(const std::string& path,
                                                  std::string& mountpoint) {
  TRY_ASSIGN(std::string at, canonical_mountpoint(path));
  while (true) {
    TRY_ASSIGN(const std::string socket, control_path(at));
    if (auto client = ControlClient::connect(socket)) {
      mountpoint = at;
      return client;
    }
    const size_t slash = at.rfind('/');
    if (at == "/" || slash == std::string::npos) return not_mounted(path);
    at = slash == 0 ? "/" : at.substr(0, slash);
  }
}

Result<Json> ask(ControlClient& client, const Json& request,
                 const std::function<void(const Json&)>& progress) {
  TRY(client.send(request));
  while (true) {
    TRY_ASSIGN(Json answer, client.receive());
    if (answer.contains("progress")) {
      if (progress) progress(answer["progress"]);
      continue;
    }
    if (!answer.value("ok", false))
      return fail(Errc::kIo, answer.value("error", "the daemon refused"));
    return answer;
  }
}

void print_progress(const Json& pending) {
  if (::isatty(STDERR_FILENO) == 0) return;
  std::cerr << "\r" << format_size(pending.value("bytes", uint64_t{0})) << " in "
            << pending.value("files", uint64_t{0}) << " files to go          " << std::flush;
}
void end_progress() {
  if (::isatty(STDERR_FILENO) != 0) std::cerr << "\r                                        \r";
}

// ---- status

void print_status(const Json& s) {
  const Json& pending = s["pending"];
  const Json& cache = s["cache"];
  std::cout << s.value("remote", "") << " on " << s.value("mountpoint", "") << " ("
            << s.value("mode", "") << ", process " << s.value("pid", 0) << ")\n";
  const uint64_t bytes = pending.value("bytes", uint64_t{0});
  if (s["lsn"]["appended"] == s["lsn"]["published"] || s.value("mode", "") == "read-only") {
    std::cout << "  everything is in the store\n";
  } else {
    std::cout << "  to be stored: " << format_size(bytes) << " in "
              << pending.value("files", uint64_t{0}) << " files, oldest "
              << format_duration(pending.value("oldest_age_ms", int64_t{0})) << "\n";
  }
  std::cout << "  cache: " << format_size(cache.value("bytes", uint64_t{0})) << " of "
            << format_size(cache.value("limit", uint64_t{0})) << "\n"
            << "  last commit: " << s["commit"].value("seq", uint64_t{0}) << "\n";
  if (s.value("fenced", false))
    std::cout << "  FENCED: another writer took this volume over; only reads work here\n";
  if (const std::string error = s.value("store_error", ""); !error.empty())
    std::cout << "  the store cannot be used at the moment: " << error << "\n";
}

int run_status(const std::string& path, bool as_json) {
  std::vector<std::unique_ptr<ControlClient>> clients;
  if (!path.empty()) {
    std::string mountpoint;
    auto client = connect_to(path, mountpoint);
    if (!client) return complain(client.error());
    clients.push_back(std::move(*client));
  } else {
    const auto dir = run_directory();
    if (!dir) return complain(dir.error());
    const auto names = posix_env().list_dir(*dir);
    if (!names) return complain(names.error());
    for (const std::string& name : *names)
      if (auto client = ControlClient::connect(*dir + "/" + name))
        clients.push_back(std::move(*client));
    if (clients.empty() && !as_json) std::cout << "nothing is mounted\n";
  }
  bool all_stored = true;
  for (const auto& client : clients) {
    const auto answer = ask(*client, Json{{"command", "status"}}, nullptr);
    if (!answer) return complain(answer.error());
    const Json& status = (*answer)["status"];
    if (as_json) {
      std::cout << status.dump() << "\n";
    } else {
      print_status(status);
    }
    all_stored = all_stored && status["lsn"]["appended"] == status["lsn"]["published"];
  }
  (void)all_stored;
  return kExitOk;
}

// ---- flush

int run_flush(const std::string& path, int64_t timeout_ns) {
  std::string mountpoint;
  const auto client = connect_to(path.empty() ? "." : path, mountpoint);
  if (!client) return complain(client.error());
  const auto answer =
      ask(**client, Json{{"command", "flush"}, {"timeout_ns", timeout_ns}}, print_progress);
  end_progress();
  if (!answer) return complain(answer.error());
  return kExitOk;
}

// ---- umount

Status unmount(const std::string& mountpoint) {
  if (::geteuid() == 0) {
    if (::umount2(mountpoint.c_str(), UMOUNT_NOFOLLOW) == 0) return {};
    if (errno == EBUSY)
      return fail(Errc::kIo, mountpoint +
                                 " is busy: a process has a file open or its working "
                                 "directory there ('fuser -vm " +
                                 mountpoint + "' names it)");
    return fail_errno(errno, "umount " + mountpoint);
  }
  const pid_t child = ::fork();
  if (child < 0) return fail_errno(errno, "fork");
  if (child == 0) {
    ::execlp("fusermount3", "fusermount3", "-u", "--", mountpoint.c_str(), nullptr);
    ::_exit(127);
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return fail(Errc::kIo, "fusermount3 could not unmount " + mountpoint);
  return {};
}

int run_umount(const std::string& path, int64_t timeout_ns) {
  std::string mountpoint;
  const auto client = connect_to(path, mountpoint);
  if (!client) return complain(client.error());
  const auto wanted = canonical_mountpoint(path);
  if (!wanted || *wanted != mountpoint)
    return complain(
        Error(Errc::kInvalid, path + " is not a mount point; the mount is " + mountpoint));
  const auto flushed =
      ask(**client, Json{{"command", "umount"}, {"timeout_ns", timeout_ns}, {"wait_for_end", true}},
          print_progress);
  end_progress();
  if (!flushed) {
    complain(flushed.error());
    std::cerr << "cairn: " << mountpoint << " stays mounted; nothing is lost, try again later\n";
    return kExitFailed;
  }
  if (const Status done = unmount(mountpoint); !done) return complain(done.error());
  const auto end = (*client)->receive();
  if (!end)
    return complain(Error(Errc::kIo,
                          "the daemon ended without a word; the next mount goes "
                          "on where it stopped"));
  if (!end->value("closed", false))
    return complain(Error(Errc::kIo, end->value("error", "not everything is in the store")));
  return kExitOk;
}

}  // namespace

void add_status_command(CLI::App& app, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("status", "Show what is mounted and what is on its way");
  auto path = std::make_shared<std::string>();
  auto as_json = std::make_shared<bool>(false);
  command->add_option("MOUNTPOINT", *path, "only this mount (any path in it)");
  command->add_flag("--json", *as_json, "one JSON object a mount, for programs");
  command->callback([=, &chosen] { chosen = [=] { return run_status(*path, *as_json); }; });
}

void add_flush_command(CLI::App& app, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("flush", "Wait until everything written is in the store");
  auto path = std::make_shared<std::string>();
  auto timeout_ns = std::make_shared<int64_t>(0);
  command->add_option("MOUNTPOINT", *path, "the mount (default: where we are)");
  command->add_option("--timeout", *timeout_ns, "give up after this long (default: never)")
      ->transform(duration_option());
  command->callback([=, &chosen] { chosen = [=] { return run_flush(*path, *timeout_ns); }; });
}

void add_umount_command(CLI::App& app, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("umount", "Flush, then unmount");
  auto path = std::make_shared<std::string>();
  auto timeout_ns = std::make_shared<int64_t>(0);
  command->add_option("MOUNTPOINT", *path, "the mount point")->required();
  command->add_option("--timeout", *timeout_ns, "give up flushing after this long (default: never)")
      ->transform(duration_option());
  command->callback([=, &chosen] { chosen = [=] { return run_umount(*path, *timeout_ns); }; });
}

}  // namespace cairn
