"""A real HTTP server on 127.0.0.1 that misbehaves on request, and archives of some KB for it."""

from __future__ import annotations

import io
import socket
import struct
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest

NOW = (0.0, 0.0, 0.0, 0.0)  # back-off of no seconds: 4 waits, so 5 attempts


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


class Trick(NamedTuple):
    """How one answer differs from a good server's."""

    status: int = 0  # answer this and no file
    cut: int | None = None  # close the connection after so many bytes of the body
    reset: bool = False  # ... with a TCP reset
    stall: bool = False  # ... but only when the test is over
    whole: bool = False  # ignore Range
    headers: dict[str, str | None] | None = None  # in place of the right ones; None: leave it out
    body: bytes | None = None  # the whole file, in place of the right one


class Server(ThreadingHTTPServer):
    """Serves `files` with Range; `tricks` are used up one a request; `seen` has (path, Range) of every request."""

    daemon_threads = False  # so that closing the server waits for its threads and their sockets

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(files)
        self.tricks: list[Trick] = []
        self.seen: list[tuple[str, str | None]] = []
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def ranges(self) -> list[str | None]:
        return [span for _path, span in self.seen]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves early is what some tests are about."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is http.server's
        pass

    def do_GET(self) -> None:
        span = self.headers["Range"]
        self.server.seen.append((self.path, span))
        trick = self.server.tricks.pop(0) if self.server.tricks else Trick()
        body = self.server.files.get(self.path) if trick.body is None else trick.body
        start = int(span.removeprefix("bytes=").removesuffix("-")) if span and not trick.whole else 0
        if body is None or trick.status:
            self.answer(trick.status or 404, {"Content-Length": "0"}, trick)
            return
        headers = {"Content-Length": str(len(body) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.answer(206 if start else 200, headers, trick)
        self.wfile.write(body[start:][: trick.cut])
        if trick.stall:
            self.server.over.wait(20)
        if trick.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def answer(self, status: int, headers: dict[str, str], trick: Trick) -> None:
        self.send_response(status)
        for name, value in {**headers, **(trick.headers or {})}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()


@contextmanager
def serving(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of `files`, which are bytes by path, in a thread of its own."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(files) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running
        finally:
            running.over.set()
            running.shutdown()
            thread.join()
