#!/usr/bin/env python3
"""A loopback HTTP proxy that tunnels (CONNECT) and writes down where to, one line each.

    connect_proxy.py LOG      prints its port, serves until it is ended
"""
import select
import socket
import socketserver
import sys


class Tunnel(socketserver.StreamRequestHandler):
    def handle(self):
        words = self.rfile.readline(8192).split()
        while self.rfile.readline(8192) not in (b"\r\n", b"\n", b""):
            pass
        with open(sys.argv[1], "a") as log:
            log.write(b" ".join(words[:2]).decode() + "\n")
        if len(words) < 2 or words[0] != b"CONNECT":
            self.wfile.write(b"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n")
            return
        host, port = words[1].decode().rsplit(":", 1)
        with socket.create_connection((host, int(port))) as far:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            near = self.connection
            while True:
                for end in select.select([near, far], [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    (far if end is near else near).sendall(data)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


with Server(("127.0.0.1", 0), Tunnel) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
