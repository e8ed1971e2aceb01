#include "tests/support/volume_driver.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <stdexcept>

namespace cairn::test {
namespace {

void expect(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error(what);
}

template <class R>
void expect_ok(const R& result, const std::string& what) {
  if (!result) throw std::runtime_error(what + ": " + result.error().message());
}

// FALLOC_FL_*
constexpr int kKeepSize = 1;
constexpr int kPunchHole = 2;
constexpr int kZeroRange = 16;
constexpr unsigned kRenameExchange = 2;

}  // namespace

VolumeDriver::VolumeDriver(uint64_t seed) : seed_(seed), rng_(make_seeded_rng(seed)) {
  expect_ok(mount_.format(kChunk, 3), "format");
  reopen(cache_);
  since_sync_ = {model_};
}

// ---- choosing

uint64_t VolumeDriver::any_offset() {
  return below(3) == 0 ? below(kMaxFile) : below(kMaxFile / kChunk) * kChunk;
}

std::string VolumeDriver::any_bytes(uint64_t length) {
  std::string bytes(length, '\0');
  if (below(8) != 0)
    for (char& c : bytes) c = static_cast<char>(below(256));
  return bytes;
}

VolumeDriver::Named VolumeDriver::pick() {
  Named named;
  while (below(2) == 0) {
    std::vector<std::string> dirs;
    for (const auto& [name, child] : model_.at(named.dir.id).children)
      if (model_.is_dir(child)) dirs.push_back(name);
    if (dirs.empty()) break;
    const std::string chosen = dirs[below(dirs.size())];
    named.dir = {lookup(named.dir.ino, chosen).ino, model_.child(named.dir.id, chosen)};
  }
  named.name = "n" + std::to_string(below(6));
  named.id = model_.child(named.dir.id, named.name);
  return named;
}

std::optional<VolumeDriver::OpenedFile> VolumeDriver::open_file() {
  if (!held_.empty() && below(3) == 0) {
    Held& held = held_[below(held_.size())];
    return OpenedFile{held.handle, held.orphan ? &*held.orphan : &model_.at(held.id).bytes, false};
  }
  const Named file = pick();
  if (file.id == 0 || model_.at(file.id).type != FileType::kRegular) return std::nullopt;
  const Ino ino = lookup(file.dir.ino, file.name).ino;
  const auto handle = run([&](Volume& v, Need& n) { return v.open_file(ino, n); });
  expect_ok(handle, "open");
  return OpenedFile{*handle, &model_.at(file.id).bytes, true};
}

void VolumeDriver::close_file(const OpenedFile& file) {
  if (file.release) mount_.volume().release_file(file.handle);
}

// Called before the model loses a name of `id`.
void VolumeDriver::hold_orphans(uint64_t id) {
  if (model_.is_dir(id) || model_.at(id).nlink > 1) return;
  for (Held& held : held_)
    if (!held.orphan && held.id == id) held.orphan = model_.at(id).bytes;
}

// ---- names

void VolumeDriver::make() {
  const Named at = pick();
  const uint64_t kind = below(4);
  const std::string target(10 + below(90), 't');
  Caller caller;
  caller.uid = 1;
  caller.gid = 2;
  const Result<Attr> made = run([&](Volume& v, Need& n) -> Result<Attr> {
    if (kind == 0) return v.mkdir(at.dir.ino, at.name, 0755, caller, n);
    if (kind == 1) return v.symlink(at.dir.ino, at.name, target, caller, n);
    return v.mknod(at.dir.ino, at.name, S_IFREG | 0644, 0, caller, n);
  });
  if (at.id != 0) return expect(!made && made.error().code() == Errc::kExists, "made twice");
  expect_ok(made, "make");
  ModelNode node;
  node.type = *type_of_mode(made->mode);
  if (node.type == FileType::kSymlink) node.bytes = std::string(made->size, 't');
  model_.add(at.dir.id, at.name, std::move(node));
}

void VolumeDriver::remove() {
  const Named at = pick();
  const bool is_dir = at.id != 0 && model_.is_dir(at.id);
  const Status removed = run([&](Volume& v, Need& n) {
    return is_dir ? v.rmdir(at.dir.ino, at.name, n) : v.unlink(at.dir.ino, at.name, n);
  });
  if (at.id == 0)
    return expect(!removed && removed.error().code() == Errc::kNotFound, "removed what is not");
  if (is_dir && !model_.at(at.id).children.empty())
    return expect(!removed && removed.error().sys_errno() == ENOTEMPTY, "removed a full directory");
  expect_ok(removed, "remove");
  hold_orphans(at.id);
  model_.unlink(at.dir.id, at.name);
}

void VolumeDriver::rename() {
  const Named from = pick();
  const Named to = pick();
  // A directory into itself: the kernel refuses that before we are asked.
  if (from.id != 0 && model_.is_dir(from.id) && model_.holds(from.id, to.dir.id)) return;
  const Status renamed = run([&](Volume& v, Need& n) {
    return v.rename(from.dir.ino, from.name, to.dir.ino, to.name, 0, n);
  });
  if (from.id == 0)
    return expect(!renamed && renamed.error().code() == Errc::kNotFound, "renamed what is not");
  if (to.id != 0 && to.id != from.id &&
      (model_.is_dir(to.id) != model_.is_dir(from.id) || !model_.at(to.id).children.empty()))
    return expect(!renamed, "renamed over another kind, or over a full directory");
  expect_ok(renamed, "rename");
  if (to.id != 0 && to.id != from.id) hold_orphans(to.id);
  model_.move(from.dir.id, from.name, to.dir.id, to.name);
}

void VolumeDriver::exchange() {
  const Named a = pick();
  const Named b = pick();
  const auto into_itself = [&](const Named& one, const Named& other) {
    return one.id != 0 && model_.is_dir(one.id) && model_.holds(one.id, other.dir.id);
  };
  if (into_itself(a, b) || into_itself(b, a)) return;
  const Status exchanged = run([&](Volume& v, Need& n) {
    return v.rename(a.dir.ino, a.name, b.dir.ino, b.name, kRenameExchange, n);
  });
  if (a.id == 0 || b.id == 0)
    return expect(!exchanged && exchanged.error().code() == Errc::kNotFound, "exchanged nothing");
  expect_ok(exchanged, "exchange");
  if (a.id != b.id) model_.exchange(a.dir.id, a.name, b.dir.id, b.name);
}

void VolumeDriver::link() {
  const Named from = pick();
  const Named to = pick();
  if (from.id == 0 || model_.is_dir(from.id)) return;
  const Ino ino = lookup(from.dir.ino, from.name).ino;
  const auto linked = run([&](Volume& v, Need& n) { return v.link(ino, to.dir.ino, to.name, n); });
  if (to.id != 0) return expect(!linked, "linked over a name");
  expect_ok(linked, "link");
  model_.link(from.id, to.dir.id, to.name);
}

void VolumeDriver::set_xattr() {
  const Named at = pick();
  const bool on_entry = at.id != 0 && below(2) == 0;
  const Ino ino = on_entry ? lookup(at.dir.ino, at.name).ino : at.dir.ino;
  auto& xattrs = model_.at(on_entry ? at.id : at.dir.id).xattrs;
  const std::string name = "user.a" + std::to_string(below(3));
  if (below(3) == 0) {
    const Status removed = run([&](Volume& v, Need& n) { return v.removexattr(ino, name, n); });
    return expect(removed.has_value() == (xattrs.erase(name) == 1), "removexattr");
  }
  const std::string value(below(3) == 0 ? 300 : below(40), static_cast<char>('a' + below(26)));
  const auto set = [&](Volume& v, Need& n) {
    return v.setxattr(ino, name, as_bytes(value), 0, {}, n);
  };
  expect_ok(run(set), "setxattr");
  xattrs[name] = value;
}

// ---- content

void VolumeDriver::truncate() {
  const Named at = pick();
  if (at.id == 0 || model_.at(at.id).type != FileType::kRegular) return;
  AttrChange change;
  change.size = below(5) == 0 ? 0 : any_offset();
  const Ino ino = lookup(at.dir.ino, at.name).ino;
  expect_ok(run([&](Volume& v, Need& n) { return v.setattr(ino, change, n); }), "truncate");
  model_.at(at.id).bytes.resize(*change.size);
}

void VolumeDriver::write() {
  const auto file = open_file();
  if (!file) return;
  const uint64_t offset = any_offset();
  const std::string bytes = any_bytes(below(3) == 0 ? 1 + below(100) : 1 + below(6 * kChunk));
  expect_ok(
      run([&](Volume& v, Need& n) { return v.write(file->handle, offset, as_bytes(bytes), n); }),
      "write");
  std::string& content = *file->bytes;
  if (content.size() < offset + bytes.size()) content.resize(offset + bytes.size());
  content.replace(offset, bytes.size(), bytes);
  close_file(*file);
}

void VolumeDriver::allocate() {
  const auto file = open_file();
  if (!file) return;
  static constexpr int kModes[] = {0, kKeepSize, kPunchHole | kKeepSize, kZeroRange,
                                   kZeroRange | kKeepSize};
  const int mode = kModes[below(std::size(kModes))];
  const uint64_t offset = any_offset();
  const uint64_t length = 1 + below(4 * kChunk);
  expect_ok(
      run([&](Volume& v, Need& n) { return v.fallocate(file->handle, mode, offset, length, n); }),
      "fallocate");
  std::string& content = *file->bytes;
  if ((mode & kKeepSize) == 0 && content.size() < offset + length) content.resize(offset + length);
  if ((mode & (kPunchHole | kZeroRange)) != 0 && offset < content.size()) {
    const uint64_t end = std::min<uint64_t>(offset + length, content.size());
    content.replace(offset, end - offset, end - offset, '\0');
  }
  close_file(*file);
}

void VolumeDriver::copy() {
  const auto from = open_file();
  if (!from) return;
  const auto to = open_file();
  if (!to) return close_file(*from);
  uint64_t from_offset = any_offset();
  uint64_t to_offset = any_offset();
  uint64_t length = 1 + below(8 * kChunk);
  if (below(2) == 0) to_offset = to_offset / kChunk * kChunk + from_offset % kChunk;
  const bool overlaps = from->bytes == to->bytes && from_offset < to_offset + length &&
                        to_offset < from_offset + length;
  while (length > 0 && !overlaps) {
    const auto copied = run([&](Volume& v, Need& n) {
      return v.copy_range(from->handle, from_offset, to->handle, to_offset, length, n);
    });
    expect_ok(copied, "copy");
    const uint64_t left =
        from->bytes->size() - std::min<uint64_t>(from->bytes->size(), from_offset);
    expect(*copied <= std::min(length, left), "copied too much");
    expect((*copied == 0) == (left == 0), "copied nothing");
    if (*copied == 0) break;
    const std::string bytes = from->bytes->substr(from_offset, *copied);
    if (to->bytes->size() < to_offset + *copied) to->bytes->resize(to_offset + *copied);
    to->bytes->replace(to_offset, *copied, bytes);
    from_offset += *copied;
    to_offset += *copied;
    length -= *copied;
    since_sync_.push_back(model_);  // each call is an operation of its own
  }
  close_file(*from);
  close_file(*to);
}

void VolumeDriver::read_back() {
  const auto file = open_file();
  if (!file) return;
  const uint64_t offset = any_offset();
  const uint64_t length = 1 + below(3 * kChunk);
  const auto bytes =
      run([&](Volume& v, Need& n) { return v.read(file->handle, offset, length, n); });
  expect_ok(bytes, "read");
  const std::string wanted =
      offset < file->bytes->size() ? file->bytes->substr(offset, length) : std::string();
  expect(to_string(*bytes) == wanted, "read other bytes than were written");
  close_file(*file);
}

// Data and holes take turns, cover the file, and no hole hides a byte.
void VolumeDriver::seek_through() {
  const auto file = open_file();
  if (!file) return;
  const std::string& content = *file->bytes;
  const auto find = [&](uint64_t at, int whence) -> std::optional<uint64_t> {
    const auto found = run([&](Volume& v, Need& n) { return v.seek(file->handle, at, whence, n); });
    if (!found) expect(found.error().sys_errno() == ENXIO, "seek: " + found.error().message());
    return found ? std::optional(*found) : std::nullopt;
  };
  for (uint64_t at = below(2) == 0 ? 0 : any_offset(); at < content.size();) {
    const auto data = find(at, SEEK_DATA);
    const uint64_t hole_end = data.value_or(content.size());
    expect(hole_end >= at && hole_end <= content.size(), "SEEK_DATA leaves the file");
    expect(content.find_first_not_of('\0', at) >= hole_end, "a hole hides data");
    const auto first_hole = find(at, SEEK_HOLE);
    expect(first_hole.has_value(), "no hole, not even the end");
    expect((*first_hole == at) == (hole_end > at), "data and hole disagree");
    if (!data) break;
    const auto hole = find(*data, SEEK_HOLE);
    expect(hole && *hole > *data && *hole <= content.size(), "SEEK_HOLE does not go on");
    at = *hole;
  }
  if (const auto behind = find(content.size(), SEEK_DATA)) expect(false, "data behind the end");
  close_file(*file);
}

void VolumeDriver::hold() {
  const Named at = pick();
  if (held_.size() >= 4 || at.id == 0 || model_.at(at.id).type != FileType::kRegular) return;
  const Ino ino = lookup(at.dir.ino, at.name).ino;
  const auto handle = run([&](Volume& v, Need& n) { return v.open_file(ino, n); });
  expect_ok(handle, "open");
  held_.push_back({*handle, at.id, std::nullopt});
}

void VolumeDriver::let_go() {
  if (held_.empty()) return;
  const auto at = held_.begin() + static_cast<ptrdiff_t>(below(held_.size()));
  mount_.volume().release_file(at->handle);
  held_.erase(at);
}

// ---- lives

void VolumeDriver::publish() {
  expect_ok(mount_.engine().publish_once(false, Context()), "publish");
  since_sync_.clear();
}

void VolumeDriver::reopen(const std::string& cache) {
  cache_ = cache;
  held_.clear();
  expect_ok(mount_.open(cache_), "mount");
}

void VolumeDriver::kill() {
  mount_.kill();
  env_.kill();
  reopen(cache_);
  compare("after a kill");
}

void VolumeDriver::power_cut() {
  mount_.kill();
  env_.crash(*rng_);
  reopen(cache_);
  const Listing now = list();
  const auto found = std::find_if(since_sync_.rbegin(), since_sync_.rend(),
                                  [&](const TreeModel& past) { return past.list() == now; });
  expect(found != since_sync_.rend(), "after a power cut the state is no prefix of what was done");
  model_ = TreeModel(*found);
  since_sync_.clear();
}

void VolumeDriver::remount() {
  held_.clear();
  expect_ok(mount_.close(), "unmount");
  reopen(below(2) == 0 ? cache_ : "/cache" + std::to_string(++caches_));
  compare("after a remount");
  since_sync_.clear();
}

// ---- comparing

Attr VolumeDriver::lookup(Ino parent, const std::string& name) {
  auto attr = run([&](Volume& v, Need& n) { return v.lookup(parent, name, n); });
  expect_ok(attr, "lookup of " + name);
  return *attr;
}

Listing VolumeDriver::list() {
  Listing out;
  allocated_.clear();
  list_entry(kRootIno, "", out);
  // df says what du finds.
  uint64_t bytes = 0;
  for (const auto& [ino, allocated] : allocated_) bytes += allocated;
  const auto space = mount_.volume().statfs();
  expect_ok(space, "statfs");
  expect(space->total_bytes - space->free_bytes == bytes, "df shows other bytes than du");
  expect(space->total_inodes - space->free_inodes == allocated_.size(), "df shows other inodes");
  return out;
}

std::string VolumeDriver::read_all(Ino ino, const Attr& attr) {
  const auto handle = run([&](Volume& v, Need& n) { return v.open_file(ino, n); });
  expect_ok(handle, "open");
  const auto read = run([&](Volume& v, Need& n) { return v.read(*handle, 0, kMaxFile * 4, n); });
  expect_ok(read, "read");
  expect(read->size() == attr.size, "a file has another size than its attributes say");
  expect(attr.allocated % 4096 == 0 && attr.allocated <= (attr.size + 4095) / 4096 * 4096,
         "a file takes " + std::to_string(attr.allocated) + " bytes of storage");
  mount_.volume().release_file(*handle);
  return to_string(*read);
}

void VolumeDriver::list_entry(Ino ino, const std::string& path, Listing& out) {
  const auto attr = run([&](Volume& v, Need& n) { return v.getattr(ino, n); });
  expect_ok(attr, "getattr of " + path);
  allocated_[ino] = attr->allocated;
  const auto type = type_of_mode(attr->mode);
  std::string bytes;
  if (type == FileType::kSymlink) {
    const auto target = run([&](Volume& v, Need& n) { return v.readlink(ino, n); });
    expect_ok(target, "readlink of " + path);
    bytes = *target;
  } else if (type == FileType::kRegular) {
    bytes = read_all(ino, *attr);
  }
  std::map<std::string, std::string> xattrs;
  const auto names = run([&](Volume& v, Need& n) { return v.listxattr(ino, {}, n); });
  expect_ok(names, "listxattr of " + path);
  for (const std::string& name : *names) {
    const auto value = run([&](Volume& v, Need& n) { return v.getxattr(ino, name, n); });
    expect_ok(value, "getxattr of " + path);
    xattrs[name] = to_string(*value);
  }
  out[path] = describe(*type, attr->nlink, bytes, xattrs);
  if (type != FileType::kDirectory) return;
  const auto handle = run([&](Volume& v, Need& n) { return v.open_dir(ino, n); });
  expect_ok(handle, "opendir of " + path);
  uint64_t after = 0;
  std::set<std::string> seen;
  while (true) {
    const size_t limit = 1 + below(5);
    const auto page =
        run([&](Volume& v, Need& n) { return v.readdir(*handle, after, limit, true, n); });
    expect_ok(page, "readdir of " + path);
    if (page->empty()) break;
    after = page->back().cookie;
    for (const DirEntry& entry : *page) {
      expect(seen.insert(entry.name).second, path + "/" + entry.name + " is listed twice");
      if (entry.name != "." && entry.name != "..")
        list_entry(entry.ino, path + "/" + entry.name, out);
    }
  }
  mount_.volume().release_dir(*handle);
}

void VolumeDriver::compare(const char* when) {
  const Listing now = list();
  const Listing wanted = model_.list();
  if (now == wanted) return;
  std::string what = std::string(when) + ":";
  for (const auto& [path, text] : wanted) {
    const auto it = now.find(path);
    if (it == now.end() || it->second != text)
      what += "\n  want " + path + ": " + text + "\n  have " +
              (it == now.end() ? "nothing" : it->second);
  }
  for (const auto& [path, text] : now)
    if (!wanted.contains(path)) what += "\n  have too much: " + path;
  throw std::runtime_error(what);
}

void VolumeDriver::step(uint64_t index) {
  using Step = void (VolumeDriver::*)();
  struct Choice {
    uint64_t weight;
    Step step;
  };
  static constexpr Choice kChoices[] = {
      {8, &VolumeDriver::publish},      {8, &VolumeDriver::kill},
      {8, &VolumeDriver::power_cut},    {3, &VolumeDriver::remount},
      {40, &VolumeDriver::make},        {14, &VolumeDriver::remove},
      {14, &VolumeDriver::rename},      {8, &VolumeDriver::exchange},
      {14, &VolumeDriver::link},        {12, &VolumeDriver::set_xattr},
      {20, &VolumeDriver::truncate},    {90, &VolumeDriver::write},
      {25, &VolumeDriver::allocate},    {45, &VolumeDriver::copy},
      {25, &VolumeDriver::read_back},   {15, &VolumeDriver::seek_through},
      {12, &VolumeDriver::hold},        {8, &VolumeDriver::let_go},
  };
  rng_ = make_seeded_rng(seed_ * 1'000'003 + index);
  if (below(45) == 0) {
    expect_ok(mount_.engine().checkpoint(), "checkpoint");
    since_sync_.clear();
  } else if (below(45) == 0) {
    expect_ok(mount_.volume().sync(), "sync");
    since_sync_.clear();
  } else {
    uint64_t total = 0;
    for (const Choice& choice : kChoices) total += choice.weight;
    uint64_t at = below(total);
    for (const Choice& choice : kChoices) {
      if (at < choice.weight) {
        (this->*choice.step)();
        break;
      }
      at -= choice.weight;
    }
  }
  since_sync_.push_back(model_);
}

void VolumeDriver::finish() {
  while (!held_.empty()) let_go();
  compare("at the end");
  expect_ok(mount_.close(), "unmount");
  reopen("/empty");  // everything must come from the store
  compare("on an empty cache");
  expect_ok(mount_.close(), "unmount");
}

}  // namespace cairn::test
