"""What a connection may cost before anybody has shown a key, against a real server; and what
bodies may.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import uvicorn

from markbook.config.settings import Service
from markbook.scoring.api import http_protocol
from markbook.scoring.api.body_limits import BodyLimits
from markbook.scoring.api.http_protocol import MAX_HEAD_BYTES, BoundedProtocol
from markbook.scoring.errors import RequestTimeoutError, TooManyRequestsError

ANSWER = b"x" * 50_000_000
"""More than the kernel's buffers hold."""


async def app(scope, receive, send):
    body = ANSWER if scope["path"] == "/large" else b"ok"
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", b"%d" % len(body))],
        }
    )
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def connect() -> Iterator[Callable[[], socket.socket]]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    config = uvicorn.Config(
        app, http=BoundedProtocol, lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    opened: list[socket.socket] = []

    def call() -> socket.socket:
        opened.append(socket.create_connection(listener.getsockname(), timeout=30))
        return opened[-1]

    yield call
    for each in opened:
        each.close()
    server.should_exit = True
    thread.join()


def ask(connection: socket.socket, path: str = "/") -> bytes:
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return connection.recv(1000)


def ended(connection: socket.socket) -> bool:
    """Waits for the end of the connection."""
    try:
        while connection.recv(1_000_000):
            continue
    except ConnectionError:
        return True
    return True


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nX-Long: "])
def test_a_head_without_end_is_refused(connect, start):
    connection = connect()
    connection.sendall(start)
    received = b""
    try:
        for _ in range(10_000):  # far more than any buffer holds
            connection.sendall(b"a" * 65_536)
    except ConnectionError:
        received = b"reset"
    assert received
    assert b"200 OK" in ask(connect())


def test_a_head_at_the_limit_is_answered(connect):
    connection = connect()
    fill = b"a" * (MAX_HEAD_BYTES - 1000)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + fill + b"\r\n\r\n")
    assert b"200 OK" in connection.recv(1000)


def test_a_head_that_does_not_come_ends_the_connection(connect, monkeypatch):
    monkeypatch.setattr(http_protocol, "HEAD_TIMEOUT_S", 0.05)
    for sent in (b"", b"GET / HT"):
        connection = connect()
        connection.sendall(sent)
        assert ended(connection)


def test_a_later_head_on_a_connection_has_its_own_time(connect, monkeypatch):
    connection = connect()
    assert b"200 OK" in ask(connection)
    assert b"200 OK" in ask(connection)
    monkeypatch.setattr(http_protocol, "HEAD_TIMEOUT_S", 0.05)
    connection.sendall(b"GET / HT")
    assert ended(connection)


def test_an_answer_that_nobody_reads_ends_the_connection(connect, monkeypatch):
    monkeypatch.setattr(http_protocol, "UNREAD_TIMEOUT_S", 0.05)
    connection = connect()
    connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    other = connect()
    deadline = threading.Event()
    deadline.wait(0.5)  # for which nothing is read
    assert b"200 OK" in ask(other)
    received = 0
    try:
        while data := connection.recv(1_000_000):
            received += len(data)
    except ConnectionError:
        pass
    assert received < len(ANSWER)


def test_where_there_are_too_many_the_oldest_without_a_request_goes(connect, monkeypatch):
    monkeypatch.setattr(http_protocol, "max_connections", lambda: 3)
    first = connect()
    first.sendall(b"GET / HT")
    others = [connect() for _ in range(3)]
    assert b"200 OK" in ask(others[-1])
    assert ended(first)


async def receive_chunks(*chunks: bytes, more: bool = False):
    for number, chunk in enumerate(chunks, start=1):
        yield {"type": "http.request", "body": chunk, "more_body": more or number < len(chunks)}


async def read_all(_scope, receive, _send):
    while (await receive()).get("more_body"):
        continue


async def test_bodies_together_are_bounded_and_given_back():
    limits = BodyLimits(read_all, Service(max_held_body_bytes=10))
    assert await _read(limits, b"12345", b"67890") is None
    with pytest.raises(TooManyRequestsError, match="max_held_body_bytes"):
        await _read(limits, b"12345", b"678901")
    assert await _read(limits, b"1234567890") is None  # what the others held is given back


async def test_a_body_that_does_not_arrive_is_a_408():
    async def never():
        await asyncio.get_running_loop().create_future()

    limits = BodyLimits(read_all, Service(body_timeout_s=0.01))
    with pytest.raises(RequestTimeoutError, match="body_timeout_s"):
        await limits({"type": "http"}, never, never)


async def test_a_request_that_has_arrived_waits_for_its_end_without_a_limit():
    ends = asyncio.Event()

    async def waits_for_the_end(_scope, receive, _send):
        await receive()
        await receive()

    chunks = receive_chunks(b"x")

    async def receive():
        async for message in chunks:
            return message
        await ends.wait()
        return {"type": "http.disconnect"}

    task = asyncio.create_task(
        BodyLimits(waits_for_the_end, Service(body_timeout_s=0.01))(
            {"type": "http"}, receive, receive
        )
    )
    await asyncio.wait([task], timeout=0.1)
    assert not task.done()
    ends.set()
    await task


async def _read(limits: BodyLimits, *chunks: bytes) -> None:
    messages = receive_chunks(*chunks)

    async def receive():
        return await anext(messages)

    await limits({"type": "http"}, receive, receive)
