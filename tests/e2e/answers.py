#!/usr/bin/env python3
"""A loopback server that gives every request one answer of an S3 store, for what a real store does
not do when asked: a clock that is wrong, a region that is another, no permission, no S3 at all, no answer.

    answers.py skew|denied|region|html|silent      prints its port, serves until it is ended
"""
import http.server
import sys
import time

XML = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message>%s</Error>'
KIND = sys.argv[1]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        if KIND == "silent":
            time.sleep(120)
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        status, more, date = 403, [], time.time()
        if KIND == "skew":
            date += 2 * 3600
            body = XML % ("RequestTimeTooSkewed", "The difference is too large", "")
        elif KIND == "denied":
            body = XML % ("AccessDenied", "Access Denied", "")
        elif KIND == "region":
            status, more = 301, [("x-amz-bucket-region", "eu-south-9")]
            body = XML % ("PermanentRedirect", "Elsewhere", "<Region>eu-south-9</Region>")
        else:
            status, body = 200, "<!doctype html><title>Welcome</title>"
        self.send_response_only(status)
        self.send_header("Date", self.date_time_string(date))
        self.send_header("Content-Length", str(len(body)))
        for name, value in more:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body.encode())

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
