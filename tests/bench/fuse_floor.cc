// fuse_floor MOUNTPOINT: a FUSE filesystem that keeps everything in memory and does nothing else,
// with the same libfuse, the same options and the same timeouts as cairn. Its row in the benchmark
// is the floor: what the kernel, libfuse and the workload cost, whatever a daemon does.
//
// Stays in the foreground until it is unmounted. Knows what the benchmark's workloads need; other
// requests get ENOSYS from libfuse. One lock over everything, so it is only good as a floor.
#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

constexpr double kCacheSeconds = 86400;

struct Node {
  struct stat attr {};
  std::string data;  // content, or a symlink's target
  std::map<std::string, fuse_ino_t> names;
};

std::mutex mutex;
std::unordered_map<fuse_ino_t, Node> nodes;
fuse_ino_t last_ino = FUSE_ROOT_ID;

timespec now() {
  timespec time{};
  clock_gettime(CLOCK_REALTIME, &time);
  return time;
}

Node& make(fuse_ino_t ino, mode_t mode, const fuse_ctx* caller) {
  Node& node = nodes[ino];
  node.attr.st_ino = ino;
  node.attr.st_mode = mode;
  node.attr.st_nlink = S_ISDIR(mode) ? 2 : 1;
  node.attr.st_blksize = 4096;
  if (caller != nullptr) {
    node.attr.st_uid = caller->uid;
    node.attr.st_gid = caller->gid;
  }
  node.attr.st_atim = node.attr.st_mtim = node.attr.st_ctim = now();
  return node;
}

void resized(Node& node) {
  node.attr.st_size = static_cast<off_t>(node.data.size());
  node.attr.st_blocks = static_cast<blkcnt_t>((node.data.size() + 511) / 512);
}

fuse_entry_param entry_of(const Node& node) {
  fuse_entry_param entry{};
  entry.ino = node.attr.st_ino;
  entry.attr = node.attr;
  entry.attr_timeout = entry.entry_timeout = kCacheSeconds;
  return entry;
}

// The inode behind a name, or nullptr.
Node* child(fuse_ino_t parent, const char* name) {
  const auto& names = nodes[parent].names;
  const auto it = names.find(name);
  return it == names.end() ? nullptr : &nodes[it->second];
}

Node* add(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  if (child(parent, name) != nullptr) return nullptr;
  Node& node = make(++last_ino, mode, fuse_req_ctx(req));
  nodes[parent].names[name] = node.attr.st_ino;
  return &node;
}

void reply_new(fuse_req_t req, const Node* node) {
  if (node == nullptr) return fuse_reply_err(req, EEXIST), void();
  const fuse_entry_param entry = entry_of(*node);
  fuse_reply_entry(req, &entry);
}

void op_init(void*, fuse_conn_info* connection) {
  connection->max_write = 1 << 20;
  connection->max_background = 512;
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  const std::lock_guard lock(mutex);
  fuse_entry_param entry{};
  entry.entry_timeout = kCacheSeconds;
  if (const Node* node = child(parent, name)) entry = entry_of(*node);
  fuse_reply_entry(req, &entry);
}

void op_getattr(fuse_req_t req, fuse_ino_t ino, fuse_file_info*) {
  const std::lock_guard lock(mutex);
  fuse_reply_attr(req, &nodes[ino].attr, kCacheSeconds);
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat* to, int set, fuse_file_info*) {
  const std::lock_guard lock(mutex);
  Node& node = nodes[ino];
  if (set & FUSE_SET_ATTR_MODE)
    node.attr.st_mode = (node.attr.st_mode & S_IFMT) | (to->st_mode & 07777);
  if (set & FUSE_SET_ATTR_UID) node.attr.st_uid = to->st_uid;
  if (set & FUSE_SET_ATTR_GID) node.attr.st_gid = to->st_gid;
  if (set & FUSE_SET_ATTR_SIZE) {
    node.data.resize(static_cast<size_t>(to->st_size));
    resized(node);
  }
  if (set & FUSE_SET_ATTR_ATIME) node.attr.st_atim = to->st_atim;
  if (set & FUSE_SET_ATTR_MTIME) node.attr.st_mtim = to->st_mtim;
  if (set & FUSE_SET_ATTR_ATIME_NOW) node.attr.st_atim = now();
  if (set & FUSE_SET_ATTR_MTIME_NOW) node.attr.st_mtim = now();
  fuse_reply_attr(req, &node.attr, kCacheSeconds);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  const std::lock_guard lock(mutex);
  reply_new(req, add(req, parent, name, S_IFDIR | mode));
}

void op_symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
  const std::lock_guard lock(mutex);
  Node* node = add(req, parent, name, S_IFLNK | 0777);
  if (node != nullptr) node->data = target;
  reply_new(req, node);
}

void op_readlink(fuse_req_t req, fuse_ino_t ino) {
  const std::lock_guard lock(mutex);
  fuse_reply_readlink(req, nodes[ino].data.c_str());
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char* name) {
  const std::lock_guard lock(mutex);
  if (child(parent, name) != nullptr) return fuse_reply_err(req, EEXIST), void();
  Node& node = nodes[ino];
  ++node.attr.st_nlink;
  nodes[parent].names[name] = ino;
  reply_new(req, &node);
}

