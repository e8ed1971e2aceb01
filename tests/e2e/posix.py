#!/usr/bin/env python3
"""posix.py CHECK FOLDER: one rule of fs/SEMANTICS.md, tried in an empty folder of a mounted volume.

Runs as root. A rule that does not hold ends it with the assertion. `make-*` leaves something behind
that `see-*` looks at after a remount.
"""
import contextlib, ctypes, errno, fcntl, json, mmap, os, random, signal, socket, stat, struct
import subprocess, sys, threading, time

libc = ctypes.CDLL(None, use_errno=True)
NOBODY, DAEMON = 65534, 1
AT_FDCWD, AT_EMPTY_PATH = -100, 0x1000


def fails(code, function, *args, **kwargs):
    try:
        result = function(*args, **kwargs)
    except OSError as error:
        assert error.errno == code, f"{errno.errorcode[error.errno]}, not {errno.errorcode[code]}"
        return
    raise AssertionError(f"{getattr(function, '__name__', function)} gave {result}, "
                         f"not {errno.errorcode[code]}")


def call(name, *args):
    result = getattr(libc, name)(*args)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def as_user(uid, gid, function, groups=()):
    """Runs `function` as somebody else; what it returns (JSON) comes back, as do its errors."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(list(groups))
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            answer = {"value": function()}
        except OSError as error:
            answer = {"errno": error.errno}
        except BaseException as error:
            answer = {"error": repr(error)}
        os.write(send, json.dumps(answer).encode())
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        answer = json.load(pipe)
    os.waitpid(child, 0)
    if "errno" in answer:
        raise OSError(answer["errno"], os.strerror(answer["errno"]))
    assert "error" not in answer, answer["error"]
    return answer["value"]


def write(path, data=b"x", mode=0o644):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)
    os.write(fd, data)
    os.close(fd)


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@contextlib.contextmanager
def umask(mask):
    before = os.umask(mask)
    yield
    os.umask(before)


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


# ---- access control lists

def getfacl(path, *options):
    return [line for line in run("getfacl", "-cnpE", *options, path).splitlines() if line]


def check_acl(top):
    """Default lists are inherited and replace the umask; mode and list go together; they decide."""
    os.chmod(top, 0o755)
    shared = f"{top}/shared"
    os.mkdir(shared, 0o700)
    run("setfacl", "-m", "u:65534:rwx", shared)
    assert mode_of(shared) == 0o770, oct(mode_of(shared))
    run("setfacl", "-d", "-m", "u::rwx,g::rx,o::-,u:65534:rwx,g:1:rx", shared)
    with umask(0o077):
        write(f"{shared}/file", mode=0o666)
        os.mkdir(f"{shared}/sub", 0o777)
        os.mkfifo(f"{shared}/fifo", 0o666)
    assert mode_of(f"{shared}/file") == 0o660, oct(mode_of(f"{shared}/file"))
    assert getfacl(f"{shared}/file") == [
        "user::rw-", "user:65534:rwx", "group::r-x", "group:1:r-x", "mask::rw-", "other::---"]
    assert getfacl(f"{shared}/fifo") == getfacl(f"{shared}/file")
    assert getfacl(f"{shared}/sub", "-d") == getfacl(shared, "-d") != []
    assert mode_of(f"{shared}/sub") == 0o770
    # It decides.
    assert as_user(NOBODY, NOBODY, lambda: os.access(f"{shared}/file", os.R_OK | os.W_OK))
    assert as_user(NOBODY, NOBODY, lambda: write(f"{shared}/theirs")) is None
    fails(errno.EACCES, as_user, 2, 2, lambda: os.listdir(shared))
    # chmod changes the mask, the owner and the others, no named entry.
    os.chmod(f"{shared}/file", 0o646)
    assert getfacl(f"{shared}/file") == [
        "user::rw-", "user:65534:rwx", "group::r-x", "group:1:r-x", "mask::r--", "other::rw-"]
    as_user(NOBODY, NOBODY, lambda: open(f"{shared}/file").close())
    fails(errno.EACCES, as_user, NOBODY, NOBODY, lambda: open(f"{shared}/file", "a").close())
    # A list that says no more than a mode is the mode.
    run("setfacl", "-b", f"{shared}/file")
    assert "system.posix_acl_access" not in os.listxattr(f"{shared}/file")
    run("setfacl", "-k", shared)
    with umask(0o027):
        write(f"{shared}/plain", mode=0o666)
        os.mkdir(f"{shared}/plain.d", 0o777)
    assert mode_of(f"{shared}/plain") == 0o640 and mode_of(f"{shared}/plain.d") == 0o750
    # Many entries do not fit into a record: they are a block of their own.
    many = ",".join(f"u:{uid}:r" for uid in range(1000, 1300))
    run("setfacl", "-m", many, f"{shared}/plain")
    assert len(getfacl(f"{shared}/plain")) == 304
    # Who is not in the group loses setgid by setting a list, as by chmod.
    os.chown(f"{shared}/plain", NOBODY, DAEMON)
    for groups, kept in (((DAEMON,), True), ((), False)):
        os.chmod(f"{shared}/plain", 0o2755)
        os.chmod(shared, 0o777)
        as_user(NOBODY, NOBODY, lambda: run("setfacl", "-m", "u:7:r", f"{shared}/plain") and None,
                groups)
        assert bool(mode_of(f"{shared}/plain") & stat.S_ISGID) == kept, groups
    fails(errno.EACCES, os.setxattr, f"{shared}/plain", "system.posix_acl_default",
          os.getxattr(f"{shared}/plain", "system.posix_acl_access"))
    fails(errno.EINVAL, os.setxattr, f"{shared}/plain", "system.posix_acl_access", b"\2\0\0\0abc")


def make_acl(top):
    os.mkdir(f"{top}/dir")
    run("setfacl", "-m", "u:7:rwx", f"{top}/dir")
    run("setfacl", "-d", "-m", ",".join(f"u:{uid}:r" for uid in range(1000, 1100)), f"{top}/dir")
    with open(f"{top}/expected", "w") as out:
        out.write(run("getfacl", "-cnp", f"{top}/dir"))


def see_acl(top):
    assert run("getfacl", "-cnp", f"{top}/dir") == open(f"{top}/expected").read()
    write(f"{top}/dir/new", mode=0o666)
    assert len(getfacl(f"{top}/dir/new")) == 104


# ---- modes

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


def kept_mode(path):
    """The mode that the kernel remembers: statx that asks nobody."""
    AT_STATX_DONT_SYNC, STATX_MODE = 0x4000, 2
    buffer = ctypes.create_string_buffer(256)
    call("statx", AT_FDCWD, path.encode(), AT_STATX_DONT_SYNC, STATX_MODE, buffer)
    return struct.unpack_from("H", buffer, 28)[0]


def drop_fsetid():
    header = struct.pack("Ii", 0x20080522, 0)
    sets = ctypes.create_string_buffer(24)
    call("capget", header, sets)
    words = [word & ~(1 << 4) if n < 3 else word for n, word in enumerate(struct.unpack("6I", sets))]
    call("capset", header, struct.pack("6I", *words))


def check_suid(top):
    """Writing, cutting and giving away a program takes its suid, sgid and capabilities away."""
    path = f"{top}/program"
    def fresh():
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        write(path)
        os.chown(path, NOBODY, NOBODY)
        os.chmod(path, 0o6777)
        os.setxattr(path, "security.capability", CAPABILITY)
        assert mode_of(path) == 0o6777
    def check(name, function, uid=DAEMON, gid=DAEMON):
        fresh()
        as_user(uid, gid, function)
        # What the kernel keeps, which an exec would look at, and what the file system says.
        assert kept_mode(path) & 0o7777 == 0o777, f"{name}: kept {kept_mode(path):o}"
        assert mode_of(path) == 0o777, f"{name}: {mode_of(path):o}"
        assert "security.capability" not in os.listxattr(path), name
    os.chmod(top, 0o777)
    def write_one():
        fd = os.open(path, os.O_WRONLY)
        os.write(fd, b"y")
    check("write", write_one)
    check("truncate", lambda: os.truncate(path, 0))
    check("open with O_TRUNC", lambda: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)))
    check("fallocate", lambda: os.posix_fallocate(os.open(path, os.O_WRONLY), 0, 9000))
    write(f"{top}/other", b"z" * 4096)
    def copy_one():
        other = os.open(f"{top}/other", os.O_RDONLY)
        os.copy_file_range(other, os.open(path, os.O_WRONLY), 4096)
    check("copy", copy_one)
    def write_direct():
        os.write(os.open(path, os.O_WRONLY | os.O_DIRECT), mmap.mmap(-1, 4096))
    check("direct write", write_direct)
    # Root without CAP_FSETID may not set them either.
    for name, function in (("write", write_one), ("fallocate", lambda: os.posix_fallocate(
            os.open(path, os.O_WRONLY), 0, 9000)), ("copy", copy_one), ("truncate", lambda: os.truncate(path, 0))):
        check(f"{name} without CAP_FSETID", lambda: (drop_fsetid(), function()) and None, 0, 0)
    # What was looked at and found without them is looked at again when they came back.
    fresh()
    def write_between():
        write_one()
        os.chmod(path, 0o6777)
        write_one()
    as_user(NOBODY, NOBODY, write_between)
    assert mode_of(path) == 0o777
    os.setxattr(path, "security.capability", CAPABILITY)
    write_one()
    assert "security.capability" not in os.listxattr(path)
    fresh()
    as_user(NOBODY, NOBODY, lambda: os.chown(path, -1, -1))
    assert mode_of(path) == 0o777
    # Without group execute Linux leaves sgid to a FUSE file system; a local disk loses it here, too.
    fresh()
    os.chmod(path, 0o6666)
    as_user(DAEMON, DAEMON, write_one)
    assert mode_of(path) == 0o2666
    fresh()
    os.chown(path, DAEMON, DAEMON)
    assert mode_of(path) == 0o777
    # Whoever may set the bits keeps them when writing.
    fresh()
    write_one()
    assert mode_of(path) == 0o6777
    # So does root in a chown of nothing: Linux asks for both in the same words.
    fresh()
    os.chown(path, -1, -1)
    assert mode_of(path) == 0o6777


def check_setgid(top):
    """A setgid directory gives its group to what is made in it, and setgid to directories."""
    folder = f"{top}/dir"
    os.mkdir(folder)
    os.chown(folder, 0, DAEMON)
    os.chmod(folder, 0o2777)
    write(f"{folder}/file")
    os.mkdir(f"{folder}/sub", 0o755)
    os.symlink("x", f"{folder}/link")
    for name in ("file", "sub", "link"):
        assert os.lstat(f"{folder}/{name}").st_gid == DAEMON, name
    assert mode_of(f"{folder}/sub") == 0o2755
    assert mode_of(f"{folder}/file") == 0o644
    # Sticky: only who owns the entry or the directory may take it away.
    os.chmod(folder, 0o1777)
    fails(errno.EPERM, as_user, NOBODY, NOBODY, lambda: os.unlink(f"{folder}/file"))
    fails(errno.EPERM, as_user, NOBODY, NOBODY, lambda: os.rename(f"{folder}/file", f"{folder}/x"))


# ---- extended attributes

def check_xattr(top):
    path = f"{top}/file"
    write(path)
    os.symlink("file", f"{top}/link")
    for space in ("user.", "trusted.", "security."):
        name = space + "n" * (255 - len(space))
        value = random.Random(space).randbytes(65536)
        os.setxattr(path, name, value)
        assert os.getxattr(path, name) == value
        fails(errno.ERANGE, os.setxattr, path, name + "n", b"")
        os.setxattr(path, name, b"", os.XATTR_REPLACE)
        assert os.getxattr(path, name) == b""
        fails(errno.EEXIST, os.setxattr, path, name, b"", os.XATTR_CREATE)
        os.removexattr(path, name)
        fails(errno.ENODATA, os.removexattr, path, name)
        fails(errno.ENODATA, os.setxattr, path, name, b"", os.XATTR_REPLACE)
    fails(errno.E2BIG, os.setxattr, path, "user.large", bytes(65537))
    fails(errno.EOPNOTSUPP, os.setxattr, path, "other.name", b"")
    fails(errno.EPERM, os.setxattr, f"{top}/link", "user.x", b"", follow_symlinks=False)
    os.setxattr(f"{top}/link", "trusted.x", b"y", follow_symlinks=False)
    assert os.listxattr(f"{top}/link", follow_symlinks=False) == ["trusted.x"]
    os.setxattr(path, "trusted.secret", b"")
    os.setxattr(path, "user.open", b"")
    assert sorted(os.listxattr(path)) == ["trusted.secret", "user.open"]
    os.chmod(top, 0o755)
    assert as_user(NOBODY, NOBODY, lambda: os.listxattr(path)) == ["user.open"]
    fails(errno.ENODATA, as_user, NOBODY, NOBODY, lambda: os.getxattr(path, "trusted.secret"))
    fails(errno.EPERM, os.setxattr, path, "user.cairn.own", b"")


# ---- times

def check_times(top):
    """Nanoseconds, far years, and no change by reading."""
    path = f"{top}/file"
    write(path)
    for ns in (1, -1, 123456789, 2**33 * 10**9 + 7, -(2**31) * 10**9):
        os.utime(path, ns=(ns, ns + 1))
        found = os.stat(path)
        assert (found.st_atime_ns, found.st_mtime_ns) == (ns, ns + 1), (ns, found)
    before = os.stat(path)
    assert open(path, "rb").read() == b"x"
    os.listdir(top)
    assert os.stat(path).st_atime_ns == before.st_atime_ns
    ctime = os.stat(path).st_ctime_ns
    os.chmod(path, 0o600)
    assert os.stat(path).st_ctime_ns > ctime
    assert run("stat", "-c", "%W", path).strip() == "0"  # no time of birth


# ---- names

def check_names(top):
    rng = random.Random(4)
    names = {bytes(rng.choice([b for b in range(1, 256) if b != ord("/")]) for _ in range(size))
             for size in (1, 2, 3, 254, 255, 255, 255)} - {b".", b".."}
    names |= {"ü".encode("latin-1"), "ü".encode(), b"\xff" * 255, b"\n", b" ", b"-"}
    top = top.encode()
    for name in names:
        write(top + b"/" + name, name)
    assert os.stat(top).st_size == 0
    assert set(os.listdir(top)) == names
    for name in names:
        assert open(top + b"/" + name, "rb").read() == name
    for function in (os.mkdir, os.stat, os.mkfifo, os.unlink):
        fails(errno.ENAMETOOLONG, function, top + b"/" + b"n" * 256)
    # The longest path that the kernel takes, and one byte more.
    os.chdir(top)
    for _ in range(15):
        os.mkdir(b"d" * 255)
        os.chdir(b"d" * 255)
    os.chdir(top)
    deep = b"/".join([b"d" * 255] * 15)
    deep += b"/" + b"f" * (4095 - len(deep) - 1)
    assert len(deep) == 4095
    write(deep)
    assert os.stat(deep).st_size == 1
    fails(errno.ENAMETOOLONG, os.stat, deep + b"f")
    os.symlink(b"t" * 4095, b"link")
    assert os.readlink(b"link") == b"t" * 4095


def renameat2(old, new, flags):
    call("renameat2", AT_FDCWD, old.encode(), AT_FDCWD, new.encode(), flags)


def check_rename(top):
    noreplace, exchange, whiteout = 1, 2, 4
    a, b = f"{top}/a", f"{top}/b"
    write(a, b"a")
    os.mkdir(b)
    os.mkdir(f"{b}/sub")
    fails(errno.EEXIST, renameat2, a, b, noreplace)
    fails(errno.ENOENT, renameat2, a, f"{top}/none", exchange)
    fails(errno.EINVAL, renameat2, a, b, exchange | noreplace)
    fails(errno.EINVAL, renameat2, a, f"{top}/c", whiteout)
    links = os.stat(top).st_nlink
    renameat2(a, b, exchange)
    assert os.path.isdir(f"{a}/sub") and open(b, "rb").read() == b"a"
    assert os.stat(top).st_nlink == links
    # A directory against a file in another directory: link counts and ".." follow.
    write(f"{a}/sub/file")
    renameat2(f"{a}/sub", b, exchange)
    assert os.stat(a).st_nlink == 2 and os.stat(top).st_nlink == links + 1
    assert os.stat(f"{b}/..").st_ino == os.stat(top).st_ino
    renameat2(f"{top}/b", f"{top}/c", noreplace)
    assert sorted(os.listdir(top)) == ["a", "c"]
    fails(errno.EINVAL, os.rename, a, f"{a}/below")


def check_removed(top):
    """What is gone by name and still held says so: no links, and its own attributes."""
    os.mkdir(f"{top}/dir")
    os.mkfifo(f"{top}/fifo")
    write(f"{top}/file", b"content")
    os.setxattr(f"{top}/file", "user.x", b"")
    held = {"dir": os.open(f"{top}/dir", os.O_RDONLY),
            "fifo": os.open(f"{top}/fifo", os.O_RDWR),
            "file": os.open(f"{top}/file", os.O_RDWR)}
    os.rmdir(f"{top}/dir")
    os.unlink(f"{top}/fifo")
    write(f"{top}/other")
    os.rename(f"{top}/other", f"{top}/file")
    for name, fd in held.items():
        os.fchown(fd, NOBODY, NOBODY)
        found = os.fstat(fd)
        assert found.st_nlink == 0 and found.st_uid == NOBODY, (name, found)
    assert os.pread(held["file"], 10, 0) == b"content"
    fails(errno.ENODATA, os.getxattr, held["file"], "user.x")
    fails(errno.ENOENT, os.stat, "x", dir_fd=held["dir"])
    fails(errno.ENOENT, os.open, "x", os.O_CREAT, dir_fd=held["dir"])
    os.write(held["fifo"], b"through")
    assert os.read(held["fifo"], 10) == b"through"
    for fd in held.values():
        os.close(fd)
    assert os.listdir(top) == ["file"]


def check_special(top):
    path = f"{top}/socket"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        client.connect(path)
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    os.mkfifo(f"{top}/fifo")
    fd = os.open(f"{top}/fifo", os.O_RDWR)
    os.write(fd, b"x")
    assert os.read(fd, 1) == b"x"
    for kind, number in ((stat.S_IFCHR, (1, 3)), (stat.S_IFBLK, (259, 1048575))):
        name = f"{top}/dev{kind}"
        os.mknod(name, kind | 0o600, os.makedev(*number))
        assert os.stat(name).st_rdev == os.makedev(*number)
        fails(errno.EACCES, os.open, name, os.O_RDONLY)  # mounted without -o dev
    # Without a quota.
    assert space(top)[0] == 1 << 50


def check_tmpfile(top):
    fails(errno.EOPNOTSUPP, os.open, top, os.O_TMPFILE | os.O_RDWR)


def check_locks(top):
    path = f"{top}/file"
    write(path)
    mine = os.open(path, os.O_RDWR)
    fcntl.flock(mine, fcntl.LOCK_EX)
    fails(errno.EAGAIN, fcntl.flock, os.open(path, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(mine, fcntl.LOCK_EX, 10, 100)
    def other(start):
        return lambda: fcntl.lockf(os.open(path, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB, 10,
                                   start)
    fails(errno.EAGAIN, as_user, 0, 0, other(105))
    as_user(0, 0, other(110))


def check_direct(top):
    """What asynchronous direct writes wrote is read through the page cache, whoever read meanwhile."""
    setup, getevents, submit = (206, 208, 209) if os.uname().machine == "x86_64" else (0, 4, 2)
    pieces, piece = 10, 64 << 10
    size = pieces * piece
    path = f"{top}/file"
    write(path, bytes(size))
    readers = []
    for _ in range(2):
        readers.append(os.fork())
        if readers[-1] == 0:
            with contextlib.suppress(BaseException):
                fd = os.open(path, os.O_RDONLY)
                while os.getppid() != 1:
                    os.pread(fd, size, 0)
            os._exit(0)
    try:
        context = ctypes.c_ulong(0)
        call("syscall", setup, pieces, ctypes.byref(context))
        fd = os.open(path, os.O_RDWR | os.O_DIRECT)
        cached = os.open(path, os.O_RDONLY)
        memory = mmap.mmap(-1, size)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        end = time.monotonic() + 5
        n = 0
        while time.monotonic() < end:
            n += 1
            memory[:] = bytes([n % 256]) * size
            blocks = [ctypes.create_string_buffer(struct.pack(
                "QIIHhIQQqQII", i, 0, 0, 1, 0, fd, address + i * piece, piece, i * piece, 0, 0, 0))
                for i in range(pieces)]
            array = (ctypes.c_void_p * pieces)(*map(ctypes.addressof, blocks))
            call("syscall", submit, context, ctypes.c_long(pieces), array)
            events = ctypes.create_string_buffer(32 * pieces)
            call("syscall", getevents, context, ctypes.c_long(pieces), ctypes.c_long(pieces), events, None)
            assert os.pread(cached, size, 0) == memory[:], f"old data after write {n}"
    finally:
        for reader in readers:
            os.kill(reader, signal.SIGKILL)
            os.waitpid(reader, 0)


# ---- inode numbers, links, handles

class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * 128)]


def handle_of(path):
    handle, mount = Handle(bytes=128), ctypes.c_int()
    call("name_to_handle_at", AT_FDCWD, path.encode(), ctypes.byref(handle), ctypes.byref(mount), 0)
    return [handle.type, bytes(handle.data[:handle.bytes]).hex()]


def open_handle(top, saved, flags):
    data = bytes.fromhex(saved[1])
    handle = Handle(bytes=len(data), type=saved[0])
    handle.data[:len(data)] = data
    where = os.open(top, os.O_RDONLY)
    try:
        return call("open_by_handle_at", where, ctypes.byref(handle), flags)
    finally:
        os.close(where)


def make_tree(top):
    os.makedirs(f"{top}/a/b/c")
    for name in ("a/one", "a/b/two", "a/b/c/three"):
        write(f"{top}/{name}", name.encode())
    os.link(f"{top}/a/one", f"{top}/a/b/link")
    os.link(f"{top}/a/one", f"{top}/link")
    os.symlink("a", f"{top}/sym")
    os.mkfifo(f"{top}/fifo")
    write(f"{top}/gone")
    saved = {"inodes": numbers(top),
             "handles": {name: handle_of(f"{top}/{name}") for name in
                         ("a/one", "a/b/two", "a/b/c/three", "a/b/c", "a", "gone", "link")}}
    os.unlink(f"{top}/gone")
    with open(f"{os.path.dirname(top)}/saved.json", "w") as out:
        json.dump(saved, out)


def numbers(top):
    found = {}
    for folder, _, files in os.walk(top):
        for path in [folder] + [f"{folder}/{name}" for name in files]:
            info = os.lstat(path)
            found[os.path.relpath(path, top)] = [info.st_ino, info.st_nlink]
    return found


def see_tree(top):
    """Numbers, link counts and file handles are the same, whatever the kernel forgot meanwhile."""
    with open("/proc/sys/vm/drop_caches", "w") as out:
        out.write("2\n")
    saved = json.load(open(f"{os.path.dirname(top)}/saved.json"))
    for name, handle in saved["handles"].items():
        if name == "gone":
            fails(errno.ESTALE, open_handle, top, handle, os.O_RDONLY)
            continue
        fd = open_handle(top, handle, os.O_RDONLY)
        info, expected = os.fstat(fd), os.stat(f"{top}/{name}")
        assert (info.st_ino, info.st_nlink) == (expected.st_ino, expected.st_nlink), name
        if stat.S_ISREG(info.st_mode):
            assert os.read(fd, 100) == open(f"{top}/{name}", "rb").read(), name
        else:
            assert os.listdir(fd) == os.listdir(f"{top}/{name}"), name
            assert os.stat("..", dir_fd=fd).st_ino == os.stat(f"{top}/{name}/..").st_ino, name
        os.close(fd)
    now = numbers(top)
    was = saved["inodes"]
    del was["gone"]
    assert now == was, (now, was)
    assert was["link"][1] == 3 and was["link"] == was["a/one"] == was["a/b/link"]


# ---- directories

def listing(fd):
    """Pages of (cookie, name) as getdents64 gives them, without libc between."""
    buffer = ctypes.create_string_buffer(32768)
    while size := call("syscall", ctypes.c_long(217), fd, buffer, len(buffer)):
        at, page = 0, buffer.raw
        while at < size:
            cookie, length = struct.unpack_from("<qH", page, at + 8)
            name = page[at + 19:page.index(b"\0", at + 19)]
            yield cookie, name
            at += length


def check_directory(top):
    count = int(os.environ.get("ENTRIES", "20000"))
    names = [b"%06d-%s" % (n, b"entry") for n in range(count)]
    os.chdir(top)
    for name in names:
        os.mknod(name)
    fd = os.open(top, os.O_RDONLY)
    cookies = dict((name, cookie) for cookie, name in listing(fd))
    assert len(cookies) == count + 2 and len(set(cookies.values())) == count + 2
    # One half stays, the other half goes and new names come while the listing goes on.
    stay, go = names[::2], names[1::2]
    done = threading.Event()
    def change():
        for n, name in enumerate(go[:5000]):
            os.unlink(name)
            if n % 2:
                os.mknod(name + b"-new")
        done.set()
    thread = threading.Thread(target=change)
    thread.start()
    rounds = 0
    while True:
        last = done.is_set()
        again = os.open(top, os.O_RDONLY)
        seen = [name for _, name in listing(again)]
        os.close(again)
        assert len(seen) == len(set(seen)), "an entry twice"
        missing = set(stay) - set(seen)
        assert not missing, f"{len(missing)} entries missing"
        rounds += 1
        if last:
            break
    thread.join()
    # The old handle's cookies still stand for their places.
    present = sorted(set(os.listdir(os.fsencode(top))))
    rng = random.Random(9)
    for name in rng.sample(stay[:-1], 200) + rng.sample(go[:4000], 50):
        os.lseek(fd, cookies[name], os.SEEK_SET)
        following = next(name for _, name in listing(fd))
        expected = next(other for other in present[bisect(present, name):])
        assert following == expected, (name, following, expected)
    os.lseek(fd, 0, os.SEEK_SET)
    assert {name for _, name in listing(fd)} == set(present) | {b".", b".."}
    print(f"{rounds} listings while it changed")


def bisect(names, name):
    import bisect as b
    return b.bisect_right(names, name)


def check_links(top):
    """65,000 names of a file, and no such limit for directories."""
    write(f"{top}/file")
    os.mkdir(f"{top}/links")
    os.chdir(f"{top}/links")
    for n in range(64999):
        os.link("../file", str(n))
    assert os.stat("../file").st_nlink == 65000
    fails(errno.EMLINK, os.link, "../file", "more")
    os.unlink("0")
    os.link("../file", "more")
    os.mkdir(f"{top}/dirs")
    os.chdir(f"{top}/dirs")
    for n in range(65100):
        os.mkdir(str(n))
    assert os.stat(".").st_nlink == 65102


# ---- space

def space(top):
    info = os.statvfs(top)
    return info.f_blocks * info.f_frsize, (info.f_blocks - info.f_bfree) * info.f_frsize


def used_by(top):
    return sum(os.lstat(os.path.join(folder, name)).st_blocks * 512
               for folder, _, files in os.walk(top) for name in files)


def check_quota(top):
    """`cairn format --quota` is df's size; what is allocated counts, to the block."""
    quota = 64 << 20
    total, used = space(top)
    assert (total, used) == (quota, 0), (total, used)
    inodes = os.statvfs(top).f_files - os.statvfs(top).f_ffree
    write(f"{top}/one", bytes(5000))
    assert space(top)[1] == used_by(top) == 8192
    assert os.statvfs(top).f_files - os.statvfs(top).f_ffree == inodes + 1
    # A hole costs nothing.
    with open(f"{top}/sparse", "wb") as out:
        out.truncate(1 << 40)
        out.seek(1 << 39)
        out.write(bytes(4096))
    assert space(top)[1] == used_by(top) == 8192 + 4096, space(top)
    fd = os.open(f"{top}/full", os.O_CREAT | os.O_RDWR)
    written = 0
    try:
        while written <= quota:
            written += os.write(fd, b"f" * 65536)
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
    assert quota - 16384 - 65536 <= written <= quota - 12288, written
    assert space(top)[1] == used_by(top) <= quota
    fails(errno.ENOSPC, os.pwrite, fd, b"f" * 65536, written)
    # What is there may be written again, names cost nothing, and what is removed is free.
    os.pwrite(fd, b"g" * 65536, 0)
    os.mkdir(f"{top}/dir")
    os.truncate(f"{top}/full", 1 << 20)
    os.pwrite(fd, b"h" * 65536, 2 << 20)
    assert space(top)[1] == used_by(top), (space(top), used_by(top))
    os.unlink(f"{top}/full")
    assert space(top)[1] == used_by(top) == 12288, space(top)
    os.close(fd)
    write(f"{top}/full", b"i" * (10 << 20))
    assert space(top)[1] == used_by(top), (space(top), used_by(top))


def see_quota(top):
    assert space(top) == (64 << 20, used_by(top)), (space(top), used_by(top))
    assert space(top)[1] == (10 << 20) + 12288


def main():
    name, top = sys.argv[1:]
    kind = name.replace("-", "_")
    function = globals().get(kind) or globals().get("check_" + kind)
    assert function, f"no check {name}"
    with umask(0o022):
        function(top)


main()
