"""Any bucket as a directory: what each filesystem asks the store for, with attributes no older than
a second everywhere. Requests count here, not times: the machine need not be quiet.
"""

import concurrent.futures, os, random, sys, time, urllib.request

import peers
from raw_s3 import presign
from table import markdown
from targets import Cairn, Failed, Line, Server, interrupts_wait
from workloads import KIB, MIB, Pattern, drop_page_cache, small_data

BUCKET = "bench-objects"


def say(text):
    print(text, file=sys.stderr, flush=True)


class Amount:
    def __init__(self, kind):
        at = {"tiny": 0, "quick": 1, "full": 2}[kind]
        self.flat = (50, 5000, 20000)[at]  # objects of one directory
        self.folders = (4, 20, 40)[at]
        self.each = (5, 45, 45)[at]  # objects of each folder
        self.big = (4, 64, 256)[at] * MIB
        self.random_reads = (5, 64, 128)[at]
        self.idle_s = (2, 12, 30)[at]

    def keys(self):
        """Of the small objects."""
        yield from (f"flat/{n:06}" for n in range(self.flat))
        yield from (
            f"tree/{folder:02}/{n:02}" for folder in range(self.folders) for n in range(self.each)
        )


def fill(server, amount):
    """With plain PUTs, as any other tool would."""
    server.bucket(BUCKET)

    def put(key, data):
        url = presign(server, server.url, "PUT", f"/{BUCKET}/{key}")
        urllib.request.urlopen(urllib.request.Request(url, data=data, method="PUT"), timeout=60)

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        work = [
            threads.submit(put, key, small_data(n)) for n, key in enumerate(amount.keys())
        ]
        for each in work:
            each.result()
    pattern = Pattern(5)
    put("big", b"".join(bytes(pattern.at(at)) for at in range(0, amount.big, MIB)))


class CairnObjects(Cairn):
    """The bucket as it is: nothing is formatted, and its keys stay when it goes."""

    def __init__(self, binary, line, server, work, options):
        fresh = ["--metadata-ttl", "1s", *options]
        super().__init__(binary, f"s3://{BUCKET}", server.env(line.url), work, fresh, None)


# --- what is done, each on a fresh mount with nothing cached


def names(top, amount):
    assert len(os.listdir(f"{top}/flat")) == amount.flat


def list_long(top, amount):
    with os.scandir(f"{top}/flat") as entries:
        assert sum(entry.stat().st_size for entry in entries) == amount.flat * 4096


def find(top, amount):
    found = 0
    for folder, _, files in os.walk(f"{top}/tree"):
        found += sum(os.lstat(f"{folder}/{name}").st_size for name in files)
    assert found == amount.folders * amount.each * 4096


def stat_one(top, amount):
    assert os.stat(f"{top}/tree/01/03").st_size == 4096


def stat_missing(top, amount):
    assert not os.path.exists(f"{top}/tree/01/not-there")


def read_small(top, amount):
    for n in range(amount.each):
        with open(f"{top}/tree/02/{n:02}", "rb", buffering=0) as file:
            assert len(file.read()) == 4096