// Inodes stay in memory: nothing here counts the kernel's references.
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  const std::lock_guard lock(mutex);
  Node* node = child(parent, name);
  if (node == nullptr) return fuse_reply_err(req, ENOENT), void();
  --node->attr.st_nlink;
  nodes[parent].names.erase(name);
  fuse_reply_err(req, 0);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char* name) {
  {
    const std::lock_guard lock(mutex);
    const Node* node = child(parent, name);
    if (node != nullptr && !node->names.empty()) return fuse_reply_err(req, ENOTEMPTY), void();
  }
  op_unlink(req, parent, name);
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
               const char* new_name, unsigned) {
  const std::lock_guard lock(mutex);
  const Node* node = child(parent, name);
  if (node == nullptr) return fuse_reply_err(req, ENOENT), void();
  nodes[new_parent].names[new_name] = node->attr.st_ino;
  nodes[parent].names.erase(name);
  fuse_reply_err(req, 0);
}

void op_open(fuse_req_t req, fuse_ino_t ino, fuse_file_info* fi) {
  if (fi->flags & O_TRUNC) {
    const std::lock_guard lock(mutex);
    nodes[ino].data.clear();
    resized(nodes[ino]);
  }
  fi->keep_cache = 1;
  fuse_reply_open(req, fi);
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode,
               fuse_file_info* fi) {
  const std::lock_guard lock(mutex);
  Node* node = add(req, parent, name, S_IFREG | mode);
  if (node == nullptr) return fuse_reply_err(req, EEXIST), void();
  fi->keep_cache = 1;
  const fuse_entry_param entry = entry_of(*node);
  fuse_reply_create(req, &entry, fi);
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info*) {
  const std::lock_guard lock(mutex);
  const std::string& data = nodes[ino].data;
  const size_t from = std::min(data.size(), static_cast<size_t>(offset));
  fuse_reply_buf(req, data.data() + from, std::min(size, data.size() - from));
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char* bytes, size_t size, off_t offset,
              fuse_file_info*) {
  const std::lock_guard lock(mutex);
  Node& node = nodes[ino];
  const size_t at = static_cast<size_t>(offset);
  if (node.data.size() < at + size) node.data.resize(at + size);
  std::memcpy(node.data.data() + at, bytes, size);
  resized(node);
  fuse_reply_write(req, size);
}

void op_fsync(fuse_req_t req, fuse_ino_t, int, fuse_file_info*) {
  fuse_reply_err(req, 0);
}

void op_flush(fuse_req_t req, fuse_ino_t, fuse_file_info*) {
  fuse_reply_err(req, 0);
}

// A page of entries; the offset is the number of entries before it.
void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, bool plus) {
  const std::lock_guard lock(mutex);
  std::vector<char> page(size);
  size_t used = 0;
  off_t at = 0;
  for (const auto& [name, child_ino] : nodes[ino].names) {
    if (at++ < offset) continue;
    char* place = page.data() + used;
    const fuse_entry_param entry = entry_of(nodes[child_ino]);
    const size_t needed =
        plus ? fuse_add_direntry_plus(req, place, size - used, name.c_str(), &entry, at)
             : fuse_add_direntry(req, place, size - used, name.c_str(), &entry.attr, at);
    if (needed > size - used) break;
    used += needed;
  }
  fuse_reply_buf(req, page.data(), used);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info*) {
  list(req, ino, size, offset, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info*) {
  list(req, ino, size, offset, true);
}

fuse_lowlevel_ops make_ops() {
  fuse_lowlevel_ops ops{};
  ops.init = op_init;
  ops.lookup = op_lookup;
  ops.getattr = op_getattr;
  ops.setattr = op_setattr;
  ops.mkdir = op_mkdir;
  ops.symlink = op_symlink;
  ops.readlink = op_readlink;
  ops.link = op_link;
  ops.unlink = op_unlink;
  ops.rmdir = op_rmdir;
  ops.rename = op_rename;
  ops.open = op_open;
  ops.create = op_create;
  ops.read = op_read;
  ops.write = op_write;
  ops.flush = op_flush;
  ops.fsync = op_fsync;
  ops.readdir = op_readdir;
  ops.readdirplus = op_readdirplus;
  return ops;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: fuse_floor MOUNTPOINT\n"), 2;
  make(FUSE_ROOT_ID, S_IFDIR | 0755, nullptr);
  char program[] = "fuse_floor", flag[] = "-o", options[] = "default_permissions,fsname=floor";
  char* words[] = {program, flag, options};
  fuse_args args = FUSE_ARGS_INIT(3, words);
  const fuse_lowlevel_ops ops = make_ops();
  fuse_session* session = fuse_session_new(&args, &ops, sizeof ops, nullptr);
  if (session == nullptr || fuse_session_mount(session, argv[1]) != 0) return 1;
  fuse_loop_config* config = fuse_loop_cfg_create();
  const int result = fuse_session_loop_mt(session, config);
  fuse_loop_cfg_destroy(config);
  fuse_session_unmount(session);
  fuse_session_destroy(session);
  return result == 0 ? 0 : 1;
}
