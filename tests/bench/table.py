"""The rows of the table, what each is to reach, and the table itself as Markdown."""

# Row, title, how it is shown, target: limits of which all hold. A limit is (factor, of what); of a
# pair of factors one is for the line without and one for the line with delay. `of what` is the
# row's value of another target ("native", "raw"), "peers" (below the best of them), "digest" (1.5
# times what hashing the same bytes takes, and 0.6 s), or None: an absolute value.
MS, S, BYTES, COUNT, FACTOR = "ms", "s", "MiB", "count", "factor"
ROWS = [
    ("write.close", "write {big}, until close", S, [(1.3, "native")]),
    ("write.store", "... until in the store", S, [(1.2, "raw")]),
    ("write.fsync", "write {big}, with fsync", S, [(1.5, "native")]),
    ("cold", "sequential read, cold", S, [(1.5, "raw")]),
    ("cache", "re-read from the local cache, page cache dropped", S, [(1.5, "native")]),
    ("hot", "hot re-read", S, [(1.1, "native")]),
    ("random.p50", "random 64 KiB reads cold, p50", MS, [(1.2, "raw")]),
    ("random.p99", "... p99", MS, [(1, "peers")]),
    ("random.factor", "... bytes fetched per byte asked", FACTOR, [(5.5, None)]),
    ("media.first", "media: first byte", MS, [((3, 2), "raw")]),
    ("media.seek", "... after a seek", MS, [(1, "peers")]),
    ("media.total", "... total", MS, [((3, 1.5), "raw")]),
    ("small.close", "{files} files of 4 KiB, until close", S, [(2, "native")]),
    ("small.store", "... until in the store", S, [((0.5, 0.3), "raw")]),
    ("small.requests", "... requests", COUNT, [(20, None)]),
    ("find.mount", "mount + find, cold", S, [(0.30, None)]),
    ("find", "find, cold", S, [(0.15, None)]),
    ("find.stat", "... stat of all after it", S, [(3, "native")]),
    ("small.read", "read all {files}, cold", S, [((0.35, 0.2), "raw")]),
    ("rename.small", "rename a directory of {rename_small}", MS, [(0.005, None)]),
    ("rename.large", "rename a directory of {rename_large}", MS, [(0.005, None)]),
    ("small.remove", "rm -rf of the {files}", S, [(1, "native")]),
    ("untar", "untar a source tree of {tar_files} files", S, [(3, "native")]),
    ("git", "git init, add, commit, fsck of it", S, [(2.1, "native")]),
    ("append", "append 500 x 4 KiB, 10 fsyncs", S, [(4, "native")]),
    ("sqlite.1", "SQLite: 1,000 rows in one transaction", S, [(2, "native")]),
    ("sqlite.100", "SQLite: 1,000 rows in 100", S, [(2, "native")]),
    ("overwrite", "20 overwrites of 4 KiB in the cold file + fsync", S, [(0.05, None)]),
    ("overwrite.fetched", "... fetched before fsync returned", BYTES, [(0, None)]),
    # 20 chunks of 256 KiB, and some metadata.
    ("overwrite.in", "... read until in the store", BYTES, [(6 << 20, None)]),
    ("overwrite.out", "... written until in the store", BYTES, [(6 << 20, None)]),
    ("memory", "anonymous memory of the daemon, highest of all rows", BYTES, [(150 << 20, None)]),
    ("memory.high", "... VmHWM", BYTES, []),
    ("cpu.out", "daemon CPU, {big} out", S, [(None, "digest")]),
    ("cpu.in", "daemon CPU, {big} in", S, [(None, "digest")]),
    ("idle.writer", "requests of an idle mount in {idle_s} s", COUNT, [(0, None)]),
    ("idle.follower", "... of a follower, per poll", FACTOR, [(1.1, None)]),
]
TITLES = {key: title for key, title, _, _ in ROWS}
STYLES = {key: style for key, _, style, _ in ROWS}


def bytes_text(n):
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n >= size and n % size == 0:
            return f"{n // size} {unit}"
    return f"{n} B"


def title(key, size):
    return TITLES[key].format(
        big=bytes_text(size.big),
        files=f"{size.files:,}",
        idle_s=size.idle_s,
        rename_small=f"{size.rename_small:,}",
        rename_large=f"{size.rename_large:,}",
        tar_files=size.tar_files,
    )


def full_title(key, size):
    """Of a row that goes on from the one above, with that one's title."""
    text, keys = title(key, size), list(TITLES)
    at = keys.index(key)
    while text.startswith("...") and TITLES[keys[at]].startswith("..."):
        at -= 1
    return f"{title(keys[at], size)} {text}" if text.startswith("...") else text


def show(key, value):
    style = STYLES[key]
    if style == S:
        return f"{value:.3f}" if value < 10 else f"{value:.1f}"
    if style == MS:
        return f"{value * 1e3:.1f} ms"
    if style == BYTES:
        return (
            f"{value / (1 << 20):.2f} MiB"
            if 0 < value < 10 << 20
            else f"{value / (1 << 20):.0f} MiB"
        )
    return f"{value:.1f} x" if style == FACTOR else f"{value:,.0f}"


