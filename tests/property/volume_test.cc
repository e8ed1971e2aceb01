// A whole volume against a model: random operations, publications, checkpoints, clean remounts,
// remounts on an empty cache, the process killed, the power cut.
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <set>

#include "s3/memory_store.h"
#include "tests/support/memory_env.h"
#include "tests/support/test_mount.h"

using namespace cairn;
using namespace cairn::test;

namespace {

// ---- the model: a tree of nodes, listed as path -> description

struct ModelNode {
  FileType type = FileType::kRegular;
  std::string bytes;  // content, or a link's target
  std::map<std::string, uint64_t> children;
  std::map<std::string, std::string> xattrs;
  unsigned nlink = 1;
};

using Listing = std::map<std::string, std::string>;

std::string describe(FileType type, unsigned nlink, const std::string& bytes,
                     const std::map<std::string, std::string>& xattrs) {
  std::string out = std::to_string(static_cast<int>(type)) + " links=" + std::to_string(nlink) +
                    " size=" + std::to_string(bytes.size()) + " " +
                    sha256(as_bytes(bytes)).hex().substr(0, 16);
  for (const auto& [name, value] : xattrs) out += " " + name + "=" + value;
  return out;
}

struct Model {
  std::map<uint64_t, ModelNode> nodes{{1, {FileType::kDirectory, "", {}, {}, 2}}};
  uint64_t next = 2;

  Listing list() const {
    Listing out;
    walk(1, "", out);
    return out;
  }
  void walk(uint64_t id, const std::string& path, Listing& out) const {
    const ModelNode& node = nodes.at(id);
    out[path] = describe(node.type, node.nlink, node.bytes, node.xattrs);
    for (const auto& [name, child] : node.children) walk(child, path + "/" + name, out);
  }
};

// ---- the real thing, listed the same way

class Driver {
 public:
  explicit Driver(uint64_t seed) : rng_(make_seeded_rng(seed)) {
    REQUIRE(mount_.format(kChunk, 3));
    reopen("/cache");
    forget_past();
  }

  void step();
  void finish();

 private:
  static constexpr uint64_t kChunk = 4096;
  static constexpr uint64_t kMaxFile = 20 * kChunk;

  uint64_t below(uint64_t bound) { return rng_->below(bound); }
  std::string name() { return "n" + std::to_string(below(6)); }

  // A directory that both know: its inode number here and its id in the model.
  struct Dir {
    Ino ino;
    uint64_t id;
  };
  Dir random_dir() {
    Dir dir{kRootIno, 1};
    while (below(2) == 0) {
      std::vector<std::string> dirs;
      for (const auto& [child_name, child] : model_.nodes.at(dir.id).children)
        if (model_.nodes.at(child).type == FileType::kDirectory) dirs.push_back(child_name);
      if (dirs.empty()) break;
      const std::string chosen = dirs[below(dirs.size())];
      dir = {lookup(dir.ino, chosen).ino, model_.nodes.at(dir.id).children.at(chosen)};
    }
    return dir;
  }
  Attr lookup(Ino parent, const std::string& child) {
    auto attr = mount_.run([&](Volume& v, Need& n) { return v.lookup(parent, child, n); });
    REQUIRE_MESSAGE(attr, child);
    return *attr;
  }
  // The node `child` of the directory in the model, or 0.
  uint64_t in_model(const Dir& dir, const std::string& child) const {
    const auto& children = model_.nodes.at(dir.id).children;
    const auto it = children.find(child);
    return it == children.end() ? 0 : it->second;
  }
  bool holds(uint64_t ancestor, uint64_t id) const {
    if (ancestor == id) return true;
    for (const auto& [child_name, child] : model_.nodes.at(ancestor).children)
      if (model_.nodes.at(child).type == FileType::kDirectory && holds(child, id)) return true;
    return false;
  }
  void drop_link(uint64_t id) {
    ModelNode& node = model_.nodes.at(id);
    if (node.type == FileType::kDirectory || --node.nlink == 0) model_.nodes.erase(id);
  }

