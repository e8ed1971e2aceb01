#include "tools/rescue_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "cache/base/log.h"

namespace cairn {

namespace {

constexpr uint64_t kPart = 1U << 20;
constexpr uint64_t kSmallPart = 4096;  // where a part cannot be read

timespec timespec_of(int64_t ns) {
  constexpr int64_t kSecond = 1'000'000'000;
  const int64_t rest = (ns % kSecond + kSecond) % kSecond;
  return {(ns - rest) / kSecond, rest};
}

}  // namespace

RescueWriter::RescueWriter(Volume& volume, std::string target, const std::vector<LostData>& lost,
                           RescueReport& report)
    : volume_(volume), target_(std::move(target)), report_(report) {
  for (const LostData& bad : lost) lost_[bad.inode].push_back(bad);
}

std::string RescueWriter::free_name(const std::string& wanted) const {
  std::string path = wanted;
  struct stat there{};
  for (unsigned n = 1; ::lstat(full(path).c_str(), &there) == 0; ++n)
    path = wanted + "-" + std::to_string(n);
  return path;
}

void RescueWriter::failed(const std::string& path, const Error& error) {
  ++report_.failed;
  log_error("{}: {}", path, error.message());
}

Status RescueWriter::node(const Attr& attr, const std::string& path) {
  const std::string to = full(path);
  TRY(posix_env().make_dirs(to.substr(0, to.rfind('/'))));
  if (const auto first = made_.find(attr.ino); first != made_.end()) {
    if (::link(first->second.c_str(), to.c_str()) != 0) return fail_errno(errno, to);
    return {};
  }
  if (S_ISREG(attr.mode)) {
    TRY(file(attr, path));
  } else if (S_ISLNK(attr.mode)) {
    TRY_ASSIGN(const std::string text,
               now([&](Need& need) { return volume_.readlink(attr.ino, need); }));
    if (::symlink(text.c_str(), to.c_str()) != 0) return fail_errno(errno, to);
  } else {
    if (::mknod(to.c_str(), (attr.mode & S_IFMT) | 0600, attr.rdev) != 0)
      return fail_errno(errno, to);
  }
  if (attr.nlink > 1) made_[attr.ino] = to;
  ++report_.files;
  return put_attributes(attr, path);
}

Status RescueWriter::file(const Attr& attr, const std::string& path) {
  TRY_ASSIGN(auto out, posix_env().open(full(path), OpenMode::kCreateNew));
  TRY_ASSIGN(const HandleId handle,
             now([&](Need& need) { return volume_.open_file(attr.ino, need); }));
  const uint64_t failed_before = report_.failed;
  Status copied = copy(handle, attr, path, *out);
  volume_.release_file(handle);
  TRY(std::move(copied));
  TRY(out->truncate(attr.size));  // last: what ended early is seen by its size
  TRY(out->sync_data());
  report_.bytes += attr.size;
  if (const auto lost = lost_.find(attr.ino); lost != lost_.end()) {
    for (const LostData& bad : lost->second)
      log_error("{}: bytes {} to {}, written by record {}, are damaged", path, bad.offset,
                bad.offset + bad.length, bad.lsn);
    report_.failed = failed_before + 1;
  }
  return {};
}

Status RescueWriter::copy(HandleId handle, const Attr& attr, const std::string& path, File& out) {
  Bad bad;
  const uint64_t chunk_bytes = volume_.engine().remote().params().chunk_bytes;
  const uint64_t most = objects_ ? chunk_bytes : kPart;
  for (uint64_t at = 0; at < attr.size;) {
    const uint64_t step = std::min(most, attr.size - at);
    const auto part = now([&](Need& need) { return volume_.read(handle, at, step, need); });
    if (part) {
      TRY(out.write_at(at, *part));
    } else if (objects_) {
      TRY(copy_chunk(handle, attr, at / chunk_bytes, out, bad, path));
    } else if (part.error().code() != Errc::kCorruption) {
      return tl::unexpected<Error>(part.error());
    } else {
      for (uint64_t from = at; from < at + step; from += kSmallPart)
        TRY(copy_part(handle, from, std::min(kSmallPart, at + step - from), out, bad, path));
    }
    at += step;
  }
  say_bad(bad, path);
  if (bad.bytes == 0) return {};
  report_.missing += bad.bytes;
  ++report_.failed;
  return {};
}

Status RescueWriter::copy_part(HandleId handle, uint64_t at, uint64_t length, File& out, Bad& bad,
                               const std::string& path) {
  const auto part = now([&](Need& need) { return volume_.read(handle, at, length, need); });
  if (part) return out.write_at(at, *part);
  if (!objects_ && part.error().code() != Errc::kCorruption)
    return tl::unexpected<Error>(part.error());
  note_bad(at, length, part.error(), bad, path);
  return {};
}

// What was written here, to the byte, and of the rest what can be had.
Status RescueWriter::copy_chunk(HandleId handle, const Attr& attr, uint64_t chunk, File& out,
                                Bad& bad, const std::string& path) {
  const uint64_t chunk_bytes = volume_.engine().remote().params().chunk_bytes;
  const uint64_t start = chunk * chunk_bytes;
  TRY_ASSIGN(const Extents extents, volume_.engine().live().extents(attr.ino, chunk));
  TRY_ASSIGN(const uint64_t store_end, objects_->store_end(attr.ino));
  const auto length = static_cast<uint32_t>(std::min(chunk_bytes, attr.size - start));
  for (const Piece& piece : resolve(extents, 0, length)) {
    const uint64_t at = start + piece.offset;
    const uint64_t end = at + piece.length;
    // Behind it are zeroes, which nobody has to give.
    const bool of_store = piece.kind == Piece::Kind::kBase;
    const uint64_t cut = of_store ? std::clamp(store_end, at, end) : end;
    if (cut > at) TRY(copy_part(handle, at, cut - at, out, bad, path));
  }
  return {};
}

void RescueWriter::note_bad(uint64_t at, uint64_t length, const Error& why, Bad& bad,
                            const std::string& path) {
  if (bad.any() && (bad.end != at || bad.why != why.message())) say_bad(bad, path);
  if (!bad.any()) {
    bad.begin = at;
    bad.why = why.message();
  }
  bad.end = at + length;
  bad.bytes += length;
}

void RescueWriter::say_bad(Bad& bad, const std::string& path) const {
  if (!bad.any()) return;
  if (objects_)
    log_error("{}: bytes {} to {} are not in the cache and cannot be had: they are zeroes ({})",
              path, bad.begin, bad.end, bad.why);
  else
    log_error("{}: bytes {} to {} cannot be read; they are zeroes", path, bad.begin, bad.end);
  bad.begin = bad.end;
}

// Owner first: changing it takes set-user-id bits and capabilities away.
Status RescueWriter::put_attributes(const Attr& attr, const std::string& path) {
  const std::string to = full(path);
  const bool is_root = ::geteuid() == 0;
  if (is_root && ::lchown(to.c_str(), attr.uid, attr.gid) != 0) return fail_errno(errno, to);
  TRY(put_xattrs(attr.ino, to));
  // Somebody else's set-user-id file does not become one of this user.
  const uint32_t bits = is_root ? 07777 : 01777;
  if (!S_ISLNK(attr.mode) && ::chmod(to.c_str(), attr.mode & bits) != 0)
    return fail_errno(errno, to);
  const timespec times[2] = {timespec_of(attr.atime), timespec_of(attr.mtime)};
  if (::utimensat(AT_FDCWD, to.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno(errno, to);
  return {};
}

Status RescueWriter::put_xattrs(Ino ino, const std::string& to) {
  std::vector<std::string> names;
  if (objects_) {
    TRY_ASSIGN(names, objects_->xattrs(ino));
  } else {
    const Caller caller{::geteuid(), ::getegid(), 0, {}};
    TRY_ASSIGN(names, now([&](Need& need) { return volume_.listxattr(ino, caller, need); }));
  }
  for (const std::string& name : names) {
    TRY_ASSIGN(const Buffer value,
               now([&](Need& need) { return volume_.getxattr(ino, name, need); }));
    if (::lsetxattr(to.c_str(), name.c_str(), value.data(), value.size(), 0) == 0) continue;
    if (errno != EPERM && errno != ENOTSUP) return fail_errno(errno, to + ": " + name);
    log_warn("{}: the attribute {} cannot be set here", to, name);
  }
  return {};
}

}  // namespace cairn