def read_random(top, amount):
    where = random.Random(7)
    with open(f"{top}/big", "rb", buffering=0) as file:
        for _ in range(amount.random_reads):
            at = where.randrange(amount.big // (64 * KIB)) * 64 * KIB
            assert len(os.pread(file.fileno(), 64 * KIB, at)) == 64 * KIB


def idle(top, amount):
    time.sleep(amount.idle_s)


class Row:
    """`first` is done before without being counted, then what it left grows old."""

    def __init__(self, title, work, first=None):
        self.title, self.work, self.first = title, work, first


ROWS = [
    Row("list the names of a directory of {flat:,}", names),
    Row("... with the attributes of each", list_long),
    Row("... again after 3 s", list_long, list_long),
    Row("find and stat {tree:,} objects in {folders} folders", find),
    Row("... again after 3 s", find, find),
    Row("stat of one object, two folders down", stat_one),
    Row("stat of a name that is not there", stat_missing),
    Row("read {each} objects of 4 KiB of a folder", read_small),
    Row("read {random_reads} x 64 KiB at random of one of {big} MiB", read_random),
    Row("idle, {idle_s} s after a listing", idle, find),
]


def title(row, amount):
    return row.title.format(
        flat=amount.flat,
        tree=amount.folders * amount.each,
        folders=amount.folders,
        each=amount.each,
        random_reads=amount.random_reads,
        big=amount.big // MIB,
        idle_s=amount.idle_s,
    )


def measure(target, row, amount, line):
    """Requests, bytes read and seconds; the mount's own before it are not among them."""
    target.cold()
    drop_page_cache()
    time.sleep(1)  # what a daemon asks just after it is mounted is not the row's
    if row.first:
        row.first(target.top, amount)
        time.sleep(3)
    before, begin = line.counters(), time.perf_counter()
    row.work(target.top, amount)
    seconds = time.perf_counter() - begin
    moved = line.counters().minus(before)
    return moved.requests, moved.bytes_in, seconds


def mount(target, line):
    """Of an empty cache, until a second after it."""
    target.cold()
    target.unmount()
    before = line.counters()
    target.cold()
    time.sleep(1)
    return line.counters().minus(before).requests, 0, None


def measure_all(target, amount, line, limited):
    found, wrong = {"mount": limited(target, lambda: mount(target, line))}, {}
    for row in ROWS:
        try:
            found[row] = limited(target, lambda: measure(target, row, amount, line))
        except (Failed, OSError, AssertionError) as error:
            wrong[row] = f"{error}" or "what it shows is not what is there"
            say(f"  {target.name}: {title(row, amount)}: FAILED: {wrong[row]}")
            continue
        requests, bytes_in, seconds = found[row]
        say(
            f"  {target.name}: {title(row, amount)}: {requests:,} requests, "
            f"{bytes_in / MIB:.2f} MiB, {seconds:.2f} s"
        )
    return found, wrong


def cell(value):
    if value is None:
        return "failed"
    requests, bytes_in, _ = value
    return f"{requests:,}" + (f"; {bytes_in / MIB:.1f} MiB" if bytes_in >= MIB // 2 else "")


def verdict(row, results):
    mine = results["cairn"].get(row)
    others = [found[row][0] for name, found in results.items() if name != "cairn" and row in found]
    if mine is None or not others:
        return "-"
    return "lowest" if mine[0] <= min(others) else f"MISSED: {mine[0] / max(min(others), 1):.1f} x"


def run(arguments, binary, built, amount, limited):
    """`limited(target, work)` does it, or ends the target's daemon after the limit."""
    server = Server()
    line, results, options, missing = None, {}, [], []
    try:
        say("filling a bucket")
        fill(server, amount)
        line = Line(f"{built}/delay_proxy", server.url, 0, counts=True)
        makers = [
            lambda: CairnObjects(binary, line, server, arguments.work, arguments.mount_option or [])
        ]
        makers += [
            lambda peer=peer: peer(
                server, line, arguments.work, arguments.limit or 120, BUCKET, peer.fresh
            )
            for peer in peers.PEERS
            if peer.objects_are_files
        ]
        for make in makers:
            target = None
            try:
                target = make()
                results[target.name], wrong = measure_all(target, amount, line, limited)
                options.append(f"- {target.name}: `{target.options}`")
                missing += [
                    f"- {target.name}: {title(row, amount)}: failed: {why}"
                    for row, why in wrong.items()
                ]
            except (Failed, OSError) as error:
                if make is makers[0]:
                    raise
                missing.append(f"- not measured: {error}")
            finally:
                with interrupts_wait:
                    if target:
                        target.close()
    finally:
        with interrupts_wait:
            if line:
                line.close()
            server.close()
    print("### Objects of a bucket: requests, and MiB read where it is half of one or more\n")
    mounts = [cell(found["mount"]) for found in results.values()]
    lines = [["mount", *mounts, verdict("mount", results)]]
    for row in ROWS:
        cells = [cell(found.get(row)) for found in results.values()]
        lines.append([title(row, amount), *cells, verdict(row, results)])
    print(markdown(["done on a fresh mount", *results, "cairn's"], lines))
    print("\n".join(options + missing), flush=True)
