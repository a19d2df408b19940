"""Runs the judge without holding the event loop: short samples here, a slice at a time, long ones in a worker."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence

from services.scoring.heuristics.grammars import Undecided
from services.scoring.heuristics.judge import BUDGET_S, UNPROVEN, Judgement, judgement_of
from services.scoring.heuristics.worker import READY

INLINE_CHARS = 1_000
"""Longer code goes to the worker. Honest code takes 5 ms from some 15,000 characters on, but the worst that is known
(in Java, `a=>b=>c=>…`) takes a second at 8,000, in one step that nothing can interrupt."""
INLINE_S = 0.005
"""Seconds of CPU that one sample may take of the event loop's thread before it goes to the worker after all."""
PATIENCE_S = 2.0
"""Seconds to wait for the worker on a busy machine; its own limit is one of CPU time."""
START_S = 60.0
"""Seconds a worker may take to start."""

_log = logging.getLogger(__name__)


class Tier:
    """The heuristic tier as the pipeline uses it. `limit_s`: seconds of CPU a long sample may take in the worker."""

    def __init__(self, limit_s: float = BUDGET_S) -> None:
        self._limit_s = limit_s
        self._worker: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id, if there is one now."""
        return self._worker.pid if self._worker else None

    async def judge(self, samples: Sequence[tuple[str, str, str]]) -> list[Judgement]:
        """Judge (code, task, language) samples; the answers keep their order. What is undecided passes."""
        return [await self._judge(*sample) for sample in samples]

    async def close(self) -> None:
        """Stop the worker. The tier can be used again, with a new one."""
        async with self._turn:
            await self._stop()

    async def _judge(self, code: str, task: str, language: str) -> Judgement:
        if len(code) <= INLINE_CHARS:
            await asyncio.sleep(0)  # a request may hold hundreds
            if (judgement := _at_once(code, task, language)) is not None:
                return judgement
        async with self._turn:
            return await self._ask((code, task, language))

    async def _ask(self, sample: tuple[str, str, str]) -> Judgement:
        worker = await self._started()
        if worker is None:
            return UNPROVEN
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE_S):
                worker.stdin.write(json.dumps(sample).encode() + b"\n")
                await worker.stdin.drain()
                answer = await worker.stdout.readline()
        except (TimeoutError, ConnectionError):
            answer = b""
        except asyncio.CancelledError:
            await self._stop()  # or its answer would be taken for the next sample's
            raise
        if not answer:
            _log.debug("a sample of %d characters was not judged within %g s of CPU", len(sample[0]), self._limit_s)
            await self._stop()
            return UNPROVEN
        score, reasons = json.loads(answer)
        return Judgement(score, tuple(reasons))

    async def _started(self) -> asyncio.subprocess.Process | None:
        if self._worker is not None and self._worker.returncode is None:
            return self._worker
        self._worker = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", "from services.scoring.heuristics.worker import main; main()", str(self._limit_s)),
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

    async def _stop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        if worker.returncode is None:
            worker.kill()
        await worker.communicate()  # closes the pipes


def _at_once(code: str, task: str, language: str) -> Judgement | None:
    """The judgement, or None where it takes longer than a slice: the worker has more time."""
    try:
        return judgement_of(code, task, language, INLINE_S)
    except Undecided:
        return None
