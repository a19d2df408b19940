"""Runs samples' tests off the event loop: in one sandbox first, and in a second one to confirm
failures.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from markbook.scoring.errors import ExecutionUnavailableError, stopping
from markbook.scoring.execution.cache import MemoryVerdictCache, VerdictCache, verdict_digest
from markbook.scoring.execution.types import Limits, Sandbox, TestResult, Verdict
from markbook.scoring.fair_queue import NOBODY, Caller, FairQueue

_log = logging.getLogger(__name__)


class TestRunner:
    """Runs a sample's tests in `first`; tests that do not pass there are rerun in `confirm`, whose
    verdict counts.

    With `confirm_failures=False` only tests that `first` cannot run are rerun: failures are most of
    a weak student's.

    Verdicts are cached by digest. A timeout may be due to a busy machine, so verdicts with one are
    cached only once a second run, begun after the first had ended, has come to the same.
    """

    __test__ = False  # pytest takes classes named Test* for tests

    def __init__(
        self,
        first: Sandbox,
        confirm: Sandbox | None = None,
        *,
        confirm_failures: bool = True,
        limits: Limits | None = None,
        max_running: int | None = None,
        max_waiting: int = 4096,
        cache: VerdictCache | None = None,
    ) -> None:
        self.max_running = max_running or os.cpu_count() or 1
        self._first = first
        self._confirm = confirm
        self._confirm_failures = confirm_failures
        self.limits = limits or Limits()
        self._queue = FairQueue(lambda: self.max_running)
        self._max_waiting = max_waiting
        self._cache = cache or MemoryVerdictCache()
        self._timed_out_once = MemoryVerdictCache(max_results=20_000)
        self._threads = ThreadPoolExecutor(self.max_running, thread_name_prefix="tests")
        self.sandboxes = [each.name for each in (first, confirm) if each is not None]
        scope = "" if confirm is None or confirm_failures else " (not_run)"
        self.identity = f"{'+'.join(self.sandboxes)}{scope} {self.limits}"

    async def run(
        self, code: str, tests: Sequence[str], setup: str = "", *, caller: Caller = NOBODY
    ) -> list[TestResult]:
        """One result per test, in order.

        `code` is the extracted code; `caller` is scheduled fairly among others.

        Raises ExecutionUnavailableError when there is no verdict for a reason other than the code:
        retry later.
        """
        digest = verdict_digest(code, tests, setup, self.identity)
        if (kept := await self._cache.get(digest)) is not None:
            return list(kept)
        if self._queue.waiting >= self._max_waiting:
            raise ExecutionUnavailableError(
                f"{self._queue.waiting} samples are queued for their tests already: retry later"
            )
        async with self._queue.slot(caller):
            before = await self._timed_out_once.get(digest)
            # shielded: a thread cannot be cancelled, and its slot must be held until it is done
            work = asyncio.get_running_loop().run_in_executor(
                self._threads, self.run_sync, code, tests, setup
            )
            try:
                results = await asyncio.shield(work)
            except asyncio.CancelledError:
                await asyncio.wait([work])
                raise
            except ExecutionUnavailableError:
                raise
            except (
                Exception
            ) as error:  # an internal error must not fail the other samples of the request
                _log.exception("running the tests of one sample failed")
                raise ExecutionUnavailableError(
                    f"the sandbox failed: {type(error).__name__}"
                ) from error
        if may_be_cached(results, before):
            await self._cache.put(digest, tuple(results))
        else:
            await self._timed_out_once.put(digest, tuple(results))
        return results

    async def has_cached(self, code: str, tests: Sequence[str], setup: str = "") -> bool:
        """Whether the verdict of this sample will be the same at any time."""
        return await self._cache.get(verdict_digest(code, tests, setup, self.identity)) is not None

    def run_sync(self, code: str, tests: Sequence[str], setup: str = "") -> list[TestResult]:
        """The same for scripts: blocks, without cache and queue."""
        results = self._first.run(code, tests, setup, self.limits)
        doubted = [number for number, result in enumerate(results) if self._is_doubted(result)]
        if self._confirm is None or not doubted:
            return results
        confirmed = self._confirm.run(
            code, [tests[number] for number in doubted], setup, self.limits
        )
        for number, result in zip(doubted, confirmed, strict=True):
            if result.verdict is not Verdict.CANNOT_RUN:
                results[number] = result
        return results

    def _is_doubted(self, result: TestResult) -> bool:
        return result.verdict is Verdict.CANNOT_RUN or (
            self._confirm_failures and not result.passed
        )

    def stop(self) -> None:
        """Reject queued samples; running ones finish."""
        self._queue.close(stopping())

    def close(self) -> None:
        """Stop the sandboxes. Blocks until running tests have finished."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._first.close()
        if self._confirm is not None:
            self._confirm.close()


def may_be_cached(results: Sequence[TestResult], before: Sequence[TestResult] | None) -> bool:
    """Whether a verdict says something about the code: no test timed out, or all did as
    `before`, in an earlier run.
    """
    verdicts = [result.verdict for result in results]
    if Verdict.TIMED_OUT not in verdicts:
        return True
    return before is not None and verdicts == [result.verdict for result in before]
