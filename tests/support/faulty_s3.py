#!/usr/bin/env python3
"""An S3 endpoint that fails as it is told to: faulty_s3.py (--upstream PORT | --folder DIR)

With --upstream it stands between a client and a real server on a loopback port; with --folder it is
a small server of its own (one bucket a folder, objects as files, path-style, no authentication, sums
checked). It prints its port and serves until it is ended. Rules come by HTTP:

    PUT    /_faults   one JSON object: {"fault": NAME, "method": "PUT", "key": "/p/", "times": 3,
                      "chance": 0.2, "seconds": 5}; all but fault may be left out
    DELETE /_faults   no more faults; the counts stay
    GET    /_faults   {"counts": {NAME: N}, "requests": N}

Faults: slowdown and error (503 and 500 before anything happens), lost_request and lost_reply (the
connection ends before and after the request was carried out), reset (with a TCP reset), half_request
(only half of the body reaches the server), short (the answer ends early), flip (a byte of the answer
is another one), flip_request (of the request), wrong_etag, not_found (404 for what is there), slow
(the answer comes `seconds` late), silent (no answer, ever), answer (an error of S3: "status": 403,
"code": "AccessDenied", its clock "ahead" by some seconds), overwrites (conditional creates replace what
is there, as on servers that do not know them).
"""
import argparse
import base64
import hashlib
import http.client
import http.server
import json
import os
import random
import re
import socket
import struct
import threading
import time
import urllib.parse
from xml.sax.saxutils import escape

CRC32C = []
for index in range(256):
    value = index
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    CRC32C.append(value)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC32C[(crc ^ byte) & 255]
    return base64.b64encode(struct.pack(">I", crc ^ 0xFFFFFFFF)).decode()


def error_xml(code, message):
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()


class Faults:
    def __init__(self):
        self.lock = threading.Lock()
        self.rules, self.counts, self.requests = [], {}, 0

    def choose(self, method, key):
        with self.lock:
            self.requests += 1
            for rule in self.rules:
                if rule.get("times", -1) == 0:
                    continue
                if not re.fullmatch(rule.get("method", ".*"), method):
                    continue
                if not re.search(rule.get("key", ""), key) or random.random() >= rule.get("chance", 1):
                    continue
                rule["times"] = rule.get("times", -1) - 1
                self.counts[rule["fault"]] = self.counts.get(rule["fault"], 0) + 1
                return rule["fault"], dict(rule)
        return None, {}


