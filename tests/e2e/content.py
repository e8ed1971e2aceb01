#!/usr/bin/env python3
"""Lines of fs/SEMANTICS.md about the content of files: content.py NAME FOLDER tries one of them.

`make-NAME` leaves something behind, `see-NAME` looks at it after a remount or a crash.
"""
import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import shutil
import struct
import subprocess
import sys
import time

MOST = 1 << 44  # 16 TiB
NOBODY = 65534


def fails(code, function, *args):
    try:
        function(*args)
    except OSError as error:
        assert error.errno == code, f"{errno.errorcode[error.errno]}, not {errno.errorcode[code]}"
        return
    raise AssertionError(f"{function.__name__} worked")


def make_huge(top):
    """A sparse file as large as a file may be, and no byte more."""
    fd = os.open(f"{top}/huge", os.O_CREAT | os.O_RDWR, 0o644)
    os.ftruncate(fd, MOST)
    assert os.pwrite(fd, b"last", MOST - 4) == 4
    assert os.pwrite(fd, b"middle", MOST // 2) == 6
    for offset in (MOST, MOST + 4096, (1 << 62)):
        fails(errno.EFBIG, os.pwrite, fd, b"x", offset)
    fails(errno.EFBIG, os.ftruncate, fd, MOST + 1)
    fails(errno.EFBIG, os.posix_fallocate, fd, MOST - 4096, 8192)
    os.fsync(fd)
    os.close(fd)
    see_huge(top)


def see_huge(top):
    fd = os.open(f"{top}/huge", os.O_RDONLY)
    stat = os.fstat(fd)
    assert stat.st_size == MOST and stat.st_blocks <= 2048, (stat.st_size, stat.st_blocks)
    assert os.pread(fd, 10, MOST - 4) == b"last"
    assert os.pread(fd, 8, MOST // 2 - 1) == b"\0middle\0"
    assert os.pread(fd, 100, 3 << 40) == bytes(100)
    assert os.lseek(fd, 1 << 30, os.SEEK_DATA) in range(MOST // 2 - (1 << 20), MOST // 2 + 1)
    os.close(fd)


def check_direct(top):
    """O_DIRECT, aligned or not: the kernel's cache and what is written past it stay the same."""
    direct = os.open(f"{top}/direct", os.O_CREAT | os.O_RDWR | os.O_DIRECT, 0o644)
    plain = os.open(f"{top}/direct", os.O_RDWR)
    want, buffer = bytearray(600000), mmap.mmap(-1, 1 << 20)
    os.ftruncate(plain, len(want))
    for number, (offset, size) in enumerate([(0, 4096), (8192, 262144), (300 * 512, 512), (131072, 400000),
                                             (12345, 100), (599999, 1), (4095, 8194)]):
        data = hashlib.shake_128(bytes([number])).digest(size)
        assert os.pread(plain, 4096, offset & ~4095) == want[offset & ~4095 : (offset & ~4095) + 4096]
        buffer[:size] = data
        assert os.pwritev(direct, [memoryview(buffer)[:size]], offset) == size
        want[offset : offset + size] = data
        assert os.pread(plain, len(want), 0) == want, f"step {number}: what was cached is old"
        os.pwrite(plain, bytes([number]) * 100, number * 5000)
        want[number * 5000 : number * 5000 + 100] = bytes([number]) * 100
        got = os.preadv(direct, [buffer], 0)
        assert buffer[:got] == want, f"step {number}: a direct read is old"
    os.close(direct)
    os.close(plain)


def euid_of(program):
    done = subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", program, "-u"],
                          capture_output=True, text=True, check=True)
    return int(done.stdout)


def make_setuid(top):
    shutil.copy("/usr/bin/id", f"{top}/id")
    os.chmod(f"{top}/id", 0o4755)
    assert os.stat(f"{top}/id").st_mode & 0o7777 == 0o4755
    os.mknod(f"{top}/null", 0o020666, os.makedev(1, 3))
    assert euid_of(f"{top}/id") == NOBODY, "a setuid program was honoured"
    fails(errno.EACCES, os.open, f"{top}/null", os.O_RDWR)


def see_setuid(top):
    """The same on a mount with -o suid,dev."""
    assert euid_of(f"{top}/id") == 0, "a setuid program was not honoured"
    os.close(os.open(f"{top}/null", os.O_RDWR))


def page(name):
    return hashlib.shake_128(name.encode()).digest(3 * mmap.PAGESIZE)


def make_mapped(top):
    """Written by a shared mapping, then unmapped or closed and never synced."""
    for name in ("unmapped-then-closed", "closed-then-unmapped", "unmapped"):
        fd = os.open(f"{top}/{name}", os.O_CREAT | os.O_RDWR, 0o644)
        os.ftruncate(fd, 3 * mmap.PAGESIZE)
        mapping = mmap.mmap(fd, 3 * mmap.PAGESIZE)  # has a descriptor of its own
        mapping[:] = page(name)
        if name == "closed-then-unmapped":
            os.close(fd)
        mapping.close()
        if name == "unmapped-then-closed":
            os.close(fd)
    # Killed with the mapping in place: its end unmaps as well.
    child = os.fork()
    if child == 0:
        fd = os.open(f"{top}/ended", os.O_CREAT | os.O_RDWR, 0o644)
        os.ftruncate(fd, 3 * mmap.PAGESIZE)
        mapping = mmap.mmap(fd, 3 * mmap.PAGESIZE)
        mapping[:] = page("ended")
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)


def see_mapped(top):
    for name in ("unmapped-then-closed", "closed-then-unmapped", "unmapped", "ended"):
        with open(f"{top}/{name}", "rb") as file:
            assert file.read() == page(name), name


def check_atime(top):
    """Reading changes no access time, whichever of the usual options was given."""
    path = f"{top}/read"
    with open(path, "wb") as file:
        file.write(b"x" * 10000)
    os.utime(path, ns=(10**18, 10**18))
    os.utime(top, ns=(10**18, 10**18))
    time.sleep(0.01)
    with open(path, "rb") as file:
        file.read()
    os.listdir(top)
    for name in (path, top):
        assert os.stat(name).st_atime_ns == 10**18, name


def swap_to(path):
    """Asks the kernel itself, for a file that is all that a swap file has to be."""
    with open(path, "wb") as file:
        file.write(os.urandom(1 << 20))
    os.chmod(path, 0o600)
    subprocess.run(["mkswap", path], capture_output=True, check=True)
    kernel = ctypes.CDLL(None, use_errno=True)
    if kernel.swapon(os.fsencode(path), 0) != 0:
        raise OSError(ctypes.get_errno(), "swapon")
    kernel.swapoff(os.fsencode(path))


def check_controls(top):
    """What local disks answer and a volume refuses, with the error that programs expect for it."""
    path = f"{top}/controlled"
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    os.write(fd, bytes(8192))
    copy = os.open(f"{path}-copy", os.O_CREAT | os.O_RDWR, 0o644)
    get_flags, set_flags, clone = 0x80086601, 0x40086602, 0x40049409
    fiemap, freeze, trim = 0xC020660B, 0xC0045877, 0xC0185879
    extents = struct.pack("QQLLLL", 0, 1 << 40, 0, 0, 10, 0) + bytes(10 * 56)
    fails(errno.ENOTTY, fcntl.ioctl, fd, get_flags, bytes(8))
    fails(errno.ENOTTY, fcntl.ioctl, fd, set_flags, struct.pack("l", 0x10))
    fails(errno.EOPNOTSUPP, fcntl.ioctl, fd, fiemap, extents)
    fails(errno.EOPNOTSUPP, fcntl.ioctl, fd, freeze, 0)
    fails(errno.ENOTTY, fcntl.ioctl, fd, trim, struct.pack("QQQ", 0, 1 << 40, 0))
    fails(errno.EOPNOTSUPP, fcntl.ioctl, copy, clone, fd)
    os.close(copy)
    os.close(fd)
    fails(errno.EINVAL, swap_to, path)


def check_many_xattrs(top):
    """More names than one list can hold: each of them is there, the list is refused as on XFS."""
    path = f"{top}/many"
    with open(path, "wb"):
        pass
    names = [f"user.{number:0250}" for number in range(300)]
    for number, name in enumerate(names):
        os.setxattr(path, name, b"%d" % number)
    fails(errno.E2BIG, os.listxattr, path)
    for number, name in enumerate(names):
        assert os.getxattr(path, name) == b"%d" % number, name
    for name in names[100:]:
        os.removexattr(path, name)
    assert sorted(os.listxattr(path)) == names[:100]


def main():
    kind = sys.argv[1].replace("-", "_")
    (globals().get(kind) or globals()["check_" + kind])(sys.argv[2])


main()
