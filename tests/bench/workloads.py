"""What the benchmark does on a mounted directory, step by step.

A step is a function of a Run; it measures one or several rows with `run.row(key)`. What it finds on
the mount was left by the steps before it. Data is the same in every run and does not compress; no
two 64 KiB of it are equal, so nothing is stored once for many.
"""

import contextlib, hashlib, os, random, shutil, sqlite3, struct, subprocess, tarfile, tempfile, time

KIB, MIB = 1 << 10, 1 << 20


class Size:
    """How much data: `tiny` only shows that all of it runs."""

    def __init__(self, kind):
        self.kind = kind
        at = {"tiny": 0, "quick": 1, "full": 2}[kind]
        self.big = (8, 128, 512)[at] * MIB
        self.files = (60, 1000, 2000)[at]
        self.random_reads = (10, 100, 200)[at]
        self.rename_small = (50, 1000, 1000)[at]
        self.rename_large = (200, 5000, 100000)[at]
        self.tar_files = (60, 966, 966)[at]
        self.stream = (1, 8, 8)[at] * MIB  # read on after a seek
        self.idle_s = (2, 12, 12)[at]
        self.limit_s = (60, 120, 300)[at]  # for a step; then its daemon is ended


class Pattern:
    """Bytes of a file, `step` at a time, as fast as memory gives them."""

    def __init__(self, seed, step=MIB):
        self.step = step
        self.block = bytearray(random.Random(seed).randbytes(step))
        self.view = memoryview(self.block)

    def at(self, offset):
        for place in range(0, self.step, 64 * KIB):
            struct.pack_into("<Q", self.block, place, offset + place + 1)
        return self.view


def write_file(path, size, seed, sync=False):
    pattern = Pattern(seed)
    with open(path, "wb", buffering=0) as file:
        for offset in range(0, size, MIB):
            file.write(pattern.at(offset)[: size - offset])
        if sync:
            os.fsync(file.fileno())


def read_file(path, piece=MIB):
    buffer = bytearray(piece)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def small_path(top, n):
    return f"{top}/small/{n % 20}/{n}"


def small_data(n):
    return hashlib.shake_128(str(n).encode()).digest(4096)


def write_big(run):
    with run.row_stored("write.close", "write.store", ["big"]):
        write_file(f"{run.top}/big", run.size.big, 1)
    run.row_cpu("cpu.out", "write.store")


def write_fsync(run):
    with run.row("write.fsync"):
        write_file(f"{run.top}/synced", run.size.big, 2, sync=True)
    run.target.wait_stored(["synced"])
    os.unlink(f"{run.top}/synced")


def read_hot(run):
    read_file(f"{run.top}/big")
    with run.row("hot"):
        read_file(f"{run.top}/big")


def read_cached(run):
    if not drop_page_cache():
        raise NotHere("dropping the page cache needs root")
    with run.row("cache"):
        read_file(f"{run.top}/big")


def small_create(run):
    wanted = [small_path("", n)[1:] for n in range(run.size.files)]
    with run.row_stored("small.close", "small.store", wanted):
        os.mkdir(f"{run.top}/small")
        for n in range(20):
            os.mkdir(f"{run.top}/small/{n}")
        for n in range(run.size.files):
            with open(small_path(run.top, n), "wb", buffering=0) as file:
                file.write(small_data(n))
    if "small.store" in run.rows and run.rows["small.store"].requests is not None:
        run.add("small.requests", run.rows["small.store"].requests, unit="")


def untar(run):
    with run.row("untar"):
        with tarfile.open(run.tar) as archive:
            archive.extractall(f"{run.top}/tree", filter="tar")


def git(run):
    quiet = dict(
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=f"{run.top}/tree", check=True
    )
    with run.row("git"):
        for command in (
            ["init", "-q"],
            ["add", "."],
            ["-c", "user.name=b", "-c", "user.email=b@b", "commit", "-qm", "all"],
            ["fsck", "--full"],
        ):
            subprocess.run(["git", *command], **quiet)


def append(run):
    data = random.Random(3).randbytes(4096)
    with run.row("append"):
        with open(f"{run.top}/log", "ab", buffering=0) as file:
            for n in range(500):
                file.write(data)
                if n % 50 == 49:
                    os.fsync(file.fileno())


