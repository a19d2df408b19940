"""The only retry layer: attempts under one deadline, with backoff, circuit breaker, rate limits
and cache warm-up.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Generic, TypeVar

from markbook.contract import ErrorCode
from markbook.scoring.errors import stopping
from markbook.scoring.fair_queue import NOBODY, Caller
from markbook.scoring.teachers.anthropic.cache_warmup import CacheWarmup
from markbook.scoring.teachers.anthropic.circuit_breaker import CircuitBreaker
from markbook.scoring.teachers.anthropic.concurrency_limiter import ConcurrencyLimiter
from markbook.scoring.types import ScoringFailure, TeacherCall

M = TypeVar("M")

FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 8.0

NO_SLOT = ScoringFailure(
    ErrorCode.TEACHER_UNAVAILABLE, "no free slot for a teacher call before timeout_s expired", 1.0
)
NOT_ASKED = ScoringFailure(
    ErrorCode.TEACHER_TIMEOUT, "timeout_s expired before the teacher could be called", 1.0
)


class AttemptOutcome(Enum):
    """The outcome of one attempt, as far as retrying is concerned."""

    ANSWER = auto()
    RATE_LIMIT = auto()
    """Retry, with fewer concurrent calls."""
    DOWN = auto()
    """Overloaded, failing, silent or unreachable: retry, and count towards the circuit breaker."""
    REJECTION = auto()
    """Retrying cannot help."""


@dataclass(frozen=True, slots=True)
class Attempt(Generic[M]):
    """One call and its cost. `message` is set for an answer, `failure` for everything else."""

    outcome: AttemptOutcome
    call: TeacherCall
    message: M | None = None
    failure: ScoringFailure | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def bill(self, seconds: float) -> TeacherCall:
        """The call with its duration in seconds and whether it failed."""
        return replace(
            self.call,
            duration_ms=round(seconds * 1000),
            failed=self.outcome is not AttemptOutcome.ANSWER,
        )


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Shared by all calls to one teacher.

    `clock` returns monotonic seconds, `jitter` a number in [0, 1).
    """

    breaker: CircuitBreaker
    limiter: ConcurrencyLimiter
    warmup: CacheWarmup
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    jitter: Callable[[], float]
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def execute(
        self,
        attempt: Callable[[float], Awaitable[Attempt[M]]],
        need: Mapping[str, int],
        deadline: float,
        caller: Caller = NOBODY,
    ) -> M | ScoringFailure:
        """Call `attempt` with the seconds left, until it succeeds, is rejected, or no retry fits
        before `deadline`.

        `need`: what a call takes of each rate limit. `caller` is scheduled fairly among those that
        wait. Raises ServiceStoppingError once no attempt may start any more; an attempt that has
        started is awaited.
        """
        last: ScoringFailure | None = None
        for tries in itertools.count():
            if (failure := await self._wait_until_open(deadline, last)) is not None:
                return failure
            result = await self._try_once(attempt, need, deadline, caller)
            if isinstance(result, ScoringFailure):
                return last or result
            if result.message is not None:
                return result.message
            assert result.failure is not None
            last = result.failure
            if result.outcome is AttemptOutcome.REJECTION:
                return last
            wait = self._backoff_s(tries, last.retry_after_s)
            if last.retry_after_s is None:  # without it a client would not retry
                last = replace(last, retry_after_s=wait)
            if self.stopped.is_set() or self.clock() + wait >= deadline:
                return last
            await self._pause(wait)
        raise AssertionError("unreachable: the loop ends by returning")

    async def _wait_until_open(
        self, deadline: float, last: ScoringFailure | None
    ) -> ScoringFailure | None:
        """Waits out a pause of the rate limit.

        Returns why no attempt may start: deadline, breaker or rate limit.
        """
        if self.clock() >= deadline:
            return last or NOT_ASKED
        if (down_for := self.breaker.wait_s()) > 0:
            why = last.detail if last else "all recent calls failed"
            return ScoringFailure(
                ErrorCode.TEACHER_UNAVAILABLE, f"the teacher is down: {why}", down_for
            )
        if (pause := self.limiter.pause_s()) > 0:
            if self.clock() + pause >= deadline:
                return last or ScoringFailure(
                    ErrorCode.TEACHER_UNAVAILABLE, "the teacher's rate limit is exhausted", pause
                )
            await self._pause(pause)
        return None

    async def _try_once(
        self,
        attempt: Callable[[float], Awaitable[Attempt[M]]],
        need: Mapping[str, int],
        deadline: float,
        caller: Caller,
    ) -> Attempt[M] | ScoringFailure:
        """One attempt in a slot of its own, or the failure that none was free before the
        deadline.
        """
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(deadline - self.clock()):
                    await held.enter_async_context(self.warmup.acquire(caller))
                    await held.enter_async_context(self.limiter.slot(caller))
            except TimeoutError:
                return NO_SLOT
            started = self.clock()
            if started >= deadline:  # it would be cut off at once and charged at its bound
                return NOT_ASKED
            result = await attempt(deadline - started)
            self._update(result, started, need)
            return result

    def stop(self) -> None:
        """Refuse all that wait for an attempt.

        The budget limiter sees to it that none is started.
        """
        self.stopped.set()
        self.limiter.queue.close(stopping())
        self.warmup.queue.close(stopping())

    async def _pause(self, seconds: float) -> None:
        """Sleep; raises ServiceStoppingError as soon as the service shuts down."""
        ends = [
            asyncio.ensure_future(self.sleep(seconds)),
            asyncio.ensure_future(self.stopped.wait()),
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        if self.stopped.is_set():
            raise stopping()

    def _update(self, result: Attempt[M], started: float, need: Mapping[str, int]) -> None:
        self.limiter.update_from_headers(result.headers, need)
        if result.outcome is AttemptOutcome.ANSWER:
            self.breaker.on_success()
            self.limiter.on_success()
            call = result.call
            self.warmup.on_answer(
                started, cached=call.cache_read_input_tokens + call.cache_creation_input_tokens > 0
            )
        elif result.outcome is AttemptOutcome.RATE_LIMIT:
            self.limiter.on_rate_limited(
                started, result.failure.retry_after_s if result.failure else None
            )
        elif result.outcome is AttemptOutcome.DOWN:
            self.breaker.on_failure(result.failure.detail if result.failure else "")

    def _backoff_s(self, tries: int, retry_after_s: float | None) -> float:
        """Exponential with jitter between a half and the whole; at least `retry_after_s`."""
        backoff = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(tries, 10)) * (
            0.5 + self.jitter() / 2
        )
        return backoff if retry_after_s is None else retry_after_s + backoff / 4
