"""A webhook on loopback that responds as it is told, and keeps what was posted to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

SECRET = "T0KEN-that-must-not-be-logged"


class Hook(ThreadingHTTPServer):
    """`statuses` are given one per request, then 200.

    While `gate` is cleared, requests are taken and not answered.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {"Content-Length": "2"}
        self.bodies: list[dict[str, Any]] = []
        self.came = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.url = f"http://127.0.0.1:{self.server_port}/services/{SECRET}"

    @property
    def texts(self) -> list[str]:
        return [body["text"] for body in self.bodies]


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert self.headers["content-type"] == "application/json"
        assert self.path == f"/services/{SECRET}"
        self.server.bodies.append(body)
        self.server.came.set()
        self.server.gate.wait(60)
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"ok")

    def do_GET(self) -> None:
        raise AssertionError("a redirect was followed")

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.gate.set()
        server.shutdown()
        thread.join()
