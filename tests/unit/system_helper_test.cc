#include "tools/system_helper.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>

#include "tests/support/temp_dir.h"
#include "tools/mount_table.h"
#include "tools/service_notify.h"

using namespace cairn;

namespace {

using Words = std::vector<std::string>;

// The service manager's end of the socket.
class Listener {
 public:
  explicit Listener(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_DGRAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    REQUIRE(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  }
  ~Listener() { ::close(fd_); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  // One message, or empty when none has come: datagrams are there when `send` returned.
  std::string next() {
    std::array<char, 1024> text{};
    const ssize_t n = ::recv(fd_, text.data(), text.size(), MSG_DONTWAIT);
    return n > 0 ? std::string(text.data(), static_cast<size_t>(n)) : "";
  }

 private:
  int fd_;
};

}  // namespace

TEST_CASE("helper: the name decides what the program is") {
  CHECK(helper_role("/sbin/mount.cairn") == HelperRole::kMount);
  CHECK(helper_role("mount.fuse.cairn") == HelperRole::kMount);
  CHECK(helper_role("/sbin/umount.fuse") == HelperRole::kUmount);
  CHECK(helper_role("/usr/bin/cairn") == HelperRole::kNone);
  CHECK(helper_role("/mount.cairn/cairn") == HelperRole::kNone);
}

TEST_CASE("helper: what mount(8) says becomes words of the command line") {
  const MountCall call =
      translate_mount_call({"s3://b/p", "/mnt", "-nv", "-o", "rw,noatime,cache-size=1G"});
  CHECK(call.error.empty());
  CHECK_FALSE(call.fake);
  CHECK(call.verbose);
  CHECK(call.words == Words{"mount", "-o", "rw,noatime,cache-size=1G", "--", "s3://b/p", "/mnt"});
  CHECK(translate_mount_call({"a", "/mnt", "-s", "-t", "fuse.cairn", "-oro"}).words ==
        Words{"mount", "-o", "ro", "--", "a", "/mnt"});
  CHECK(translate_mount_call({"a", "/mnt", "-f"}).fake);
  CHECK_FALSE(translate_mount_call({"a", "/mnt", "-n", "-o", "v"}).verbose);
  CHECK_FALSE(call.remount);
  const auto again = [](const char* list) {
    const MountCall told = translate_mount_call({"a", "/mnt", "-o", list});
    CHECK(told.remount);
    CHECK(told.words.size() == 7);
    return told.words[2] + " " + told.words[3];
  };
  // Only what the kernel takes, and never less safe than the first mount.
  CHECK(again("ro,remount,allow_other,cache_dir=/c") == "-o remount,ro,nosuid,nodev");
  CHECK(again("rw,noatime,allow_dev,remount") == "-o remount,rw,noatime,nosuid");
  CHECK(translate_mount_call({"a", "/mnt", "-o", "remount"}).words[1] == "-i");
  CHECK_FALSE(translate_mount_call({"a", "/mnt", "-o", "profile=\"a,remount\""}).remount);
  CHECK_FALSE(translate_mount_call({"a", "/mnt", "-o", "profile=remount"}).remount);
  CHECK_FALSE(translate_mount_call({"a"}).error.empty());
  CHECK_FALSE(translate_mount_call({"a", "b", "c"}).error.empty());
  CHECK_FALSE(translate_mount_call({"a", "/mnt", "-z"}).error.empty());
}

TEST_CASE("helper: what umount(8) says") {
  const UmountCall plain = translate_umount_call({"/mnt", "-n"});
  CHECK(plain.error.empty());
  CHECK(plain.mountpoint == "/mnt");
  CHECK_FALSE(plain.at_once);
  CHECK(plain.arguments == Words{"/mnt", "-n"});
  CHECK(translate_umount_call({"/mnt", "-l"}).at_once);
  CHECK(translate_umount_call({"/mnt", "-nf"}).at_once);
  CHECK(translate_umount_call({"/mnt", "-N", "/proc/1/ns/mnt"}).at_once);
  CHECK(translate_umount_call({"/mnt", "-t", "fuse.cairn", "-r"}).arguments == Words{"/mnt", "-r"});
  CHECK_FALSE(translate_umount_call({}).error.empty());
  CHECK_FALSE(translate_umount_call({"/a", "/b"}).error.empty());
}

TEST_CASE("mount table: names with blanks, mounts on mounts, what is no line") {
  const auto table = parse_mount_table(
      "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
      "40 22 0:30 / /mnt/my\\040disk rw,nosuid shared:1 master:2 - fuse.cairn s3://b/p\\134q "
      "rw,user_id=1000,group_id=1000\n"
      "garbage\n"
      "41 22 0:31 / /mnt/my\\040disk rw - tmpfs tmpfs rw\n");
  REQUIRE(table.size() == 3);
  CHECK(table[1].mountpoint == "/mnt/my disk");
  CHECK(table[1].type == kMountType);
  CHECK(table[1].source == "s3://b/p\\q");
  CHECK(table[1].owner == 1000);
  CHECK(table[1].device == "0:30");
  CHECK(table[1].root == "/");
  CHECK(mount_at(table, "/mnt/my disk")->type == "tmpfs");
  CHECK(mount_at(table, "/")->owner == 0);
  CHECK_FALSE(mount_at(table, "/mnt"));
  const auto ours = read_mount_table();
  REQUIRE(ours);
  const auto proc = mount_at(*ours, "/proc");
  CHECK(proc->type == "proc");
  CHECK(places_of(proc->device).find("at /proc") != std::string::npos);
  CHECK(places_of("0:no device").empty());
}

TEST_CASE("notify: the service manager hears of the start and of the end") {
  const TempDir dir;
  Listener listener(dir / "notify");
  ServiceNotify notify(dir / "notify");
  notify.ready("mounted\nat /mnt");
  const std::string ready = listener.next();
  CHECK(ready.find("READY=1\nSTATUS=mounted at /mnt\n") == 0);
  CHECK(ready.find("MAINPID=" + std::to_string(::getpid())) != std::string::npos);
  notify.stopping("flushing", std::chrono::seconds(30));
  CHECK(listener.next() == "STOPPING=1\nSTATUS=flushing\nEXTEND_TIMEOUT_USEC=30000000");
  CHECK(listener.next().empty());
}

TEST_CASE("notify: without a listener nothing happens") {
  const TempDir dir;
  for (const std::string& address :
       {std::string(), dir / "nobody", std::string("nonsense"), "/" + std::string(200, 'x')}) {
    ServiceNotify notify(address);
    notify.ready("mounted");
    notify.stopping("flushing", Duration(1));
  }
}
