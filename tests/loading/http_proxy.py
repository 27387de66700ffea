"""A small HTTP proxy in a process of its own. It prints each request with the login that came with it."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class _Handler(BaseHTTPRequestHandler):
    """Fetches what an absolute URL names; names that end in `.example` are on this host."""

    def do_GET(self) -> None:
        self._tell()
        parts = urlsplit(self.path)
        host = "127.0.0.1" if (parts.hostname or "").endswith(".example") else parts.hostname or ""
        connection = http.client.HTTPConnection(host, parts.port, timeout=60)
        connection.request(self.command, f"{parts.path}?{parts.query}".rstrip("?"), headers={"Host": parts.netloc})
        answer = connection.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name in ("Content-Type", "Location", "ETag"):
            if answer.headers[name]:
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", answer.headers["Content-Length"] or str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET

    def do_CONNECT(self) -> None:
        self._tell()
        self.send_error(403)

    def _tell(self) -> None:
        # In one piece: requests are handled on threads.
        os.write(1, f"{self.path} {self.headers.get('Proxy-Authorization', '-')}\n".encode())

    def log_message(self, *_: object) -> None:
        """Nothing beside the requests."""


@dataclass
class HttpProxy:
    """A running proxy."""

    port: int
    log: Path = field(repr=False)

    @property
    def requests(self) -> list[str]:
        """What it was asked for so far, one line each."""
        return self.log.read_text().splitlines()[1:]


@contextlib.contextmanager
def proxying(folder: Path) -> Iterator[HttpProxy]:
    """Run a proxy on a free port of the loopback interface."""
    log = folder / "proxy.log"
    with log.open("w") as stream:
        process = subprocess.Popen([sys.executable, __file__], stdout=stream)
    try:
        while not (first := log.read_text()).endswith("\n"):
            assert process.poll() is None
        yield HttpProxy(int(first.split()[0]), log)
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