def sqlite(run):
    for key, rows_each in (("sqlite.1", 1000), ("sqlite.100", 10)):
        with run.row(key):
            db = sqlite3.connect(f"{run.top}/db{rows_each}.sqlite")
            db.execute("create table t(a integer primary key, b text)")
            for n in range(0, 1000, rows_each):
                with db:
                    db.executemany(
                        "insert into t(b) values(?)",
                        [(f"row {n + i}" * 5,) for i in range(rows_each)],
                    )
            assert db.execute("select count(*) from t").fetchone() == (1000,)
            db.close()


def rename(run):
    for key, count in (
        ("rename.small", run.size.rename_small),
        ("rename.large", run.size.rename_large),
    ):
        if count > 1000 and not run.target.many_files:
            raise NotHere(f"{count:,} files take too long")
        folder = f"{run.top}/{key}"
        os.mkdir(folder)
        for n in range(count):
            os.close(os.open(f"{folder}/{n}", os.O_CREAT | os.O_WRONLY))
        with run.row(key):
            os.rename(folder, folder + ".new")
        assert os.path.exists(f"{folder}.new/{count - 1}")
        run.target.wait_stored([])


def read_cold(run):
    with run.row("cold"):
        read_file(f"{run.top}/big")
    run.row_cpu("cpu.in", "cold")


