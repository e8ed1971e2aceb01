"""Cairn alone: what age and size of a volume cost."""

import os, random, shutil, sys, tempfile, time

import table
from targets import Cairn, Line, Server, interrupts_wait
from workloads import KIB, MIB, Pattern, Run, STEPS, percentile, small_create, write_big

SEED = 20


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- age


def random_changes(top, rng, n):
    """1 to 20 small changes: new files, overwrites, renames, removals, in folders of their own."""
    folder = f"{top}/aged/{n % 50}"
    os.makedirs(folder, exist_ok=True)
    for _ in range(rng.randint(1, 20)):
        names = os.listdir(folder)
        what = rng.randrange(4) if names else 0
        path = f"{folder}/{rng.choice(names)}" if names else ""
        if what == 0:
            with open(f"{folder}/{rng.randrange(1 << 30)}", "wb") as file:
                file.write(rng.randbytes(rng.randint(1, 8192)))
        elif what == 1:
            with open(path, "r+b") as file:
                file.write(rng.randbytes(rng.randint(1, 4096)))
        elif what == 2:
            os.rename(path, f"{folder}/{rng.randrange(1 << 30)}")
        else:
            os.unlink(path)


def cold_rows(cairn, size):
    """Time and requests of every cold row; the mount's own requests count with the row."""
    run = Run(cairn, size, "")
    found = {}
    for step in STEPS:
        if not step.cold or step.name in ("overwrite", "idle"):
            continue
        run.mount_s = cairn.cold()
        step.work(run)
        requests = cairn.counters().requests  # since the mount
        for key in step.rows:
            if key in run.rows and key not in ("cpu.in", "random.factor"):
                found[key] = (run.value(key), requests)
    return found


def age(arguments, size, binary, built):
    ages = arguments.age or [1000]
    server = Server()
    try:
        for delay_ms in arguments.delay or [0, 20]:
            line = Line(f"{built}/delay_proxy", server.url, delay_ms)
            cairn = None
            try:
                cairn = Cairn(
                    binary,
                    f"s3://{server.bucket('bench-age')}/v",
                    server.env(line.url),
                    arguments.work,
                    arguments.mount_option or [],
                )
                age_table(cairn, size, sorted(ages), delay_ms)
            finally:
                with interrupts_wait:
                    if cairn:
                        cairn.close()
                    line.close()
                    server.drop("bench-age")
    finally:
        with interrupts_wait:
            server.close()


def age_table(cairn, size, ages, delay_ms):
    rng = random.Random(SEED)
    run = Run(cairn, size, "")
    write_big(run)
    small_create(run)
    cairn.wait_stored([])
    columns, done, commit_s = [("fresh", cold_rows(cairn, size))], 0, []
    for goal in ages:
        while done < goal:
            random_changes(cairn.top, rng, done)
            begin = time.perf_counter()
            cairn.wait_stored([])
            commit_s.append(time.perf_counter() - begin)
            done += 1
            if done % 100 == 0:
                say(f"  age: {done} of {ages[-1]} commits")
        columns.append((f"after {goal:,} commits", cold_rows(cairn, size)))
    print(f"### Age, {delay_ms:g} ms added: cold rows of a volume and of the same one later\n")
    lines, fresh = [], columns[0][1]
    for key, (value, requests) in fresh.items():
        cells = [table.full_title(key, size), table.show(key, value), f"{requests}"]
        for _, found in columns[1:]:
            ratio, more = found[key][0] / max(value, 1e-6), found[key][1] / max(requests, 1)
            cells += [
                table.show(key, found[key][0]),
                f"{ratio:.2f} x",
                f"{found[key][1]}",
                f"{more:.2f} x",
                "met" if ratio <= 2 and more <= 2 else "MISSED",
            ]
        lines.append(cells)
    head = ["row", "fresh", "requests"]
    for name, _ in columns[1:]:
        head += [name, "ratio", "requests", "ratio", "<= 2 x both"]
    print(table.markdown(head, lines))
    commit_s.sort()
    print(
        f"A commit: p50 {percentile(commit_s, 50) * 1e3:.1f} ms, "
        f"p99 {percentile(commit_s, 99) * 1e3:.1f} ms "
        f"(`cairn flush`, its process counted).\n",
        flush=True,
    )


# ---- scale


def make_files(cairn, count):
    data = random.Random(SEED).randbytes(4096)
    begin = time.perf_counter()
    for n in range(count):
        if n % 1000 == 0:
            os.mkdir(f"{cairn.top}/{n // 1000}")
            if n % 100000 == 0 and n:
                say(f"  scale: {n:,} of {count:,} files, {n / (time.perf_counter() - begin):.0f}/s")
        file = os.open(f"{cairn.top}/{n // 1000}/{n}", os.O_CREAT | os.O_WRONLY)
        os.write(file, b"%016x" % n + data[: 64 + n % 1000])
        os.close(file)


class Probe:
    """Rows of one volume: time, requests, bytes from the store and memory of each."""

    def __init__(self, cairn):
        self.cairn, self.rows = cairn, {}

    def cold(self):
        self.rows_of("mount, empty cache", self.cairn.cold, whole_mount=True)

    def rows_of(self, name, work, whole_mount=False):
        self.cairn.memory.anonymous = 0
        before = None if whole_mount else self.cairn.counters()
        begin = time.perf_counter()
        work()
        seconds = time.perf_counter() - begin
        after = self.cairn.counters()
        moved = after if whole_mount else after.minus(before)
        time.sleep(0.1)  # one more sample of the memory
        self.rows[name] = (
            seconds,
            moved.requests,
            moved.bytes_in,
            moved.bytes_out,
            self.cairn.memory.anonymous,
        )
        say(f"  scale: {name}: {seconds:.3f} s, {moved.requests} requests")


