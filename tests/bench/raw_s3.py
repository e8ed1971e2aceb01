"""Raw S3: what curl reaches on the same server with the same data, several connections at once.

URLs are signed beforehand (query form of AWS Signature 4), so that only the transfers are timed.
"""

import hashlib, hmac, os, random, shutil, subprocess, tempfile, time, urllib.parse, urllib.request

from targets import Failed, Target, tool
from workloads import KIB, MIB, NotHere, Pattern, percentile, small_data, small_path

CONNECTIONS = 16
PART = 8 * MIB


def presign(server, url, method, path, query=()):
    host = urllib.parse.urlparse(url).netloc
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    scope = f"{now[:8]}/{server.region}/s3/aws4_request"
    pairs = dict(query) | {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{server.key}/{scope}",
        "X-Amz-Date": now,
        "X-Amz-Expires": "86400",
        "X-Amz-SignedHeaders": "host",
    }
    quote = lambda text: urllib.parse.quote(text, safe="-_.~")
    text = "&".join(f"{quote(k)}={quote(v)}" for k, v in sorted(pairs.items()))
    path = urllib.parse.quote(path)
    request = f"{method}\n{path}\n{text}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    to_sign = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = b"AWS4" + server.secret.encode()
    for word in (now[:8], server.region, "s3", "aws4_request"):
        key = hmac.digest(key, word.encode(), "sha256")
    return (
        f"{url}{path}?{text}&X-Amz-Signature={hmac.digest(key, to_sign.encode(), 'sha256').hex()}"
    )