  void make();
  void write();
  void truncate();
  void punch();
  void remove();
  void rename();
  void link();
  void set_xattr();
  void read_back();
  void publish();
  void reopen(const std::string& cache);
  void power_cut();
  Listing list();
  void list_dir(Ino ino, const std::string& path, Listing& out);
  void compare() { CHECK(list() == model_.list()); }
  void remember() { since_sync_.push_back(model_); }
  void forget_past() { since_sync_ = {model_}; }

  std::unique_ptr<Rng> rng_;
  MemoryEnv env_;
  ThreadExecutor io_{"io", 2};
  MemoryStore store_{io_, system_clock()};
  TestMount mount_{store_, env_, io_};
  Model model_;
  std::vector<Model> since_sync_;  // what a power cut may leave: one state an operation
  std::string cache_ = "/cache";
  unsigned caches_ = 0;
  std::map<Ino, uint64_t> allocated_;  // what the last listing saw
};

void Driver::make() {
  const Dir dir = random_dir();
  const std::string child = name();
  const bool exists = in_model(dir, child) != 0;
  const uint64_t kind = below(4);
  Errc expected = Errc::kExists;
  ModelNode node;
  Caller caller;
  caller.uid = 1;
  caller.gid = 2;
  Result<Attr> made = mount_.run([&](Volume& v, Need& n) -> Result<Attr> {
    if (kind == 0) return v.mkdir(dir.ino, child, 0755, caller, n);
    if (kind == 1) return v.symlink(dir.ino, child, std::string(10 + below(90), 't'), caller, n);
    return v.mknod(dir.ino, child, S_IFREG | 0644, 0, caller, n);
  });
  if (exists) {
    REQUIRE_FALSE(made);
    CHECK(made.error().code() == expected);
    return;
  }
  REQUIRE(made);
  node.type = *type_of_mode(made->mode);
  if (node.type == FileType::kSymlink) node.bytes = std::string(made->size, 't');
  if (node.type == FileType::kDirectory) {
    node.nlink = 2;
    ++model_.nodes.at(dir.id).nlink;
  }
  model_.nodes.emplace(model_.next, std::move(node));
  model_.nodes.at(dir.id).children[child] = model_.next++;
}

void Driver::write() {
  const Dir dir = random_dir();
  const std::string child = name();
  const uint64_t id = in_model(dir, child);
  if (id == 0 || model_.nodes.at(id).type != FileType::kRegular) return;
  const Ino ino = lookup(dir.ino, child).ino;
  const auto handle = mount_.run([&](Volume& v, Need& n) { return v.open_file(ino, n); });
  REQUIRE(handle);
  const uint64_t offset = below(4) == 0 ? below(kMaxFile) : below(kMaxFile / kChunk) * kChunk;
  const uint64_t length = below(3) == 0 ? 1 + below(100) : 1 + below(3 * kChunk);
  std::string bytes(length, '\0');
  if (below(8) != 0)
    for (char& c : bytes) c = static_cast<char>(below(256));
  REQUIRE(
      mount_.run([&](Volume& v, Need& n) { return v.write(*handle, offset, as_bytes(bytes), n); }));
  std::string& content = model_.nodes.at(id).bytes;
  if (content.size() < offset + length) content.resize(offset + length);
  content.replace(offset, length, bytes);
  mount_.volume().release_file(*handle);
}

void Driver::truncate() {
  const Dir dir = random_dir();
  const std::string child = name();
  const uint64_t id = in_model(dir, child);
  if (id == 0 || model_.nodes.at(id).type != FileType::kRegular) return;
  AttrChange change;
  change.size = below(5) == 0 ? 0 : below(kMaxFile);
  const Ino ino = lookup(dir.ino, child).ino;
  REQUIRE(mount_.run([&](Volume& v, Need& n) { return v.setattr(ino, change, n); }));
  model_.nodes.at(id).bytes.resize(*change.size);
}

void Driver::punch() {
  const Dir dir = random_dir();
  const std::string child = name();
  const uint64_t id = in_model(dir, child);
  if (id == 0 || model_.nodes.at(id).type != FileType::kRegular) return;
  const Ino ino = lookup(dir.ino, child).ino;
  const auto handle = mount_.run([&](Volume& v, Need& n) { return v.open_file(ino, n); });
  REQUIRE(handle);
  const uint64_t offset = below(kMaxFile);
  const uint64_t length = 1 + below(2 * kChunk);
  constexpr int kPunchHole = 0x02 | 0x01;  // FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
  REQUIRE(mount_.run(
      [&](Volume& v, Need& n) { return v.fallocate(*handle, kPunchHole, offset, length, n); }));
  std::string& content = model_.nodes.at(id).bytes;
  for (uint64_t at = offset; at < std::min<uint64_t>(offset + length, content.size()); ++at)
    content[at] = '\0';
  mount_.volume().release_file(*handle);
}

void Driver::remove() {
  const Dir dir = random_dir();
  const std::string child = name();
  const uint64_t id = in_model(dir, child);
  const bool is_dir = id != 0 && model_.nodes.at(id).type == FileType::kDirectory;
  const Status removed = mount_.run([&](Volume& v, Need& n) {
    return is_dir ? v.rmdir(dir.ino, child, n) : v.unlink(dir.ino, child, n);
  });
  if (id == 0) {
    CHECK(removed.error().code() == Errc::kNotFound);
    return;
  }
  if (is_dir && !model_.nodes.at(id).children.empty()) {
    CHECK(removed.error().sys_errno() == ENOTEMPTY);
    return;
  }
  REQUIRE(removed);
  if (is_dir) --model_.nodes.at(dir.id).nlink;
  model_.nodes.at(dir.id).children.erase(child);
  drop_link(id);
}

void Driver::rename() {
  const Dir from = random_dir();
  const Dir to = random_dir();
  const std::string old_name = name();
  const std::string new_name = name();
  const uint64_t id = in_model(from, old_name);
  const uint64_t target = in_model(to, new_name);
  // A directory into itself: the kernel refuses that before we are asked.
  if (id != 0 && model_.nodes.at(id).type == FileType::kDirectory && holds(id, to.id)) return;
  const Status renamed = mount_.run(
      [&](Volume& v, Need& n) { return v.rename(from.ino, old_name, to.ino, new_name, 0, n); });
  if (id == 0) {
    CHECK(renamed.error().code() == Errc::kNotFound);
    return;
  }
  const bool is_dir = model_.nodes.at(id).type == FileType::kDirectory;
  if (target != 0 && target != id) {
    const ModelNode& replaced = model_.nodes.at(target);
    const bool replaces_dir = replaced.type == FileType::kDirectory;
    if (replaces_dir != is_dir || !replaced.children.empty()) {
      CHECK_FALSE(renamed);
      return;
    }
  }
  REQUIRE(renamed);
  if (target == id) return;
  if (target != 0) {
    if (is_dir) --model_.nodes.at(to.id).nlink;
    drop_link(target);
  }
  model_.nodes.at(from.id).children.erase(old_name);
  model_.nodes.at(to.id).children[new_name] = id;
  if (is_dir) {
    --model_.nodes.at(from.id).nlink;
    ++model_.nodes.at(to.id).nlink;
  }
}

void Driver::link() {
  const Dir from = random_dir();
  const Dir to = random_dir();
  const std::string old_name = name();
  const std::string new_name = name();
  const uint64_t id = in_model(from, old_name);
  if (id == 0 || model_.nodes.at(id).type == FileType::kDirectory) return;
  const Ino ino = lookup(from.ino, old_name).ino;
  const auto linked =
      mount_.run([&](Volume& v, Need& n) { return v.link(ino, to.ino, new_name, n); });
  if (in_model(to, new_name) != 0) {
    CHECK_FALSE(linked);
    return;
  }
  REQUIRE(linked);
  model_.nodes.at(to.id).children[new_name] = id;
  ++model_.nodes.at(id).nlink;
}

void Driver::set_xattr() {
  const Dir dir = random_dir();
  const std::string attribute = "user.a" + std::to_string(below(3));
  auto& xattrs = model_.nodes.at(dir.id).xattrs;
  if (below(3) == 0) {
    const Status removed =
        mount_.run([&](Volume& v, Need& n) { return v.removexattr(dir.ino, attribute, n); });
    CHECK(removed.has_value() == (xattrs.erase(attribute) == 1));
    return;
  }
  const std::string value(below(3) == 0 ? 300 : below(40), static_cast<char>('a' + below(26)));
  REQUIRE(mount_.run(
      [&](Volume& v, Need& n) {
        return v.setxattr(dir.ino, attribute, as_bytes(value), 0, {}, n);
      }));
  xattrs[attribute] = value;
}

void Driver::read_back() {
  const Dir dir = random_dir();
  const std::string child = name();
  const uint64_t id = in_model(dir, child);
  if (id == 0 || model_.nodes.at(id).type != FileType::kRegular) return;
  const Ino ino = lookup(dir.ino, child).ino;
  const auto handle = mount_.run([&](Volume& v, Need& n) { return v.open_file(ino, n); });
  REQUIRE(handle);
  const std::string& content = model_.nodes.at(id).bytes;
  const uint64_t offset = below(kMaxFile);
  const uint64_t length = 1 + below(3 * kChunk);
  const auto bytes =
      mount_.run([&](Volume& v, Need& n) { return v.read(*handle, offset, length, n); });
  REQUIRE(bytes);
  CHECK(to_string(*bytes) ==
        (offset < content.size() ? content.substr(offset, length) : std::string()));
  mount_.volume().release_file(*handle);
}

void Driver::publish() {
  REQUIRE(mount_.engine().publish_once(false, Context()));
  forget_past();
}

void Driver::reopen(const std::string& cache) {
  cache_ = cache;
  const Status opened = mount_.open(cache_);
  REQUIRE_MESSAGE(opened, (opened ? "" : opened.error().message()));
}

void Driver::power_cut() {
  mount_.kill();
  env_.crash(*rng_);
  const Status opened = mount_.open(cache_);
  REQUIRE_MESSAGE(opened, (opened ? "" : opened.error().message()));
  const Listing now = list();
  const auto found = std::find_if(since_sync_.rbegin(), since_sync_.rend(),
                                  [&](const Model& past) { return past.list() == now; });
  REQUIRE_MESSAGE(found != since_sync_.rend(), "the state is no prefix of what was done");
  model_ = *found;
  forget_past();
}

Listing Driver::list() {
  Listing out;
  allocated_.clear();
  list_dir(kRootIno, "", out);
  // df says what du finds.
  uint64_t bytes = 0;
  for (const auto& [ino, allocated] : allocated_) bytes += allocated;
  const auto space = mount_.volume().statfs();
  REQUIRE(space);
  CHECK(space->total_bytes - space->free_bytes == bytes);
  CHECK(space->total_inodes - space->free_inodes == allocated_.size());
  return out;
}

void Driver::list_dir(Ino ino, const std::string& path, Listing& out) {
  const auto attr = mount_.run([&](Volume& v, Need& n) { return v.getattr(ino, n); });
  REQUIRE(attr);
  allocated_[ino] = attr->allocated;
  const auto type = type_of_mode(attr->mode);
  std::string bytes;
  if (type == FileType::kSymlink) {
    const auto target = mount_.run([&](Volume& v, Need& n) { return v.readlink(ino, n); });
    REQUIRE(target);
    bytes = *target;
  } else if (type == FileType::kRegular) {
    const auto handle = mount_.run([&](Volume& v, Need& n) { return v.open_file(ino, n); });
    REQUIRE(handle);
    const auto read =
        mount_.run([&](Volume& v, Need& n) { return v.read(*handle, 0, kMaxFile * 4, n); });
    REQUIRE(read);
    bytes = to_string(*read);
    CHECK(bytes.size() == attr->size);
    mount_.volume().release_file(*handle);
  }
  std::map<std::string, std::string> xattrs;
  const auto names = mount_.run([&](Volume& v, Need& n) { return v.listxattr(ino, {}, n); });
  REQUIRE(names);
  for (const std::string& attribute : *names) {
    const auto value =
        mount_.run([&](Volume& v, Need& n) { return v.getxattr(ino, attribute, n); });
    REQUIRE(value);
    xattrs[attribute] = to_string(*value);
  }
  out[path] = describe(*type, attr->nlink, bytes, xattrs);
  if (type != FileType::kDirectory) return;
  const auto handle = mount_.run([&](Volume& v, Need& n) { return v.open_dir(ino, n); });
  REQUIRE(handle);
  uint64_t after = 0;
  std::set<std::string> seen;
  while (true) {
    const auto page = mount_.run(
        [&](Volume& v, Need& n) { return v.readdir(*handle, after, 1 + below(5), true, n); });
    REQUIRE(page);
    if (page->empty()) break;
    after = page->back().cookie;
    for (const DirEntry& entry : *page) {
      CHECK(seen.insert(entry.name).second);
      if (entry.name != "." && entry.name != "..")
        list_dir(entry.ino, path + "/" + entry.name, out);
    }
  }
  mount_.volume().release_dir(*handle);
}

void Driver::step() {
  switch (below(40)) {
    case 0:
      publish();
      break;
    case 1:
      REQUIRE(mount_.engine().checkpoint());
      forget_past();
      break;
    case 2:
      REQUIRE(mount_.volume().sync());
      forget_past();
      break;
    case 3:
      compare();
      mount_.kill();
      env_.kill();
      reopen(cache_);
      compare();
      break;
    case 4:
      power_cut();
      break;
    case 5:
      if (below(3) == 0) {
        REQUIRE(mount_.close());
        reopen(below(2) == 0 ? cache_ : "/cache" + std::to_string(++caches_));
        compare();
        forget_past();
      }
      break;
    case 6:
    case 7:
      rename();
      break;
    case 8:
    case 9:
      remove();
      break;
    case 10:
    case 11:
      link();
      break;
    case 12:
      set_xattr();
      break;
    case 13:
    case 14:
      truncate();
      break;
    case 15:
      punch();
      break;
    case 16:
    case 17:
    case 18:
      read_back();
      break;
    case 19:
    case 20:
    case 21:
    case 22:
    case 23:
    case 24:
    case 25:
      make();
      break;
    default:
      write();
      break;
  }
  remember();
}

void Driver::finish() {
  compare();
  REQUIRE(mount_.close());
  reopen("/empty");  // everything must come from the store
  compare();
  REQUIRE(mount_.close());
}

}  // namespace

