"""The count of everything: a line per request, a line per paid call, and the sums that `/stats`
shows.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from markbook.scoring.errors import StoreUnavailableError
from markbook.scoring.store import RequestLine, Store

log = logging.getLogger("markbook")

FLUSH_S = 0.5
"""Seconds for which a line that cost nothing may wait for others."""
MAX_LINES = 10_000
"""Lines kept in memory, a few MB; beyond them a request waits until some are written."""


class LedgerWriter:
    """Commits request lines in batches: at once where a reply waits for them, within FLUSH_S
    otherwise.

    Lines that could not be written are kept and tried again. Each is counted once, whatever was
    tried: it has an id.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lines: dict[str, RequestLine] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._hurry = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    async def add(self, line: RequestLine, *, durable: bool) -> None:
        """Count `line`: before this returns if `durable`, else within FLUSH_S.

        Raises StoreUnavailableError.
        """
        if len(self._lines) >= MAX_LINES:
            await self.flush()
        self._lines.setdefault(line.request_id, line)
        if durable:
            await self.flush()
        else:
            self._start()

    async def flush(self) -> None:
        """Returns once every line so far is durable.

        Raises StoreUnavailableError; the lines are kept all the same.
        """
        if self._writer is None and not self._lines:
            return
        written = asyncio.get_running_loop().create_future()
        self._waiting.append(written)
        self._hurry.set()
        self._start()
        await written

    async def close(self) -> None:
        """Write what is left, once no request runs any more.

        What cannot be written now is named in the log.
        """
        try:
            await self.flush()
        except StoreUnavailableError as error:
            samples = sum(line.samples for line in self._lines.values())
            log.error(
                "%d requests (%d samples) stay uncounted: %s", len(self._lines), samples, error
            )
        if self._writer is not None:
            self._writer.cancel()
            self._writer = None

    def _start(self) -> None:
        if self._writer is None:
            self._writer = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        while self._lines or self._waiting:
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await self._hurry.wait()
            self._hurry.clear()
            lines, waiting = self._lines, self._waiting
            self._lines, self._waiting = {}, []
            [result] = await asyncio.gather(
                self._store.ledger.count([*lines.values()]), return_exceptions=True
            )
            if isinstance(result, BaseException):
                self._lines = {**self._lines, **lines}
                log.debug(
                    "%d request lines not written, kept and tried again: %s",
                    len(self._lines),
                    result,
                )
            for written in waiting:
                if written.cancelled():
                    continue
                if isinstance(result, BaseException):
                    written.set_exception(result)
                else:
                    written.set_result(None)
        self._writer = None
