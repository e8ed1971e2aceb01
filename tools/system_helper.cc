#include "tools/system_helper.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <set>

#include "tools/client.h"
#include "tools/command_line.h"
#include "tools/commands.h"
#include "tools/daemon.h"
#include "tools/mount_table.h"
#include "tools/umount.h"

namespace cairn {

namespace {

using Words = std::vector<std::string>;

// A word of single letters, such as "-nv"; "-" alone is an argument.
bool is_letters(const std::string& word) {
  return word.size() > 1 && word[0] == '-' && word[1] != '-';
}

// Becomes another program.
[[noreturn]] void become(Words words) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  std::cerr << "cairn: cannot run " << words[0] << "\n";
  ::_exit(kHelperFailed);
}

[[noreturn]] void pass_on(const UmountCall& call) {
  Words words{"umount", "-i"};
  words.insert(words.end(), call.arguments.begin(), call.arguments.end());
  become(std::move(words));
}

// What of a list the kernel takes in a remount; nosuid and nodev are added unless allowed, as in a
// first mount, whatever fstab says to mount(8).
std::string remount_list(const Words& options) {
  static const std::set<std::string, std::less<>> for_kernel{
      "ro",      "rw",         "nosuid",   "nodev",       "noexec", "exec", "noatime",
      "dirsync", "nodiratime", "relatime", "strictatime", "sync",   "async"};
  bool suid = false, dev = false;
  std::string list = "remount";
  for (const std::string& option : options) {
    suid = suid || option == "allow_suid" || option == "allow-suid";
    dev = dev || option == "allow_dev" || option == "allow-dev";
    if (for_kernel.count(option) != 0) list += "," + option;
  }
  return list + (suid ? "" : ",nosuid") + (dev ? "" : ",nodev");
}

}  // namespace

HelperRole helper_role(const std::string& called_as) {
  const std::string name = called_as.substr(called_as.rfind('/') + 1);
  if (name == "mount.cairn" || name == "mount.fuse.cairn") return HelperRole::kMount;
  if (name == "umount.fuse" || name == "umount.cairn" || name == "umount.fuse.cairn")
    return HelperRole::kUmount;
  return HelperRole::kNone;
}

MountCall translate_mount_call(const Words& arguments) {
  MountCall call;
  Words places, lists;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (!is_letters(arguments[i])) {
      places.push_back(arguments[i]);
      continue;
    }
    for (size_t at = 1; at < arguments[i].size(); ++at) {
      const char letter = arguments[i][at];
      if (letter == 'f') call.fake = true;
      if (letter == 'v') call.verbose = true;
      if (letter == 's' || letter == 'f' || letter == 'n' || letter == 'v') continue;
      if (letter != 'o' && letter != 't') {
        call.error = std::string("-") + letter + " is not known";
        return call;
      }
      // The value is the rest of the word or the next one.
      std::string value = arguments[i].substr(at + 1);
      if (value.empty() && i + 1 < arguments.size()) value = arguments[++i];
      if (letter == 'o' && !value.empty()) lists.push_back(value);
      break;
    }
  }
  if (places.size() != 2) {
    call.error = "usage: mount.cairn REMOTE MOUNTPOINT [-o LIST]";
    return call;
  }
  call.words = {"mount"};
  Words options;
  for (const std::string& list : lists)
    for (std::string& option : split_list(list)) options.push_back(std::move(option));
  call.remount = std::find(options.begin(), options.end(), "remount") != options.end();
  if (call.remount)
    call.words.insert(call.words.end(), {"-i", "-o", remount_list(options)});
  else
    for (const std::string& list : lists) call.words.insert(call.words.end(), {"-o", list});
  call.words.insert(call.words.end(), {"--", places[0], places[1]});
  return call;
}

UmountCall translate_umount_call(const Words& arguments) {
  UmountCall call;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (!is_letters(word)) {
      if (!call.mountpoint.empty()) call.error = "more than one mount point";
      call.mountpoint = word;
      call.arguments.push_back(word);
      continue;
    }
    // The type was for finding us; umount -i looks for itself.
    if (word == "-t") {
      ++i;
      continue;
    }
    call.arguments.push_back(word);
    if (word == "-N") {
      call.at_once = true;
      if (i + 1 < arguments.size()) call.arguments.push_back(arguments[++i]);
      continue;
    }
    if (word.find_first_of("lf") != std::string::npos) call.at_once = true;
  }
  if (call.mountpoint.empty()) call.error = "usage: umount.fuse MOUNTPOINT [-flnrv]";
  return call;
}

int run_mount_helper(const Words& arguments, const std::function<int(const Words&)>& run) {
  const MountCall call = translate_mount_call(arguments);
  if (!call.error.empty()) {
    std::cerr << "mount.cairn: " << call.error << "\n";
    return kHelperUsage;
  }
  if (call.fake) return kExitOk;
  if (call.remount) become(call.words);
  answer_as_helper(kHelperFailed, call.verbose);
  const int status = run(call.words);
  return status == kExitOk ? kExitOk : status == kExitUsage ? kHelperUsage : kHelperFailed;
}

int run_umount_helper(const Words& arguments) {
  const UmountCall call = translate_umount_call(arguments);
  if (!call.error.empty()) {
    std::cerr << "umount.fuse: " << call.error << "\n";
    return kHelperUsage;
  }
  if (call.at_once) pass_on(call);
  const auto mountpoint = canonical_mountpoint(call.mountpoint);
  const auto table = read_mount_table();
  if (!mountpoint || !table) pass_on(call);
  const auto entry = mount_at(*table, *mountpoint);
  if (!entry || entry->type != kMountType) pass_on(call);
  auto client = connect_at(*mountpoint, *table);
  if (!client) pass_on(call);  // nobody is there to be asked
  const Status done = umount_flushed(**client, *mountpoint, kTimeoutOfMount);
  if (done) return 0;
  if (done.error().code() == Errc::kNotFound) pass_on(call);  // it died while we asked
  complain(done.error());
  return kHelperFailed;
}

}  // namespace cairn
