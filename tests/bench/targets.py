"""Where the workloads run: a plain directory, the FUSE floor, cairn; and the server behind it.

A target has `name`, `top` (the mounted directory) and `options` (what it was told, for the output).
Its constructor starts it, `cold` empties its caches, `close` always ends it.
"""

import json, os, shutil, signal, socket, subprocess, sys, tempfile, threading, time, urllib.request

from workloads import MIB, drop_page_cache

HERE = os.path.dirname(os.path.abspath(__file__))


class Interrupts:
    """Ctrl-C and other ends from outside: KeyboardInterrupt, but not while things are taken down."""

    def __init__(self):
        self.depth, self.waiting = 0, False

    def install(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.handle)

    def handle(self, *_):
        self.waiting = True
        if self.depth == 0:
            self.deliver()

    def deliver(self):
        self.waiting = False
        raise KeyboardInterrupt

    def __enter__(self):
        self.depth += 1

    def __exit__(self, *_):
        self.depth -= 1
        if self.depth == 0 and self.waiting:
            self.deliver()


interrupts_wait = Interrupts()


class Failed(Exception):
    """Why a target cannot be started or a row has no value."""


def tool(name):
    """The path of a program: from $CAIRN_TOOLS_DIR/bin, or PATH; None when it is not there."""
    tools = os.environ.get("CAIRN_TOOLS_DIR", os.path.join(HERE, "../../build/tools"))
    own = os.path.join(tools, "bin", name)
    return own if os.access(own, os.X_OK) else shutil.which(name)


