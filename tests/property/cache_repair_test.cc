// Damage to the files of a cache that holds unpublished work: whatever file it hits, the mount goes
// on as if nothing was, or refuses with a sentence that names the way out; then a repair keeps a
// state that the volume really had, says what is lost, and loses nothing that it could keep.
#include "cache/cache_repair.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <map>

#include "cache/base/log.h"
#include "cache/base/random.h"
#include "s3/memory_store.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_mount.h"

using namespace cairn;
using namespace cairn::test;
namespace fs = std::filesystem;

namespace {

using State = std::map<std::string, std::string>;  // path -> content, of directories "/"

std::string bytes_of(uint64_t seed, size_t length) {
  const auto rng = make_seeded_rng(seed);
  std::string out(length, '\0');
  for (char& c : out) c = static_cast<char>('a' + rng->below(26));
  return out;
}

// A cache that died with work that is published, in a checkpoint, and only in the journal.
class Machine {
 public:
  Machine() {
    mount.lmdb = true;
    mount.options.journal_file_bytes = 16 << 10;
    mount.options.engine.publish_interval = std::chrono::hours(1);
    mount.options.engine.publish_interval_max = std::chrono::hours(1);
    REQUIRE(mount.format(4096, 8));
    open("original");
    const Ino dir = make(kRootIno, "dir", true);
    for (int i = 0; i < 40; ++i) {
      const std::string name = "f" + std::to_string(i);
      const Ino ino = make(i % 3 == 0 ? dir : kRootIno, name, false);
      write(ino, bytes_of(static_cast<uint64_t>(i), i % 4 == 0 ? 20'000 : 700));
      if (i % 7 == 6) {
        run([&](Volume& v, Need& n) { return v.unlink(kRootIno, "f" + std::to_string(i - 2), n); },
            true);
      }
      if (i == 10) publish();
      if (i == 20) REQUIRE(mount.engine().checkpoint());
      if (i == 25) REQUIRE(mount.engine().sync(mount.engine().appended()));
    }
    REQUIRE(mount.engine().sync(mount.engine().appended()));
    make(kRootIno, "the end", false);
    mount.kill();
  }

  std::string path(const std::string& cache) const { return home / cache; }
  void open(const std::string& cache) {
    const Status opened = mount.open(path(cache));
    REQUIRE_MESSAGE(opened, (opened ? "" : opened.error().message()));
  }
  template <class Op>
  void run(const Op& op, bool may_fail = false) {
    const auto done = mount.run(op);
    if (!may_fail) REQUIRE_MESSAGE(done, (done ? "" : done.error().message()));
    states.push_back(state());
  }
  Ino make(Ino parent, const std::string& name, bool directory) {
    Ino ino = 0;
    run([&](Volume& v, Need& n) -> Status {
      TRY_ASSIGN(const Attr attr, directory ? v.mkdir(parent, name, 0755, {}, n)
                                            : v.mknod(parent, name, S_IFREG | 0644, 0, {}, n));
      ino = attr.ino;
      return {};
    });
    return ino;
  }
  void write(Ino ino, const std::string& bytes) {
    const auto handle = mount.run([&](Volume& v, Need& n) { return v.open_file(ino, n); });
    REQUIRE(handle);
    run([&](Volume& v, Need& n) { return v.write(*handle, 0, as_bytes(bytes), n); });
    mount.volume().release_file(*handle);
  }
  void publish() {
    REQUIRE(mount.engine().publish_once(false, Context()));
    published = states.size() - 1;
  }
  State state() {
    State out;
    list(kRootIno, "", out);
    return out;
  }
  void list(Ino ino, const std::string& at, State& out) {
    const auto handle = mount.run([&](Volume& v, Need& n) { return v.open_dir(ino, n); });
    REQUIRE(handle);
    const auto page =
        mount.run([&](Volume& v, Need& n) { return v.readdir(*handle, 0, 1000, false, n); });
    REQUIRE(page);
    mount.volume().release_dir(*handle);
    for (const DirEntry& entry : *page) {
      if (entry.name == "." || entry.name == "..") continue;
      const std::string name = at + "/" + entry.name;
      if (entry.type == FileType::kDirectory) {
        out[name] = "/";
        list(entry.ino, name, out);
        continue;
      }
      const auto file = mount.run([&](Volume& v, Need& n) { return v.open_file(entry.ino, n); });
      if (!file) {
        out[name] = "gone";
        continue;
      }
      const auto bytes =
          mount.run([&](Volume& v, Need& n) { return v.read(*file, 0, 1 << 20, n); });
      mount.volume().release_file(*file);
      out[name] = bytes ? to_string(*bytes) : "unreadable";
    }
  }
  // The number of the newest state that this is, or -1.
  int which(const State& found) const {
    for (size_t i = states.size(); i-- > 0;)
      if (states[i] == found) return static_cast<int>(i);
    return -1;
  }
  void copy(const std::string& to) {
    fs::remove_all(path(to));
    fs::copy(path("original"), path(to), fs::copy_options::recursive);
  }
  std::vector<std::string> files(const std::string& below) const {
    std::vector<std::string> out;
    for (const auto& entry : fs::recursive_directory_iterator(below))
      if (entry.is_regular_file()) out.push_back(entry.path());
    std::sort(out.begin(), out.end());
    return out;
  }
  Result<RepairReport> repair(const std::string& cache) {
    TRY_ASSIGN(const auto opened,
               CacheDir::open(posix_env(), os_rng(), path(cache), store.description(), true));
    return repair_cache(*opened, mount.environment(), mount.options, Context());
  }
  // What `recover --to` would see.
  State rescued(const std::string& cache, std::vector<std::string>& damage) {
    const TempDir scratch;
    mount.options.recover = mount.options.engine.read_only = true;
    mount.options.scratch_dir = scratch.path();
    open(cache);
    damage = mount.opened().damage;
    const State found = state();
    mount.kill();
    mount.options.recover = mount.options.engine.read_only = false;
    return found;
  }

  const TempDir home;
  ThreadExecutor io{"io", 2};
  MemoryStore store{io, system_clock()};
  TestMount mount{store, posix_env(), io};
  std::vector<State> states;
  size_t published = 0;
};

// The first entry in which they differ.
std::string difference(const State& a, const State& b) {
  for (const State* one : {&a, &b})
    for (const auto& [path, content] : *one) {
      const State& other = one == &a ? b : a;
      const auto it = other.find(path);
      if (it == other.end()) return path + " is only in one";
      if (it->second != content)
        return path + " is '" + content.substr(0, 90) + "' and '" + it->second.substr(0, 90) + "'";
    }
  return "";
}

void flip(const std::string& path, uint64_t at, uint8_t with) {
  auto file = posix_env().open(path, OpenMode::kReadWrite).value();
  std::byte byte[1];
  REQUIRE(file->read_at(at, byte).value() == 1);
  byte[0] ^= std::byte{with};
  REQUIRE(file->write_at(at, byte));
}

std::string damage(const std::string& path, Rng& rng) {
  const uint64_t size = fs::file_size(path);
  const uint64_t reach = rng.below(3) == 0 ? std::min<uint64_t>(size, 300) : size;
  const uint64_t at = size == 0 ? 0 : rng.below(reach);
  if (size == 0 || rng.below(10) == 0) {
    fs::remove(path);
    return "removed";
  }
  if (rng.below(4) == 0) {
    fs::resize_file(path, at);
    return "cut at " + std::to_string(at);
  }
  flip(path, at, static_cast<uint8_t>(1 + rng.below(255)));
  return "flipped at " + std::to_string(at);
}

}  // namespace

TEST_CASE("a damaged cache is refused with the way out, repaired, and mounts") {
  set_log_level(LogLevel::kError);
  Machine m;
  const State& last = m.states.back();
  const auto rng = make_seeded_rng(3);
  int refused = 0;
  for (int round = 0; round < 60; ++round) {
    m.copy("copy");
    const auto files = m.files(m.path("copy"));
    const std::string file = files[rng->below(files.size())];
    const std::string what = file + " " + damage(file, *rng);
    CAPTURE(round);
    CAPTURE(what);
    std::vector<std::string> damage;
    const State seen = m.rescued("copy", damage);
    const Status opened = m.mount.open(m.path("copy"));
    if (opened) {
      // Nothing said that what is missing had been durable: the end of the log, or nothing at all.
      const int at = m.which(m.state());
      CHECK(at >= static_cast<int>(m.published));
      const bool may_be_torn = what.find("/journal/") != std::string::npos ||
                               what.find("/segments/") != std::string::npos;
      if (!may_be_torn) CHECK(m.state() == last);
      m.mount.kill();
      const auto report = m.repair("copy");
      REQUIRE_MESSAGE(report, (report ? "" : report.error().message()));
      CHECK_MESSAGE(report->damage.empty(), report->damage.front());
      continue;
    }
    ++refused;
    INFO(opened.error().message());
    CHECK(opened.error().code() == Errc::kCorruption);
    CHECK(opened.error().message().find("cairn recover " + m.path("copy")) != std::string::npos);
    const auto report = m.repair("copy");
    REQUIRE_MESSAGE(report, (report ? "" : report.error().message()));
    REQUIRE_FALSE(report->damage.empty());
    INFO(report->damage.front());
    m.open("copy");
    const State kept = m.state();
    m.mount.kill();
    const int at = m.which(kept);
    CHECK(at >= static_cast<int>(m.published));
    if (report->lost.empty()) CHECK(kept == last);
    if (kept != last) CHECK_FALSE(report->lost.empty());
    // Nothing is lost because tables, identity, lock or metadata are damaged.
    if (what.find("/journal/") == std::string::npos && what.find("/segments/") == std::string::npos)
      CHECK(kept == last);
    // What was put aside shows what the damaged cache showed.
    if (!report->lost.empty()) {
      std::vector<std::string> again;
      CHECK(difference(m.rescued(report->aside.substr(m.home.path().size() + 1), again), seen) ==
            "");
    }
    // A repaired cache needs no repair.
    const auto second = m.repair("copy");
    REQUIRE(second);
    CHECK_MESSAGE(second->damage.empty(), second->damage.front());
  }
  MESSAGE(refused << " of 60 refused");
  CHECK(refused > 10);
}

TEST_CASE("what follows a damaged record can be taken out") {
  set_log_level(LogLevel::kError);
  Machine m;
  m.copy("copy");
  // A record in the middle of a file behind the checkpoint.
  const auto files = m.files(m.path("copy") + "/journal");
  REQUIRE(files.size() >= 2);
  flip(files.back(), 60, 1);
  const Status opened = m.mount.open(m.path("copy"));
  REQUIRE_FALSE(opened);
  CHECK(opened.error().message().find(files.back()) != std::string::npos);
  std::vector<std::string> damage;
  const State seen = m.rescued("copy", damage);
  CHECK_FALSE(damage.empty());
  CHECK(seen.contains("/the end"));
  const auto report = m.repair("copy");
  REQUIRE(report);
  CHECK_FALSE(report->lost.empty());
  m.open("copy");
  const State kept = m.state();
  CHECK(m.which(kept) >= static_cast<int>(m.published));
  CHECK_FALSE(kept.contains("/the end"));
  m.mount.kill();
}

TEST_CASE("a repair without a journal or tables leaves what the store has") {
  set_log_level(LogLevel::kError);
  Machine m;
  for (const char* part : {"/journal", "/meta", "/segments"})
    fs::remove_all(m.path("original") + part);
  CHECK_FALSE(m.mount.open(m.path("original")));
  const auto report = m.repair("original");
  REQUIRE_MESSAGE(report, (report ? "" : report.error().message()));
  m.open("original");
  CHECK(m.which(m.state()) == static_cast<int>(m.published));
  // And what comes then is taken.
  m.make(kRootIno, "new", false);
  REQUIRE(m.mount.close());
  m.open("another");
  CHECK(m.state() == m.states.back());
  m.mount.kill();
}
