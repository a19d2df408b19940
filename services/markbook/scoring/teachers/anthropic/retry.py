"""The one retry layer: attempt after attempt under one deadline, with backoff, breaker, rate limits and warm-up."""

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

NOT_ASKED = ScoringFailure(ErrorCode.TEACHER_TIMEOUT, "the time was over before the teacher could be asked", 1.0)


class AttemptOutcome(Enum):
    """What an attempt found out about the teacher."""

    ANSWER = auto()
    RATE_LIMIT = auto()
    """Worth another try, with fewer calls at once."""
    DOWN = auto()
    """Overloaded, failing, silent or out of reach: worth another try, unless it stays so."""
    REJECTION = auto()
    """Asking again will not help."""


@dataclass(frozen=True, slots=True)
class Attempt(Generic[M]):
    """One call and its bill. `message` is set for an answer, `failure` for everything else."""

    found: AttemptOutcome
    call: TeacherCall
    message: M | None = None
    failure: ScoringFailure | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def bill(self, seconds: float) -> TeacherCall:
        """The call's, which took so long."""
        return replace(self.call, duration_ms=round(seconds * 1000), failed=self.found is not AttemptOutcome.ANSWER)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What all calls to one teacher share. `clock` gives monotonic seconds, `jitter` a number in [0, 1)."""

    breaker: CircuitBreaker
    limiter: ConcurrencyLimiter
    warmth: CacheWarmup
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
        """Call `attempt` with the seconds left until it succeeds, is rejected, or no other fits before `deadline`.

        `need`: what a call takes of each rate limit. `caller`: whose turn it takes.
        Raises ServiceStopping where no attempt may begin any more; one that has begun is waited for.
        """
        last: ScoringFailure | None = None
        for tries in itertools.count():
            if self.clock() >= deadline:
                return last or NOT_ASKED
            if (down_for := self.breaker.wait_s()) > 0:
                why = last.detail if last else "the calls before this one all failed"
                return ScoringFailure(ErrorCode.TEACHER_UNAVAILABLE, f"the teacher is down: {why}", down_for)
            if (pause := self.limiter.pause_s()) > 0:
                if self.clock() + pause >= deadline:
                    return last or ScoringFailure(
                        ErrorCode.TEACHER_UNAVAILABLE, "the teacher's rate limit is used up", pause
                    )
                await self._pause(pause)
            async with AsyncExitStack() as held:
                try:
                    async with asyncio.timeout(deadline - self.clock()):
                        await held.enter_async_context(self.warmth.acquire(caller))
                        await held.enter_async_context(self.limiter.slot(caller))
                except TimeoutError:
                    return last or ScoringFailure(
                        ErrorCode.TEACHER_UNAVAILABLE, "the teacher is busy with other samples", 1.0
                    )
                begun = self.clock()
                if begun >= deadline:  # an attempt would be cut off at once, and booked at its bound
                    return last or NOT_ASKED
                result = await attempt(deadline - begun)
                self._learn(result, begun, need)
            if result.message is not None:
                return result.message
            assert result.failure is not None
            last = result.failure
            if result.found is AttemptOutcome.REJECTION:
                return last
            wait = self._backoff_s(tries, last.retry_after_s)
            if last.retry_after_s is None:  # a failure without it is one that asking again does not mend
                last = replace(last, retry_after_s=wait)
            if self.stopped.is_set() or self.clock() + wait >= deadline:
                return last
            await self._pause(wait)
        raise AssertionError("unreachable: the loop ends by returning")

    def stop(self) -> None:
        """Who waits for an attempt is refused at once. That none begins is the purse's business."""
        self.stopped.set()
        self.limiter.queue.close(stopping())
        self.warmth.queue.close(stopping())

    async def _pause(self, seconds: float) -> None:
        """Sleeps for so long, or until there is nothing left to wait for."""
        ends = [asyncio.ensure_future(self.sleep(seconds)), asyncio.ensure_future(self.stopped.wait())]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        if self.stopped.is_set():
            raise stopping()

    def _learn(self, result: Attempt[M], begun: float, need: Mapping[str, int]) -> None:
        self.limiter.update_from_headers(result.headers, need)
        if result.found is AttemptOutcome.ANSWER:
            self.breaker.succeeded()
            self.limiter.succeeded()
            call = result.call
            self.warmth.answered(begun, cached=call.cache_read_input_tokens + call.cache_creation_input_tokens > 0)
        elif result.found is AttemptOutcome.RATE_LIMIT:
            self.limiter.on_rate_limited(begun, result.failure.retry_after_s if result.failure else None)
        elif result.found is AttemptOutcome.DOWN:
            self.breaker.failed(result.failure.detail if result.failure else "")

    def _backoff_s(self, tries: int, retry_after_s: float | None) -> float:
        """Exponential with jitter from half to the whole; never shorter than what the teacher asked for."""
        backoff = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(tries, 10)) * (0.5 + self.jitter() / 2)
        return backoff if retry_after_s is None else retry_after_s + backoff / 4
