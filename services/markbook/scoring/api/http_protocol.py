"""What a connection may cost before anybody has shown a key: bytes and seconds of a request's head,
unread answers.

uvicorn's parser in C has no such bounds; its other one, which has one on bytes, takes twice as long
for a cached mark.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
"""Bytes of a request's line and headers."""
HEAD_TIMEOUT_S = 10.0
"""Seconds from the connection, or from the first byte of a later request on it, to the end of a
request's head.
"""
MAX_CONNECTIONS = 4096
UNREAD_TIMEOUT_S = 30.0
"""Seconds for which a client may leave an answer unread."""


RESERVED_DESCRIPTORS = 64
"""For the database, the sandboxes and the log."""


def max_connections() -> int:
    """Connections at a time: what the process may open, less a reserve."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        MAX_CONNECTIONS
        if soft == resource.RLIM_INFINITY
        else max(1, min(MAX_CONNECTIONS, soft - RESERVED_DESCRIPTORS))
    )


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's, which closes connections that go beyond these bounds.

    Where there are too many, the one goes that has waited longest without a whole request: those
    that ask are answered.
    """

    _unasked: ClassVar[dict[BoundedProtocol, None]] = {}
    """Connections without a request in progress, oldest first."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._in_head = True
        self._head_ends: asyncio.TimerHandle | None = None
        self._answer_ends: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > max_connections() and self._unasked:
            next(iter(self._unasked)).transport.abort()
        self._unasked[self] = None
        self._head_ends = self.loop.call_later(HEAD_TIMEOUT_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unasked.pop(self, None)
        for timer in (self._head_ends, self._answer_ends):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        if self._head_ends is None:
            self._head_ends = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.abort)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._unasked.pop(self, None)
        if self._head_ends is not None:
            self._head_ends.cancel()
            self._head_ends = None
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        self._unasked[self] = None  # until its next request
        super().on_response_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(
                    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: "
                    b"0\r\nconnection: close\r\n\r\n"
                )
                self.transport.close()

    def pause_writing(self) -> None:
        self._answer_ends = self.loop.call_later(UNREAD_TIMEOUT_S, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        if self._answer_ends is not None:
            self._answer_ends.cancel()
            self._answer_ends = None
        super().resume_writing()
