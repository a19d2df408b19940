"""Runs the judge without holding the event loop: short samples here, a slice at a time, long ones in a worker.

What comes of a sample depends on CPU time alone, its own: how busy the machine is, and how long a sample waits for its
turn, changes nothing. Turns go to requests one sample at a time, so a request of hundreds holds no other one up for
longer than a sample takes.
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
from markbook.scoring.heuristics.classify import BUDGET_S, UNPROVEN, HeuristicResult, result_of_finding
from markbook.scoring.heuristics.grammars import Undecided
from markbook.scoring.heuristics.worker import READY

INLINE_CHARS = 1_000
"""Longer code goes to the worker. Honest code takes 5 ms from some 15,000 characters on, but the worst that is known
(in Java, `a=>b=>c=>…`) takes a second at 8,000, in one step that nothing can interrupt."""
INLINE_S = 0.005
"""Seconds of CPU that one sample may take of the event loop's thread before it goes to the worker after all."""
PATIENCE_S = 60.0
"""Seconds of the clock after which a worker counts as hung: a thousand times the CPU time that it may use."""
START_S = 60.0
"""Seconds a worker may take to start."""

_log = logging.getLogger(__name__)


class Tier:
    """The heuristic tier as the pipeline uses it. `limit_s`: seconds of CPU a long sample may take in the worker."""

    def __init__(self, limit_s: float = BUDGET_S) -> None:
        self._limit_s = limit_s
        self._worker: asyncio.subprocess.Process | None = None
        self._queue = FairQueue(lambda: 1)

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id, if there is one now."""
        return self._worker.pid if self._worker else None

    async def judge(self, samples: Sequence[tuple[str, str, str]], caller: Caller = NOBODY) -> list[HeuristicResult]:
        """Judge (code, task, language) samples; the answers keep their order. What is undecided passes.

        `caller`: whose turn it takes among those who wait for the worker. Raises what a stop refuses them with.
        """
        return [await self._judge(*sample, caller) for sample in samples]

    def stop(self) -> None:
        """Refuse those who wait for the worker; the sample that it works on is judged."""
        self._queue.close(stopping())

    async def close(self) -> None:
        """End the worker, once the sample that it works on is judged."""
        self.stop()
        await self._queue.idle()
        await self._stop()

    async def _judge(self, code: str, task: str, language: str, caller: Caller) -> HeuristicResult:
        if len(code) <= INLINE_CHARS:
            await asyncio.sleep(0)  # a request may hold hundreds
            if (judgement := _at_once(code, task, language)) is not None:
                return judgement
        async with self._queue.slot(caller):
            return await self._ask((code, task, language))

    async def _ask(self, sample: tuple[str, str, str]) -> HeuristicResult:
        """What the worker says. One that died of something else than the sample's own limit is replaced once."""
        try:
            for _ in range(2):
                worker = await self._started()
                if worker is None:
                    return UNPROVEN
                if answer := await _answer_of(worker, sample):
                    score, reasons = json.loads(answer)
                    return HeuristicResult(score, tuple(reasons))
                if await self._stop() == -signal.SIGPROF:
                    _log.debug("%d characters were not judged within %g s of CPU", len(sample[0]), self._limit_s)
                    return UNPROVEN
        except TimeoutError:
            _log.error("the heuristic tier's worker hung for %g s; the sample goes to the teacher unjudged", PATIENCE_S)
            await self._stop()
        except asyncio.CancelledError:
            await self._stop()  # or its answer would be taken for the next sample's
            raise
        return UNPROVEN

    async def _started(self) -> asyncio.subprocess.Process | None:
        if self._worker is not None and self._worker.returncode is None:
            return self._worker
        self._worker = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", "from markbook.scoring.heuristics.worker import main; main()", str(self._limit_s)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert self._worker.stdout is not None
        try:
            async with asyncio.timeout(START_S):
                ready = await self._worker.stdout.readline() == READY
        except TimeoutError:
            ready = False
        if not ready:
            _log.error("the heuristic tier's worker did not start; long samples go to the teacher unjudged")
            await self._stop()
        return self._worker

    async def _stop(self) -> int | None:
        """End the worker, if it has not ended; returns what it ended with."""
        worker, self._worker = self._worker, None
        if worker is None:
            return None
        assert worker.stdout is not None
        if worker.returncode is None and not worker.stdout.at_eof():  # at the end of its output it is dead by itself
            worker.kill()
        await worker.communicate()  # closes the pipes
        return worker.returncode


async def _answer_of(worker: asyncio.subprocess.Process, sample: tuple[str, str, str]) -> bytes:
    """The worker's line on `sample`; nothing once it is dead. Raises TimeoutError when it hangs."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        with suppress(ConnectionError):  # of a dead one; the end of its output says so too
            worker.stdin.write(json.dumps(sample).encode() + b"\n")
            await worker.stdin.drain()
        return await worker.stdout.readline()


def _at_once(code: str, task: str, language: str) -> HeuristicResult | None:
    """The judgement, or None where it takes longer than a slice: the worker has more time."""
    try:
        return result_of_finding(code, task, language, INLINE_S)
    except Undecided:
        return None
