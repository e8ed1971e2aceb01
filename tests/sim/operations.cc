#include "tests/sim/operations.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "fs/errno_map.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE (1 << 0)
#define RENAME_EXCHANGE (1 << 1)
#endif

namespace cairn::sim {

namespace {
constexpr size_t kNodesMax = 40;

std::shared_ptr<const std::string> shared(std::string bytes) {
  return std::make_shared<const std::string>(std::move(bytes));
}
}  // namespace

Operations::Operations(World& world, Machine& machine) : world_(world), machine_(machine) {}

bool Operations::perform(Planned planned, const Call& call) {
  Timeline& timeline = machine_.timeline;
  world_.scheduler.note(
      fmt::format("{} #{} {}", machine_.name, timeline.moments.size(), planned.what));
  timeline.moments.push_back({std::move(planned.next)});
  Process* before = world_.scheduler.enter(&mount());
  const Status done = mount().run(call);
  world_.scheduler.enter(before);
  if (!mount().alive()) return false;  // whether it happened is open
  if (!done) {
    refused(planned, done.error());
    return false;
  }
  if (planned.refused_with != 0)
    world_.scheduler.give_up(fmt::format("{} succeeded; it should fail with {}", planned.what,
                                         std::strerror(planned.refused_with)));
  timeline.moments.back().answered = world_.scheduler.now();
  timeline.answered = timeline.last();
  world_.scheduler.note(fmt::format("  answered, lsn {}", mount().engine().appended()));
  for (const NodeId id : planned.touched) look(id);
  return mount().alive();
}

void Operations::refused(const Planned& planned, const Error& error) {
  world_.scheduler.note(fmt::format("  refused: {}", error.message()));
  if (mount().disk_failed()) {
    broken_ = true;
    return;
  }
  machine_.timeline.moments.pop_back();
  if (planned.refused_with == errno_of(error) || excused(error)) return;
  world_.scheduler.give_up(
      fmt::format("{} on {}: {}", planned.what, machine_.name, error.message()));
}

// What may keep an operation from being done in this life, changing nothing.
bool Operations::excused(const Error& error) {
  if (!mount().alive() || mount().disk_failed()) return true;
  world_.happened(fmt::format("refused: {}", errc_name(error.code())));
  switch (error.code()) {
    case Errc::kFenced:
      return world_.writer != &machine_;
    case Errc::kNoSpace:
      return world_.trouble;
    case Errc::kTransient:
    case Errc::kTimeout:
    case Errc::kCorruption:
      return world_.trouble;
    default:
      return false;
  }
}

// Sees what the operation left at a node: it must be what the model says, and from now on the times
// are known.
void Operations::look(NodeId id) {
  if (!mount().alive() || !now().has(id)) return;
  const ModelNode& node = now().at(id);
  if (node.ino == 0) return;
  const auto attr = mount().run([&](Volume& v, Need& n) { return v.getattr(node.ino, n); });
  if (!mount().alive()) return;
  if (!attr) {
    if (!excused(attr.error())) world_.scheduler.give_up("getattr: " + attr.error().message());
    return;
  }
  if (const auto found = difference(node, *attr))
    world_.scheduler.give_up("after the operation " + *found);
  machine_.timeline.moments.back().model.see(id, *attr);
}

NodeId Operations::some_dir() {
  return some(FileType::kDirectory);
}

NodeId Operations::some(FileType type) {
  const auto all = now().all(type);
  return all.empty() ? 0 : all[below(all.size())];
}

std::string Operations::some_bytes(uint64_t length) {
  std::string bytes(length, '\0');
  if (below(8) == 0) return bytes;
  const uint64_t step = world_.rng().next() | 1;
  uint64_t state = world_.rng().next();
  for (char& c : bytes) {
    state = state * 6364136223846793005 + step;
    c = static_cast<char>(state >> 56);
  }
  return bytes;
}

void Operations::release_handles() {
  for (const Handle& handle : handles_)
    if (mount().is_open()) mount().volume().release_file(handle.id);
  handles_.clear();
}

std::optional<HandleId> Operations::handle_of(NodeId file) {
  for (const Handle& handle : handles_)
    if (handle.node == file) return handle.id;
  const auto opened =
      mount().run([&](Volume& v, Need& n) { return v.open_file(now().at(file).ino, n); });
  if (opened) return *opened;
  if (mount().alive() && !excused(opened.error()))
    world_.scheduler.give_up("open: " + opened.error().message());
  return std::nullopt;
}

void Operations::done_with(HandleId id) {
  const bool kept = std::any_of(handles_.begin(), handles_.end(),
                                [id](const Handle& handle) { return handle.id == id; });
  if (!kept) mount().volume().release_file(id);
}

// ---- changing

void Operations::make() {
  if (now().size() >= kNodesMax) return;
  const NodeId dir = some_dir();
  const std::string child = name();
  const uint64_t kind = below(8);
  ModelNode node;
  node.uid = static_cast<uint32_t>(below(3));
  node.gid = static_cast<uint32_t>(below(3));
  const Caller caller{node.uid, node.gid, 0, {}};
  const uint32_t mode = below(2) == 0 ? 0644 : 0750;
  const std::string target = std::string(1 + below(100), 't');
  node.type = kind < 2    ? FileType::kDirectory
              : kind == 2 ? FileType::kSymlink
              : kind == 3 ? FileType::kCharDevice
                          : FileType::kRegular;
  node.mode = mode_of_type(node.type) | (node.type == FileType::kSymlink ? 0777 : mode);
  if (node.type == FileType::kDirectory) node.nlink = 2;
  if (node.type == FileType::kSymlink) node.bytes = shared(target);
  if (node.type == FileType::kCharDevice) node.rdev = 1 + below(1000);
  const bool exists = now().child(dir, child) != 0;
  Planned planned{fmt::format("make {} in {} as {}", child, dir, static_cast<int>(node.type)),
                  now()};
  planned.refused_with = exists ? EEXIST : 0;
  NodeId id = 0;
  if (!exists) {
    id = planned.next.add(node);
    ModelNode& parent = planned.next.change(dir);
    parent.children[child] = id;
    if (node.type == FileType::kDirectory) ++parent.nlink;
    planned.touched = {dir};
  }
  const Ino parent_ino = now().at(dir).ino;
  Attr made;
  const bool done = perform(std::move(planned), [&](Volume& v, Need& n) -> Status {
    const auto result = [&]() -> Result<Attr> {
      switch (node.type) {
        case FileType::kDirectory:
          return v.mkdir(parent_ino, child, mode, caller, n);
        case FileType::kSymlink:
          return v.symlink(parent_ino, child, target, caller, n);
        case FileType::kCharDevice:
          return v.mknod(parent_ino, child, S_IFCHR | mode, node.rdev, caller, n);
        default:
          return v.mknod(parent_ino, child, S_IFREG | mode, 0, caller, n);
      }
    }();
    if (!result) return tl::unexpected<Error>(result.error());
    made = *result;
    return {};
  });
  if (!done || id == 0) return;
  if (const auto found = difference(now().at(id), made))
    world_.scheduler.give_up("what was made: " + *found);
  machine_.timeline.moments.back().model.see(id, made);
}

void Operations::change_content(NodeId file, const std::string& what, std::string content,
                                const Call& call) {
  Planned planned{what, now(), {file}};
  planned.next.change(file).bytes = shared(std::move(content));
  perform(std::move(planned), call);
}

void Operations::write() {
  const NodeId file = some(FileType::kRegular);
  if (file == 0) return;
  const auto handle = handle_of(file);
  if (!handle) return;
  std::string content = *now().at(file).bytes;
  const uint64_t kind = below(6);
  const uint64_t offset = kind == 0   ? content.size()
                          : kind == 1 ? below(kMaxFile)
                                      : below(kMaxFile / kChunk) * kChunk;
  const uint64_t length = below(3) == 0 ? 1 + below(100) : 1 + below(4 * kChunk);
  const std::string bytes = some_bytes(length);
  if (content.size() < offset + length) content.resize(offset + length);
  content.replace(offset, length, bytes);
  change_content(file, fmt::format("write {} bytes at {} of {}", length, offset, file),
                 std::move(content),
                 [&](Volume& v, Need& n) { return v.write(*handle, offset, as_bytes(bytes), n); });
  if (mount().alive()) done_with(*handle);
}

void Operations::truncate() {
  const NodeId file = some(FileType::kRegular);
  if (file == 0) return;
  std::string content = *now().at(file).bytes;
  AttrChange change;
  change.size = below(5) == 0 ? 0 : below(kMaxFile);
  content.resize(*change.size);
  const Ino ino = now().at(file).ino;
  change_content(file, fmt::format("truncate {} to {}", file, *change.size), std::move(content),
                 [&](Volume& v, Need& n) -> Status {
                   TRY(v.setattr(ino, change, n));
                   return {};
                 });
}

void Operations::allocate() {
  const NodeId file = some(FileType::kRegular);
  if (file == 0) return;
  const auto handle = handle_of(file);
  if (!handle) return;
  std::string content = *now().at(file).bytes;
  const uint64_t offset = below(kMaxFile);
  const uint64_t length = 1 + below(2 * kChunk);
  static constexpr int kModes[] = {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
                                   0, FALLOC_FL_KEEP_SIZE};
  const int mode = kModes[below(4)];
  const bool zeroes = (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0;
  if (zeroes)
    for (uint64_t at = offset; at < std::min<uint64_t>(offset + length, content.size()); ++at)
      content[at] = '\0';
  if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && content.size() < offset + length)
    content.resize(offset + length);
  change_content(file,
                 fmt::format("fallocate {:#x} {} bytes at {} of {}", mode, length, offset, file),
                 std::move(content),
                 [&](Volume& v, Need& n) { return v.fallocate(*handle, mode, offset, length, n); });
  if (mount().alive()) done_with(*handle);
}

// From one file to another, to another place in the same one, or out of a removed one that is open.
void Operations::copy_range() {
  const NodeId target = some(FileType::kRegular);
  if (target == 0) return;
  const Handle* removed = nullptr;
  for (const Handle& handle : handles_)
    if (handle.orphan && below(2) == 0) removed = &handle;
  const NodeId source = removed != nullptr ? removed->node
                        : below(4) == 0    ? target
                                           : some(FileType::kRegular);
  const auto from = removed != nullptr ? removed->id : handle_of(source);
  if (!from) return;
  const auto to = source == target ? from : handle_of(target);
  if (to) {
    const std::string bytes = removed != nullptr ? removed->bytes : *now().at(source).bytes;
    // Chunks are shared when they lie alike.
    const uint64_t apart = below(3) == 0 ? below(kMaxFile) : below(kMaxFile / kChunk) * kChunk;
    const uint64_t from_offset = below(4) == 0 ? 0 : below(kMaxFile);
    const uint64_t to_offset = (from_offset + apart) % kMaxFile;
    const uint64_t wanted = 1 + below(below(2) == 0 ? kMaxFile : 2 * kChunk);
    const uint64_t length =
        from_offset < bytes.size() ? std::min<uint64_t>(wanted, bytes.size() - from_offset) : 0;
    Planned planned{fmt::format("copy {} bytes at {} of {} to {} of {}", length, from_offset,
                                source, to_offset, target),
                    now()};
    const bool overlaps = source == target && from_offset < to_offset + length &&
                          to_offset < from_offset + length;
    if (length > 0 && overlaps) {
      planned.refused_with = EINVAL;
    } else if (length > 0) {
      std::string content = *now().at(target).bytes;
      if (content.size() < to_offset + length) content.resize(to_offset + length);
      content.replace(to_offset, length, bytes, from_offset, length);
      planned.next.change(target).bytes = shared(std::move(content));
      planned.touched = {target};
    }
    perform(std::move(planned), [&](Volume& v, Need& n) -> Status {
      TRY_ASSIGN(const uint64_t copied,
                 v.copy_range(*from, from_offset, *to, to_offset, wanted, n));
      // It may be less than was asked for, but files are small here.
      if (copied != length)
        world_.scheduler.give_up(fmt::format("{} bytes were copied, not {}", copied, length));
      return {};
    });
  }
  if (!mount().alive()) return;
  if (removed == nullptr) done_with(*from);
  if (to && source != target) done_with(*to);
}

// A file that is held open and has lost its last name lives on behind its handle.
void Operations::unlinked(NodeId node, const std::string& content) {
  if (now().has(node)) return;
  for (Handle& handle : handles_) {
    if (handle.node != node) continue;
    handle.orphan = true;
    handle.bytes = content;
    world_.happened("removed while open");
  }
}

void Operations::remove() {
  const NodeId dir = some_dir();
  const std::string child = name();
  const NodeId id = now().child(dir, child);
  const bool is_dir = id != 0 && now().at(id).type == FileType::kDirectory;
  Planned planned{fmt::format("remove {} from {}", child, dir), now()};
  if (id == 0) planned.refused_with = ENOENT;
  if (is_dir && !now().at(id).children.empty()) planned.refused_with = ENOTEMPTY;
  std::string content;
  if (planned.refused_with == 0) {
    content = *now().at(id).bytes;
    ModelNode& parent = planned.next.change(dir);
    parent.children.erase(child);
    if (is_dir) --parent.nlink;
    planned.next.drop_link(id);
    planned.touched = {dir, id};
  }
  const Ino parent_ino = now().at(dir).ino;
  const bool done = perform(std::move(planned), [&](Volume& v, Need& n) {
    return is_dir ? v.rmdir(parent_ino, child, n) : v.unlink(parent_ino, child, n);
  });
  if (done) unlinked(id, content);
}

void Operations::rename() {
  const NodeId from = some_dir();
  const NodeId to = some_dir();
  const std::string old_name = name();
  const std::string new_name = name();
  const NodeId id = now().child(from, old_name);
  const NodeId target = now().child(to, new_name);
  if (id == 0 && below(10) != 0) return;
  const auto is_dir = [&](NodeId node) {
    return node != 0 && now().at(node).type == FileType::kDirectory;
  };
  static constexpr unsigned kFlags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
  const unsigned flags = kFlags[below(5)];
  const bool exchange = flags == RENAME_EXCHANGE;
  // A directory into itself: the kernel refuses that before we are asked.
  if (is_dir(id) && now().holds(id, to)) return;
  if (exchange && is_dir(target) && now().holds(target, from)) return;
  Planned planned{
      fmt::format("rename {}/{} to {}/{} flags {}", from, old_name, to, new_name, flags), now()};
  if (id == 0 || (exchange && target == 0)) {
    planned.refused_with = ENOENT;
  } else if (flags == RENAME_NOREPLACE && target != 0) {
    planned.refused_with = EEXIST;
  } else if (!exchange && target != 0 && target != id) {
    if (is_dir(target) && !is_dir(id)) planned.refused_with = EISDIR;
    if (!is_dir(target) && is_dir(id)) planned.refused_with = ENOTDIR;
    if (is_dir(target) && is_dir(id) && !now().at(target).children.empty())
      planned.refused_with = ENOTEMPTY;
  }
  std::string content;
  if (planned.refused_with == 0 && target != id) {
    Model& next = planned.next;
    if (target != 0) content = *now().at(target).bytes;
    if (target != 0 && !exchange) {
      if (is_dir(target)) --next.change(to).nlink;
      next.drop_link(target);
    }
    next.change(from).children.erase(old_name);
    next.change(to).children[new_name] = id;
    next.change(id);
    if (is_dir(id)) {
      --next.change(from).nlink;
      ++next.change(to).nlink;
    }
    if (exchange) {
      next.change(from).children[old_name] = target;
      next.change(target);
      if (is_dir(target)) {
        --next.change(to).nlink;
        ++next.change(from).nlink;
      }
    }
    planned.touched = {from, to, id, target};
  }
  const Ino from_ino = now().at(from).ino;
  const Ino to_ino = now().at(to).ino;
  const bool done = perform(std::move(planned), [&](Volume& v, Need& n) {
    return v.rename(from_ino, old_name, to_ino, new_name, flags, n);
  });
  if (done && target != 0) unlinked(target, content);
}

void Operations::link() {
  const auto files = now().all(FileType::kRegular);
  if (files.empty()) return;
  const NodeId id = files[below(files.size())];
  const NodeId to = some_dir();
  const std::string new_name = name();
  Planned planned{fmt::format("link {} as {}/{}", id, to, new_name), now()};
  if (now().child(to, new_name) != 0) {
    planned.refused_with = EEXIST;
  } else {
    planned.next.change(to).children[new_name] = id;
    ++planned.next.change(id).nlink;
    planned.touched = {to, id};
  }
  const Ino ino = now().at(id).ino;
  const Ino to_ino = now().at(to).ino;
  perform(std::move(planned), [&](Volume& v, Need& n) -> Status {
    TRY(v.link(ino, to_ino, new_name, n));
    return {};
  });
}

void Operations::set_xattr() {
  const NodeId id = below(2) == 0 ? some_dir() : some(FileType::kRegular);
  if (id == 0) return;
  const std::string attribute = "user.a" + std::to_string(below(3));
  const bool removes = below(3) == 0;
  const std::string value(below(3) == 0 ? 200 + below(200) : below(40),
                          static_cast<char>('a' + below(26)));
  Planned planned{fmt::format("{} xattr {} of {}", removes ? "remove" : "set", attribute, id),
                  now()};
  if (removes && !now().at(id).xattrs.contains(attribute)) {
    planned.refused_with = ENODATA;
  } else {
    auto& xattrs = planned.next.change(id).xattrs;
    if (removes)
      xattrs.erase(attribute);
    else
      xattrs[attribute] = value;
    planned.touched = {id};
  }
  const Ino ino = now().at(id).ino;
  perform(std::move(planned), [&](Volume& v, Need& n) {
    return removes ? v.removexattr(ino, attribute, n)
                   : v.setxattr(ino, attribute, as_bytes(value), 0, Caller{}, n);
  });
}

void Operations::set_attr() {
  const NodeId id = below(2) == 0 ? some_dir() : some(FileType::kRegular);
  if (id == 0) return;
  AttrChange change;
  Planned planned{fmt::format("setattr {}", id), now(), {id}};
  ModelNode& node = planned.next.change(id);
  if (below(2) == 0) {
    change.mode = below(01000);
    node.mode = (node.mode & S_IFMT) | *change.mode;
  }
  if (below(2) == 0) node.uid = *(change.uid = static_cast<uint32_t>(below(5)));
  if (below(2) == 0) change.mtime = static_cast<int64_t>(below(1'000'000'000'000));
  if (below(2) == 0) change.atime = -static_cast<int64_t>(below(1'000'000'000'000));
  const Ino ino = node.ino;
  perform(std::move(planned), [&](Volume& v, Need& n) -> Status {
    TRY(v.setattr(ino, change, n));
    return {};
  });
}

void Operations::keep_open() {
  if (!handles_.empty() && (handles_.size() > 3 || below(2) == 0)) {
    const size_t at = below(handles_.size());
    mount().volume().release_file(handles_[at].id);
    handles_.erase(handles_.begin() + static_cast<ptrdiff_t>(at));
    return;
  }
  const NodeId file = some(FileType::kRegular);
  if (file == 0) return;
  for (const Handle& handle : handles_)
    if (handle.node == file) return;
  const auto id = handle_of(file);
  if (id) handles_.push_back({*id, file, now().at(file).ino, false, {}});
}

void Operations::step() {
  Process* before = world_.scheduler.enter(&mount());
  switch (below(33)) {
    case 0:
    case 1:
    case 2:
      rename();
      break;
    case 3:
    case 4:
      remove();
      break;
    case 5:
    case 6:
      link();
      break;
    case 7:
      set_xattr();
      break;
    case 8:
      set_attr();
      break;
    case 9:
    case 10:
      truncate();
      break;
    case 11:
      allocate();
      break;
    case 12:
    case 13:
      read();
      break;
    case 14:
      seek();
      break;
    case 15:
      read_names();
      break;
    case 16:
      keep_open();
      break;
    case 17:
      read_orphan();
      break;
    case 18:
    case 19:
      copy_range();
      break;
    case 20:
    case 21:
    case 22:
    case 23:
      make();
      break;
    default:
      write();
      break;
  }
  world_.scheduler.enter(before);
}

}  // namespace cairn::sim