class Upstream:
    def __init__(self, port):
        self.port = port

    def ask(self, method, target, headers, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            if name.lower() not in ("connection", "content-length", "transfer-encoding", "expect"):
                connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        connection.send(body)
        answer = connection.getresponse()
        data = answer.read()
        dropped = ("connection", "transfer-encoding", "content-length", "date", "server")
        kept = [(n, v) for n, v in answer.getheaders() if n.lower() not in dropped]
        length = answer.getheader("Content-Length") or str(len(data))
        connection.close()
        return answer.status, kept, data, length

    def send_half(self, method, target, headers, body):
        with socket.create_connection(("127.0.0.1", self.port)) as raw:
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
            raw.sendall(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + body[: len(body) // 2])


class Folder:
    """Objects as files; a key's '/' becomes a folder. Multipart uploads are kept in memory."""

    def __init__(self, root):
        self.root, self.lock, self.uploads = root, threading.Lock(), {}

    def send_half(self, *_):
        pass  # half a request changes nothing

    def ask(self, method, target, headers, body):
        url = urllib.parse.urlsplit(target)
        bucket, _, key = urllib.parse.unquote(url.path).lstrip("/").partition("/")
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        given = {name.lower(): value for name, value in headers}
        status, extra, data = self.carry_out(method, bucket, key, query, given, body)
        return status, extra, data, next((v for n, v in extra if n == "x-length"), str(len(data)))

    def carry_out(self, method, bucket, key, query, given, body):
        if not os.path.isdir(f"{self.root}/{bucket}"):
            return 404, [], error_xml("NoSuchBucket", bucket)
        path = f"{self.root}/{bucket}/{key}"
        sum_given = given.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
        if len(sum_given) == 64 and hashlib.sha256(body).hexdigest() != sum_given:
            return 400, [], error_xml("XAmzContentSHA256Mismatch", "another sum")
        if len(body) < 1 << 20 and given.get("x-amz-checksum-crc32c", crc32c(body)) != crc32c(body):
            return 400, [], error_xml("BadDigest", "another sum")
        if method == "POST" and "uploads" in query:
            with self.lock:
                upload = str(len(self.uploads) + 1)
                self.uploads[upload] = {}
            return 200, [], f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>".encode()
        if method == "PUT" and "partNumber" in query:
            with self.lock:
                self.uploads[query["uploadId"]][int(query["partNumber"])] = body
            return 200, [("ETag", f'"{hashlib.md5(body).hexdigest()}"')], b""
        if method == "POST" and "uploadId" in query:
            with self.lock:
                parts = self.uploads.pop(query["uploadId"], None)
            if parts is None:
                return 404, [], error_xml("NoSuchUpload", "gone")
            body = b"".join(parts[number] for number in sorted(parts))
            status, extra, data = self.put(path, given, body)
            if status == 200:
                data = f"<CompleteMultipartUploadResult><ETag>{escape(extra[0][1])}</ETag></CompleteMultipartUploadResult>".encode()
            return status, extra, data
        if method == "DELETE":
            with self.lock:
                if "uploadId" in query:
                    self.uploads.pop(query["uploadId"], None)
                elif os.path.isfile(path):
                    os.remove(path)
            return 204, [], b""
        if method == "PUT":
            return self.put(path, given, body)
        if not key:
            return 200, [], self.listing(bucket, query) if method == "GET" else b""
        return self.get(method, path, given)

    def put(self, path, given, body):
        with self.lock:
            if given.get("if-none-match") == "*" and os.path.exists(path):
                return 412, [], error_xml("PreconditionFailed", "it is there")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path + ".part~", "wb") as out:
                out.write(body)
            os.rename(path + ".part~", path)
        return 200, [("ETag", f'"{hashlib.md5(body).hexdigest()}"')], b""

    def get(self, method, path, given):
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                start, end = 0, size
                wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", given.get("range", ""))
                if wanted and wanted[1]:
                    start, end = int(wanted[1]), min(size, int(wanted[2] or size - 1) + 1)
                elif wanted:
                    start = max(0, size - int(wanted[2]))
                extra = [("ETag", f'"{size}-{os.fstat(file.fileno()).st_mtime_ns}"')]
                if wanted and start >= size:
                    return 416, extra, error_xml("InvalidRange", str(size))
                if wanted:
                    extra.append(("Content-Range", f"bytes {start}-{end - 1}/{size}"))
                if method == "HEAD":
                    return 200, extra + [("x-length", str(end - start))], b""
                file.seek(start)
                return (206 if wanted else 200), extra, file.read(end - start)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return 404, [], error_xml("NoSuchKey", os.path.basename(path))

    def listing(self, bucket, query):
        base, prefix = f"{self.root}/{bucket}", query.get("prefix", "")
        keys = []
        for folder, _, names in os.walk(base):
            keys += [os.path.relpath(f"{folder}/{n}", base) for n in names if not n.endswith(".part~")]
        after = query.get("start-after", query.get("continuation-token", ""))
        keys = sorted(k for k in keys if k.startswith(prefix) and k > after)
        limit = int(query.get("max-keys", "1000"))
        entries = ""
        for key in keys[:limit]:
            name = urllib.parse.quote(key) if query.get("encoding-type") == "url" else escape(key)
            entries += (f"<Contents><Key>{name}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                        f"<ETag>&quot;0&quot;</ETag><Size>{os.path.getsize(f'{base}/{key}')}</Size></Contents>")
        more = len(keys) > limit
        token = f"<NextContinuationToken>{escape(keys[limit - 1])}</NextContinuationToken>" if more else ""
        return (f"<ListBucketResult><Name>{bucket}</Name><KeyCount>{min(limit, len(keys))}</KeyCount>"
                f"<MaxKeys>{limit}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}"
                "</ListBucketResult>").encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    ahead = 0  # how wrong the clock is that an answer shows

    def log_message(self, *_):
        pass

    def date_time_string(self, timestamp=None):
        return super().date_time_string((timestamp or time.time()) + self.ahead)

    def answer(self, status, headers, data, length=None):
        self.send_response(status)
        for name, value in headers:
            if name != "x-length":
                self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def hang_up(self, reset=False):
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True
        self.connection.close()

    def control(self, body):
        faults = self.server.faults
        with faults.lock:
            if self.command == "PUT":
                faults.rules.append(json.loads(body))
            elif self.command == "DELETE":
                faults.rules.clear()
            state = {"counts": faults.counts, "requests": faults.requests}
        self.answer(200, [], json.dumps(state).encode())

    def serve(self):
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/_faults":
            return self.control(body)
        fault, rule = self.server.faults.choose(self.command, self.path)
        headers = list(self.headers.items())
        store = self.server.store
        if fault == "slowdown":
            return self.answer(503, [("Retry-After", "1")], error_xml("SlowDown", "slower please"))
        if fault == "error":
            return self.answer(500, [], error_xml("InternalError", "something broke"))
        if fault == "not_found":
            return self.answer(404, [], error_xml("NoSuchKey", "not visible yet"))
        if fault in ("lost_request", "reset"):
            return self.hang_up(reset=fault == "reset")
        if fault == "silent":
            time.sleep(3600)
            return self.hang_up()
        if fault == "half_request":
            store.send_half(self.command, self.path, headers, body)
            return self.hang_up()
        if fault == "answer":
            self.ahead = rule.get("ahead", 0)
            return self.answer(rule["status"], [], error_xml(rule["code"], "told to say so"))
        if fault == "overwrites":
            headers = [(n, v) for n, v in headers if n.lower() != "if-none-match"]
        if fault == "slow":
            time.sleep(rule.get("seconds", 1))
        if fault == "flip_request" and body:
            body = flipped(body)
        status, extra, data, length = store.ask(self.command, self.path, headers, body)
        if fault == "lost_reply":
            return self.hang_up()
        if fault == "flip" and data:
            data = flipped(data)
        if fault == "wrong_etag":
            extra = [(n, '"00000000000000000000000000000000"' if n.lower() == "etag" else v) for n, v in extra]
        if fault == "short" and data:
            self.answer(status, extra, data[: len(data) // 2], str(len(data)))
            return self.hang_up()
        return self.answer(status, extra, data, length if self.command == "HEAD" else None)

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except OSError:  # the client went away, or was sent away
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = serve


def flipped(data):
    index = random.randrange(len(data))
    return data[:index] + bytes([data[index] ^ 1 << random.randrange(8)]) + data[index + 1 :]


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--upstream", type=int)
    parser.add_argument("--folder")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    server = Server(("127.0.0.1", arguments.port), Handler)
    server.faults = Faults()
    server.store = Upstream(arguments.upstream) if arguments.upstream else Folder(arguments.folder)
    print(server.server_address[1], flush=True)
    server.serve_forever()


main()
