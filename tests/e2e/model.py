#!/usr/bin/env python3
"""Plays the same random operations on two folders and compares every answer, then the trees.

    model.py ONE OTHER SEED STEPS     the first step of a difference is printed, with what came before

Both folders must be empty when SEED is new; with --compare only the trees are compared.
"""
import ctypes
import errno
import hashlib
import mmap
import os
import random
import stat
import sys

libc = ctypes.CDLL(None, use_errno=True)
off = ctypes.c_longlong
AT_FDCWD = -100
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
MAX_FILE = 1 << 21


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def renameat2(a, b, flags):
    checked(libc.renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), flags))


def fallocate(fd, mode, offset, length):
    checked(libc.fallocate(fd, mode, off(offset), off(length)))


def copy(a, a_offset, b, b_offset, length):
    done = 0  # how much one call copies is the file system's business
    while done < length:
        n = os.copy_file_range(a, b, length - done, a_offset + done, b_offset + done)
        if n == 0:
            break
        done += n
    return done


def map_write(fd, offset, data):
    size = os.fstat(fd).st_size
    if offset + len(data) > size:
        return None
    with mmap.mmap(fd, size) as m:
        m[offset:offset + len(data)] = data
        m.flush()
    return True


def map_read(fd):
    size = os.fstat(fd).st_size
    if size == 0:
        return b""
    with mmap.mmap(fd, size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as m:
        data = bytes(m)
        m[0] = 255 - m[0]  # a private page: nobody else sees it
        return hashlib.sha256(data).hexdigest()


def holes_are_zero(fd):
    """Data and holes cover the file, and what is called a hole reads as zeroes."""
    size, at = os.fstat(fd).st_size, 0
    while at < size:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            if e.errno != errno.ENXIO:
                raise
            data = size
        if os.pread(fd, data - at, at).strip(b"\0"):
            return f"the hole {at} to {data} holds data"
        if data == size:
            break
        hole = os.lseek(fd, data, os.SEEK_HOLE)
        if hole <= data or hole > size:
            return f"data at {data} ends at {hole}"
        at = hole
    return "covered"


def describe(path, names):
    """What a copy must keep; hard links are named by the first name of their group."""
    s = os.lstat(path)
    kind = stat.S_IFMT(s.st_mode)
    text = [oct(s.st_mode), s.st_uid, s.st_gid]
    if kind == stat.S_IFREG:
        with open(path, "rb") as f:
            text += [s.st_nlink, s.st_size, hashlib.sha256(f.read()).hexdigest(),
                     names.setdefault(s.st_ino, path.split("/", names["depth"])[-1])]
        blocks = s.st_blocks * 512
        if blocks > (s.st_size + 4095) // 4096 * 4096 and names["exact"]:
            text += [f"{blocks} bytes of storage for {s.st_size}"]
    elif kind == stat.S_IFLNK:
        text += [os.readlink(path)]
    elif kind == stat.S_IFDIR:
        text += [s.st_nlink]
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        if not name.startswith(("user.cairn.", "security.selinux")):
            text += [name, os.getxattr(path, name, follow_symlinks=False)]
    return text


def tree(root, exact):
    out, names = {}, {"depth": root.count("/") + 1, "exact": exact}
    for folder, dirs, files in os.walk(root):
        dirs.sort()
        for name in sorted(dirs + files):
            path = os.path.join(folder, name)
            out[path[len(root):]] = describe(path, names)
    return out


class Side:
    """One of the two folders, and the files that are open in it."""

    def __init__(self, root):
        self.root = root
        self.held = []

    def path(self, name):
        return os.path.join(self.root, name)

    def open(self, name, flags=os.O_RDWR):
        if isinstance(name, int):
            return os.dup(self.held[name % len(self.held)]) if self.held else self.open("nothing")
        # A fifo's open would wait for its other end.
        return os.open(self.path(name), flags | os.O_NONBLOCK, 0o644)

    def with_file(self, name, act, flags=os.O_RDWR):
        fd = self.open(name, flags)
        try:
            return act(fd)
        finally:
            os.close(fd)

    def hold(self, name):
        self.held.append(self.open(name))
        if len(self.held) > 4:
            os.close(self.held.pop(0))

    def let_go(self):
        for fd in self.held:
            os.close(fd)
        self.held = []


def any_name(r):
    return "/".join(f"d{r.randrange(3)}" for _ in range(r.choice((0, 0, 0, 1, 1, 2)))
                    ) + f"/n{r.randrange(5)}"


def make_op(r):
    """One operation: its words, and what to do on a side."""
    a, b = any_name(r).lstrip("/"), any_name(r).lstrip("/")
    if r.random() < 0.15:
        a = a.rsplit("/", 1)[0] if "/" in a else f"d{r.randrange(3)}"
    f = r.randrange(4) if r.random() < 0.25 else a  # a held file, or a name
    g = r.randrange(4) if r.random() < 0.25 else b
    offset = r.randrange(MAX_FILE)
    if r.random() < 0.5:
        offset = offset // 4096 * 4096
    length = r.choice((1, 100, 4096, r.randrange(1, 65536), r.randrange(1, 600000)))
    size = r.choice((0, offset, r.randrange(MAX_FILE)))
    data = r.randbytes(length) if r.random() < 0.9 else bytes(length)
    source = r.choice((offset, r.randrange(MAX_FILE), r.randrange(8) * 262144))
    mode = r.choice((0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE))
    mask = r.choice((0o644, 0o4755, 0o600, 0o2775, 0o1777))
    when = r.randrange(-10**18, 4 * 10**18)
    name, value = f"user.a{r.randrange(3)}", r.randbytes(r.choice((0, 10, 200, 1000)))
    ops = [
        (5, "mkdir", a, lambda s: os.mkdir(s.path(a))),
        (16, "create", a, lambda s: s.with_file(a, lambda fd: None, os.O_CREAT | os.O_EXCL)),
        (2, "symlink", a, lambda s: os.symlink(b, s.path(a))),
        (2, "mkfifo", a, lambda s: os.mkfifo(s.path(a))),
        (3, "link", (a, b), lambda s: os.link(s.path(a), s.path(b), follow_symlinks=False)),
        (4, "rename", (a, b), lambda s: os.rename(s.path(a), s.path(b))),
        (1, "noreplace", (a, b), lambda s: renameat2(s.path(a), s.path(b), 1)),
        (2, "exchange", (a, b), lambda s: renameat2(s.path(a), s.path(b), 2)),
        (5, "unlink", a, lambda s: os.unlink(s.path(a))),
        (5, "rmdir", a, lambda s: os.rmdir(s.path(a))),
        (16, "write", (f, offset, length),
         lambda s: s.with_file(f, lambda fd: os.pwrite(fd, data, offset))),
        (5, "append", (a, length),
         lambda s: s.with_file(a, lambda fd: os.write(fd, data), os.O_WRONLY | os.O_APPEND)),
        (2, "overwrite", (a, length),
         lambda s: s.with_file(a, lambda fd: os.write(fd, data), os.O_WRONLY | os.O_TRUNC)),
        (6, "map-write", (f, offset, length),
         lambda s: s.with_file(f, lambda fd: map_write(fd, offset, data))),
        (4, "map-read", f, lambda s: s.with_file(f, map_read)),
        (5, "truncate", (f, size), lambda s: s.with_file(f, lambda fd: os.ftruncate(fd, size))),
        (6, "fallocate", (f, mode, offset, length),
         lambda s: s.with_file(f, lambda fd: fallocate(fd, mode, offset, length))),
        (10, "copy", (f, source, g, offset, length), lambda s: s.with_file(f, lambda fd: s.with_file(
            g, lambda to: copy(fd, source, to, offset, length)))),
        (8, "read", (f, offset, length), lambda s: s.with_file(f, lambda fd: hashlib.sha256(
            os.pread(fd, length, offset)).hexdigest())),
        (3, "seek", f, lambda s: s.with_file(f, holes_are_zero)),
        (2, "fsync", f, lambda s: s.with_file(f, os.fsync)),
        (2, "hold", a, lambda s: s.hold(a)),
        (1, "let go", "", lambda s: s.let_go()),
        (2, "chmod", (a, mask), lambda s: os.chmod(s.path(a), mask)),
        (1, "chown", a, lambda s: os.lchown(s.path(a), 1000 + mask, 2000)),
        (2, "utime", (a, when), lambda s: (os.utime(s.path(a), ns=(when, when)),
                                           os.stat(s.path(a)).st_mtime_ns)[1]),
        (3, "setxattr", (a, name), lambda s: os.setxattr(s.path(a), name, value)),
        (1, "removexattr", (a, name), lambda s: os.removexattr(s.path(a), name)),
        (2, "getxattr", (a, name), lambda s: os.getxattr(s.path(a), name)),
        (2, "list", a, lambda s: sorted(os.listdir(s.path(a)))),
        (4, "stat", a, lambda s: describe_stat(s.path(a))),
    ]
    weights = [op[0] for op in ops]
    _, word, args, act = r.choices(ops, weights)[0]
    return f"{word} {args}", act


def describe_stat(path):
    s = os.lstat(path)
    size = s.st_size if not stat.S_ISDIR(s.st_mode) else 0
    return oct(s.st_mode), s.st_nlink, size, s.st_uid, s.st_gid


def outcome(act, side):
    try:
        return act(side)
    except OSError as e:
        return f"errno {errno.errorcode.get(e.errno, e.errno)}"


def compare(one, other):
    a, b = tree(one, True), tree(other, False)
    different = [p for p in sorted(a.keys() | b.keys()) if a.get(p) != b.get(p)]
    for path in different[:10]:
        print(f"{path}\n  {a.get(path)}\n  {b.get(path)}")
    return not different


def main():
    one, other = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    if sys.argv[3] == "--compare":
        return 0 if compare(one, other) else 1
    seed, steps = int(sys.argv[3]), int(sys.argv[4])
    os.umask(0o022)
    sides = Side(one), Side(other)
    past = []
    for step in range(steps):
        words, act = make_op(random.Random(seed * 10**9 + step))
        answers = [outcome(act, side) for side in sides]
        past.append(f"{step} {words} -> {answers[0]}")
        if answers[0] != answers[1]:
            print(f"seed {seed}, step {step}: {words}\n  {answers[0]}\n  {answers[1]}\nbefore:")
            print("\n".join("  " + line for line in past[-25:-1]))
            return 1
    for side in sides:
        side.let_go()
    return 0 if compare(one, other) else 1


if __name__ == "__main__":
    sys.exit(main())