def random_reads(run):
    where = random.Random(7)
    times = []
    with run.row("random.p50") as row:
        with open(f"{run.top}/big", "rb", buffering=0) as file:
            for _ in range(run.size.random_reads):
                at = where.randrange(run.size.big // 65536) * 65536
                begin = time.perf_counter()
                got = os.pread(file.fileno(), 65536, at)
                times.append(time.perf_counter() - begin)
                assert len(got) == 65536
        row.value = percentile(times, 50)
    run.add("random.p99", percentile(times, 99))
    if row.bytes_in is not None:
        run.add("random.factor", row.bytes_in / (65536 * run.size.random_reads), unit="x")


def percentile(times, percent):
    return sorted(times)[min(len(times) - 1, len(times) * percent // 100)]


def media(run):
    """What a player does: the head, the index at the end, a place in the middle, on from there."""
    size = run.size
    with run.row("media.total"):
        begin = time.perf_counter()
        with open(f"{run.top}/big", "rb", buffering=0) as file:
            os.pread(file.fileno(), 64 * KIB, 0)
            run.add("media.first", time.perf_counter() - begin)
            os.pread(file.fileno(), 64 * KIB, size.big - 64 * KIB)
            middle = size.big // 2 + 37 * KIB
            begin = time.perf_counter()
            os.pread(file.fileno(), 64 * KIB, middle)
            run.add("media.seek", time.perf_counter() - begin)
            for offset in range(64 * KIB, size.stream, 128 * KIB):
                os.pread(file.fileno(), 128 * KIB, middle + offset)


def find(run):
    names = []
    with run.row("find"):
        for folder, folders, files in os.walk(f"{run.top}/small"):
            names += [os.path.join(folder, name) for name in files]
    assert len(names) == run.size.files, f"{len(names)} of {run.size.files} files are there"
    run.add("find.mount", run.value("find") + run.mount_s)
    with run.row("find.stat"):
        for name in names:
            os.lstat(name)


def small_read(run):
    with run.row("small.read"):
        for n in range(run.size.files):
            with open(small_path(run.top, n), "rb", buffering=0) as file:
                assert len(file.read()) == 4096


def overwrite(run):
    where = random.Random(11)
    before = run.target.counters()
    with run.row("overwrite"):
        with open(f"{run.top}/big", "r+b", buffering=0) as file:
            for n in range(20):
                # Each in another twentieth: no two share a chunk, and none is a whole one.
                part = run.size.big // 20
                at = n * part + where.randrange(part // 4096) * 4096
                os.pwrite(file.fileno(), random.Random(n).randbytes(4096), at)
            os.fsync(file.fileno())
    if before:
        run.add(
            "overwrite.fetched",
            (run.target.counters() or before).bytes_in - before.bytes_in,
            unit="B",
        )
    run.target.wait_stored([])
    if before:
        moved = (run.target.counters() or before).minus(before)
        run.add("overwrite.in", moved.bytes_in, unit="B")
        run.add("overwrite.out", moved.bytes_out, unit="B")


def idle(run):
    if run.target.counters() is None:
        raise NotHere("nothing counts its requests here")
    run.target.wait_stored([])
    time.sleep(run.target.settle_s)
    before = run.target.counters()
    time.sleep(run.size.idle_s)
    run.add("idle.writer", run.target.counters().minus(before).requests, unit="")
    requests_per_poll = run.target.follower_requests(run.size.idle_s)
    if requests_per_poll is not None:
        run.add("idle.follower", requests_per_poll, unit="x")


def small_remove(run):
    with run.row("small.remove"):
        shutil.rmtree(f"{run.top}/small")


class NotHere(Exception):
    """A row that has no meaning for this target, or cannot be measured here: no failure."""


class Step:
    def __init__(self, name, work, rows, cold=False):
        self.name, self.work, self.rows, self.cold = name, work, rows.split(), cold


STEPS = [
    Step("write", write_big, "write.close write.store cpu.out"),
    Step("fsync", write_fsync, "write.fsync"),
    Step("hot", read_hot, "hot"),
    Step("cache", read_cached, "cache"),
    Step("small", small_create, "small.close small.store small.requests"),
    Step("untar", untar, "untar"),
    Step("git", git, "git"),
    Step("append", append, "append"),
    Step("sqlite", sqlite, "sqlite.1 sqlite.100"),
    Step("rename", rename, "rename.small rename.large"),
    Step("cold", read_cold, "cold cpu.in", cold=True),
    Step("random", random_reads, "random.p50 random.p99 random.factor", cold=True),
    Step("media", media, "media.first media.seek media.total", cold=True),
    Step("find", find, "find find.stat find.mount", cold=True),
    Step("smallread", small_read, "small.read", cold=True),
    Step(
        "overwrite", overwrite, "overwrite overwrite.fetched overwrite.in overwrite.out", cold=True
    ),
    Step("idle", idle, "idle.writer idle.follower", cold=True),
    Step("remove", small_remove, "small.remove"),
]
# What a step finds must have been written: chosen with it.
NEEDS = {
    "hot": "write",
    "cache": "write hot",
    "git": "untar",
    "cold": "write",
    "random": "write",
    "media": "write",
    "overwrite": "write",
    "find": "small",
    "smallread": "small",
    "remove": "small",
}


def make_tar(path, count):
    tree = tempfile.mkdtemp()
    for n in range(count):
        folder = f"{tree}/d{n % 40}"
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/f{n}.c", "wb") as file:
            file.write(
                hashlib.shake_128(str(n).encode()).digest(200 + n * 37 % 20000).hex().encode()
            )
    with tarfile.open(path, "w") as archive:
        archive.add(tree, arcname=".")
    shutil.rmtree(tree)


def drop_page_cache():
    """False when this user may not."""
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("3")
    except OSError:
        return False
    return True


class Row:
    """One measured value of one target, with what its daemon did meanwhile (None: unknown)."""

    def __init__(self, value=None, unit="s"):
        self.value, self.unit = value, unit
        self.requests = self.bytes_in = self.bytes_out = self.cpu_s = None


class Run:
    """One target going through the steps."""

    def __init__(self, target, size, tar):
        self.target, self.size, self.tar = target, size, tar
        self.rows, self.failed = {}, {}
        self.mount_s = 0.0

    @property
    def top(self):
        return self.target.top

    def value(self, key):
        return self.rows[key].value

    def add(self, key, value, unit="s"):
        self.rows[key] = Row(value, unit)
        return self.rows[key]

    @contextlib.contextmanager
    def row(self, key):
        row = Row()
        counters, cpu = self.target.counters(), self.target.cpu_s()
        begin = time.perf_counter()
        yield row
        if row.value is None:
            row.value = time.perf_counter() - begin
        if counters:
            moved = self.target.counters().minus(counters)
            row.requests, row.bytes_in, row.bytes_out = (
                moved.requests,
                moved.bytes_in,
                moved.bytes_out,
            )
        if cpu is not None:
            row.cpu_s = self.target.cpu_s() - cpu
        self.rows[key] = row

    @contextlib.contextmanager
    def row_stored(self, key, stored_key, wanted):
        """Two rows: until the block is done, and until the store has what it wrote.

        Nothing is done in between that would give the target time; what it did is counted with the
        second.
        """
        if not self.target.has_store:
            with self.row(key):
                yield
            return
        with self.row(stored_key):
            begin = time.perf_counter()
            yield
            self.add(key, time.perf_counter() - begin)
            self.target.wait_stored(wanted)

    def row_cpu(self, key, of):
        if of in self.rows and self.rows[of].cpu_s is not None:
            self.add(key, self.rows[of].cpu_s)