class Results:
    """Rows by target: `of[name].rows[key].value`, `of[name].failed[key]`; names in their order."""

    def __init__(self, size, delay_ms, digest_s):
        self.size, self.delay_ms, self.digest_s = size, delay_ms, digest_s
        self.of, self.roles = {}, {}

    def add(self, run, role):
        """role: native, floor, raw, cairn or peer."""
        self.of[run.target.name], self.roles[run.target.name] = run, role

    def value(self, name, key):
        row = self.of[name].rows.get(key) if name in self.of else None
        return None if row is None else row.value

    def named(self, role):
        return next((name for name, each in self.roles.items() if each == role), None)

    def verdict(self, key):
        """What is asked of cairn, and what it reached: two texts."""
        targets, found = [], []
        for factor, of in next(limits for each, _, _, limits in ROWS if each == key):
            if isinstance(factor, tuple):
                factor = factor[1 if self.delay_ms else 0]
            targets.append(self.target_text(key, factor, of))
            found.append(self.reached(key, factor, of))
        return "; ".join(targets) or "-", "; ".join(found) or "-"

    def target_text(self, key, factor, of):
        if of is None:
            return f"<= {show(key, factor)}"
        if of == "peers":
            return "below every peer"
        if of == "digest":
            return "<= 1.5 x digest + 0.6"
        return f"<= {factor:g} x {of}"

    def reached(self, key, factor, of):
        mine = self.value(self.named("cairn"), key)
        if mine is None:
            return "-"
        if of is None:
            return "met" if mine <= factor else "MISSED"
        if of == "digest":
            limit = 1.5 * self.digest_s + 0.6
            return f"{show(key, limit)}: " + ("met" if mine <= limit else "MISSED")
        if of == "peers":
            best = [
                value
                for name, role in self.roles.items()
                if role == "peer"
                for value in [self.value(name, key)]
                if value is not None
            ]
            return (
                "no peer"
                if not best
                else f"{mine / max(min(best), 1e-9):.2f} x: "
                + ("met" if mine < min(best) else "MISSED")
            )
        other = self.value(self.named(of), key)
        if other is None:
            return f"no {of}"
        ratio = mine / max(other, 1e-6)
        return f"{ratio:.2f} x: " + ("met" if ratio <= factor else "MISSED")

    def cell(self, name, key, notes):
        value = self.value(name, key)
        if value is not None:
            return show(key, value)
        why = self.of[name].failed.get(key)
        if why is None:
            return "-"
        if why not in notes:
            notes.append(why)
        return f"failed [{notes.index(why) + 1}]"

    def keys(self):
        return [
            key
            for key, *_ in ROWS
            if any(key in run.rows or key in run.failed for run in self.of.values())
        ]

    def table(self):
        names = list(self.of)
        lines, notes = [], []
        with_targets = self.named("cairn") is not None and len(names) > 1
        head = ["workload", *names] + (["target", "reached"] if with_targets else [])
        for key in self.keys():
            cells = [title(key, self.size), *(self.cell(name, key, notes) for name in names)]
            lines.append(cells + (list(self.verdict(key)) if with_targets else []))
        text = markdown(head, lines)
        for n, why in enumerate(notes, 1):
            text += f"[{n}] failed: {why}\n"
        return text

    def details(self):
        """What each daemon and the store had to do in the rows where somebody counted."""
        names = [
            name
            for name, run in self.of.items()
            if any(row.bytes_in is not None for row in run.rows.values())
        ]
        lines = []
        for key in self.keys():
            cells = [self.work_text(self.of[name].rows.get(key)) for name in names]
            if any(cell != "-" for cell in cells):
                lines.append([full_title(key, self.size), *cells])
        return markdown(["requests; MiB out; in; CPU s", *names], lines) if lines else ""

    @staticmethod
    def work_text(row):
        if row is None or row.bytes_in is None:
            return "-"
        text = f"{row.requests:,}; {row.bytes_out / (1 << 20):.1f}; {row.bytes_in / (1 << 20):.1f}"
        return text if row.cpu_s is None else f"{text}; {row.cpu_s:.2f}"

    def met(self):
        counts = {"met": 0, "MISSED": 0}
        for key in self.keys():
            reached = self.verdict(key)[1]
            for word in counts:
                counts[word] += reached.endswith(word)
        return f"{counts['met']} targets met, {counts['MISSED']} missed"

    def as_json(self):
        return {
            "delay_ms": self.delay_ms,
            "size": self.size.kind,
            "digest_s": self.digest_s,
            "targets": {
                name: {
                    "role": self.roles[name],
                    "options": run.target.options,
                    "rows": {key: vars(row) for key, row in run.rows.items()},
                    "failed": run.failed,
                }
                for name, run in self.of.items()
            },
        }


def markdown(head, lines):
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(rows + ["| " + " | ".join(cells) + " |" for cells in lines]) + "\n"