class RawS3(Target):
    has_store = True
    name = "raw S3"
    options = f"curl, {CONNECTIONS} connections; parts of {PART // MIB} MiB"

    def __init__(self, server, line, size):
        self.raw, self.server, self.line, self.size = self, server, line, size
        self.bucket = server.bucket("bench-raw")
        self.work = tempfile.mkdtemp(prefix="bench-raw-", dir=os.path.dirname(server.data))
        self.curl = tool("curl")
        if not self.curl:
            self.close()
            raise Failed("no curl here")

    def cold(self):
        return 0.0

    def sign(self, method, key="", **query):
        path = f"/{self.bucket}" + (f"/{key}" if key else "")
        return presign(
            self.server,
            self.line.url,
            method,
            path,
            {name.replace("_", "-"): value for name, value in query.items()},
        )

    def transfer(self, requests, parallel=True):
        """Carries out (url, curl options) in one curl: seconds for all, (seconds, ETag) of each."""
        config = f"{self.work}/config"
        with open(config, "w") as file:
            for n, (url, options) in enumerate(requests):
                file.write(
                    f'{"next" if n else ""}\nurl = "{url}"\noutput = "/dev/null"\nsilent\n'
                    'header = "Expect:"\n'
                    f'write-out = "{n} %{{http_code}} %{{time_total}} %header{{etag}}\\n"\n'
                )
                file.writelines(f'{name} = "{value}"\n' for name, value in options.items())
        words = [self.curl, "--noproxy", "*", "-K", config]
        if parallel:
            words += ["--parallel", "--parallel-immediate", "--parallel-max", str(CONNECTIONS)]
        begin = time.perf_counter()
        done = subprocess.run(words, capture_output=True, text=True, timeout=self.size.limit_s)
        seconds = time.perf_counter() - begin
        answers = {}
        for line in done.stdout.splitlines():
            n, status, took, *etag = line.split()
            if status not in ("200", "204", "206"):
                raise Failed(f"curl: HTTP status {status}")
            answers[int(n)] = (float(took), "".join(etag).strip('"'))
        if len(answers) != len(requests):
            raise Failed(
                f"curl: status {done.returncode}, {len(answers)} of {len(requests)} answers"
            )
        return seconds, [answers[n] for n in range(len(requests))]

    def one_by_one(self, requests):
        """Seconds of each, on one connection that is open already, as a mount's is."""
        _, answers = self.transfer([self.get(0, 1), *requests], parallel=False)
        return [seconds for seconds, _ in answers[1:]]

    def get(self, offset, length, key="big"):
        return self.sign("GET", key), {"range": f"{offset}-{offset + length - 1}"}

    def post(self, url, body=b""):
        with urllib.request.urlopen(
            urllib.request.Request(url, data=body, method="POST"), timeout=60
        ) as answer:
            return answer.read().decode()

    # ---- the steps, by name

    def write(self, run):
        count = max(1, self.size.big // PART)
        pattern = Pattern(1)
        for n in range(count):
            with open(f"{self.work}/part{n}", "wb") as file:
                for offset in range(0, self.size.big // count, MIB):
                    file.write(pattern.at(n * PART + offset))
        begin = time.perf_counter()
        upload = (
            self.post(self.sign("POST", "big", uploads="")).split("<UploadId>")[1].split("<")[0]
        )
        _, answers = self.transfer(
            [
                (
                    self.sign("PUT", "big", partNumber=str(n + 1), uploadId=upload),
                    {"upload-file": f"{self.work}/part{n}"},
                )
                for n in range(count)
            ]
        )
        parts = "".join(
            f"<Part><PartNumber>{n + 1}</PartNumber><ETag>{etag}</ETag></Part>"
            for n, (_, etag) in enumerate(answers)
        )
        self.post(
            self.sign("POST", "big", uploadId=upload),
            f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode(),
        )
        run.add("write.store", time.perf_counter() - begin).requests = count + 2
        for n in range(count):
            os.unlink(f"{self.work}/part{n}")

    def read_cold(self, run):
        piece = min(PART, self.size.big)
        seconds, _ = self.transfer([self.get(at, piece) for at in range(0, self.size.big, piece)])
        run.add("cold", seconds).requests = self.size.big // piece

    def random_reads(self, run):
        where = random.Random(7)
        reads = [
            where.randrange(self.size.big // 65536) * 65536 for _ in range(self.size.random_reads)
        ]
        times = self.one_by_one([self.get(at, 65536) for at in reads])
        run.add("random.p50", percentile(times, 50))
        run.add("random.p99", percentile(times, 99))
        run.add("random.factor", 1.0, unit="x")

    def media(self, run):
        middle = self.size.big // 2 + 37 * KIB
        times = self.one_by_one(
            [
                self.get(0, 64 * KIB),
                self.get(self.size.big - 64 * KIB, 64 * KIB),
                self.get(middle, 64 * KIB),
                self.get(middle + 64 * KIB, self.size.stream - 64 * KIB),
            ]
        )
        run.add("media.first", times[0])
        run.add("media.seek", times[2])
        run.add("media.total", sum(times))

    def small(self, run):
        requests = []
        for n in range(self.size.files):
            with open(f"{self.work}/{n}", "wb") as file:
                file.write(small_data(n))
            requests.append(
                (self.sign("PUT", small_path("", n)[1:]), {"upload-file": f"{self.work}/{n}"})
            )
        seconds, _ = self.transfer(requests)
        run.add("small.store", seconds)
        run.add("small.requests", self.size.files, unit="")

    def find(self, run):
        begin = time.perf_counter()
        found, after = 0, {}
        while True:
            url = self.sign("GET", "", list_type="2", prefix="small/", **after)
            with urllib.request.urlopen(url, timeout=60) as answer:
                page = answer.read().decode()
            found += page.count("<Key>")
            if "<NextContinuationToken>" not in page:
                break
            after = {"continuation_token": page.split("<NextContinuationToken>")[1].split("<")[0]}
        if found != self.size.files:
            raise Failed(f"{found} of {self.size.files} objects listed")
        run.add("find", time.perf_counter() - begin)

    def smallread(self, run):
        seconds, _ = self.transfer(
            [(self.sign("GET", small_path("", n)[1:]), {}) for n in range(self.size.files)]
        )
        run.add("small.read", seconds)

    def remove(self, run):
        seconds, _ = self.transfer(
            [
                (self.sign("DELETE", small_path("", n)[1:]), {"request": "DELETE"})
                for n in range(self.size.files)
            ]
        )
        run.add("small.remove", seconds)

    def step(self, name, run):
        work = {
            "write": self.write,
            "cold": self.read_cold,
            "random": self.random_reads,
            "media": self.media,
            "small": self.small,
            "find": self.find,
            "smallread": self.smallread,
            "remove": self.remove,
        }.get(name)
        if not work:
            raise NotHere("no such thing in S3")
        work(run)

    def close(self):
        shutil.rmtree(self.work, ignore_errors=True)
        self.server.drop(self.bucket)