def small_volume(cairn, count):
    rng = random.Random(SEED)
    probe = Probe(cairn)
    folders = max(1, count // 1000)

    def flush():
        cairn.cairn("flush", cairn.mount_point, limit_s=3600)

    def look_up():
        for _ in range(100):
            n = rng.randrange(count)
            os.lstat(f"{cairn.top}/{n // 1000}/{n}")

    def create():
        for n in range(100):
            with open(f"{cairn.top}/{rng.randrange(folders)}/new{n}", "wb") as file:
                file.write(b"new")

    def list_one():
        for entry in os.scandir(f"{cairn.top}/{folders // 2}"):
            entry.stat(follow_symlinks=False)

    def find_all():
        found = sum(len(files) for _, _, files in os.walk(cairn.top))
        assert found >= count, f"{found} of {count} files are there"

    probe.rows_of("create them", lambda: make_files(cairn, count))
    probe.rows_of("flush", flush)
    probe.cold()
    probe.rows_of("ls -l of 1,000 of them, cold", list_one)
    probe.cold()
    probe.rows_of("100 look-ups, cold", look_up)
    probe.rows_of("create 100 more", create)
    probe.rows_of("flush of those", flush)
    probe.cold()
    probe.rows_of("find of all, cold", find_all)
    probe.rows_of("100 look-ups, warm", look_up)
    return probe.rows


def large_file(cairn, size):
    rng = random.Random(SEED)
    probe = Probe(cairn)
    path = f"{cairn.top}/large"

    def write():
        pattern = Pattern(SEED)
        with open(path, "wb", buffering=0) as file:
            for offset in range(0, size, MIB):
                file.write(pattern.at(offset)[: size - offset])

    def flush():
        cairn.cairn("flush", cairn.mount_point, limit_s=3600)

    def read_random():
        pattern = Pattern(SEED)
        with open(path, "rb", buffering=0) as file:
            for _ in range(100):
                offset = rng.randrange(size // MIB) * MIB + rng.randrange(16) * 64 * KIB
                expected = bytes(pattern.at(offset - offset % MIB)[offset % MIB :][: 64 * KIB])
                assert (
                    os.pread(file.fileno(), 64 * KIB, offset) == expected
                ), f"wrong bytes at {offset}"

    def overwrite():
        with open(path, "r+b", buffering=0) as file:
            for n in range(20):
                os.pwrite(file.fileno(), rng.randbytes(4096), rng.randrange(size // 4096) * 4096)
            os.fsync(file.fileno())

    def read_some():
        buffer = bytearray(MIB)
        with open(path, "rb", buffering=0) as file:
            for _ in range(min(512, size // MIB)):
                file.readinto(buffer)

    probe.rows_of("write it", write)
    probe.rows_of("flush", flush)
    probe.cold()
    probe.rows_of("100 random reads of 64 KiB, cold", read_random)
    probe.cold()
    probe.rows_of("read 512 MiB from the start, cold", read_some)
    probe.cold()
    probe.rows_of("20 overwrites of 4 KiB and fsync, cold", overwrite)
    probe.rows_of("flush of those", flush)
    return probe.rows


def compare(title, columns):
    print(f"### {title}\n")
    head, lines = ["row"], []
    for name, _ in columns:
        head += [f"{name}: s", "requests", "MiB in", "MiB out", "anonymous MiB"]
    for key in columns[-1][1]:
        cells = [key]
        for _, rows in columns:
            seconds, requests, bytes_in, bytes_out, anonymous = rows[key]
            cells += [
                f"{seconds:.3f}",
                f"{requests}",
                f"{bytes_in / MIB:.1f}",
                f"{bytes_out / MIB:.1f}",
                f"{anonymous / MIB:.0f}",
            ]
        lines.append(cells)
    print(table.markdown(head, lines), flush=True)


def scale(arguments, binary):
    store = tempfile.mkdtemp(dir=arguments.store or arguments.work, prefix="bench-store-")
    try:
        columns = []
        for count in arguments.files:
            with_volume(
                arguments,
                binary,
                f"{store}/files",
                lambda cairn: columns.append((f"{count:,} files", small_volume(cairn, count))),
            )
        compare("Scale: volumes of small files, file: remote", columns)
        if arguments.file_gib:
            columns = []
            size = int(arguments.file_gib * 1024) * MIB
            for each in (max(size // 20, MIB), size):
                with_volume(
                    arguments,
                    binary,
                    f"{store}/large",
                    lambda cairn: columns.append(
                        (f"{each / MIB:,.0f} MiB", large_file(cairn, each))
                    ),
                )
            compare("Scale: one large file, no two chunks equal, file: remote", columns)
    finally:
        shutil.rmtree(store, ignore_errors=True)


def with_volume(arguments, binary, store, work):
    cairn = Cairn(
        binary, f"file://{store}", os.environ, arguments.work, arguments.mount_option or []
    )
    try:
        work(cairn)
    finally:
        with interrupts_wait:
            cairn.close()
            shutil.rmtree(store, ignore_errors=True)