def command(words, env=None, limit_s=300, statuses=(0,)):
    """Runs a command; its output, or Failed with the last line of what it complained about."""
    try:
        done = subprocess.run(
            words,
            env=env,
            capture_output=True,
            text=True,
            timeout=limit_s,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise Failed(
            f"{os.path.basename(words[0])} {words[1]} did not end in {limit_s} s"
        ) from None
    if done.returncode not in statuses:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or [""]
        raise Failed(
            f"{os.path.basename(words[0])} {words[1]}: status {done.returncode}: {said[-1]}"
        )
    return done.stdout


def unmount(point):
    """Politely, then lazily: afterwards nothing is mounted there."""
    if not os.path.ismount(point) and not is_dead_mount(point):
        return
    for words in (
        ["umount", point],
        ["fusermount3", "-u", point],
        ["umount", "-l", point],
        ["fusermount3", "-uz", point],
    ):
        for _ in range(20 if "-l" not in words and "-uz" not in words else 1):
            if subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0:
                return
            if not os.path.ismount(point) and not is_dead_mount(point):
                return
            time.sleep(0.1)


def is_dead_mount(point):
    try:
        os.stat(point)
    except OSError as error:
        return error.errno in (107, 103)  # not connected, aborted
    return False


def end_process(process, limit_s=20):
    """Asks a child to end, and ends it when it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Counters:
    def __init__(self, requests=0, bytes_out=0, bytes_in=0):
        self.requests, self.bytes_out, self.bytes_in = requests, bytes_out, bytes_in

    def minus(self, other):
        return Counters(
            self.requests - other.requests,
            self.bytes_out - other.bytes_out,
            self.bytes_in - other.bytes_in,
        )


class Memory:
    """Peak of the anonymous memory of some processes, sampled, and the sum of their VmHWM."""

    def __init__(self):
        self.anonymous = self.high = 0
        self.pids = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.sample, daemon=True)
        self.thread.start()

    def sample(self):
        while not self.stop.wait(0.05):
            anonymous = high = 0
            for pid in list(self.pids):
                try:
                    with open(f"/proc/{pid}/status") as file:
                        for line in file:
                            if line.startswith("RssAnon:"):
                                anonymous += int(line.split()[1]) << 10
                            elif line.startswith("VmHWM:"):
                                high += int(line.split()[1]) << 10
                except OSError:
                    pass
            self.anonymous, self.high = max(self.anonymous, anonymous), max(self.high, high)

    def end(self):
        self.stop.set()
        self.thread.join()


def with_children(pid):
    found = [pid]
    for each in found:
        try:
            for task in os.listdir(f"/proc/{each}/task"):
                with open(f"/proc/{each}/task/{task}/children") as file:
                    found += [int(word) for word in file.read().split()]
        except OSError:
            pass
    return found


class Target:
    options = ""
    raw = None  # raw S3 instead of a mounted directory
    has_store = False  # what is written goes on to a store
    many_files = True  # 100,000 files are made in reasonable time
    settle_s = 0  # before it counts as idle
    left_out = {}  # steps that would say nothing, and why
    pids = ()
    memory = None

    def is_alive(self):
        """False when `top` is not the filesystem any more, but what it was mounted on."""
        return True

    def counters(self):
        return None

    def cpu_s(self):
        if not self.pids:
            return None
        ticks = 0
        for pid in self.pids:
            try:
                with open(f"/proc/{pid}/stat") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
                ticks += int(fields[11]) + int(fields[12])
            except OSError:
                pass
        return ticks / os.sysconf("SC_CLK_TCK")

    def wait_stored(self, wanted):
        pass

    def follower_requests(self, seconds):
        return None

    def watch(self, pids):
        """From here on these processes are what the daemon's time and memory are taken from."""
        self.pids = pids
        if self.memory is None:
            self.memory = Memory()
        self.memory.pids = pids

    def kill(self):
        """Ends the daemon, so that who waits for its mount gets an error."""


class Plain(Target):
    """Any directory: nothing to start, the page cache is all there is to empty."""

    def __init__(self, path, name=None):
        self.name = name or path
        self.top = tempfile.mkdtemp(dir=path, prefix="bench-")

    def cold(self):
        drop_page_cache()
        return 0.0

    def close(self):
        shutil.rmtree(self.top, ignore_errors=True)


class Floor(Target):
    """A FUSE daemon that keeps everything in memory: what no FUSE filesystem can be faster than."""

    name = "FUSE floor"

    def __init__(self, binary):
        self.mount_point = tempfile.mkdtemp(prefix="bench-floor-")
        self.daemon = None
        try:
            self.daemon = subprocess.Popen(
                [binary, self.mount_point], start_new_session=True, stdin=subprocess.DEVNULL
            )
            while not os.path.ismount(self.mount_point):
                if self.daemon.poll() is not None:
                    raise Failed(f"{binary} ended with status {self.daemon.returncode}")
                time.sleep(0.01)
        except OSError as error:
            self.close()
            raise Failed(f"{binary}: {error.strerror} (cmake --build --preset release)") from None
        self.top = tempfile.mkdtemp(dir=self.mount_point)

    def cold(self):
        drop_page_cache()
        return 0.0

    def is_alive(self):
        return os.path.ismount(self.mount_point)

    def kill(self):
        self.daemon.kill()

    def close(self):
        unmount(self.mount_point)
        if self.daemon:
            end_process(self.daemon)
        os.rmdir(self.mount_point)


class Server:
    """MinIO on a folder in memory, for all S3 targets of a run."""

    def __init__(self):
        binary = tool("minio")
        if not binary:
            raise Failed("no minio in $CAIRN_TOOLS_DIR/bin or PATH: tests/deps servers builds it")
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.data = tempfile.mkdtemp(prefix="bench-minio-", dir=memory)
        self.place = "memory" if memory else "a disk"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.key, self.secret, self.region = "cairn-bench", "cairn-bench-secret", "us-east-1"
        env = dict(
            os.environ,
            MINIO_ROOT_USER=self.key,
            MINIO_ROOT_PASSWORD=self.secret,
            MINIO_BROWSER="off",
            MINIO_UPDATE="off",
        )
        for name in [each for each in env if each.startswith("AWS_")]:
            del env[name]
        self.process = subprocess.Popen(
            [binary, "server", self.data, "--address", f"127.0.0.1:{port}"],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self.wait_ready()
            self.version = command([binary, "--version"]).split("\n", 1)[0]
        except BaseException:
            self.close()
            raise

    def wait_ready(self):
        for _ in range(300):
            if self.process.poll() is not None:
                raise Failed(f"minio ended with status {self.process.returncode}")
            try:
                urllib.request.urlopen(f"{self.url}/minio/health/ready", timeout=1)
                return
            except OSError:
                time.sleep(0.1)
        raise Failed("minio is not ready after 30 s")

    def env(self, url):
        """The environment of who talks to it at `url`, as AWS tools read it."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        env.update(
            AWS_ACCESS_KEY_ID=self.key,
            AWS_SECRET_ACCESS_KEY=self.secret,
            AWS_REGION=self.region,
            AWS_ENDPOINT_URL=url,
            AWS_EC2_METADATA_DISABLED="true",
            NO_PROXY="127.0.0.1",
            no_proxy="127.0.0.1",
        )
        return env

    def bucket(self, name):
        # A bucket is a folder in the server's data: no client is needed to make one.
        os.mkdir(f"{self.data}/{name}")
        return name

    def drop(self, bucket):
        shutil.rmtree(f"{self.data}/{bucket}", ignore_errors=True)

    def has(self, bucket, key):
        return os.path.exists(f"{self.data}/{bucket}/{key}/xl.meta")

    def close(self):
        end_process(self.process)
        shutil.rmtree(self.data, ignore_errors=True)


class Line:
    """The way to the server: straight, or `delay_ms` of round trip away, or with so many bytes a
    second on each connection; then, or asked to, it counts."""

    def __init__(self, binary, url, delay_ms, counts=False, connection_bytes=0):
        self.url, self.proxy = url, None
        if not delay_ms and not counts and not connection_bytes:
            return
        try:
            self.proxy = subprocess.Popen(
                [binary, url, str(delay_ms), str(connection_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        except OSError as error:
            raise Failed(f"{binary}: {error.strerror} (cmake --build --preset release)") from None
        self.url = self.proxy.stdout.readline().strip()

    def counters(self):
        if not self.proxy:
            return None
        self.proxy.stdin.write("\n")
        self.proxy.stdin.flush()
        requests, up, down, _ = map(int, self.proxy.stdout.readline().split())
        return Counters(requests, up, down)

    def close(self):
        if self.proxy:
            self.proxy.stdin.close()
            end_process(self.proxy)


class Cairn(Target):
    has_store = True
    settle_s = 1

    def __init__(self, binary, remote, env, work, options=(), format_options=()):
        self.name, self.binary, self.remote, self.env = "cairn", binary, remote, dict(env)
        self.work = tempfile.mkdtemp(dir=work, prefix="bench-cairn-")
        self.top = self.mount_point = f"{self.work}/mnt"
        os.mkdir(self.mount_point)
        self.mount_options = ["--cache-reserve", "64M", *options]
        self.options = " ".join(["mount", *self.mount_options])
        self.caches = 0
        try:
            if format_options is not None:  # None: the remote is taken as it is
                self.cairn("format", *format_options, remote)
            self.mount()
        except BaseException:
            self.close()
            raise

    def cairn(self, *words, statuses=(0,), limit_s=600):
        if not os.access(self.binary, os.X_OK):
            raise Failed(f"{self.binary} is not there (cmake --build --preset release)")
        return command([self.binary, *words], self.env, limit_s, statuses)

    def mount(self):
        self.caches += 1
        self.cache = f"{self.work}/cache{self.caches}"
        begin = time.perf_counter()
        self.cairn(
            "mount", "--cache-dir", self.cache, *self.mount_options, self.remote, self.mount_point
        )
        mount_s = time.perf_counter() - begin
        self.watch([self.status()["pid"]])
        return mount_s

    def is_alive(self):
        return os.path.ismount(self.mount_point)

    def unmount(self):
        if os.path.ismount(self.mount_point):
            self.cairn("umount", self.mount_point)
        unmount(self.mount_point)  # of a daemon that was killed

    def cold(self):
        self.unmount()
        shutil.rmtree(self.cache)
        return self.mount()

    def status(self, point=None):
        return json.loads(
            self.cairn("status", "--json", point or self.mount_point, statuses=(0, 3))
        )

    def counters(self, point=None):
        status = self.status(point)
        return Counters(
            sum(status["requests"].values()),
            status["transferred"]["bytes_written"],
            status["transferred"]["bytes_read"],
        )

    def wait_stored(self, wanted):
        self.cairn("flush", self.mount_point)

    def follower_requests(self, seconds):
        point = f"{self.work}/follower"
        os.mkdir(point)
        self.cairn(
            "mount",
            "--read-only",
            "--poll-interval",
            "1s",
            "--cache-dir",
            f"{self.work}/follower-cache",
            *self.mount_options,
            self.remote,
            point,
        )
        try:
            time.sleep(2)
            before = self.counters(point)
            time.sleep(seconds)
            # One poll more than seconds may fall between the two.
            return self.counters(point).minus(before).requests / (seconds + 1)
        finally:
            unmount(point)
            shutil.rmtree(f"{self.work}/follower-cache", ignore_errors=True)

    def kill(self):
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)

    def close(self):
        for point in (f"{self.work}/follower", self.mount_point):
            if not os.path.isdir(point) and not is_dead_mount(point):
                continue
            try:
                if os.path.ismount(point):
                    self.cairn("umount", point, limit_s=60)
            except Failed as why:
                print(f"bench: {why}", file=sys.stderr)
            unmount(point)
        if self.memory:
            self.memory.end()
        shutil.rmtree(self.work, ignore_errors=True)
