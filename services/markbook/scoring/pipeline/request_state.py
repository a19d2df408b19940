"""State of one request in the pipeline: futures of its samples, and its response once that is
built.
"""

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
    """`futures` by digest; `owned`: the digests that this request resolves itself, in the task
    `owner`.

    `deadline`: by the event loop's clock; None: no limit. `response` is built once and not changed.
    """

    request: ScoreRequest
    items: Sequence[PreparedSample]
    billing: BillingContext
    deadline: float | None = None
    futures: dict[bytes, asyncio.Future[Outcome]] = field(default_factory=dict)
    owned: list[bytes] = field(default_factory=list)
    owner: asyncio.Task[None] | None = None
    response: ScoredRequest | None = None

    @property
    def by_digest(self) -> dict[bytes, PreparedSample]:
        return {item.print.digest: item for item in self.items}

    def owns_any(self, items: Sequence[PreparedSample]) -> bool:
        """Whether this request is the one that resolves any of `items`."""
        return any(item.print.digest in self.owned for item in items)

    def resolved(self) -> dict[bytes, Outcome]:
        """Outcomes of the samples whose futures are done and have not failed."""
        outcomes: dict[bytes, Outcome] = {}
        for digest, future in self.futures.items():
            if future.done() and future.exception() is None:
                outcomes[digest] = future.result()
        return outcomes


DEADLINE_EXCEEDED = ScoringFailure(
    ErrorCode.DEADLINE,
    "no score within timeout_s; scoring continues and the result will be cached: retry",
    1.0,
)
ADMISSION_TIMEOUT = ScoringFailure(
    ErrorCode.DEADLINE,
    "still queued when timeout_s expired; the teacher was not called: retry",
    1.0,
)


def is_over_budget(outcome: Outcome) -> bool:
    """Whether it failed because a budget is exhausted; another request's budget may not be."""
    return isinstance(outcome, ScoringFailure) and outcome.code is ErrorCode.BUDGET_EXHAUSTED
