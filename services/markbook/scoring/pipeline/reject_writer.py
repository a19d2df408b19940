"""Writes the samples that a tier decided to the list of samples: in batches, without delaying a
request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from markbook.contract import Result, Scored, Source
from markbook.scoring.errors import StoreUnavailableError
from markbook.scoring.pipeline.group_scorer import PreparedSample
from markbook.scoring.store import Store, Texts
from markbook.scoring.store.sample_rows import NewSample

log = logging.getLogger("markbook")

FLUSH_S = 0.5
"""Seconds for which a sample may wait for others."""
MAX_WAITING = 2_000
"""Samples kept in memory while the store is slow or away; what comes beyond them is not listed."""
MAX_KNOWN = 20_000
"""Samples and runs remembered, so that one that is rejected again costs no write."""
BATCH = 200
"""Samples per transaction."""


class RejectWriter:
    """How many are kept is up to the store's retention."""

    def __init__(self, store: Store, clock_ms: Callable[[], int]) -> None:
        self._store = store
        self._clock_ms = clock_ms
        self._known: set[tuple[bytes, str]] = set()
        self._waiting: list[tuple[NewSample, Texts]] = []
        self._writer: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    def add(self, items: Sequence[PreparedSample], results: Sequence[Result], run: str) -> None:
        """Note those of a request's samples that the heuristic tier or their tests decided."""
        if not self._store.samples.lists_decided:
            return
        for item, result in zip(items, results, strict=True):
            if isinstance(result, Scored) and result.source in (Source.HEURISTIC, Source.TESTS):
                self._note(item, result, run)
        if self._waiting and self._writer is None:
            self._writer = asyncio.create_task(self._write_later())

    def forget(self) -> None:
        """List samples again that were noted before: some may have been deleted meanwhile."""
        self._known.clear()

    def _note(self, item: PreparedSample, result: Scored, run: str) -> None:
        known = (item.print.row, run)
        if known in self._known or len(self._waiting) >= MAX_WAITING:
            return
        if len(self._known) >= MAX_KNOWN:  # some may have been deleted meanwhile
            self._known.clear()
        self._known.add(known)
        sample = NewSample(
            item.print,
            result.source.value,
            result.score,
            run,
            self._clock_ms(),
            item.code,
            tuple(result.reasons),
            result.tests,
        )
        self._waiting.append((sample, item.texts))

    async def flush(self) -> None:
        """Returns once all that was noted is listed.

        Raises StoreUnavailableError; what is left is kept.
        """
        async with self._writing:
            while self._waiting:
                batch = self._waiting[:BATCH]
                await self._store.samples.add_decided(
                    batch, note_runs=self._store.keys.any_for_some_runs
                )
                del self._waiting[: len(batch)]

    async def close(self) -> None:
        """List what is left, once no request runs any more."""
        if self._writer is not None:
            self._writer.cancel()
            self._writer = None
        try:
            await self.flush()
        except StoreUnavailableError as error:
            log.warning("%d rejected samples are not listed: %s", len(self._waiting), error)

    async def _write_later(self) -> None:
        while self._waiting:
            await asyncio.sleep(FLUSH_S)
            try:
                await self.flush()
            except StoreUnavailableError as error:
                log.debug("rejected samples not listed, will retry: %s", error)
        self._writer = None
