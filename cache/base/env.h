// Env, File, DirLock: the seam to the local filesystem.
//
// Everything the engine keeps on disk goes through an Env, so that a simulated one can drop, tear
// or garble what was not synced. PosixEnv is the real one. All methods are thread-safe; a File may
// be used by many threads at once (positional reads and writes only).
//
// Durability: what `write_at` wrote survives the death of the process when it returns, and power
// loss only after `sync_data` returned. A name made by open(kCreate), `rename`, `link` or removed
// by `remove` survives power loss only after `sync_dir` on its directory.
// Errors: kNotFound, kExists, kNoSpace, kPermission, kIo, with the path in the message.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cache/base/bytes.h"
#include "cache/base/result.h"

namespace cairn {

class File {
 public:
  virtual ~File() = default;
  // Reads up to out.size() bytes; fewer only at the end of the file. Returns how many.
  virtual Result<size_t> read_at(uint64_t offset, MutableBytes out) = 0;
  // Writes all of `data` or fails.
  virtual Status write_at(uint64_t offset, Bytes data) = 0;
  virtual Status sync_data() = 0;
  virtual Result<uint64_t> size() = 0;
  // Bytes of disk the file occupies (its allocated blocks).
  virtual Result<uint64_t> allocated_bytes() = 0;
  // Reserves disk for the range and extends the size to its end; its bytes read as zeroes.
  virtual Status allocate(uint64_t offset, uint64_t length) = 0;
  // Gives the disk of the range back; it reads as zeroes afterwards.
  virtual Status punch(uint64_t offset, uint64_t length) = 0;
  virtual Status truncate(uint64_t size) = 0;
  // All bytes as they are now. Of a real file they are mapped: they cost no memory of the process,
  // stay when the file loses its name, and must not be written or cut while the Buffer lives. A
  // disk that cannot be read ends the process, as it does where LMDB maps it.
  virtual Result<Buffer> map();
};

// Holds an exclusive lock on a file until destroyed.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

enum class OpenMode : uint8_t {
  kRead,       // must exist
  kReadWrite,  // must exist
  kCreate,     // read-write, made with mode 0600 when missing
  kCreateNew,  // read-write, kExists when present
};

struct FileInfo {
  uint64_t size = 0;
  uint64_t allocated_bytes = 0;
  bool is_directory = false;
  bool is_regular = false;  // a plain file
  bool is_symlink = false;  // the path names a link; everything else here is of its target
  int64_t mtime_ns = 0;
  uint64_t inode = 0;
  uint64_t link_count = 1;
};

struct DiskSpace {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;  // for this process
};

using FileAttributes = std::vector<std::pair<std::string, std::string>>;

class Env {
 public:
  virtual ~Env() = default;
  virtual Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) = 0;
  virtual Result<FileInfo> stat(const std::string& path) = 0;
  // Names (not paths) in a directory, sorted, without "." and "..".
  virtual Result<std::vector<std::string>> list_dir(const std::string& path) = 0;
  // Makes the directory with mode 0700 and missing parents; fine when it is there already.
  virtual Status make_dirs(const std::string& path) = 0;
  virtual Status rename(const std::string& from, const std::string& to) = 0;
  // Hard link; kExists when `to` exists. The file: store's create-if-absent.
  virtual Status link(const std::string& from, const std::string& to) = 0;
  virtual Status remove(const std::string& path) = 0;
  virtual Status remove_dir(const std::string& path) = 0;  // must be empty
  virtual Status sync_dir(const std::string& path) = 0;
  // kExists when another process (or another lock of this one) holds it. The message says who.
  virtual Result<std::unique_ptr<FileLock>> lock_file(const std::string& path) = 0;
  virtual Result<DiskSpace> disk_space(const std::string& path) = 0;
  // Extended attributes of a file whose names begin with "user.", which both calls leave out;
  // never those of a symbolic link's target. kUnsupported where the filesystem keeps none. What was
  // set before sync_data is as durable as the file.
  virtual Status set_attribute(const std::string& path, const std::string& name,
                               const std::string& value) = 0;
  virtual Result<FileAttributes> attributes(const std::string& path) = 0;
};

Env& posix_env();

// Reads a whole file; kInvalid when it is larger than `limit`.
Result<ByteVec> read_file(Env& env, const std::string& path, uint64_t limit);
// Replaces a file atomically and durably (temporary name, sync, rename, sync_dir).
Status replace_file(Env& env, const std::string& path, Bytes data);

}  // namespace cairn