TEST_CASE("a volume is its model, through publications, remounts, kills and power cuts") {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    CAPTURE(seed);
    Driver driver(seed);
    for (int i = 0; i < 250; ++i) {
      CAPTURE(i);
      driver.step();
    }
    driver.finish();
  }
}

TEST_CASE("a file three times the size of the cache is written, published in parts and read back") {
  MemoryEnv env;
  ThreadExecutor io("io", 2);
  MemoryStore store(io, system_clock());
  TestMount mount(store, env, io);
  mount.options.cache_bytes_max = Space::kSmallestCache;
  mount.options.engine.pending_bytes_max = Space::kSmallestCache / 2;
  mount.options.engine.publish_bytes = 8 << 20;
  mount.options.engine.fold.data_bytes_max = 16 << 20;
  REQUIRE(mount.format(256 * 1024, 174));
  REQUIRE(mount.open());
  const auto created =
      mount.run([](Volume& v, Need& n) { return v.create(kRootIno, "big", 0644, {}, n); });
  REQUIRE(created);
  constexpr uint64_t kPart = 1 << 20;
  constexpr uint64_t kParts = 3 * Space::kSmallestCache / kPart;
  const auto part = [](uint64_t index) {
    std::string bytes(kPart, '\0');
    const auto rng = make_seeded_rng(index);
    for (size_t at = 0; at < kPart; at += 8) {
      const uint64_t word = rng->next();
      std::memcpy(bytes.data() + at, &word, 8);
    }
    return bytes;
  };
  uint64_t used_max = 0;
  for (uint64_t i = 0; i < kParts; ++i) {
    const std::string bytes = part(i);
    const Status written = mount.run([&](Volume& v, Need& n) {
      return v.write(created->handle, i * kPart, as_bytes(bytes), n);
    });
    REQUIRE_MESSAGE(written, (written ? "" : written.error().message()));
    used_max = std::max(used_max, mount.engine().cache_bytes());
  }
  for (uint64_t i = 0; i < kParts; ++i) {
    const auto bytes =
        mount.run([&](Volume& v, Need& n) { return v.read(created->handle, i * kPart, kPart, n); });
    REQUIRE(bytes);
    REQUIRE(to_string(*bytes) == part(i));
    used_max = std::max(used_max, mount.engine().cache_bytes());
  }
  CHECK(used_max <= Space::kSmallestCache);
  mount.volume().release_file(created->handle);
  REQUIRE(mount.close());
}
