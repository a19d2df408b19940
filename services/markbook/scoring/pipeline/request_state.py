"""A request on its way through the pipeline: what has become of its samples, and its answer once that is made."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from markbook.contract import ErrorCode, Result, ScoreRequest
from markbook.scoring.budgets.limiter import BillingContext
from markbook.scoring.pipeline.group_scorer import Outcome, PreparedSample
from markbook.scoring.store import RequestLine
from markbook.scoring.types import ScoringFailure


@dataclass(frozen=True, slots=True)
class ScoredRequest:
    results: list[Result]
    line: RequestLine


@dataclass(slots=True)
class RequestState:
    """`flights` by digest, `led`: those that this request has begun. `answer` is made once, and not changed."""

    request: ScoreRequest
    items: Sequence[PreparedSample]
    payer: BillingContext
    flights: dict[bytes, asyncio.Future[Outcome]] = field(default_factory=dict)
    led: list[bytes] = field(default_factory=list)
    answer: ScoredRequest | None = None

    @property
    def by_digest(self) -> dict[bytes, PreparedSample]:
        return {item.print.digest: item for item in self.items}

    def landed(self) -> dict[bytes, Outcome]:
        """What has become of the samples whose flights have ended well."""
        ended = {digest: flight for digest, flight in self.flights.items() if flight.done()}
        return {digest: flight.result() for digest, flight in ended.items() if flight.exception() is None}


DEADLINE_EXCEEDED = ScoringFailure(
    ErrorCode.DEADLINE, "no mark within timeout_s; it is on its way into the book: ask again", 1.0
)


ADMISSION_TIMEOUT = ScoringFailure(
    ErrorCode.DEADLINE, "its turn did not come within timeout_s, so nobody was asked: ask again", 1.0
)


def unpaid(outcome: Outcome) -> bool:
    """Whether it failed for want of money, which says nothing about another's."""
    return isinstance(outcome, ScoringFailure) and outcome.code is ErrorCode.BUDGET_EXHAUSTED
