#!/usr/bin/env python3
"""An S3 endpoint in memory that keeps any key: any_key_s3.py, prints its port and serves until it is ended.

Real servers here refuse keys such as "d//e" or "a" beside "a/b"; Amazon keeps them. Path-style, no
authentication. PUT, GET, HEAD and DELETE of objects (ranges, If-Match, If-None-Match: *), and
ListObjectsV2 with prefix, delimiter, start-after and continuation tokens, all in byte order.
GET /_requests tells how many lists and gets there were, as JSON.
"""
import base64
import hashlib
import http.server
import json
import threading
import time
import urllib.parse

lock = threading.Lock()
objects = {}  # (bucket, key) -> (bytes, etag, time)
counts = {"list": 0, "get": 0}


def quoted(name):
    return urllib.parse.quote(name, safe="/")


def entries_of(bucket, prefix, delimiter):
    """Every entry of the listing in order: (name, object or None for a prefix)."""
    last = None
    for key in sorted(k for b, k in objects if b == bucket and k.startswith(prefix)):
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        if at < 0:
            yield key, objects[bucket, key]
        elif key[: at + 1] != last:
            last = key[: at + 1]
            yield last, None


def listing(bucket, query):
    prefix, delimiter = query.get("prefix", b""), query.get("delimiter", b"")
    after, token = query.get("start-after", b""), query.get("continuation-token")
    limit = int(query.get("max-keys", b"1000"))
    if token is not None:
        after = base64.b64decode(token)
    entries = []
    for name, found in entries_of(bucket, prefix, delimiter):
        # A prefix is behind `after` when a key that it stands for is.
        is_behind = name > after or (found is None and after.startswith(name) and token is None)
        if is_behind:
            entries.append((name, found))
    page, more = entries[:limit], len(entries) > limit
    text = "<ListBucketResult><EncodingType>url</EncodingType>"
    text += f"<IsTruncated>{str(more).lower()}</IsTruncated>"
    if more:
        text += f"<NextContinuationToken>{base64.b64encode(page[-1][0]).decode()}</NextContinuationToken>"
    for name, found in page:
        if found is None:
            text += f"<CommonPrefixes><Prefix>{quoted(name)}</Prefix></CommonPrefixes>"
            continue
        data, etag, stamp = found
        text += (f"<Contents><Key>{quoted(name)}</Key><LastModified>{stamp}</LastModified>"
                 f"<ETag>&quot;{etag}&quot;</ETag><Size>{len(data)}</Size></Contents>")
    return text + "</ListBucketResult>"


def error_xml(code):
    return f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, data=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        if path == "/_requests":
            return self.answer(200, json.dumps(counts).encode())
        query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True, encoding="latin-1"))
        query = {name: value.encode("latin-1") for name, value in query.items()}
        bucket, _, key = urllib.parse.unquote_to_bytes(path)[1:].partition(b"/")
        with lock:
            if not key and self.command == "GET":
                counts["list"] += 1
                return self.answer(200, listing(bucket, query).encode())
            return self.serve_object((bucket, key), body)

    def serve_object(self, name, body):
        found = objects.get(name)
        if self.command == "PUT":
            if found and self.headers.get("If-None-Match") == "*":
                return self.answer(412, error_xml("PreconditionFailed"))
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
            objects[name] = (body, hashlib.md5(body).hexdigest(), stamp)
            return self.answer(200, headers=[("ETag", f'"{objects[name][1]}"')])
        if self.command == "DELETE":
            objects.pop(name, None)
            return self.answer(204)
        counts["get"] += 1
        if not found:
            return self.answer(404, error_xml("NoSuchKey"))
        data, etag, _ = found
        headers = [("ETag", f'"{etag}"')]
        if self.headers.get("If-Match", f'"{etag}"') != f'"{etag}"':
            return self.answer(412, error_xml("PreconditionFailed"))
        wanted = self.headers.get("Range", "")
        if not wanted.startswith("bytes="):
            return self.answer(200, data, headers)
        first, _, last = wanted[6:].partition("-")
        start = int(first) if first else max(0, len(data) - int(last))
        end = min(int(last) + 1 if first and last else len(data), len(data))
        if start >= len(data):
            return self.answer(416, error_xml("InvalidRange"),
                               [("Content-Range", f"bytes */{len(data)}")])
        headers.append(("Content-Range", f"bytes {start}-{end - 1}/{len(data)}"))
        return self.answer(206, data[start:end], headers)

    do_GET = do_PUT = do_HEAD = do_DELETE = serve


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()
