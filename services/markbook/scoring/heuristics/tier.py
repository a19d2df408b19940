"""Runs the classifier without blocking the event loop: short samples inline, long ones in a worker
process.

Limits are on a sample's own CPU time, so the load of the machine and the time spent in the queue do
not change its result. The queue schedules single samples, so a request with hundreds delays another
by at most one sample.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from markbook.scoring.errors import stopping
from markbook.scoring.fair_queue import NOBODY, Caller, FairQueue
from markbook.scoring.heuristics.classify import (
    BUDGET_S,
    UNPROVEN,
    HeuristicResult,
    classify_or_raise,
)
from markbook.scoring.heuristics.grammars import UndecidedError
from markbook.scoring.heuristics.worker import READY

INLINE_CHARS = 1_000
"""Longer code goes to the worker. Ordinary code takes 5 ms at about 15,000 characters, but the
worst known input (in Java, `a=>b=>c=>…`) takes a second at 8,000, in one step that cannot be
interrupted.
"""
INLINE_S = 0.005
"""CPU seconds per sample on the event loop's thread before it is handed to the worker after all."""
WORKER_TIMEOUT_S = 60.0
"""Wall-clock seconds after which a worker counts as hung: a thousand times its CPU limit."""
WORKER_START_TIMEOUT_S = 60.0
"""Wall-clock seconds for a worker to start."""

_log = logging.getLogger(__name__)


class HeuristicTier:
    """The heuristic tier as the pipeline uses it.

    `limit_s`: CPU seconds per sample in the worker.
    """

    def __init__(self, limit_s: float = BUDGET_S) -> None:
        self._limit_s = limit_s
        self._worker: asyncio.subprocess.Process | None = None
        self._queue = FairQueue(lambda: 1)

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id, or None while none is running."""
        return self._worker.pid if self._worker else None

    async def classify(
        self, samples: Sequence[tuple[str, str, str]], caller: Caller = NOBODY
    ) -> list[HeuristicResult]:
        """Classify (code, task, language) samples, results in the same order.

        What is undecided passes.

        `caller`: the run and key under which they queue for the worker. Raises ServiceStoppingError
        after `stop`.
        """
        return [await self._classify_one(*sample, caller) for sample in samples]

    def stop(self) -> None:
        """Reject samples queued for the worker; the one in progress is finished."""
        self._queue.close(stopping())

    async def close(self) -> None:
        """End the worker once the sample in progress is finished."""
        self.stop()
        await self._queue.idle()
        await self._stop_worker()

    async def _classify_one(
        self, code: str, task: str, language: str, caller: Caller
    ) -> HeuristicResult:
        if len(code) <= INLINE_CHARS:
            await asyncio.sleep(0)  # let other requests run: this one may hold hundreds
            if (result := _classify_inline(code, task, language)) is not None:
                return result
        async with self._queue.slot(caller):
            return await self._classify_in_worker((code, task, language))

    async def _classify_in_worker(self, sample: tuple[str, str, str]) -> HeuristicResult:
        """The worker's result.

        A worker that died of anything but the sample's CPU limit is replaced, once.
        """
        try:
            for _ in range(2):
                worker = await self._start_worker()
                if worker is None:
                    return UNPROVEN
                if answer := await _read_answer(worker, sample):
                    score, reasons = json.loads(answer)
                    return HeuristicResult(score, tuple(reasons))
                if await self._stop_worker() == -signal.SIGPROF:
                    _log.debug(
                        "a sample of %d characters was not classified within %g CPU seconds",
                        len(sample[0]),
                        self._limit_s,
                    )
                    return UNPROVEN
        except TimeoutError:
            _log.error(
                "heuristic worker hung for %g s and was killed; the sample passes to the teacher",
                WORKER_TIMEOUT_S,
            )
            await self._stop_worker()
        except asyncio.CancelledError:
            await self._stop_worker()  # otherwise its reply would be read as the next sample's
            raise
        return UNPROVEN

    async def _start_worker(self) -> asyncio.subprocess.Process | None:
        if self._worker is not None and self._worker.returncode is None:
            return self._worker
        self._worker = await asyncio.create_subprocess_exec(
            sys.executable,
            *(
                "-c",
                "from markbook.scoring.heuristics.worker import main; main()",
                str(self._limit_s),
            ),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert self._worker.stdout is not None
        try:
            async with asyncio.timeout(WORKER_START_TIMEOUT_S):
                ready = await self._worker.stdout.readline() == READY
        except TimeoutError:
            ready = False
        if not ready:
            _log.error("heuristic worker did not start; long samples pass to the teacher")
            await self._stop_worker()
        return self._worker

    async def _stop_worker(self) -> int | None:
        """End the worker if it is running; returns its exit code."""
        worker, self._worker = self._worker, None
        if worker is None:
            return None
        assert worker.stdout is not None
        if (
            worker.returncode is None and not worker.stdout.at_eof()
        ):  # at the end of its output it has died by itself
            worker.kill()
        await worker.communicate()  # closes the pipes
        return worker.returncode


async def _read_answer(worker: asyncio.subprocess.Process, sample: tuple[str, str, str]) -> bytes:
    """The worker's reply line for `sample`; empty once it is dead.

    Raises TimeoutError when it hangs.
    """
    assert worker.stdin is not None
    assert worker.stdout is not None
    async with asyncio.timeout(WORKER_TIMEOUT_S):
        with suppress(ConnectionError):  # it is dead; the end of its output shows that too
            worker.stdin.write(json.dumps(sample).encode() + b"\n")
            await worker.stdin.drain()
        return await worker.stdout.readline()


def _classify_inline(code: str, task: str, language: str) -> HeuristicResult | None:
    """The result, or None where it takes longer than INLINE_S: the worker has more time."""
    try:
        return classify_or_raise(code, task, language, INLINE_S)
    except UndecidedError:
        return None
